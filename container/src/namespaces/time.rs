//! A new time namespace.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::os::fd::AsFd;

use oci_spec::runtime::LinuxTimeOffset;
use rustix::fs::{Mode, OFlags};

use crate::error::{Context, Error, Result};
use crate::sys::namespace::{setns, unshare};

/// How far its clocks are from the caller's.
#[derive(Debug, Default)]
pub(super) struct TimeOffsets {
    /// The lines of `timens_offsets`.
    lines: String,
}

impl TimeOffsets {
    /// Reads `linux.timeOffsets`.
    pub(super) fn new(offsets: &HashMap<String, LinuxTimeOffset>) -> Result<TimeOffsets> {
        let mut lines = String::new();
        for (clock, offset) in offsets {
            let field = format!("linux.timeOffsets.{clock}");
            if !matches!(clock.as_str(), "monotonic" | "boottime") {
                return Err(Error::refused(field, "only monotonic and boottime have offsets"));
            }
            let (seconds, nanoseconds) = (offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0));
            if nanoseconds >= 1_000_000_000 {
                return Err(Error::refused(field, "nanosecs must be below 1000000000"));
            }
            // Writing to a String cannot fail.
            let _written = writeln!(lines, "{clock} {seconds} {nanoseconds}");
        }
        Ok(TimeOffsets { lines })
    }

    /// Makes the namespace and enters it.
    ///
    /// `unshare` makes it for children only, so that its clocks can be set before anybody has read them. Joining what
    /// was made needs no child.
    pub(super) fn enter(&self) -> Result<()> {
        unshare(libc::CLONE_NEWTIME).map_err(|e| match e.raw_os_error() {
            Some(libc::EINVAL) => Error::refused("linux.namespaces", "the kernel has no time namespaces"),
            _ => Error::System { what: "make a time namespace".to_owned(), cause: e },
        })?;
        if !self.lines.is_empty() {
            std::fs::write("/proc/self/timens_offsets", &self.lines).context(|| "set linux.timeOffsets")?;
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let made = rustix::fs::open("/proc/self/ns/time_for_children", flags, Mode::empty())
            .context(|| "open the time namespace")?;
        setns(made.as_fd(), libc::CLONE_NEWTIME).context(|| "enter the time namespace")
    }
}
