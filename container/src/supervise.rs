//! Pausing a container that runs, and listing what runs in it.

use crate::cgroup::Cgroup;
use crate::error::{Error, Result};
use crate::manage;
use crate::state::{Directory, Record, Status};

/// Stops everything in the container until [`resume`].
///
/// # Errors
/// [`Error::NotRunning`] when it has ended or is paused already.
pub fn pause(directory: &Directory) -> Result<()> {
    let record = directory.load()?;
    match manage::status(directory, &record)? {
        Status::Running | Status::Created => Ok(cgroup(&record, "pause")?.freeze()?),
        Status::Paused | Status::Stopped => Err(Error::NotRunning),
    }
}

/// Lets everything in the container go on.
///
/// # Errors
/// When it is not paused.
pub fn resume(directory: &Directory) -> Result<()> {
    let record = directory.load()?;
    match manage::status(directory, &record)? {
        Status::Paused => Ok(cgroup(&record, "resume")?.thaw()?),
        _ => Err(Error::State("container not paused".to_owned())),
    }
}

/// The processes of the container, as the host numbers them.
///
/// # Errors
/// When the cgroup cannot be read.
pub fn processes(directory: &Directory) -> Result<Vec<i32>> {
    let record = directory.load()?;
    Ok(cgroup(&record, "list the processes of")?.pids()?)
}

fn cgroup(record: &Record, what: &str) -> Result<Cgroup> {
    manage::cgroup(record)?
        .ok_or_else(|| Error::State(format!("cannot {what} container {}: it has no cgroup of its own", record.id)))
}
