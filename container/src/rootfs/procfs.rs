//! A procfs nobody else can see or cover, the only one that is ever written to.

use std::io::Write;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use super::file_system::new_file_system;
use crate::error::{Context, Error, Result};

/// Writes values to files below `/proc/sys` of the container's namespaces.
pub(crate) fn write_settings(settings: &[(String, String)]) -> Result<()> {
    if settings.is_empty() {
        return Ok(());
    }
    let proc: OwnedFd =
        new_file_system("proc", "proc", &[], 0).map_err(|e| Error::Other(format!("mount proc: {e}")))?;
    for (path, value) in settings {
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let file = openat2(&proc, format!("sys/{path}"), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty(), resolve)
            .context(|| format!("open /proc/sys/{path}"))?;
        std::fs::File::from(file)
            .write_all(value.as_bytes())
            .context(|| format!("write {value:?} to /proc/sys/{path}"))?;
    }
    Ok(())
}
