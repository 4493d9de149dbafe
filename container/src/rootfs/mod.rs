//! The container's root file system.
//!
//! Its content is hostile: every path in it is resolved by the kernel below the root's descriptor
//! ([`appc_rooted::Root`]), mounts are attached to descriptors, and what was made is opened again without following
//! links and looked at before it is used.
//!
//! All of this runs in init, in the container's new mount namespace.

mod cgroup;
mod copy_up;
mod devices;
mod file_system;
mod masks;
mod mounts;
pub mod overlay;
mod pivot;
mod procfs;

pub(crate) use devices::make_devices;
pub(crate) use masks::cover;
pub(crate) use mounts::{View, attach_root, mount_all};
pub(crate) use pivot::{enter, return_to};
pub(crate) use procfs::write_settings;

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use appc_rooted::{Mode, OFlags, Root};
use rustix::fs::openat;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use crate::error::{Context, Result};
use crate::sys::mount::{MountAttributes, Propagation, mount_setattr};

/// Makes a mount read-only, such as the root, but nothing that is mounted below it.
pub(crate) fn set_read_only(tree: &OwnedFd) -> Result<()> {
    masks::set_read_only(tree, false).context(|| "make a mount read-only")
}

/// Makes the root shared: mounts in it reach copies of it that are made from here on.
pub(crate) fn share(tree: &OwnedFd) -> Result<()> {
    let change = MountAttributes { propagation: Some(Propagation::Shared), ..MountAttributes::default() };
    mount_setattr(tree, false, change).context(|| "make the root shared")
}

/// What is at `path` itself, an empty file when there was nothing.
pub(crate) fn placeholder(root: &Root, path: &Path) -> std::io::Result<OwnedFd> {
    let (parent, name) = parent_made(root, path)?;
    mounts::make_file(&parent, name)?;
    Ok(openat(&parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?)
}

/// Shows what `from` is open on at `target` as well.
pub(crate) fn bind(from: impl AsFd, target: impl AsFd) -> rustix::io::Result<()> {
    attach(clone_at(from, false)?, target)
}

/// Attaches a detached mount on what `target` is open on.
fn attach(tree: impl AsFd, target: impl AsFd) -> rustix::io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree, "", target, "", flags)
}

/// A copy of the mount that `from` is open in, showing what `from` is open on.
fn clone_at(from: impl AsFd, recursive: bool) -> rustix::io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    open_tree(from, "", flags)
}

/// The parent directory of `path`, made if missing, and the last component's name.
fn parent_made<'p>(root: &Root, path: &'p Path) -> std::io::Result<(OwnedFd, &'p OsStr)> {
    let invalid = || std::io::Error::from(rustix::io::Errno::INVAL);
    let name = path.file_name().ok_or_else(invalid)?;
    let parent = root.make_way(path.parent().ok_or_else(invalid)?, Mode::from(0o755))?;
    Ok((parent, name))
}
