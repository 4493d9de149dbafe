//! `mount_setattr(2)`, which rustix does not have.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// Changes to a mount: attributes of `mount_setattr(2)` to set and to clear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MountAttributes {
    /// `MOUNT_ATTR_*` to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub clear: u64,
    /// The new propagation, if it changes.
    pub propagation: Option<Propagation>,
}

/// How mounts spread between copies of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// Not at all.
    Private,
    /// In both directions.
    Shared,
    /// From the other copies to this one.
    Slave,
    /// Not at all, and the mount cannot be bound elsewhere.
    Unbindable,
}

impl Propagation {
    fn flag(self) -> u64 {
        match self {
            Propagation::Private => libc::MS_PRIVATE,
            Propagation::Shared => libc::MS_SHARED,
            Propagation::Slave => libc::MS_SLAVE,
            Propagation::Unbindable => libc::MS_UNBINDABLE,
        }
    }
}

/// Changes the mount that `mount` is the root of, and with `recursive` all mounts below it.
pub fn mount_setattr(mount: impl AsFd, recursive: bool, attributes: MountAttributes) -> io::Result<()> {
    let attr = libc::mount_attr {
        attr_set: attributes.set,
        attr_clr: attributes.clear,
        propagation: attributes.propagation.map_or(0, Propagation::flag),
        userns_fd: 0,
    };
    set(mount, recursive, &attr)
}

/// Maps users and groups of a mount that is not attached anywhere as `namespace`, a user namespace, does.
pub fn map_ids(mount: impl AsFd, recursive: bool, namespace: BorrowedFd<'_>) -> io::Result<()> {
    let attr = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: namespace.as_raw_fd() as u64,
    };
    set(mount, recursive, &attr)
}

fn set(mount: impl AsFd, recursive: bool, attr: &libc::mount_attr) -> io::Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    let fd = mount.as_fd().as_raw_fd();
    let size = size_of::<libc::mount_attr>();
    // SAFETY: the path is an empty C string and the structure outlives the call.
    match unsafe { libc::syscall(libc::SYS_mount_setattr, fd, c"".as_ptr(), flags, &raw const *attr, size) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
