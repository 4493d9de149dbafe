//! Talking to a program on a pseudo-terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::command::{Cmd, Outcome, Running};

/// A program whose terminal is in the test's hands.
pub struct Terminal {
    command: Cmd,
    master: File,
    running: Running,
    seen: String,
    read_to: usize,
}

impl Terminal {
    /// Starts the program in a session of its own on a new terminal of 24 rows and 80 columns. Needs the program `setsid`.
    ///
    /// # Panics
    /// When no terminal can be had.
    #[track_caller]
    pub fn start(command: &Cmd) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a new terminal");
        grantpt(&master).expect("the terminal can be granted");
        unlockpt(&master).expect("the terminal can be unlocked");
        let name = ptsname(&master, Vec::new()).expect("the terminal has a name");
        let slave = File::from(
            rustix::fs::open(
                name,
                rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC,
                0.into(),
            )
            .expect("the terminal can be opened"),
        );
        resize(&master, 24, 80);
        let copy = || Stdio::from(slave.try_clone().expect("a file descriptor is free"));
        let nothing = || tempfile::tempfile().expect("a temporary file");
        let session = command.clone().under("setsid", ["-c"]);
        let running = session.spawn_with(copy(), copy(), copy(), nothing(), nothing());
        Self { command: session, master: master.into(), running, seen: String::new(), read_to: 0 }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Types something.
    ///
    /// # Panics
    /// When the terminal has been closed.
    #[track_caller]
    pub fn send(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).expect("the terminal takes input");
    }

    /// Changes the size of the terminal.
    pub fn resize(&self, rows: u16, columns: u16) {
        resize(&self.master, rows, columns);
    }

    /// What a shell is to be sent to print the size of its terminal as soon as that is it. An engine passes the size on
    /// when the shell runs already, and none before.
    pub fn until_it_is(rows: u16, columns: u16) -> String {
        format!("until stty size | grep '^{rows} {columns}$'; do sleep 0.1; done")
    }

    /// Sends the program a signal.
    pub fn signal(&self, signal: Signal) {
        self.running.signal(signal);
    }

    /// Waits until the program has written this text, after whatever was waited for before; returns what came until then.
    ///
    /// # Panics
    /// When it does not come in time.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> String {
        let end = Instant::now() + self.command.timeout_value();
        loop {
            if let Some(at) = self.seen[self.read_to..].find(text) {
                let before = self.seen[self.read_to..self.read_to + at].to_owned();
                self.read_to += at + text.len();
                return before;
            }
            assert!(
                Instant::now() < end && self.read_more(end),
                "wanted {text:?} on the terminal\n  command: {}\n--- terminal\n{}",
                self.command.line(),
                self.seen
            );
        }
    }

    /// Waits for the end of the program; stdout of the outcome is all it wrote to the terminal.
    #[track_caller]
    pub fn wait(mut self) -> Outcome {
        let end = Instant::now() + self.command.timeout_value();
        while !self.running.ended_within(Duration::ZERO) && Instant::now() < end {
            // A closed terminal says so at once and for ever: then only the program's end is left to wait for.
            if !self.read_more(Instant::now() + Duration::from_millis(50)) {
                self.running.ended_within(Duration::from_millis(5));
            }
        }
        while self.read_more(Instant::now() + Duration::from_millis(20)) {}
        let Self { command, running, seen, .. } = self;
        let outcome = running.wait();
        Outcome::new(command, seen, std::os::unix::process::ExitStatusExt::from_raw(raw(outcome.code())))
    }

    fn read_more(&mut self, end: Instant) -> bool {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        let mut fds = [PollFd::new(&self.master, PollFlags::IN)];
        if !matches!(poll(&mut fds, Some(&timeout)), Ok(1)) {
            return false;
        }
        let mut bytes = [0; 4096];
        match (&self.master).read(&mut bytes) {
            Ok(0) | Err(_) => false,
            Ok(count) => {
                self.seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
                true
            }
        }
    }
}

/// An exit code as `wait` would give it.
fn raw(code: i32) -> i32 {
    code << 8
}

fn resize(master: impl std::os::fd::AsFd, rows: u16, columns: u16) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(master, size).expect("a terminal has a size");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_answers_on_its_terminal() {
        crate::needs!("setsid", "sh", "stty");
        let mut shell = Terminal::start(&Cmd::new("sh"));
        shell.send("stty size; echo $((6 * 7))\n");
        shell.expect("24 80");
        shell.expect("\r\n42\r\n");
        shell.resize(30, 90);
        shell.send("stty size; exit 5\n");
        shell.expect("30 90");
        let ended = shell.wait();
        ended.require(ended.code() == 5, "the exit code");
    }
}
