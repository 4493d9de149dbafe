//! Removing the files of a build that has ended. That takes long when there are many, and nobody has to wait for it.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use appc_container::sys::clone::{CloneFlags, clone3};
use appc_container::sys::exec::close_all_but;
use appc_image::measure::{Measure, is_more};
use appc_rooted::Root;
use rustix::io::Errno;
use rustix::process::setsid;

use crate::error::{Error, Result};
use crate::temporary::Temporary;

/// So much is removed in an instant.
const SMALL: Measure = Measure { bytes: 32 << 20, entries: 400 };

/// Moves the directory of a build away, to where it can be removed while others begin a new one: into the data directory
/// `store`, or else among the temporary files.
///
/// # Errors
/// When neither is there, writable and on the same file system, or `dir` is small, a link, or has a mount in it: then it is to
/// be removed where it is, and what cannot be is to be told.
pub(super) fn move_away(dir: &Path, store: &Path) -> Result<Temporary> {
    let is_directory = fs::symlink_metadata(dir).map_err(Error::io("read", dir))?.is_dir();
    let root = Root::open(dir).map_err(Error::io("open", dir))?;
    if !is_directory || !is_more(&root, SMALL)? || has_mount(dir)? {
        return Err(Error::Refused(format!("{} stays where it is", dir.display())));
    }
    let into = |place: &Path| {
        let away = Temporary::new_in(place, "ended")?;
        fs::rename(dir, away.path().join("build")).map_err(Error::io("move", dir)).map(|()| away)
    };
    into(&store.join("tmp")).or_else(|_| into(&std::env::temp_dir()))
}

/// Whether something is mounted below `dir`: it would move along.
fn has_mount(dir: &Path) -> Result<bool> {
    let dir = fs::canonicalize(dir).map_err(Error::io("find", dir))?;
    // As proc_pid_mountinfo(5) writes paths, in the fifth field.
    let escape = |byte: &u8| match byte {
        b' ' | b'\t' | b'\n' | b'\\' => format!("\\{byte:03o}").into_bytes(),
        byte => vec![*byte],
    };
    let inside: Vec<u8> = dir.join("").as_os_str().as_bytes().iter().flat_map(escape).collect();
    let table = fs::read("/proc/self/mountinfo").map_err(Error::io("read", "/proc/self/mountinfo"))?;
    let mut points = table.split(|byte| *byte == b'\n').filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    Ok(points.any(|point| point.starts_with(&inside)))
}

/// Removes it in a process of its own.
pub(super) fn remove(away: Temporary) -> Result<()> {
    match clone3(CloneFlags::default(), None, || i32::from(in_background(&away).is_err())) {
        // It is the new process's, with the lock.
        Ok(_) => std::mem::forget(away),
        Err(_) => away.remove()?,
    }
    Ok(())
}

/// In the new process: nobody is to wait for its output, its working directory, or a lock that it was started with.
fn in_background(away: &Temporary) -> Result<()> {
    let fail = |e: Errno| Error::io("use", "/dev/null")(e.into());
    let null = fs::File::options().read(true).write(true).open("/dev/null").map_err(Error::io("open", "/dev/null"))?;
    rustix::stdio::dup2_stdin(&null).map_err(fail)?;
    rustix::stdio::dup2_stdout(&null).map_err(fail)?;
    rustix::stdio::dup2_stderr(&null).map_err(fail)?;
    drop(null);
    close_all_but(3, &[away.lock()]).map_err(Error::io("close", "what was open"))?;
    let _ = setsid(); // Ctrl-C is not meant for it; where it cannot be, it is.
    std::env::set_current_dir("/").map_err(Error::io("open", "/"))?;
    away.remove()
}
