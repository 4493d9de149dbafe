//! A cgroup that exists: finding it again, entering it, listing what runs in it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use appc_rooted::{OFlags, Root};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::layout::Version;
use super::plan::{CgroupPlan, Group};
use super::systemd::{Placeholder, Unit};
use super::tree::{self, Dir};
use super::{Error, Result, events};

/// The cgroup of one container, in every hierarchy that it is in.
#[derive(Debug)]
pub struct Cgroup {
    version: Version,
    /// The first lists, freezes and kills.
    pub(super) places: Vec<Place>,
    /// `oom_kill` as it was found.
    earlier_kills: u64,
    /// The unit of systemd that it is the cgroup of.
    pub(super) unit: Option<Unit>,
    /// Keeps the unit alive until the container's first process does.
    pub(super) placeholder: Option<Placeholder>,
}

/// One directory of it.
#[derive(Debug)]
pub(super) struct Place {
    /// Empty in the unified hierarchy.
    pub controllers: Vec<String>,
    pub mount: PathBuf,
    pub path: PathBuf,
    pub root: Root,
    /// Whether it was made just now, by this process.
    pub made: bool,
}

impl Place {
    pub(super) fn is_unified(&self) -> bool {
        self.controllers.is_empty()
    }

    pub(super) fn dir(&self) -> io::Result<Dir> {
        Dir::below(&self.root, &self.mount, &self.path)
    }

    pub(super) fn full(&self) -> PathBuf {
        self.mount.join(&self.path)
    }
}

/// What a later process needs to find the cgroup again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    pub(super) places: Vec<SavedPlace>,
    #[serde(default)]
    earlier_kills: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unit: Option<Unit>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SavedPlace {
    pub(super) controllers: Vec<String>,
    mount: PathBuf,
    pub(super) path: PathBuf,
}

impl CgroupPlan {
    /// What [`Cgroup::reopen`] will need. To be written down before the cgroup is made, so that it is found and removed
    /// whatever happens to its maker.
    pub fn saved(&self) -> Saved {
        let save =
            |g: &Group| SavedPlace { controllers: g.controllers.clone(), mount: g.mount.clone(), path: g.path.clone() };
        let unit = self.unit.as_ref().map(|plan| plan.unit.clone());
        Saved { places: self.groups.iter().map(save).collect(), earlier_kills: 0, unit }
    }
}

/// The way into a cgroup for a process that is about to be made.
#[derive(Debug)]
pub struct Entry {
    unified: Option<OwnedFd>,
    tasks: Vec<OwnedFd>,
}

impl Entry {
    /// The directory for `CLONE_INTO_CGROUP`, where there is a unified hierarchy.
    pub fn clone_into(&self) -> Option<BorrowedFd<'_>> {
        self.unified.as_ref().map(AsFd::as_fd)
    }

    /// Takes the calling thread into the version 1 hierarchies: the single thread of a new process.
    ///
    /// A thread that moves itself needs none of the locks that moving another process takes, which wait for all
    /// processors. Allocates nothing, so it may be called after a fork.
    ///
    /// # Errors
    /// What the kernel says, `ENODEV` when the cgroup was removed.
    pub fn enter(&self) -> io::Result<()> {
        for tasks in &self.tasks {
            rustix::io::write(tasks, b"0")?;
        }
        Ok(())
    }
}

impl Cgroup {
    pub(super) fn empty(version: Version) -> Cgroup {
        Cgroup { version, places: Vec::new(), earlier_kills: 0, unit: None, placeholder: None }
    }

    /// Finds a cgroup again. It need not exist any more.
    ///
    /// # Errors
    /// When a hierarchy it was in is not mounted any more.
    pub fn reopen(saved: &Saved) -> Result<Cgroup> {
        let open = |place: &SavedPlace| {
            let path = appc_rooted::clean(&place.path);
            let path = path.strip_prefix("/").unwrap_or(&path).to_owned();
            if path.as_os_str().is_empty() {
                return Err(Error::invalid("cgroup of the saved state", "names the root cgroup"));
            }
            let root = Root::open(&place.mount).map_err(|e| Error::io("open", &place.mount, e))?;
            Ok(Place { controllers: place.controllers.clone(), mount: place.mount.clone(), path, root, made: false })
        };
        let places = saved.places.iter().map(open).collect::<Result<Vec<_>>>()?;
        let version = match (places.iter().any(Place::is_unified), places.iter().all(Place::is_unified)) {
            (false, _) => Version::V1,
            (true, false) => Version::Hybrid,
            (true, true) => Version::V2,
        };
        Ok(Cgroup { version, places, earlier_kills: saved.earlier_kills, unit: saved.unit.clone(), placeholder: None })
    }

