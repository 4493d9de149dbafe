//! Shares of caches and memory bandwidth (`linux.intelRdt`), given through the kernel's resctrl file system.
//!
//! ```text
//! <resctrl>/<closID, or the container's name>/       a class of service
//!     schemata                                       what its processes share
//!     tasks                                          its processes
//!     mon_groups/<the container's name>/             counters of this container alone, with enableMonitoring
//! ```
//! A class that is named in the configuration is its owner's; one called like the container is removed with it.

use std::io;
use std::path::{Path, PathBuf};

use oci_spec::runtime::LinuxIntelRdt;
use rustix::fs::statfs;
use serde::{Deserialize, Serialize};

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

    /// Writes other schemata for the container's class.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub fn set_schemata(&self, schemata: &str) -> Result<()> {
        let path = self.class.join("schemata");
        std::fs::write(&path, schemata).context(|| format!("write {schemata:?} to {}", path.display()))
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
mod tests {
    use std::fs;

    use serde_json::{Value, json};

    use super::*;

    /// A folder that looks like a resctrl with both resources.
    fn fake() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for resource in ["L3", "MB"] {
            fs::create_dir_all(root.path().join("info").join(resource)).unwrap();
        }
        root
    }

    fn plan(root: &Path, asked: Value) -> Result<ResctrlPlan> {
        ResctrlPlan::below(root.to_owned(), &serde_json::from_value(asked).unwrap(), "web")
    }

    #[test]
    fn a_class_of_its_own_is_made_and_removed() {
        let root = fake();
        let asked = json!({"l3CacheSchema": "L3:0=ff", "memBwSchema": "MB:0=20", "schemata": ["L2:0=f"]});
        let plan = plan(root.path(), asked).unwrap();
        plan.apply(42).unwrap();
        let class = root.path().join("web");
        assert_eq!(fs::read_to_string(class.join("schemata")).unwrap(), "L3:0=ff\nMB:0=20\nL2:0=f\n");
        assert_eq!(fs::read_to_string(class.join("tasks")).unwrap(), "42");
        let why = plan.apply(43).unwrap_err().to_string();
        assert!(why.contains("exists already"), "{why}");
        // The kernel's files go with their folder.
        for file in ["schemata", "tasks"] {
            fs::remove_file(class.join(file)).unwrap();
        }
        plan.saved().remove().unwrap();
        assert!(!class.exists());
        plan.saved().remove().unwrap();
    }

    #[test]
    fn a_shared_class_stays() {
        let root = fake();
        let why = plan(root.path(), json!({"closID": "gold"})).unwrap().apply(1).unwrap_err().to_string();
        assert!(why.starts_with("linux.intelRdt.closID: no such class") && !root.path().join("gold").exists(), "{why}");
        fs::create_dir_all(root.path().join("gold/mon_groups")).unwrap();
        let plan = plan(root.path(), json!({"closID": "gold", "enableMonitoring": true})).unwrap();
        plan.apply(7).unwrap();
        assert!(!root.path().join("gold/schemata").exists(), "it is somebody else's to say");
        let monitor = root.path().join("gold/mon_groups/web");
        assert_eq!(fs::read_to_string(monitor.join("tasks")).unwrap(), "7");
        fs::remove_file(monitor.join("tasks")).unwrap();
        plan.saved().remove().unwrap();
        assert!(root.path().join("gold").exists() && !monitor.exists());
    }

    #[test]
    fn what_cannot_be_had_is_refused_by_field() {
        let root = tempfile::tempdir().unwrap();
        for (asked, field) in [
            (json!({"l3CacheSchema": "L3:0=f"}), "linux.intelRdt.l3CacheSchema"),
            (json!({"memBwSchema": "MB:0=20"}), "linux.intelRdt.memBwSchema"),
            (json!({"closID": ".."}), "linux.intelRdt.closID"),
            (json!({"closID": "a/b"}), "linux.intelRdt.closID"),
        ] {
            let why = plan(root.path(), asked).unwrap_err().to_string();
            assert!(why.starts_with(field), "{why}");
        }
    }

    #[test]
    fn the_kernels_own_words_are_told() {
        let root = fake();
        fs::write(root.path().join("info/last_cmd_status"), "Bad mask\n").unwrap();
        fs::create_dir_all(root.path().join("gold/schemata")).unwrap();
        let why = plan(root.path(), json!({"closID": "gold", "schemata": ["L3:0=0"]})).unwrap().apply(1).unwrap_err();
        assert!(why.to_string().ends_with("last_cmd_status: Bad mask"), "{why}");
    }

    #[test]
    fn the_mount_is_found_wherever_it_is() {
        let line = "36 35 0:31 / /mnt/rdt rw,relatime shared:9 - resctrl resctrl rw";
        assert_eq!(mount_point(line), Some("/mnt/rdt".into()));
        assert_eq!(mount_point("36 35 0:31 / /mnt rw - tmpfs resctrl rw"), None);
    }
}
