//! Services that say when they are ready (`sd_notify(3)`), from inside a container.
//!
//! The manager of services outside listens on a socket that the container cannot see, and believes only processes of the
//! service. So a socket of our own is shown to the container, and its `READY=1` passed on:
//!
//! ```text
//!  program ── READY=1 ──▶ <container's directory>/notify/notify.sock ── READY=1, MAINPID=…, BARRIER=1 ──▶ $NOTIFY_SOCKET
//! ```

use std::ffi::{OsStr, OsString};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType, bind, connect, recv, send, sendmsg, socket_with,
};
use rustix::pipe::PipeFlags;

use crate::error::{Context, Error, Result};
use crate::plan::{HostTree, MountOptions, MountPlan, Plan, Source};
use crate::sys::mount::Propagation;

/// The folder with the socket in the container's directory.
const FOLDER: &str = "notify";
const SOCKET: &str = "notify.sock";
/// Where the container sees the folder. As for runc.
const INSIDE: &str = "/run/notify";
/// No manager reads longer messages.
const MESSAGE_MAX: usize = 4096;
/// How long the manager may take to read, in seconds. As for runc.
const BARRIER_PATIENCE: i64 = 30;

/// Where to pass messages on to: what the caller's environment says, if anything.
pub fn host_socket() -> Option<OsString> {
    std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty())
}

impl Plan {
    /// Shows the container a socket, to be made in `directory` by [`Proxy::bind`], and tells its process.
    ///
    /// # Errors
    /// When the file system refuses the folder for it.
    pub fn show_notify_socket(&mut self, directory: &Path) -> Result<()> {
        let folder = directory.join(FOLDER);
        let make = || -> io::Result<HostTree> {
            std::fs::DirBuilder::new().mode(0o755).create(&folder)?;
            // Whatever the caller's umask.
            std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o755))?;
            HostTree::new(&folder, false, Propagation::Slave)
        };
        let tree = make().context(|| format!("make {}", folder.display()))?;
        self.root.mounts.push(MountPlan {
            destination: INSIDE.into(),
            source: Source::Tree { tree, directory: true },
            options: MountOptions::parse(&["bind", "nosuid", "noexec", "nodev", "ro"]),
        });
        self.process.env.retain(|(name, _)| name != "NOTIFY_SOCKET");
        self.process.env.push(("NOTIFY_SOCKET".to_owned(), format!("{INSIDE}/{SOCKET}")));
        Ok(())
    }
}

/// Listens for a container that says it is ready.
#[derive(Debug)]
pub struct Proxy {
    socket: OwnedFd,
    host: OsString,
}

