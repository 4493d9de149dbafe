//! Descriptors given to a program, and received from it.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use support::Cmd;

use super::Bundle;

/// The text and the descriptors of one message.
pub(crate) fn receive(socket: impl std::os::fd::AsFd) -> (String, Vec<OwnedFd>) {
    let mut bytes = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)
        .expect("a message");
    let fds = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let fds = fds.flatten().collect();
    (String::from_utf8_lossy(&bytes[..received.bytes]).into_owned(), fds)
}

/// The same with descriptors 3, 4, … open on files that hold their own numbers.
pub(crate) fn with_descriptors(bundle: &Bundle, command: Cmd, numbers: &[u32], before: &str) -> Cmd {
    let mut script = before.to_owned();
    for n in numbers {
        let file = bundle.scratch.file(&format!("fd{n}"), format!("this is {n}\n"));
        script += &format!("exec {n}<{}; ", file.display());
    }
    script += "exec \"$@\"";
    command.under("/bin/sh", ["-c", script.as_str(), "sh"])
}
