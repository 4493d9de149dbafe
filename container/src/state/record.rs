//! What is kept about a container, and which process it means: one is known by its number and when it started.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use crate::cgroup::Saved as SavedCgroup;
use crate::error::{Context, Result};
use crate::files::read_kernels;
use crate::hooks::Hooks;
use crate::resctrl;

/// What is kept about a container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The version of the configuration.
    pub oci_version: String,
    /// The name.
    pub id: String,
    /// The first process; 0 before there is one.
    pub pid: i32,
    /// When it started, in ticks since boot.
    pub start_time: u64,
    /// Who makes the container, until it is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creator: Option<Creator>,
    /// The bundle.
    pub bundle: PathBuf,
    /// The root file system's directory.
    pub rootfs: PathBuf,
    /// When the container was made (RFC 3339, UTC).
    pub created: String,
    /// The configuration's annotations.
    pub annotations: Option<HashMap<String, String>>,
    /// The cgroup.
    pub cgroup: Option<SavedCgroup>,
    /// The shares of caches and memory bandwidth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resctrl: Option<resctrl::Saved>,
    /// Whether the end of the first process is the end of all others.
    pub own_pid_namespace: bool,
    /// Whether its processes share a session keyring of the container.
    #[serde(default)]
    pub session_keyring: bool,
    /// The hooks still to run.
    pub hooks: Hooks,
}

/// The process that makes a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Creator {
    pid: i32,
    start_time: u64,
}

impl Creator {
    /// The calling process.
    pub(crate) fn this() -> Option<Creator> {
        let pid = std::process::id().cast_signed();
        alive_since(pid).map(|start_time| Creator { pid, start_time })
    }

    /// It, if it still lives.
    pub(crate) fn process(&self) -> Result<Option<OwnedFd>> {
        still(self.pid, self.start_time)
    }
}

impl Record {
    /// Notes the first process.
    pub fn set_process(&mut self, pid: i32) {
        self.pid = pid;
        // 0 when it has died already: then no process is ever taken for it.
        self.start_time = alive_since(pid).unwrap_or(0);
    }

    /// The first process, if it is still that process. None as long as somebody makes the container: it may not be in
    /// there yet.
    ///
    /// # Errors
    /// When the kernel cannot tell.
    pub fn process(&self) -> Result<Option<OwnedFd>> {
        if self.maker()?.is_some() { Ok(None) } else { still(self.pid, self.start_time) }
    }

    /// Who makes the container.
    pub(crate) fn maker(&self) -> Result<Option<OwnedFd>> {
        Ok(self.creator.as_ref().map(Creator::process).transpose()?.flatten())
    }
}

/// The process `pid` that started at `start_time`, if it is still that process.
fn still(pid: i32, start_time: u64) -> Result<Option<OwnedFd>> {
    let Some(number) = Pid::from_raw(pid).filter(|_| pid > 0) else { return Ok(None) };
    let pidfd = match pidfd_open(number, PidfdFlags::empty()) {
        Err(rustix::io::Errno::SRCH) => return Ok(None),
        opened => opened.context(|| format!("open process {pid}"))?,
    };
    // Looked at after it was opened: if this is the process now, it is the one the descriptor stands for.
    Ok(alive_since(pid).filter(|&time| time == start_time).map(|_| pidfd))
}

/// When a living process started; none when it has ended, waited for or not.
pub fn alive_since(pid: i32) -> Option<u64> {
    let stat = File::open(format!("/proc/{pid}/stat")).and_then(read_kernels).ok()?;
    // The name, in parentheses, may hold anything; after it come the state and, 19 fields on, the start time.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    if matches!(*fields.first()?, "Z" | "X") { None } else { fields.get(19)?.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start() {
        let me = std::process::id() as i32;
        let start = alive_since(me).unwrap();
        assert!(start > 0);
        assert_eq!(alive_since(i32::MAX - 1), None);
    }
}
