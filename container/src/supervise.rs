//! Pausing and limiting a container that runs, and seeing what it does.

use oci_spec::runtime::LinuxResources;

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

/// Sets the limits that `resources` names; the others stay.
///
/// # Errors
/// Names the field that the kernel refuses; then all limits are as before.
pub fn update(directory: &Directory, resources: &LinuxResources) -> Result<()> {
    let record = directory.load()?;
    match manage::status(directory, &record)? {
        Status::Stopped => Err(Error::NotRunning),
        _ => Ok(cgroup(&record, "update")?.update(resources)?),
    }
}

fn cgroup(record: &Record, what: &str) -> Result<Cgroup> {
    manage::cgroup(record)?
        .ok_or_else(|| Error::State(format!("cannot {what} container {}: it has no cgroup of its own", record.id)))
}
