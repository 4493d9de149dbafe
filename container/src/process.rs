//! A process of a container as its parent has it: from its start to nothing left.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;

use rustix::process::{WaitId, WaitIdOptions, waitid};

use crate::cgroup::Cgroup;
use crate::error::{Context, Error, Result};
use crate::hooks::{HookState, Hooks, Stage};
use crate::plan::Plan;
use crate::resctrl;
use crate::sys::clone::Cloned;
use crate::sys::signal;

/// The first process of a container, or one that joined it: a child of this process.
#[derive(Debug)]
pub struct Process {
    /// Its number on the host.
    pub pid: i32,
    pidfd: OwnedFd,
    console: Option<OwnedFd>,
    cgroup: Option<Cgroup>,
    pub(crate) resctrl: Option<resctrl::Saved>,
    memory_limit: Option<i64>,
    poststop: Option<Poststop>,
    status: Option<ExitStatus>,
}

/// What poststop hooks need when everything else is gone.
#[derive(Debug)]
struct Poststop {
    hooks: Hooks,
    version: String,
    id: String,
    bundle: PathBuf,
    annotations: Option<HashMap<String, String>>,
}

impl Process {
    pub(crate) fn new(plan: &Plan, init: Cloned, cgroup: Option<Cgroup>) -> Process {
        Process {
            pid: init.pid,
            pidfd: init.pidfd,
            console: None,
            cgroup,
            resctrl: None,
            memory_limit: plan.memory_limit,
            poststop: Some(Poststop {
                hooks: plan.hooks.clone(),
                version: plan.version.clone(),
                id: plan.id.clone(),
                bundle: plan.bundle.clone(),
                annotations: plan.annotations.clone(),
            }),
            status: None,
        }
    }

    /// A process that joined a container and has nothing of its own to remove.
    pub(crate) fn joined(pid: i32, pidfd: OwnedFd) -> Process {
        Process {
            pid,
            pidfd,
            console: None,
            cgroup: None,
            resctrl: None,
            memory_limit: None,
            poststop: None,
            status: None,
        }
    }

    /// Becomes readable when the process has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// The master side of its terminal, with [`Stdio::Terminal`](crate::Stdio::Terminal).
    pub fn console(&self) -> Option<BorrowedFd<'_>> {
        self.console.as_ref().map(AsFd::as_fd)
    }

    /// Hands the terminal over, to a [`Relay`](crate::console::Relay) for example.
    pub fn take_console(&mut self) -> Option<OwnedFd> {
        self.console.take()
    }

    /// It has entered its cgroup.
    pub(crate) fn settle(&mut self) {
        if let Some(cgroup) = &mut self.cgroup {
            cgroup.settle();
        }
    }

    pub(crate) fn keep_console(&mut self, master: OwnedFd) {
        self.console = Some(master);
    }

    /// Its cgroup.
    pub fn cgroup(&self) -> Option<&Cgroup> {
        self.cgroup.as_ref()
    }

    /// `linux.resources.memory.limit`, when there is one.
    pub fn memory_limit(&self) -> Option<i64> {
        self.memory_limit
    }

    /// How many processes of the container were killed by its memory limit.
    pub fn oom_kills(&self) -> u64 {
        self.cgroup.as_ref().map_or(0, Cgroup::oom_kills)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When somebody else has waited for it.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        loop {
            if let Some(status) = self.look(WaitIdOptions::EXITED)? {
                return Ok(status);
            }
        }
    }

    /// Its exit status if it has ended.
    ///
    /// # Errors
    /// When somebody else has waited for it.
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        self.look(WaitIdOptions::EXITED | WaitIdOptions::NOHANG)
    }

    fn look(&mut self, options: WaitIdOptions) -> Result<Option<ExitStatus>> {
        if self.status.is_none() {
            let ended = rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(self.pidfd.as_fd()), options))
                .context(|| format!("wait for process {}", self.pid))?;
            // As wait(2) packs it: a code in the second byte or a signal in the first.
            self.status = ended.map(|ended| match ended.exit_status() {
                Some(code) => ExitStatus::from_raw((code & 0xff) << 8),
                None => ExitStatus::from_raw(ended.terminating_signal().unwrap_or(libc::SIGKILL)),
            });
        }
        Ok(self.status)
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// `ESRCH` when it has ended.
    pub fn kill(&self, signal: i32) -> io::Result<()> {
        signal::send(self.pidfd.as_fd(), signal)
    }

    /// Kills what is left of the container, removes its cgroup and runs its poststop hooks, whose failures are returned.
    ///
    /// # Errors
    /// When something does not die.
    pub fn destroy(mut self) -> Result<Vec<Error>> {
        if self.try_wait()?.is_none() {
            self.kill(libc::SIGKILL).or_else(ended_already).context(|| format!("kill process {}", self.pid))?;
        }
        if let Some(cgroup) = &self.cgroup {
            cgroup.destroy()?;
        }
        if let Some(resctrl) = &self.resctrl {
            resctrl.remove()?;
        }
        self.wait()?;
        Ok(self.poststop.as_ref().map(Poststop::run).unwrap_or_default())
    }
}

impl Poststop {
    fn run(&self) -> Vec<Error> {
        let state = HookState {
            oci_version: &self.version,
            id: &self.id,
            status: "stopped",
            pid: None,
            bundle: &self.bundle,
            annotations: self.annotations.as_ref(),
        };
        self.hooks.run_all(Stage::Poststop, &state)
    }
}

fn ended_already(error: io::Error) -> io::Result<()> {
    if error.raw_os_error() == Some(libc::ESRCH) { Ok(()) } else { Err(error) }
}

/// The number a shell would give to that end: the code, or 128 and the signal.
pub fn exit_code(status: ExitStatus) -> i32 {
    match (status.code(), status.signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 255,
    }
}