    /// What [`Cgroup::reopen`] needs.
    pub fn saved(&self) -> Saved {
        let save =
            |p: &Place| SavedPlace { controllers: p.controllers.clone(), mount: p.mount.clone(), path: p.path.clone() };
        Saved {
            places: self.places.iter().map(save).collect(),
            earlier_kills: self.earlier_kills,
            unit: self.unit.clone(),
        }
    }

    /// The container's first process is in all of its directories now.
    pub(crate) fn settle(&mut self) {
        self.placeholder = None;
    }

    /// How the host's hierarchies are laid out.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Its directories, each with the controllers of a version 1 hierarchy (none for the unified one).
    pub fn directories(&self) -> impl Iterator<Item = (&[String], PathBuf)> {
        self.places.iter().map(|p| (p.controllers.as_slice(), p.full()))
    }

    /// Whether any of them is there.
    pub fn exists(&self) -> bool {
        self.places.iter().any(|place| place.dir().is_ok())
    }

    /// Opens the way in.
    ///
    /// # Errors
    /// When the cgroup was removed meanwhile.
    pub fn entry(&self) -> Result<Entry> {
        let mut entry = Entry { unified: None, tasks: Vec::new() };
        for place in &self.places {
            let (path, flags) = match place.is_unified() {
                true => (place.path.clone(), OFlags::PATH | OFlags::DIRECTORY),
                false => (place.path.join("tasks"), OFlags::WRONLY),
            };
            let fd = place.root.open_at(&path, flags).map_err(|e| Error::io("open", place.mount.join(&path), e))?;
            if place.is_unified() { entry.unified = Some(fd) } else { entry.tasks.push(fd) }
        }
        Ok(entry)
    }

    /// Moves the process `pid` in. Slow, see [`Entry::enter`].
    ///
    /// # Errors
    /// What the kernel says: `ESRCH` when there is no such process.
    pub fn add(&self, pid: i32) -> Result<()> {
        for place in &self.places {
            let write = place.dir().and_then(|dir| dir.write("cgroup.procs", &pid.to_string()));
            write.map_err(|e| Error::io("add a process to", place.full(), e))?;
        }
        Ok(())
    }

    /// All processes in it and in cgroups that were made below it; none when it was removed.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn pids(&self) -> Result<Vec<i32>> {
        let Some(place) = self.places.first() else { return Ok(Vec::new()) };
        let mut pids = Vec::new();
        let walked = place.dir().and_then(|dir| {
            dir.walk(&mut |dir| match dir.processes() {
                // A threaded cgroup: its processes are listed further up.
                Err(e) if Errno::from_io_error(&e) == Some(Errno::OPNOTSUPP) => Ok(()),
                found => found.map(|mut found| pids.append(&mut found)),
            })
        });
        match walked {
            Err(e) if !tree::is_gone(&e) => Err(Error::io("list the processes of", place.full(), e)),
            _ => Ok(pids),
        }
    }

    /// How many processes the kernel has killed because of the memory limit.
    pub fn oom_kills(&self) -> u64 {
        self.counted_kills().saturating_sub(self.earlier_kills)
    }

    pub(super) fn note_earlier_kills(&mut self) {
        self.earlier_kills = self.counted_kills();
    }

    /// 0 where memory is not limited, as the kernel then has no reason and keeps no count.
    fn counted_kills(&self) -> u64 {
        let file = |p: &Place| match p.is_unified() {
            true => Some("memory.events"),
            false => p.controllers.iter().any(|c| c == "memory").then_some("memory.oom_control"),
        };
        let read = |p: &Place| {
            let file = file(p)?;
            events::value(&p.dir().ok()?.read(file).ok()?, "oom_kill")
        };
        self.places.iter().filter_map(read).sum()
    }
}

#[cfg(test)]
#[path = "live_tests.rs"]
mod tests;
