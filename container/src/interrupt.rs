//! Signals that end the making of a container.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;

use crate::error::{Context, Error, Result};
use crate::sys::signal::{Received, SignalFd, is_ignored};

/// What a user or a service manager sends.
const SIGNALS: [(i32, &str); 3] = [(libc::SIGTERM, "SIGTERM"), (libc::SIGINT, "SIGINT"), (libc::SIGHUP, "SIGHUP")];

/// Takes over `SIGTERM`, `SIGINT` and `SIGHUP`, as far as they are not ignored, so that they end the making of a
/// container and not this process in the midst of it.
#[derive(Debug)]
pub struct Interrupt(SignalFd);

impl Interrupt {
    /// From here on, until it is dropped.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn new() -> io::Result<Interrupt> {
        let signals: Vec<i32> = SIGNALS.iter().map(|(signal, _)| *signal).filter(|&s| !is_ignored(s)).collect();
        SignalFd::new(&signals).map(Interrupt)
    }

    /// The next of them that arrived, if one did; it does not wait.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn received(&self) -> io::Result<Option<Received>> {
        self.0.read()
    }

    /// Waits until there is something to read from `fd`, for at most `limit`; whether there is.
    ///
    /// # Errors
    /// [`Error::Interrupted`] when a signal came first.
    pub(crate) fn wait_for(&self, fd: BorrowedFd<'_>, limit: Option<&Timespec>) -> Result<bool> {
        let mut fds = [PollFd::new(&self.0, PollFlags::IN), PollFd::from_borrowed_fd(fd, PollFlags::IN)];
        let found = retry_on_intr(|| poll(&mut fds, limit)).context(|| "wait for init")?;
        match self.0.read().context(|| "read a signal")? {
            Some(received) => Err(Error::Interrupted(name(received.signal))),
            None => Ok(found > 0),
        }
    }
}

impl AsFd for Interrupt {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn name(signal: i32) -> &'static str {
    SIGNALS.iter().find(|(number, _)| *number == signal).map_or("a signal", |(_, name)| name)
}
