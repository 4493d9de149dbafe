//! What later commands do to a container that an earlier one made.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::cgroup::Cgroup;
use crate::error::{Context, Error, Result};
use crate::fault;
use crate::hooks::{HookState, Stage};
use crate::plan::Remains;
use crate::state::{Directory, Record, Status};
use crate::sys::signal;

/// How long a process that was killed may take to end, in seconds. As for runc.
const PATIENCE: i64 = 10;

/// What is said when it takes longer: the first words are runc's.
const STUCK: &str = "container init still running: it was killed and has not ended, as it waits in the kernel or is \
    frozen with a cgroup above its own: delete the container again when that is over";

/// What the container is doing now.
///
/// # Errors
/// When the kernel cannot tell.
pub fn status(directory: &Directory, record: &Record) -> Result<Status> {
    if record.process()?.is_none() {
        return Ok(if record.maker()?.is_some() { Status::Creating } else { Status::Stopped });
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
        (Status::Creating, _) => {
            return Err(Error::State("cannot start a container that is still being created".to_owned()));
        }
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
        if status(directory, &record)? == Status::Creating {
            return Err(Error::NotRunning);
        }
        // Where processes can outlive the first, they are killed all the same.
        return match cgroup(&record)? {
            Some(cgroup) if signal == libc::SIGKILL && !record.own_pid_namespace && !cgroup.pids()?.is_empty() => {
                Ok(cgroup.kill_all()?)
            }
            _ => Err(Error::NotRunning),
        };
    };
    if signal == libc::SIGKILL { kill_everything(&record, &process) } else { send(&record, &process, signal) }
}

/// Removes the container. Returns what the caller should know: what its poststop hooks failed with, and what could not
/// be found. `lost` tells what there is of a container whose record is damaged, by its configuration.
///
/// # Errors
/// When it runs and `force` is not given, or does not die.
pub fn delete(
    directory: Directory,
    force: bool,
    lost: impl FnOnce(&Directory) -> Result<Remains>,
) -> Result<Vec<Error>> {
    let record = match directory.load() {
        Ok(record) => record,
        Err(e) => return delete_lost(directory, force, e, lost),
    };
    match (status(&directory, &record)?, record.process()?) {
        (Status::Creating, _) if force => stop_creator(&record)?,
        (Status::Creating, _) => return Err(not_stopped(&record.id, "creating")),
        (status, Some(_)) if !force && status != Status::Created => {
            return Err(not_stopped(&record.id, status.as_str()));
        }
        (_, Some(process)) => {
            kill_everything(&record, &process)?;
            wait(&process)?;
            fault::point("killed");
        }
        (_, None) => {}
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

fn not_stopped(id: &str, status: &str) -> Error {
    Error::State(format!("cannot delete container {id} that is not stopped: {status}"))
}

/// Has whoever makes the container undo what there is of it.
fn stop_creator(record: &Record) -> Result<()> {
    let Some(creator) = record.maker()? else { return Ok(()) };
    for signal in [libc::SIGTERM, libc::SIGKILL] {
        match signal::send(creator.as_fd(), signal) {
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => return Ok(()),
            sent => sent.context(|| format!("stop the creation of container {}", record.id))?,
        }
        if wait(&creator).is_ok() {
            return Ok(());
        }
    }
    Err(Error::State(format!("the creation of container {} does not stop", record.id)))
}

/// Removes a container by its configuration, as its record says nothing any more.
fn delete_lost(
    directory: Directory,
    force: bool,
    why: Error,
    find: impl FnOnce(&Directory) -> Result<Remains>,
) -> Result<Vec<Error>> {
    // A `create` that was killed in its first moments left no record, and nothing to find.
    let early = matches!(why, Error::NoContainer);
    let id = directory.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
    let remains = find(&directory);
    let found = match &remains {
        Ok(remains) => remains.cgroup.as_ref().map(Cgroup::reopen).transpose().map_err(|e| e.to_string()),
        Err(e) => Err(e.to_string()),
    };
    let mut said = Vec::new();
    let mut say = |what: String| said.push(Error::State(format!("container {id:?}: {what}")));
    let unknown = "only its directory was removed: look for processes of it yourself";
    match found {
        Ok(Some(cgroup)) if cgroup.exists() => {
            let pids = cgroup.pids()?;
            if !force && (!early || !pids.is_empty()) {
                let count = pids.len();
                return Err(Error::State(format!("{why}: {count} processes are in its cgroup; use --force")));
            }
            if pids.contains(&std::process::id().cast_signed()) {
                return Err(Error::State(format!("{why}, and this process is in its cgroup: run this from elsewhere")));
            }
            cgroup.destroy()?;
        }
        _ if !force && !early => return Err(why),
        Ok(Some(cgroup)) => {
            let places: Vec<_> = cgroup.directories().take(1).map(|(_, path)| path.display().to_string()).collect();
            let elsewhere = match remains.as_ref().is_ok_and(|remains| remains.relative) {
                true => " (it may be below another, that of who made the container)",
                false => "",
            };
            say(format!("its record is lost, and there is no cgroup {}{elsewhere}; {unknown}", places.concat()));
        }
        Ok(None) => say(format!("its record is lost, and it had no cgroup; {unknown}")),
        Err(e) => say(format!("its record is lost, and so is where it ran ({e}); {unknown}")),
    }
    if let Ok(Remains { resctrl: Some(resctrl), .. }) = &remains
        && let Err(e) = resctrl.remove()
    {
        say(e.to_string());
    }
    if remains.is_ok_and(|remains| remains.poststop) {
        say("its poststop hooks were not run, as what they are told was in its record".to_owned());
    }
    directory.remove()?;
    if force { Ok(said) } else { Err(why) }
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
        0 => Err(Error::State(STUCK.to_owned())),
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
