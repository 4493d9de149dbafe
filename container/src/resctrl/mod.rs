//! Shares of caches and memory bandwidth (`linux.intelRdt`), given through the kernel's resctrl file system.
//!
//! ```text
//! <resctrl>/<closID, or the container's name>/       a class of service
//!     schemata                                       what its processes share
//!     tasks                                          its processes
//!     mon_groups/<the container's name>/             counters of this container alone, with enableMonitoring
//! ```
//! A class that is named in the configuration is its owner's; one called like the container is removed with it.

mod stats;

use std::io;
use std::path::{Path, PathBuf};

use oci_spec::runtime::LinuxIntelRdt;
use rustix::fs::statfs;
use serde::{Deserialize, Serialize};
pub use stats::Stats;

use crate::error::{Context, Error, Result, errno_text};

/// Where it is mounted, if the machine has it.
const USUAL: &str = "/sys/fs/resctrl";
/// linux/magic.h
const RDTGROUP_SUPER_MAGIC: i64 = 0x0765_5821;

/// What will be made.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ResctrlPlan {
    root: PathBuf,
    class: PathBuf,
    kind: Class,
    schemata: String,
    monitor: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// The container's own.
    Own,
    /// Made when missing.
    Shared,
    /// Somebody must have made it, as nothing says what it is.
    Existing,
}

/// What is kept for the removal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// The class that the container is in.
    pub class: PathBuf,
    own: bool,
    monitor: Option<PathBuf>,
}

impl ResctrlPlan {
    /// Reads `linux.intelRdt` for the container called `id`.
    pub(crate) fn new(asked: &LinuxIntelRdt, id: &str) -> Result<ResctrlPlan> {
        let root = mounted().ok_or_else(|| {
            let rule = "is specified in config, but Intel RDT is not enabled: mount resctrl on /sys/fs/resctrl";
            Error::refused("linux.intelRdt", rule)
        })?;
        ResctrlPlan::below(root, asked, id)
    }

    fn below(root: PathBuf, asked: &LinuxIntelRdt, id: &str) -> Result<ResctrlPlan> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let (l3, bandwidth) = (given(asked.l3_cache_schema()), given(asked.mem_bw_schema()));
        for (field, schema, resource) in [("l3CacheSchema", &l3, "L3"), ("memBwSchema", &bandwidth, "MB")] {
            if schema.is_some() && !root.join("info").join(resource).exists() {
                let rule = format!("this machine has no control of {resource}: remove it");
                return Err(Error::refused(format!("linux.intelRdt.{field}"), rule));
            }
        }
        let lines = [l3, bandwidth].into_iter().flatten().chain(asked.schemata().iter().flatten().cloned());
        let schemata: String = lines.filter(|line| !line.is_empty()).map(|line| line + "\n").collect();
        let (name, kind) = match given(asked.clos_id()) {
            None => (id.to_owned(), Class::Own),
            Some(name) if matches!(name.as_str(), "." | "..") || name.contains('/') => {
                return Err(Error::refused("linux.intelRdt.closID", format!("{name:?} is not the name of a folder")));
            }
            Some(name) => (name, if schemata.is_empty() { Class::Existing } else { Class::Shared }),
        };
        let class = root.join(name);
        let monitor = watches(asked).then(|| class.join("mon_groups").join(id));
        Ok(ResctrlPlan { root, class, kind, schemata, monitor })
    }

    /// What the removal needs to know.
    pub(crate) fn saved(&self) -> Saved {
        Saved { class: self.class.clone(), own: self.kind == Class::Own, monitor: self.monitor.clone() }
    }

    /// Makes it, and puts the process there, which has its shares from then on.
    pub(crate) fn apply(&self, pid: i32) -> Result<()> {
        match (std::fs::create_dir(&self.class), self.kind) {
            (Ok(()), Class::Existing) => {
                // It was the kernel's answer that mattered.
                let _gone = std::fs::remove_dir(&self.class);
                let rule = "no such class of service: it must exist when neither schemata, l3CacheSchema nor \
                            memBwSchema say what it is";
                return Err(Error::refused("linux.intelRdt.closID", rule));
            }
            (Err(e), Class::Own) if e.kind() == io::ErrorKind::AlreadyExists => {
                let rule = format!("{} exists already: name it in closID to share it", self.class.display());
                return Err(Error::refused("linux.intelRdt", rule));
            }
            (Err(e), _) if e.kind() != io::ErrorKind::AlreadyExists => {
                return Err(self.failed("make", &self.class, &e));
            }
            _ => {}
        }
        self.fill(pid).inspect_err(|_| {
            // The first error is the one to tell.
            let _not_removed = self.saved().remove();
        })
    }

    fn fill(&self, pid: i32) -> Result<()> {
        if !self.schemata.is_empty() {
            self.write(&self.class.join("schemata"), &self.schemata)?;
        }
        self.write(&self.class.join("tasks"), &pid.to_string())?;
        let Some(monitor) = &self.monitor else { return Ok(()) };
        match std::fs::create_dir(monitor) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(self.failed("make", monitor, &e)),
            _ => {}
        }
        self.write(&monitor.join("tasks"), &pid.to_string())
    }

    fn write(&self, file: &Path, text: &str) -> Result<()> {
        std::fs::write(file, text).map_err(|e| self.failed(&format!("write {text:?} to"), file, &e))
    }

    /// The kernel has more to say than a number.
    fn failed(&self, what: &str, path: &Path, error: &io::Error) -> Error {
        let status = std::fs::read_to_string(self.root.join("info/last_cmd_status")).unwrap_or_default();
        let status = match status.trim() {
            "" | "ok" => String::new(),
            status => format!(", last_cmd_status: {status}"),
        };
        Error::Other(format!("linux.intelRdt: {what} {}: {}{status}", path.display(), errno_text(error)))
    }
}

