//! What the parent and the container's first process (init) say to each other while the container starts.
//!
//! ```text
//!  parent                                   init
//!    │ clone3 ───────────────────────────────▶ │
//!    │ uid_map, gid_map written, network       │ waits, only with a new user namespace or network
//!    │ devices moved                           │ devices of the host
//!    │ Mapped ───────────────────────────────▶ │
//!    │                                         │ joins namespaces, builds the root file system
//!    │ ◀────────────────────────────── Sources │ only when bind mounts are next, and root may copy them: their first
//!    │ Copy + descriptor, for each ──────────▶ │ number; the kernel lists mounts in the order in which they were made
//!    │ ◀──────────────────────────── RootReady │ only when there are prestart or createRuntime hooks
//!    │ runs them                               │
//!    │ HooksDone ────────────────────────────▶ │
//!    │                                         │ createContainer hooks, pivot_root
//!    │ ◀───────────────── Console + descriptor │ only with a terminal
//!    │ PassedOn ─────────────────────────────▶ │ only when that goes to a console socket
//!    │                                         │ masks, credentials, finds the program
//!    │ ◀───────── SeccompListener + descriptor │ only with a filter that notifies; then init is under it from here on
//!    │ PassedOn ─────────────────────────────▶ │ the agent has it: nothing runs that nobody decides about
//!    │ ◀──────────────────────────────── Ready │
//!    │   « created »                           │ waits here, or at exec.fifo when nobody will send Start
//!    │ Start ────────────────────────────────▶ │ or any time before, when there is nothing to do in « created »: `run`
//!    │                                         │ startContainer hooks, execve
//!    │ ◀─────────────────────── end of channel │ the socket closes on exec
//! ```
//!
//! A process that joins a running container sends `Joined`, perhaps `Console` and `SeccompListener`, and closes the
//! channel by its execve.
//!
//! In place of any of its messages init may send `Failed` with the sentence to print, and ends. The channel is a pair
//! of `SOCK_SEQPACKET` sockets: a message is one packet, a tag byte and a text. The root file system's content has no
//! part in it: init is our own code until its execve.

use std::borrow::Cow;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use crate::fault;

/// One packet of the channel.
#[derive(Debug)]
pub(crate) enum Message {
    /// Parent: the user namespace has its mappings, the network namespace its devices.
    Mapped,
    /// Init: this and the following mounts take over what the parent has found on the host.
    Sources(usize),
    /// Parent: a copy of it.
    Copy(OwnedFd),
    /// Init: everything is mounted, and the host's root still reachable.
    RootReady,
    /// Parent: the hooks for that moment have run.
    HooksDone,
    /// Init: the master side of the container's terminal.
    Console(OwnedFd),
    /// Init: where what its filter does not decide is to be decided.
    SeccompListener(OwnedFd),
    /// Parent: whoever the descriptor was for has it.
    PassedOn,
    /// Init: nothing is left to do but to execute the program.
    Ready,
    /// Parent: execute it.
    Start,
    /// Init: the end, and why.
    Failed(Failure),
    /// The helper of an exec: the process that joined, by the host's number and by a pidfd.
    Joined(i32, OwnedFd),
}

/// Why init gave up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The container could not be set up.
    SetUp(String),
    /// Its program could not be found or executed.
    Exec(String),
}

/// Longest text of a message; longer ones are cut. Two paths of `PATH_MAX` fit.
const TEXT_MAX: usize = 16 * 1024;

/// One end of the channel.
#[derive(Debug)]
pub(crate) struct Channel(OwnedFd);

