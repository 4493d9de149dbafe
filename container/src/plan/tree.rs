//! Mounts of the host that a container takes over.

use std::fs::Metadata;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustix::fs::{CWD, Stat, StatFs, fstat, fstatfs};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::sys::mount::{MountAttributes, Propagation, map_ids, mount_setattr};

/// A copy of the mounts at a path of the host, which belongs to nobody until it is attached.
///
/// Root finds the path in its own mount namespace before anything is done: that what is named exists shows at once, and
/// the container's user need not be able to go there. An ordinary user can copy mounts only in a namespace where it is
/// root, so that init does it, before it leaves the host's root.
#[derive(Debug)]
pub(crate) struct HostTree {
    path: PathBuf,
    recursive: bool,
    propagation: Propagation,
    /// What is at the path, as root found it.
    found: Option<OwnedFd>,
    /// Whose ids it is to have, and whether that is for the mounts below as well.
    ids: Option<(Arc<OwnedFd>, bool)>,
    copy: OnceLock<OwnedFd>,
}

impl HostTree {
    /// The mount at `path`, with `recursive` all mounts below it as well, copied at once if this process may.
    pub(crate) fn new(path: &Path, recursive: bool, propagation: Propagation) -> io::Result<HostTree> {
        let tree = HostTree::at(path, recursive, propagation);
        let made = tree.get().map(drop);
        made.or_else(|e| exists_at_least(e, path))?;
        Ok(tree)
    }

    /// As [`HostTree::new`], but copied only by [`HostTree::copy`] resp. [`HostTree::get`].
    pub(crate) fn find(path: &Path, recursive: bool, propagation: Propagation) -> io::Result<HostTree> {
        let mut tree = HostTree::at(path, recursive, propagation);
        // Whether it may be copied comes before what it is: without a name it is an error either way.
        match open_tree(CWD, "", OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC) {
            Err(e @ Errno::PERM) => exists_at_least(e.into(), path)?,
            _ => tree.found = Some(open_tree(CWD, path, OpenTreeFlags::OPEN_TREE_CLOEXEC)?),
        }
        Ok(tree)
    }

    /// A copy that somebody else has made.
    pub(crate) fn made(copy: OwnedFd) -> HostTree {
        HostTree { copy: OnceLock::from(copy), ..HostTree::at(Path::new(""), true, Propagation::Slave) }
    }

    fn at(path: &Path, recursive: bool, propagation: Propagation) -> HostTree {
        HostTree { path: path.to_owned(), recursive, propagation, found: None, ids: None, copy: OnceLock::new() }
    }

    /// Where it is on the host.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What shows of it before it is copied, if this process could open it.
    pub(crate) fn early(&self) -> Option<&OwnedFd> {
        self.copy.get().or(self.found.as_ref())
    }

    /// Whether the process that found it has to copy it as well.
    pub(crate) fn is_found(&self) -> bool {
        self.found.is_some()
    }

    /// Maps the ids of the copy as `namespace` does.
    pub(crate) fn set_ids(&mut self, namespace: Arc<OwnedFd>, recursive: bool) {
        self.ids = Some((namespace, recursive));
    }

    /// The copy.
    pub(crate) fn get(&self) -> io::Result<&OwnedFd> {
        match self.copy.get() {
            Some(copy) => Ok(copy),
            None => {
                let copy = self.copy()?;
                Ok(self.copy.get_or_init(|| copy))
            }
        }
    }

    /// A new copy.
    pub(crate) fn copy(&self) -> io::Result<OwnedFd> {
        let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        flags.set(OpenTreeFlags::AT_RECURSIVE, self.recursive);
        let copy = match &self.found {
            Some(found) => open_tree(found, "", flags | OpenTreeFlags::AT_EMPTY_PATH)?,
            None => open_tree(CWD, &self.path, flags)?,
        };
        // What is mounted in the container must not appear on the host, so the copy never is the host's peer by default.
        let change = MountAttributes { propagation: Some(self.propagation), ..MountAttributes::default() };
        mount_setattr(&copy, true, change)?;
        // Nobody else can see it yet: the kernel allows no later moment.
        if let Some((namespace, recursive)) = &self.ids {
            map_ids(&copy, *recursive, namespace.as_fd()).map_err(|e| match e.raw_os_error() {
                // What the kernel says of file systems without FS_ALLOW_IDMAP and of mounts that are mapped already.
                Some(libc::EINVAL | libc::EPERM) => {
                    io::Error::other("its file system cannot be id-mapped, or is already")
                }
                _ => e,
            })?;
        }
        Ok(copy)
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

/// Who may not copy mounts here may in another namespace.
fn exists_at_least(e: io::Error, path: &Path) -> io::Result<()> {
    if e.raw_os_error() != Some(Errno::PERM.raw_os_error()) {
        return Err(e);
    }
    std::fs::metadata(path).map(|_exists: Metadata| ())
}
