//! What later commands do to a container that an earlier one made.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::cgroup::Cgroup;
use crate::error::{Context, Error, Result};
use crate::fault;
use crate::hooks::{HookState, Stage};
use crate::state::{Directory, Record, Status};
use crate::sys::signal;

/// How long a process that was killed may take to end, in seconds. As for runc.
const PATIENCE: i64 = 10;

/// What the container is doing now.
///
/// # Errors
/// When the kernel cannot tell.
pub fn status(directory: &Directory, record: &Record) -> Result<Status> {
    if record.process()?.is_none() {
        return Ok(Status::Stopped);
    }
    let frozen = cgroup(record)?.is_some_and(|cgroup| cgroup.is_frozen().unwrap_or(false));
    Ok(match frozen {
        true => Status::Paused,
        false if directory.has_fifo() => Status::Created,
        false => Status::Running,
    })
}

/// Starts the program of a created container and runs its poststart hooks.
///
/// # Errors
/// When it is in another state, or a hook fails; then the container is killed.
pub fn start(directory: &Directory) -> Result<()> {
    let record = directory.load()?;
    let process = match (status(directory, &record)?, record.process()?) {
        (Status::Created, Some(process)) => process,
        (Status::Stopped, _) | (_, None) => {
            return Err(Error::State("cannot start a container that has stopped".to_owned()));
        }
        (Status::Paused, _) => {
            return Err(Error::State("cannot start a container in the paused state: resume it first".to_owned()));
        }
        _ => return Err(Error::State("cannot start an already running container".to_owned())),
    };
    directory.release(&process)?;
    fault::point("started");
    let hooked = record.hooks.run(Stage::Poststart, &record.state("running"));
    hooked.inspect_err(|_| {
        // The first error is the one to tell.
        let _not_killed = kill_everything(&record, &process);
    })
}

/// Sends a signal to the first process; `SIGKILL` to all where the end of one is not the end of all.
///
/// # Errors
/// [`Error::NotRunning`] when it has ended.
pub fn kill(directory: &Directory, signal: i32) -> Result<()> {
    let record = directory.load()?;
    let Some(process) = record.process()? else {
        // Where processes can outlive the first, they are killed all the same.
        match cgroup(&record)? {
            Some(cgroup) if signal == libc::SIGKILL && !record.own_pid_namespace => cgroup.kill_all()?,
            _ => {}
        }
        return Err(Error::NotRunning);
    };
    if signal == libc::SIGKILL { kill_everything(&record, &process) } else { send(&record, &process, signal) }
}

/// Removes the container. Returns what its poststop hooks failed with.
///
/// # Errors
/// When it runs and `force` is not given, or does not die.
pub fn delete(directory: Directory, force: bool) -> Result<Vec<Error>> {
    let record = match directory.load() {
        // What a killed `create` left; without `force` it is said, too.
        Err(e) if force || matches!(e, Error::NoContainer) => {
            directory.remove()?;
            return if force { Ok(Vec::new()) } else { Err(e) };
        }
        // Whatever it is, something may still run.
        Err(e) => return Err(e),
        Ok(record) => record,
    };
    if let Some(process) = record.process()? {
        let status = status(&directory, &record)?;
        if !force && status != Status::Created {
            let (id, status) = (&record.id, status.as_str());
            return Err(Error::State(format!("cannot delete container {id} that is not stopped: {status}")));
        }
        kill_everything(&record, &process)?;
        wait(&process)?;
        fault::point("killed");
    }
    if let Some(cgroup) = cgroup(&record)? {
        cgroup.destroy()?;
        fault::point("cgroup removed");
    }
    if let Some(resctrl) = &record.resctrl {
        resctrl.remove()?;
    }
    directory.remove()?;
    fault::point("directory removed");
    Ok(record.hooks.run_all(Stage::Poststop, &record.state("stopped")))
}

fn kill_everything(record: &Record, process: &OwnedFd) -> Result<()> {
    send(record, process, libc::SIGKILL)?;
    match cgroup(record)? {
        Some(cgroup) if !record.own_pid_namespace || cgroup.is_frozen().unwrap_or(false) => Ok(cgroup.kill_all()?),
        _ => Ok(()),
    }
}

fn send(record: &Record, process: &OwnedFd, signal: i32) -> Result<()> {
    match signal::send(process.as_fd(), signal) {
        Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Err(Error::NotRunning),
        sent => sent.context(|| format!("signal process {}", record.pid)),
    }
}

fn wait(process: &OwnedFd) -> Result<()> {
    let limit = Timespec { tv_sec: PATIENCE, tv_nsec: 0 };
    let mut fds = [PollFd::new(process, PollFlags::IN)];
    match rustix::io::retry_on_intr(|| poll(&mut fds, Some(&limit))).context(|| "wait for the container")? {
        0 => Err(Error::State("container init still running".to_owned())),
        _ => Ok(()),
    }
}

pub(crate) fn cgroup(record: &Record) -> Result<Option<Cgroup>> {
    Ok(record.cgroup.as_ref().map(Cgroup::reopen).transpose()?)
}

impl Record {
    /// What hooks and agents are told.
    pub(crate) fn state<'a>(&'a self, status: &'a str) -> HookState<'a> {
        HookState {
            oci_version: &self.oci_version,
            id: &self.id,
            status,
            pid: Some(self.pid).filter(|_| status == "running"),
            bundle: &self.bundle,
            annotations: self.annotations.as_ref(),
        }
    }
}
