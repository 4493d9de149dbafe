//! Telling the agent of a filter about a container.

use std::io::{IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
    connect, sendmsg, socket_with, sockopt,
};
use serde::Serialize;

use super::Listener;
use crate::error::{Error, Result, errno_text};
use crate::hooks::HookState;

/// An agent that does not take the message within this time is dead; the container must not wait for it for ever.
const PATIENCE: Duration = Duration::from_secs(10);

/// `ContainerProcessState` of the runtime specification.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProcessState<'a> {
    oci_version: &'a str,
    /// What the descriptors are that come with it.
    fds: [&'a str; 1],
    pid: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a str>,
    state: &'a HookState<'a>,
}

/// Sends `fd`, which the notifications of process `pid` come from, to the agent.
pub(crate) fn announce(listener: &Listener, state: &HookState<'_>, pid: i32, fd: &OwnedFd) -> Result<()> {
    let process = ProcessState {
        oci_version: state.oci_version,
        fds: ["seccompFd"],
        pid,
        metadata: listener.metadata.as_deref().filter(|metadata| !metadata.is_empty()),
        state,
    };
    let text = serde_json::to_vec(&process).map_err(|e| Error::Other(format!("state for the seccomp agent: {e}")))?;
    let failed = |what: &str, e: std::io::Error| {
        Error::Other(format!("{what}: {}: {}", listener.path.display(), errno_text(&e)))
    };
    let socket = dial(&listener.path)
        .map_err(|e| failed("failed to connect with seccomp agent specified in the seccomp profile", e))?;
    send(socket, &text, fd).map_err(|e| failed("cannot send the seccomp listener to the agent", e))
}

fn dial(path: &Path) -> std::io::Result<OwnedFd> {
    let address = match path.as_os_str().as_bytes() {
        // As Go programs write names that are not in the file system.
        [b'@', name @ ..] => SocketAddrUnix::new_abstract_name(name)?,
        path => SocketAddrUnix::new(path)?,
    };
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // Holds for connecting, too.
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(PATIENCE))?;
    connect(&socket, &address)?;
    Ok(socket)
}

fn send(socket: OwnedFd, text: &[u8], fd: &OwnedFd) -> std::io::Result<()> {
    let fds = [fd.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    let sent = sendmsg(&socket, &[IoSlice::new(text)], &mut ancillary, SendFlags::NOSIGNAL)?;
    // The descriptor went with the first part.
    UnixStream::from(socket).write_all(&text[sent..])
}