impl Channel {
    /// Both ends.
    pub(crate) fn pair() -> io::Result<(Channel, Channel)> {
        let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Channel(one), Channel(other)))
    }

    /// The same end once more.
    pub(crate) fn try_clone(&self) -> io::Result<Channel> {
        self.0.try_clone().map(Channel)
    }

    /// Sends one message; a broken pipe when the other side is gone.
    pub(crate) fn send(&self, message: &Message) -> io::Result<()> {
        let (tag, text) = encode(message);
        let text = &text.as_bytes()[..text.len().min(TEXT_MAX)];
        let tag = [tag];
        let parts = [IoSlice::new(&tag), IoSlice::new(text)];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let fds = match message {
            Message::Console(fd) | Message::SeccompListener(fd) | Message::Copy(fd) | Message::Joined(_, fd) => {
                vec![fd.as_fd()]
            }
            _ => vec![],
        };
        if !fds.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(&fds));
        }
        fault::message("send", message);
        while let Err(errno) = sendmsg(&self.0, &parts, &mut ancillary, SendFlags::NOSIGNAL) {
            // The second: the other side ended with our last message unread, and is gone for the next try.
            if !matches!(errno, Errno::INTR | Errno::CONNRESET) {
                return Err(errno.into());
            }
        }
        fault::message("sent", message);
        Ok(())
    }

    /// Waits until the parent has passed on what it was sent, and says nothing else.
    pub(crate) fn passed_on(&self) -> io::Result<()> {
        match self.receive()? {
            Some(Message::PassedOn) => Ok(()),
            other => Err(io::Error::other(format!("the parent says {other:?} out of turn"))),
        }
    }

    /// The next message, or none when the other side is gone.
    pub(crate) fn receive(&self) -> io::Result<Option<Message>> {
        let mut bytes = vec![0; TEXT_MAX + 1];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let mut parts = [IoSliceMut::new(&mut bytes)];
            match recvmsg(&self.0, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
                // The second: the other side ended with our last message unread. Its own may still be there.
                Err(Errno::INTR | Errno::CONNRESET) => {}
                received => break received?,
            }
        };
        if received.flags.contains(ReturnFlags::CTRUNC) {
            // The descriptor found no place.
            return Err(Errno::MFILE.into());
        }
        let mut fd = None;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(mut fds) = message {
                fd = fds.next();
            }
        }
        match bytes[..received.bytes].split_first() {
            None => Ok(None),
            Some((&tag, text)) => {
                let message = decode(tag, text, fd)?;
                fault::message("received", &message);
                Ok(Some(message))
            }
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn encode(message: &Message) -> (u8, Cow<'_, str>) {
    match message {
        Message::Mapped => (1, "".into()),
        Message::RootReady => (2, "".into()),
        Message::HooksDone => (3, "".into()),
        Message::Console(_) => (4, "".into()),
        Message::Ready => (5, "".into()),
        Message::Start => (6, "".into()),
        Message::Failed(Failure::SetUp(why)) => (7, why.into()),
        Message::Failed(Failure::Exec(why)) => (8, why.into()),
        Message::SeccompListener(_) => (9, "".into()),
        Message::Joined(pid, _) => (10, pid.to_string().into()),
        Message::Sources(from) => (11, from.to_string().into()),
        Message::Copy(_) => (12, "".into()),
        Message::PassedOn => (13, "".into()),
    }
}

fn decode(tag: u8, text: &[u8], fd: Option<OwnedFd>) -> io::Result<Message> {
    let text = || String::from_utf8_lossy(text).into_owned();
    Ok(match (tag, fd) {
        (1, None) => Message::Mapped,
        (2, None) => Message::RootReady,
        (3, None) => Message::HooksDone,
        (4, Some(fd)) => Message::Console(fd),
        (5, None) => Message::Ready,
        (6, None) => Message::Start,
        (7, None) => Message::Failed(Failure::SetUp(text())),
        (8, None) => Message::Failed(Failure::Exec(text())),
        (9, Some(fd)) => Message::SeccompListener(fd),
        (10, Some(fd)) => Message::Joined(text().parse().map_err(io::Error::other)?, fd),
        (11, None) => Message::Sources(text().parse().map_err(io::Error::other)?),
        (12, Some(fd)) => Message::Copy(fd),
        (13, None) => Message::PassedOn,
        (tag, _) => return Err(io::Error::new(io::ErrorKind::InvalidData, format!("unknown message {tag}"))),
    })
}

/// Reads one packet; what is read would be sent with the same tag. For fuzzing.
pub(crate) fn check(tag: u8, text: &[u8], fd: Option<OwnedFd>) {
    if let Ok(message) = decode(tag, text, fd) {
        assert_eq!(encode(&message).0, tag);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_as_sent() {
        let (one, other) = Channel::pair().unwrap();
        let plain = [Message::Mapped, Message::RootReady, Message::HooksDone, Message::PassedOn, Message::Ready];
        for message in plain.into_iter().chain([Message::Start]) {
            one.send(&message).unwrap();
            let received = other.receive().unwrap().unwrap();
            assert_eq!(encode(&received), encode(&message));
        }
        let long = "ü".repeat(TEXT_MAX);
        one.send(&Message::Failed(Failure::Exec(long))).unwrap();
        assert!(matches!(other.receive().unwrap(), Some(Message::Failed(Failure::Exec(_)))));
        let pipe = rustix::pipe::pipe().unwrap().0;
        one.send(&Message::Console(pipe)).unwrap();
        assert!(matches!(other.receive().unwrap(), Some(Message::Console(_))));
        let pipe = rustix::pipe::pipe().unwrap().0;
        one.send(&Message::SeccompListener(pipe)).unwrap();
        assert!(matches!(other.receive().unwrap(), Some(Message::SeccompListener(_))));
        let pipe = rustix::pipe::pipe().unwrap().0;
        one.send(&Message::Joined(77, pipe)).unwrap();
        assert!(matches!(other.receive().unwrap(), Some(Message::Joined(77, _))));
        one.send(&Message::Sources(8)).unwrap();
        assert!(matches!(other.receive().unwrap(), Some(Message::Sources(8))));
        let pipe = rustix::pipe::pipe().unwrap().0;
        one.send(&Message::Copy(pipe)).unwrap();
        assert!(matches!(other.receive().unwrap(), Some(Message::Copy(_))));
        drop(one);
        assert!(other.receive().unwrap().is_none());
    }

    #[test]
    fn who_has_ended_is_gone_whatever_was_left_unread() {
        let (one, other) = Channel::pair().unwrap();
        one.send(&Message::Failed(Failure::SetUp("why".to_owned()))).unwrap();
        other.send(&Message::Mapped).unwrap();
        drop(one);
        assert_eq!(other.send(&Message::Start).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert!(matches!(other.receive().unwrap(), Some(Message::Failed(_))));
        assert!(other.receive().unwrap().is_none());
    }

    #[test]
    fn nonsense_is_an_error() {
        assert!(decode(0, b"", None).is_err());
        assert!(decode(4, b"", None).is_err());
        assert!(decode(9, b"", None).is_err());
        assert!(decode(11, b"-1", None).is_err());
        assert!(decode(200, b"x", None).is_err());
        let pipe = rustix::pipe::pipe().unwrap().0;
        assert!(decode(10, b"x", Some(pipe)).is_err());
    }
}
