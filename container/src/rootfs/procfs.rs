//! A procfs nobody else can see or cover, the only one that is ever written to.

use std::io::Write;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags, fstat, fstatfs, openat2};
use rustix::io::Errno;

use super::file_system::{self, Failure};
use crate::error::{Context, Error, Result};

/// `PROC_ROOT_INO` of linux/proc_ns.h.
const ROOT_INO: u64 = 1;

/// A new procfs. A user namespace may mount one only with a pid namespace of its own: then it is the caller's, in which
/// something may cover a part, but which is known to be one. To be called while the caller's root is there.
fn open() -> Result<OwnedFd> {
    match file_system::create("proc", "proc", &[], &[], 0) {
        Err(Failure { errno: Errno::PERM, .. }) => {}
        made => return made.map_err(|e| Error::Other(format!("mount proc: {e}"))),
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let proc = rustix::fs::open("/proc", flags, Mode::empty()).context(|| "open /proc")?;
    let is_procfs = fstatfs(&proc).is_ok_and(|s| s.f_type == PROC_SUPER_MAGIC);
    if is_procfs && fstat(&proc).is_ok_and(|s| s.st_ino == ROOT_INO) {
        return Ok(proc);
    }
    Err(Error::Other("/proc is not a procfs: linux.sysctl needs it in a user namespace without a pid namespace".into()))
}

/// Writes values to files below `/proc/sys` of the container's namespaces.
pub(crate) fn write_settings(settings: &[(String, String)]) -> Result<()> {
    if settings.is_empty() {
        return Ok(());
    }
    let proc = open()?;
    for (path, value) in settings {
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let file = openat2(&proc, format!("sys/{path}"), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty(), resolve)
            .context(|| format!("linux.sysctl: open /proc/sys/{path}"))?;
        std::fs::File::from(file)
            .write_all(value.as_bytes())
            .context(|| format!("linux.sysctl: write {value:?} to /proc/sys/{path}"))?;
    }
    Ok(())
}
