//! Terminals: the caller's in raw mode, and the bytes between it and a container's.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
    connect, sendmsg, socket_with,
};
use rustix::stdio::{stdin, stdout};
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, OutputModes, SpecialCodeIndex, Termios, Winsize, isatty, tcgetattr,
    tcgetwinsize, tcsetattr, tcsetwinsize,
};

use crate::error::{Context, Result};

/// What a terminal sends for Ctrl-D, the end of the input.
const END_OF_INPUT: u8 = 4;

/// In the place of a special character that there is none: `_POSIX_VDISABLE` of termios(3).
const DISABLED: u8 = 0;

/// Keeps the caller's terminal in raw mode; dropping it restores what was.
#[derive(Debug)]
pub struct RawMode {
    before: Termios,
}

impl RawMode {
    /// Switches the terminal on standard input; none when standard input is not a terminal.
    pub fn enter() -> io::Result<Option<RawMode>> {
        if !isatty(stdin()) {
            return Ok(None);
        }
        let before = tcgetattr(stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Drain, &raw)?;
        Ok(Some(RawMode { before }))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let _gone = tcsetattr(stdin(), OptionalActions::Drain, &self.before);
    }
}

/// Has a terminal end its lines as files do, where the caller's output goes to none: as with runc.
pub(crate) fn copy_line_ends(terminal: impl AsFd) -> io::Result<()> {
    if isatty(stdout()) {
        return Ok(());
    }
    let mut modes = tcgetattr(&terminal)?;
    modes.output_modes.remove(OutputModes::ONLCR);
    Ok(tcsetattr(&terminal, OptionalActions::Now, &modes)?)
}

/// Gives a terminal its size in characters.
pub fn set_size(terminal: impl AsFd, columns: u16, rows: u16) -> io::Result<()> {
    Ok(tcsetwinsize(terminal, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })?)
}

/// Gives a terminal the size of the caller's, where standard input is one.
pub(crate) fn copy_size(terminal: impl AsFd) -> io::Result<()> {
    match tcgetwinsize(stdin()) {
        Ok(size) => Ok(tcsetwinsize(terminal, size)?),
        Err(_not_a_terminal) => Ok(()),
    }
}

/// Passes bytes between the caller's standard input and output and the master side of a container's terminal.
///
/// It never waits by itself: poll [`Relay::interests`] for [`Relay::patience`], then call [`Relay::advance`]; on `SIGWINCH`
/// [`Relay::resize`]; when the container has ended [`Relay::finish`].
#[derive(Debug)]
pub struct Relay {
    master: OwnedFd,
    raw: Option<RawMode>,
    /// Typed, but not taken by the container yet.
    typed: Vec<u8>,
    input_open: bool,
    /// The mode the container's terminal was in when it was told of the end of the input.
    end_told: Option<(InputModes, LocalModes)>,
    master_open: bool,
    /// See [`Relay::take_interrupts`].
    interrupts: usize,
}

impl Relay {
    /// Starts with the caller's terminal in raw mode and the container's of the same size.
    pub fn new(master: OwnedFd) -> io::Result<Relay> {
        fcntl_setfl(&master, fcntl_getfl(&master)? | OFlags::NONBLOCK)?;
        let raw = RawMode::enter()?;
        let relay = Relay {
            master,
            raw,
            typed: Vec::new(),
            input_open: true,
            end_told: None,
            master_open: true,
            interrupts: 0,
        };
        relay.resize()?;
        Ok(relay)
    }

