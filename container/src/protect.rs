//! Keeps containers from changing the program that makes them.
//!
//! A process in a container can open `/proc/PID/exe` of a runtime that is about to join or to make that container, and
//! write to it as soon as it does not run any more: the next container would be made by what was written. So the
//! program runs again, from where it cannot be written:
//!
//! 1. a read-only bind mount of the executable that is attached nowhere. It stays as it is even for somebody who may
//!    mount: when the execve closes its descriptor the kernel takes it out of every mount namespace;
//! 2. where mounting is not allowed, nothing needs to be done for an executable that this user cannot write;
//! 3. else a copy in memory that is sealed.
//!
//! `rkt-oci` does the first before its `main`, see `sys/entry.rs`.

use std::ffi::{CStr, CString, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;

use crate::error::{Context, Result};
use crate::sys::exec::execute;
use crate::sys::mount::{MountAttributes, mount_setattr};
use rustix::fs::{
    CWD, MemfdFlags, SealFlags, StatVfsMountFlags, fcntl_add_seals, fcntl_get_seals, fstatvfs, memfd_create, statvfs,
};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};
use rustix::process::geteuid;

const OWN: &str = "/proc/self/exe";
/// `MOUNT_ATTR_RDONLY` of linux/mount.h.
const MOUNT_ATTR_RDONLY: u64 = 1;

/// Runs this program again, with the same arguments and environment, if it is not protected yet; `name` is what `ps`
/// is to show then. To be called first of all by what makes containers or joins them.
///
/// # Errors
/// When it can be neither protected nor executed.
pub fn protect(name: &CStr) -> Result<()> {
    let protect = || -> io::Result<()> {
        let own = statvfs(OWN).map_err(|errno| match errno {
            Errno::NOENT => io::Error::other(format!("{OWN} is not there: mount proc at /proc")),
            errno => errno.into(),
        })?;
        if own.f_flag.contains(StatVfsMountFlags::RDONLY) {
            return Ok(());
        }
        let executable = match read_only_mount() {
            Ok(mount) => mount,
            Err(_) if is_sealed()? || is_others()? => return Ok(()),
            Err(_) => sealed_copy(name)?,
        };
        Err(execute(&executable, &arguments(), &environment()))
    };
    protect().context(|| "protect the executable from containers")?;
    rename(name)
}

/// Gives the program its name again: executed by descriptor, it has that descriptor's number for one.
///
/// # Errors
/// None that a Linux kernel has.
pub fn rename(name: &CStr) -> Result<()> {
    rustix::thread::set_name(name).context(|| "set the name of the process")
}

fn arguments() -> Vec<CString> {
    // Both lists were C strings when they came.
    std::env::args_os().filter_map(|argument| CString::new(argument.into_vec()).ok()).collect()
}

fn environment() -> Vec<CString> {
    let variable = |(mut name, value): (OsString, OsString)| {
        name.push("=");
        name.push(value);
        CString::new(name.into_vec()).ok()
    };
    std::env::vars_os().filter_map(variable).collect()
}

fn read_only_mount() -> io::Result<OwnedFd> {
    let mount = open_tree(CWD, OWN, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
    mount_setattr(&mount, false, MountAttributes { set: MOUNT_ATTR_RDONLY, ..MountAttributes::default() })?;
    // What is asked after the execve, or it would be executed for ever.
    match fstatvfs(&mount)?.f_flag.contains(StatVfsMountFlags::RDONLY) {
        true => Ok(mount),
        false => Err(io::Error::other("the mount is not read-only")),
    }
}

fn seals() -> SealFlags {
    SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE
}

fn is_sealed() -> io::Result<bool> {
    // Files that are not in memory have no seals.
    Ok(fcntl_get_seals(File::open(OWN)?).is_ok_and(|found| found.contains(seals())))
}

/// Whether the executable is root's, and this user, with all users its namespaces can have, is not root.
fn is_others() -> io::Result<bool> {
    let status = std::fs::metadata(OWN)?;
    Ok(!geteuid().is_root() && status.uid() == 0 && status.mode() & 0o022 == 0)
}

fn sealed_copy(name: &CStr) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 do not know the flag, and make every such file executable.
    let file = memfd_create(name, flags | MemfdFlags::EXEC).or_else(|_| memfd_create(name, flags))?;
    let mut copy = File::from(file);
    io::copy(&mut File::open(OWN)?, &mut copy)?;
    fcntl_add_seals(&copy, seals())?;
    Ok(copy.into())
}
