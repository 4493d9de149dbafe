//! Mounts of the host that a container takes over.

use std::fs::Metadata;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{CWD, Stat, StatFs, fstat, fstatfs};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::sys::mount::{MountAttributes, Propagation, mount_setattr};

/// A copy of the mounts at a path of the host, which belongs to nobody until it is attached.
///
/// Root makes it at once, in its own mount namespace: that what is named exists shows before anything is done, and the
/// container's user need not be able to go there. An ordinary user can copy mounts only in a namespace where it is
/// root, so that init does it, before it leaves the host's root.
#[derive(Debug)]
pub(crate) struct HostTree {
    path: PathBuf,
    recursive: bool,
    propagation: Propagation,
    copy: OnceLock<OwnedFd>,
}

impl HostTree {
    /// The mount at `path`, with `recursive` all mounts below it as well.
    pub(crate) fn new(path: &Path, recursive: bool, propagation: Propagation) -> io::Result<HostTree> {
        let tree = HostTree { path: path.to_owned(), recursive, propagation, copy: OnceLock::new() };
        match tree.get() {
            Err(e) if e.raw_os_error() == Some(Errno::PERM.raw_os_error()) => {
                let _exists: Metadata = std::fs::metadata(path)?;
            }
            done => drop(done?),
        }
        Ok(tree)
    }

    /// A copy that somebody else has made.
    pub(crate) fn made(copy: OwnedFd) -> HostTree {
        HostTree { path: PathBuf::new(), recursive: true, propagation: Propagation::Slave, copy: OnceLock::from(copy) }
    }

    /// Where it is on the host.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The copy, if this process could make it.
    pub(crate) fn early(&self) -> Option<&OwnedFd> {
        self.copy.get()
    }

    /// The copy.
    pub(crate) fn get(&self) -> io::Result<&OwnedFd> {
        if let Some(copy) = self.copy.get() {
            return Ok(copy);
        }
        let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        flags.set(OpenTreeFlags::AT_RECURSIVE, self.recursive);
        let copy = open_tree(CWD, &self.path, flags)?;
        // What is mounted in the container must not appear on the host, so the copy never is the host's peer by default.
        let change = MountAttributes { propagation: Some(self.propagation), ..MountAttributes::default() };
        mount_setattr(&copy, true, change)?;
        Ok(self.copy.get_or_init(|| copy))
    }

    /// The status of what is at the top.
    pub(crate) fn status(&self) -> rustix::io::Result<Stat> {
        self.early().map_or_else(|| rustix::fs::stat(&self.path), fstat)
    }

    /// The status of the file system at the top.
    pub(crate) fn file_system(&self) -> rustix::io::Result<StatFs> {
        self.early().map_or_else(|| rustix::fs::statfs(&self.path), fstatfs)
    }
}