    /// What to poll for before the next [`Relay::advance`].
    pub fn interests(&self) -> Vec<PollFd<'_>> {
        let mut interests = Vec::with_capacity(2);
        if self.master_open {
            let writable = if self.typed.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
            interests.push(PollFd::new(&self.master, PollFlags::IN | writable));
        }
        // What is typed waits in the caller's terminal as long as the container does not take it.
        if self.input_open && self.typed.is_empty() {
            interests.push(PollFd::from_borrowed_fd(stdin(), PollFlags::IN));
        }
        interests
    }

    /// How long to poll at most: nothing tells that the container's terminal changes its mode.
    pub fn patience(&self) -> Option<Timespec> {
        let second = Timespec { tv_sec: 1, tv_nsec: 0 };
        (!self.input_open && self.master_open).then_some(second)
    }

    /// Passes on what there is.
    pub fn advance(&mut self) -> io::Result<()> {
        self.take_output()?;
        if self.input_open && self.typed.is_empty() && readable(stdin())? {
            self.take_input()?;
        }
        self.give_input()?;
        self.tell_end()?;
        self.give_input()
    }

    /// How often the user has typed what interrupts a program (Ctrl-C) since this was asked before. Where the container has it
    /// as a key like others, as editors do, it is not counted.
    pub fn take_interrupts(&mut self) -> usize {
        std::mem::take(&mut self.interrupts)
    }

    /// Passes on the last output of a container that has ended, and restores the caller's terminal.
    pub fn finish(mut self) -> io::Result<()> {
        self.take_output()
    }

    /// Gives the container's terminal the size of the caller's, if that is one.
    pub fn resize(&self) -> io::Result<()> {
        if self.raw.is_some() {
            tcsetwinsize(&self.master, tcgetwinsize(stdin())?)?;
        }
        Ok(())
    }

    fn take_output(&mut self) -> io::Result<()> {
        let mut buffer = [0; 8192];
        while self.master_open {
            match rustix::io::read(&self.master, &mut buffer) {
                // EIO: nobody has the other side open. It may be opened again, but only by somebody who was inside.
                Ok(0) | Err(Errno::IO) => self.master_open = false,
                Ok(length) => write_all(stdout(), &buffer[..length])?,
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    fn take_input(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        match rustix::io::read(stdin(), &mut buffer) {
            // EIO: the caller's terminal is gone.
            Ok(0) | Err(Errno::IO) => self.input_open = false,
            Ok(length) => {
                self.interrupts += self.interrupts_in(&buffer[..length]);
                self.typed.extend_from_slice(&buffer[..length]);
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        Ok(())
    }

    fn interrupts_in(&self, typed: &[u8]) -> usize {
        // One that is gone interrupts nobody.
        let Ok(modes) = tcgetattr(&self.master) else { return 0 };
        let key = modes.special_codes[SpecialCodeIndex::VINTR];
        match modes.local_modes.contains(LocalModes::ISIG) && key != DISABLED {
            true => typed.iter().filter(|byte| **byte == key).count(),
            false => 0,
        }
    }

    /// Once more in each mode: a shell that switches its terminal to another one loses what has come before, and
    /// nobody is there to type it again.
    fn tell_end(&mut self) -> io::Result<()> {
        if self.input_open || !self.master_open || !self.typed.is_empty() {
            return Ok(());
        }
        let modes = tcgetattr(&self.master)?;
        let modes = (modes.input_modes, modes.local_modes);
        if self.end_told != Some(modes) {
            self.end_told = Some(modes);
            self.typed.push(END_OF_INPUT);
        }
        Ok(())
    }

    fn give_input(&mut self) -> io::Result<()> {
        while self.master_open && !self.typed.is_empty() {
            match rustix::io::write(&self.master, &self.typed) {
                Ok(length) => drop(self.typed.drain(..length)),
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(Errno::IO) => self.master_open = false,
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }
}

/// Sends a terminal's master side to whoever listens on the unix socket `path`.
pub(crate) fn send(path: &Path, master: OwnedFd) -> Result<()> {
    // Receivers show the text as the terminal's name.
    send_fd(path, master.as_fd(), "/dev/ptmx").context(|| format!("send the terminal to {}", path.display()))
}

/// Sends a pidfd to whoever listens on the unix socket `path`, with a word that tells whose it is: `standard` for a
/// container's first process, `setns` for one that joined.
///
/// # Errors
/// When nobody listens.
pub fn send_pidfd(path: &Path, pidfd: BorrowedFd<'_>, whose: &str) -> Result<()> {
    send_fd(path, pidfd, whose).context(|| format!("send the pidfd to {}", path.display()))
}

/// Sends a descriptor and its name to whoever listens on the unix socket `path`.
fn send_fd(path: &Path, fd: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    let address = SocketAddrUnix::new(path)?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    connect(&socket, &address)?;
    let fds = [fd];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    sendmsg(&socket, &[IoSlice::new(name.as_bytes())], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

fn readable(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    match rustix::event::poll(&mut fds, Some(&now)) {
        Err(Errno::INTR) => Ok(false),
        ready => Ok(ready? > 0),
    }
}

fn write_all(fd: BorrowedFd<'_>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(fd, bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(Errno::INTR) => {}
            // The caller's standard output may be set to not wait; we have nowhere else to put the bytes.
            Err(Errno::AGAIN) => {
                rustix::event::poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::OUT)], None)?;
            }
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}
