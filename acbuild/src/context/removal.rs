//! Removing the files of a build that has ended. That takes long when there are many, and nobody has to wait for it.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use appc_container::sys::clone::{CloneFlags, clone3};
use appc_container::sys::exec::close_all_but;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, setsid, waitid};

use crate::error::{Error, Result};
use crate::temporary::Temporary;

/// How long `end` waits for the files to be gone.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };

/// Moves the directory of a build away, to where it can be removed while others begin a new one: into the data directory
/// `store`, or else among the temporary files.
///
/// # Errors
/// When neither is there, writable and on the same file system, or `dir` is a link or has a mount in it: then it has to be
/// removed where it is, and what cannot be is to be told.
pub(super) fn move_away(dir: &Path, store: &Path) -> Result<Temporary> {
    if !fs::symlink_metadata(dir).map_err(Error::io("read", dir))?.is_dir() || has_mount(dir)? {
        return Err(Error::Refused(format!("{} cannot be moved", dir.display())));
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

/// Removes it: what is small before this returns, what takes longer in a process of its own.
pub(super) fn remove(away: Temporary) -> Result<()> {
    let Ok(cloned) = clone3(CloneFlags::default(), None, || i32::from(in_background(&away).is_err())) else {
        return away.remove();
    };
    let path = away.path().to_owned();
    std::mem::forget(away); // It is the new process's, with the lock.
    let mut fds = [PollFd::new(&cloned.pidfd, PollFlags::IN)];
    match poll(&mut fds, Some(&PATIENCE)) {
        Ok(0) | Err(_) => return Ok(()),
        Ok(_) => {}
    }
    let status = waitid(WaitId::PidFd(cloned.pidfd.as_fd()), WaitIdOptions::EXITED);
    match status.ok().flatten().and_then(|status| status.exit_status()) {
        Some(0) | None => Ok(()),
        Some(_) => Err(Error::Refused(format!(
            "the build has ended, but its files cannot be removed: remove {} by hand",
            path.display()
        ))),
    }
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
