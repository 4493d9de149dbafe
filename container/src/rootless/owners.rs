//! Whose files are, asked from inside a user namespace, where the kernel shows all whom it has not as nobody.
//!
//! A process that stays outside looks at the open files that it is sent, for as long as somebody is there to ask.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use rustix::io::retry_on_intr;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// Who can tell.
#[derive(Debug)]
pub struct Owners(Mutex<OwnedFd>);

/// Both ends: who asks, and what it needs who answers.
pub(super) fn pair() -> io::Result<(Owners, OwnedFd)> {
    let (ask, answer) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    Ok((Owners(Mutex::new(ask)), answer))
}

impl Owners {
    /// The user, by its number outside, that an open file belongs to; none when nobody answers.
    pub fn of(&self, file: BorrowedFd<'_>) -> Option<u32> {
        let socket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let files = [file];
        ancillary.push(SendAncillaryMessage::ScmRights(&files));
        retry_on_intr(|| sendmsg(&*socket, &[IoSlice::new(b"?")], &mut ancillary, SendFlags::NOSIGNAL)).ok()?;
        let mut answer = [0; 5];
        match retry_on_intr(|| rustix::io::read(&*socket, &mut answer)) {
            Ok(4) => Some(u32::from_le_bytes([answer[0], answer[1], answer[2], answer[3]])),
            _ => None,
        }
    }
}

/// Answers until nobody can ask any more.
pub(super) fn answer(socket: &OwnedFd) {
    while let Ok(Some(question)) = receive(socket.as_fd()) {
        let uid = question.and_then(|file| rustix::fs::fstat(file).ok()).map(|stat| stat.st_uid.to_le_bytes());
        let answer = uid.as_ref().map_or(&b"?"[..], |uid| uid);
        if retry_on_intr(|| rustix::net::send(socket, answer, SendFlags::NOSIGNAL)).is_err() {
            return;
        }
    }
}

/// The next question, about a file if there was room for it; none when nobody asks any more.
fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<Option<OwnedFd>>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let received =
        retry_on_intr(|| recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::CMSG_CLOEXEC))?;
    if received.bytes == 0 {
        return Ok(None);
    }
    let mut file = None;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(mut fds) = message {
            file = fds.next();
        }
    }
    Ok(Some(file))
}