impl Saved {
    /// Removes what belongs to the container alone.
    pub(crate) fn remove(&self) -> Result<()> {
        // With the class go its counters.
        let own = if self.own { Some(&self.class) } else { self.monitor.as_ref() };
        let Some(path) = own else { return Ok(()) };
        match std::fs::remove_dir(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.context(|| format!("remove {}", path.display())),
        }
    }
}

/// Gives a container that runs other shares of the cache, of the bandwidth, or of both. One without a class so far gets
/// its own.
///
/// # Errors
/// When this machine has no such shares to give, and what the kernel refuses.
pub(crate) fn change(
    saved: Option<&Saved>,
    id: &str,
    pid: i32,
    l3: Option<&str>,
    bandwidth: Option<&str>,
) -> Result<Saved> {
    change_below(mounted().unwrap_or_else(|| USUAL.into()), saved, id, pid, l3, bandwidth)
}

fn change_below(
    root: PathBuf,
    saved: Option<&Saved>,
    id: &str,
    pid: i32,
    l3: Option<&str>,
    bandwidth: Option<&str>,
) -> Result<Saved> {
    for (given, resource, why) in [
        (l3, "L3", "--l3-cache-schema: Intel RDT/CAT: l3 cache schema is not enabled"),
        (bandwidth, "MB", "--mem-bw-schema: Intel RDT/MBA: memory bandwidth schema is not enabled"),
    ] {
        if given.is_some() && !root.join("info").join(resource).exists() {
            return Err(Error::Other(why.to_owned()));
        }
    }
    let schemata = [l3, bandwidth].into_iter().flatten().map(|line| format!("{line}\n")).collect();
    let (class, kind) = match saved {
        Some(saved) => (saved.class.clone(), Class::Existing),
        None => (root.join(id), Class::Own),
    };
    let plan = ResctrlPlan { root, class, kind, schemata, monitor: None };
    match saved {
        Some(saved) => plan.write(&plan.class.join("schemata"), &plan.schemata).map(|()| saved.clone()),
        None => plan.apply(pid).map(|()| plan.saved()),
    }
}

/// Also by the names it had before runtime-spec 1.3.
#[allow(deprecated, reason = "configurations written for earlier versions")]
fn watches(asked: &LinuxIntelRdt) -> bool {
    [asked.enable_monitoring(), asked.enable_cmt(), asked.enable_mbm()].iter().any(|flag| **flag == Some(true))
}

/// Where resctrl is mounted.
pub fn mounted() -> Option<PathBuf> {
    if statfs(USUAL).ok()?.f_type as i64 == RDTGROUP_SUPER_MAGIC {
        return Some(USUAL.into());
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts.lines().find_map(mount_point)
}

/// The fifth field of a line of proc_pid_mountinfo(5), if what follows the dash says that it is a resctrl.
fn mount_point(line: &str) -> Option<PathBuf> {
    let (before, after) = line.split_once(" - ")?;
    let kind = after.split(' ').next()?;
    (kind == "resctrl").then(|| before.split(' ').nth(4).map(PathBuf::from)).flatten()
}

#[cfg(test)]
mod tests;
