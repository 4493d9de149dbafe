//! Pausing and limiting a container that runs, and seeing what it does.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::time::Instant;

use oci_spec::runtime::LinuxResources;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::cgroup::{Cgroup, OomWatch, Stats};
use crate::error::{Context, Error, Result};
use crate::manage;
use crate::resctrl;
use crate::state::{Directory, Record, Status};

/// Stops everything in the container until [`resume`].
///
/// # Errors
/// [`Error::NotRunning`] when it has ended or is paused already.
pub fn pause(directory: &Directory) -> Result<()> {
    let record = directory.load()?;
    match manage::status(directory, &record)? {
        Status::Running | Status::Created => Ok(cgroup(&record, "pause")?.freeze()?),
        Status::Creating | Status::Paused | Status::Stopped => Err(Error::NotRunning),
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
    match manage::cgroup(&record)? {
        Some(cgroup) => Ok(cgroup.pids()?),
        None if record.process()?.is_none() => Ok(Vec::new()),
        None => family(record.pid),
    }
}

/// A container without a cgroup: what is in the pid namespace of its first process, and what that and those have
/// started. Without a pid namespace of its own only the latter.
fn family(first: i32) -> Result<Vec<i32>> {
    let namespace = |pid: i32| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let (own, shared) = (namespace(first), namespace(std::process::id().cast_signed()));
    let own = own.filter(|own| Some(own) != shared.as_ref());
    let entries = std::fs::read_dir("/proc").context(|| "read /proc")?;
    let all: Vec<i32> = entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect();
    let parents: HashMap<i32, i32> = all.iter().filter_map(|&pid| Some((pid, parent(pid)?))).collect();
    let inside = |pid: i32| pid == first || own.is_some() && namespace(pid) == own;
    let ancestors = |pid: i32| std::iter::successors(Some(pid), |pid| parents.get(pid).copied().filter(|&p| p > 1));
    let mut found: Vec<i32> = all.iter().copied().filter(|&pid| ancestors(pid).take(all.len()).any(inside)).collect();
    found.sort_unstable();
    Ok(found)
}

fn parent(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold anything; after it come the state and the parent.
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Sets the limits that `resources` names; the others stay.
///
/// # Errors
/// Names the field that the kernel refuses; then all limits are as before.
pub fn update(directory: &Directory, resources: &LinuxResources) -> Result<()> {
    let record = directory.load()?;
    match manage::status(directory, &record)? {
        Status::Creating | Status::Stopped => Err(Error::NotRunning),
        _ => Ok(cgroup(&record, "update")?.update(resources)?),
    }
}

/// Sets the container's shares of the cache and of the bandwidth to memory, those that are given.
///
/// # Errors
/// When the machine has no such shares, and what the kernel refuses.
pub fn update_resctrl(directory: &Directory, l3: Option<&str>, bandwidth: Option<&str>) -> Result<()> {
    let mut record = directory.load()?;
    if record.process()?.is_none() {
        return Err(Error::NotRunning);
    }
    let had = record.resctrl.is_some();
    record.resctrl = Some(resctrl::change(record.resctrl.as_ref(), &record.id, record.pid, l3, bandwidth)?);
    if had { Ok(()) } else { directory.save(&record) }
}

/// What the container has used so far.
///
/// # Errors
/// When it has ended.
pub fn stats(directory: &Directory) -> Result<Stats> {
    Watch::new(directory)?.stats()
}

/// A container that is looked at again and again.
#[derive(Debug)]
pub struct Watch {
    cgroup: Cgroup,
    process: OwnedFd,
    oom: Option<OomWatch>,
    resctrl: Option<resctrl::Saved>,
}

/// What a [`Watch`] saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Nothing until the time was over.
    Nothing,
    /// The kernel killed a process of it for want of memory.
    OutOfMemory,
    /// It has ended.
    End,
}

impl Watch {
    /// Starts to watch.
    ///
    /// # Errors
    /// When it has ended.
    pub fn new(directory: &Directory) -> Result<Watch> {
        let record = directory.load()?;
        let not_running = || Error::State(format!("container with id {} is not running", record.id));
        let process = record.process()?.ok_or_else(not_running)?;
        let cgroup = cgroup(&record, "watch")?;
        let oom = cgroup.watch_oom()?;
        Ok(Watch { cgroup, process, oom, resctrl: record.resctrl })
    }

    /// What it has used so far.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn stats(&self) -> Result<Stats> {
        let mut stats = self.cgroup.stats()?;
        if let Some(saved) = &self.resctrl {
            stats.intel_rdt = saved.stats();
        }
        Ok(stats)
    }

    /// Waits for something to happen, until `end`.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn wait(&mut self, end: Instant) -> Result<Sight> {
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let limit = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
            let mut fds = vec![PollFd::new(&self.process, PollFlags::IN)];
            fds.extend(self.oom.as_ref().map(|oom| PollFd::new(oom, PollFlags::IN)));
            rustix::io::retry_on_intr(|| poll(&mut fds, Some(&limit))).context(|| "wait for the container")?;
            let ended = !fds[0].revents().is_empty();
            // Before its end, which it may be the cause of.
            if let Some(oom) = &mut self.oom
                && self.cgroup.oom_news(oom)
            {
                return Ok(Sight::OutOfMemory);
            }
            if ended {
                return Ok(Sight::End);
            }
            if Instant::now() >= end {
                return Ok(Sight::Nothing);
            }
        }
    }
}

fn cgroup(record: &Record, what: &str) -> Result<Cgroup> {
    manage::cgroup(record)?
        .ok_or_else(|| Error::State(format!("cannot {what} container {}: it has no cgroup of its own", record.id)))
}