impl Proxy {
    /// Makes the socket of a container that was planned with one; none for any other.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn bind(directory: &Path, host: OsString) -> Result<Option<Proxy>> {
        let folder = directory.join(FOLDER);
        let shown = || format!("make {}", folder.join(SOCKET).display());
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = match rustix::fs::open(&folder, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            opened => opened.context(shown)?,
        };
        // Addresses are shorter than paths may be.
        let path = format!("/proc/self/fd/{}/{SOCKET}", opened.as_raw_fd());
        let make = || -> io::Result<OwnedFd> {
            let socket = datagram_socket()?;
            match std::fs::remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
            bind(&socket, &SocketAddrUnix::new(&path)?)?;
            // Whoever runs in the container may speak.
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o777))?;
            Ok(socket)
        };
        Ok(Some(Proxy { socket: make().context(shown)?, host }))
    }

    /// Reads what has come, without waiting. When it says that the container is ready, passes that on, with `main` as
    /// the number of the service's process, and returns what becomes readable when the manager has taken note.
    ///
    /// # Errors
    /// When nobody listens at the other end.
    pub fn advance(&self, main: i32) -> Result<Option<OwnedFd>> {
        let mut buffer = [0; MESSAGE_MAX];
        loop {
            match recv(&self.socket, &mut buffer, RecvFlags::empty()) {
                Ok((length, _)) => {
                    if let Some(ready) = ready_line(&buffer[..length]) {
                        return self.pass_on(ready, main).map(Some);
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(e) => return Err(e).context(|| "read what the container notifies of"),
            }
        }
    }

    /// Waits until the container is ready and the manager has taken note, or the process has ended.
    ///
    /// # Errors
    /// As [`Proxy::advance`].
    pub fn wait(&self, main: i32, process: BorrowedFd<'_>) -> Result<()> {
        loop {
            let mut fds = [PollFd::new(&self.socket, PollFlags::IN), PollFd::from_borrowed_fd(process, PollFlags::IN)];
            rustix::io::retry_on_intr(|| poll(&mut fds, None)).context(|| "wait for the container to be ready")?;
            let ended = !fds[1].revents().is_empty();
            if let Some(noted) = self.advance(main)? {
                let limit = Timespec { tv_sec: BARRIER_PATIENCE, tv_nsec: 0 };
                let mut fds = [PollFd::new(&noted, PollFlags::IN)];
                // An older manager does not know of barriers: then the time is all that was lost.
                rustix::io::retry_on_intr(|| poll(&mut fds, Some(&limit))).context(|| "wait for the manager")?;
                return Ok(());
            }
            if ended {
                return Ok(());
            }
        }
    }

    fn pass_on(&self, ready: &[u8], main: i32) -> Result<OwnedFd> {
        let pass = || -> io::Result<OwnedFd> {
            let host = datagram_socket()?;
            connect(&host, &address(&self.host)?)?;
            send(&host, &[ready, b"\n"].concat(), SendFlags::NOSIGNAL)?;
            send(&host, format!("MAINPID={main}\n").as_bytes(), SendFlags::NOSIGNAL)?;
            // The manager closes it when it has read everything before it (sd_notify_barrier(3)).
            let (ours, theirs) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
            let fds = [theirs.as_fd()];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            ancillary.push(SendAncillaryMessage::ScmRights(&fds));
            sendmsg(&host, &[IoSlice::new(b"BARRIER=1")], &mut ancillary, SendFlags::NOSIGNAL)?;
            Ok(ours)
        };
        let shown = self.host.display();
        pass().map_err(|cause| Error::System { what: format!("notify {shown} (NOTIFY_SOCKET)"), cause })
    }
}

impl AsFd for Proxy {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn datagram_socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?)
}

/// An `@` stands for the zero byte that names without a file begin with.
fn address(socket: &OsStr) -> rustix::io::Result<SocketAddrUnix> {
    match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddrUnix::new_abstract_name(name),
        None => SocketAddrUnix::new(socket),
    }
}

/// The line that says so, among others.
fn ready_line(message: &[u8]) -> Option<&[u8]> {
    message.split(|&byte| byte == b'\n').find(|line| line.starts_with(b"READY="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_is_found_among_other_lines() {
        assert_eq!(ready_line(b"READY=1"), Some(&b"READY=1"[..]));
        assert_eq!(ready_line(b"STATUS=up\nREADY=1\nMAINPID=7\n"), Some(&b"READY=1"[..]));
        assert_eq!(ready_line(b"STATUS=READY=1\n"), None);
        assert_eq!(ready_line(b""), None);
    }

    #[test]
    fn a_container_without_the_folder_has_no_proxy() {
        let directory = tempfile::tempdir().unwrap();
        assert!(Proxy::bind(directory.path(), "@x".into()).unwrap().is_none());
        std::fs::create_dir(directory.path().join(FOLDER)).unwrap();
        let proxy = Proxy::bind(directory.path(), "@x".into()).unwrap().unwrap();
        assert!(proxy.advance(1).unwrap().is_none());
        // Once more, as after a start that was interrupted.
        assert!(Proxy::bind(directory.path(), "@x".into()).unwrap().is_some());
    }
}
