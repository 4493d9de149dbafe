//! Entering and leaving namespaces, and the names a UTS namespace holds.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::files::read_kernels;

/// Moves this thread into a namespace, which must be of the given `CLONE_NEW*` kind (`EINVAL` else).
pub fn setns(namespace: BorrowedFd<'_>, kind: i32) -> io::Result<()> {
    // SAFETY: no memory is involved.
    match unsafe { libc::setns(namespace.as_raw_fd(), kind) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Moves this thread into new namespaces (`CLONE_NEW*` flags only).
pub fn unshare(namespaces: i32) -> io::Result<()> {
    // SAFETY: namespaces do not touch memory, and the descriptor table stays shared as it is.
    match unsafe { libc::unshare(namespaces & !libc::CLONE_FILES) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The kind of namespace behind a descriptor, as a `CLONE_NEW*` flag; `ENOTTY` for anything else.
pub fn namespace_kind(namespace: BorrowedFd<'_>) -> io::Result<i32> {
    // linux/nsfs.h: NS_GET_NSTYPE is _IO(0xb7, 0x3).
    const NS_GET_NSTYPE: libc::c_ulong = 0xb703;
    // SAFETY: this request takes no argument.
    match unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_NSTYPE as _) } {
        -1 => Err(io::Error::last_os_error()),
        kind => Ok(kind),
    }
}

/// Sets the host name of this UTS namespace.
pub fn set_host_name(name: &str) -> io::Result<()> {
    Ok(rustix::system::sethostname(name.as_bytes())?)
}

/// Sets the NIS domain name of this UTS namespace.
pub fn set_domain_name(name: &str) -> io::Result<()> {
    // SAFETY: pointer and length belong to `name`.
    match unsafe { libc::setdomainname(name.as_ptr().cast(), name.len()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether this process is in a user namespace other than the first one, where root may do less.
pub fn in_user_namespace() -> bool {
    // user_namespaces(7): the first one has all numbers as they are.
    let map = File::open("/proc/self/uid_map").and_then(read_kernels).unwrap_or_default();
    !map.is_empty() && !map.split_whitespace().eq(["0", "0", "4294967295"])
}
