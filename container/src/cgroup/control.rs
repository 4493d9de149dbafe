//! Freezing, killing and removing what is in a cgroup.

use std::io;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal};

use super::live::{Cgroup, Place};
use super::tree;
use super::{Error, Result, events};

/// How long processes that were killed, or frozen, may take to notice.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest pause between two looks at them.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

impl Cgroup {
    /// Sends SIGKILL to everything in it. Does not wait for the end; processes that fork at the same time may need
    /// another round where the kernel has no `cgroup.kill` (before 5.14, and on version 1).
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn kill_all(&self) -> Result<()> {
        let Some(place) = self.places.first() else { return Ok(()) };
        if place.is_unified() {
            match place.dir().and_then(|dir| dir.write("cgroup.kill", "1")) {
                Ok(()) => return Ok(()),
                // Gone, or an older kernel.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) if tree::is_gone(&e) => return Ok(()),
                Err(e) => return Err(Error::io("kill the processes of", place.full(), e)),
            }
        }
        // While they stand still no new ones appear. Without a freezer there is only doing it again.
        let _ = self.set_frozen(true);
        let pids = self.pids();
        for pid in pids.iter().flatten().filter_map(|pid| Pid::from_raw(*pid)) {
            // It may just have ended.
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        // SIGKILL reaches a process that is frozen by version 1 when it thaws.
        let _ = self.set_frozen(false);
        pids.map(drop)
    }

    /// Stops everything in it, and waits until it stands still.
    ///
    /// # Errors
    /// When there is no freezer, or something does not stop in ten seconds; then nothing is left frozen.
    pub fn freeze(&self) -> Result<()> {
        self.reach(true, "freeze").inspect_err(|_| {
            // The first failure is the one to tell.
            let _ = self.set_frozen(false);
        })
    }

    /// Lets everything in it go on.
    ///
    /// # Errors
    /// When there is no freezer, or it stays frozen because a cgroup above it is.
    pub fn thaw(&self) -> Result<()> {
        self.reach(false, "thaw")
    }

    fn reach(&self, frozen: bool, what: &'static str) -> Result<()> {
        let mut wait = Wait::new();
        loop {
            // Again each time: version 1 may miss a process that was being made.
            self.set_frozen(frozen)?;
            if self.is_frozen()? == frozen {
                return Ok(());
            }
            if !wait.pause() {
                let path = self.places.first().map(Place::full).unwrap_or_default();
                return Err(Error::io(what, path, Errno::TIMEDOUT));
            }
        }
    }

    /// Whether everything in it stands still.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn is_frozen(&self) -> Result<bool> {
        let Some(place) = self.places.first() else { return Ok(false) };
        let file = if place.is_unified() { "cgroup.events" } else { "freezer.state" };
        let text = place.dir().and_then(|dir| dir.read(file)).map_err(|e| Error::io("read", place.full(), e))?;
        Ok(if place.is_unified() { events::value(&text, "frozen") == Some(1) } else { text.trim() == "FROZEN" })
    }

    fn set_frozen(&self, frozen: bool) -> Result<()> {
        let Some(place) = self.places.first() else { return Ok(()) };
        let (file, value) = match (place.is_unified(), frozen) {
            (true, true) => ("cgroup.freeze", "1"),
            (true, false) => ("cgroup.freeze", "0"),
            (false, true) => ("freezer.state", "FROZEN"),
            (false, false) => ("freezer.state", "THAWED"),
        };
        let write = place.dir().and_then(|dir| dir.write(file, value));
        write.map_err(|e| Error::io("write", place.full().join(file), e))
    }

    /// Kills what is left in it and removes it, with cgroups that the container made below it and with directories
    /// above it that were made for it and are empty now. What is gone already is no error.
    ///
    /// # Errors
    /// When processes do not die in ten seconds.
    pub fn destroy(&self) -> Result<()> {
        for place in &self.places {
            let mut wait = Wait::new();
            while let Err(e) = tree::remove(&place.root, &place.mount, &place.path) {
                if Errno::from_io_error(&e) != Some(Errno::BUSY) {
                    return Err(Error::io("remove", place.full(), e));
                }
                self.kill_all()?;
                if !wait.pause() {
                    let count = self.pids().map(|pids| pids.len()).unwrap_or_default();
                    return Err(Error::Busy { path: place.full(), count });
                }
            }
            tree::remove_made_parents(&place.root, &place.path);
        }
        if let Some(unit) = &self.unit {
            unit.stop();
        }
        Ok(())
    }

    /// After a failed creation: removes what was made, and only that.
    pub(super) fn take_back(&self) {
        for place in &self.places {
            if place.made {
                // It says EBUSY when it is in use after all.
                let _ = tree::remove(&place.root, &place.mount, &place.path);
            }
            tree::remove_made_parents(&place.root, &place.path);
        }
        if let Some(unit) = &self.unit {
            unit.stop();
        }
    }
}

/// Pauses that grow, up to an end.
struct Wait {
    end: Instant,
    next: Duration,
}

impl Wait {
    fn new() -> Wait {
        Wait { end: Instant::now() + PATIENCE, next: Duration::from_micros(50) }
    }

    /// False when patience is at its end.
    fn pause(&mut self) -> bool {
        if Instant::now() >= self.end {
            return false;
        }
        std::thread::sleep(self.next);
        self.next = (self.next * 2).min(LONGEST_PAUSE);
        true
    }
}
