//! Removing the files of a build that has ended. That takes long when there are many, and nobody has to wait for it.

use std::fs;
use std::os::fd::AsFd;
use std::path::Path;

use appc_container::sys::clone::{CloneFlags, clone3};
use appc_image::store::{Store, Trash};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, setsid, waitid};

use crate::error::{Error, Result};

/// How long `end` waits for the files to be gone.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 2_000_000 };

/// Moves the directory of a build away, to where it can be removed while others begin a new one.
///
/// # Errors
/// When that is no place for it, or not there at all: then it has to be removed where it is.
pub(super) fn move_away(dir: &Path, store: &Path) -> Result<Trash> {
    Ok(Store::open_existing(store)?.discard(dir)?)
}

/// Removes it: small ones before this returns, what takes longer in a process of its own.
pub(super) fn remove(trash: Trash) -> Result<()> {
    let Ok(cloned) = clone3(CloneFlags::default(), None, || i32::from(in_background(&trash).is_err())) else {
        return Ok(trash.remove()?);
    };
    let path = trash.path().to_owned();
    trash.leave();
    let mut fds = [PollFd::new(&cloned.pidfd, PollFlags::IN)];
    match poll(&mut fds, Some(&PATIENCE)) {
        Ok(0) | Err(_) => return Ok(()),
        Ok(_) => {}
    }
    let status = waitid(WaitId::PidFd(cloned.pidfd.as_fd()), WaitIdOptions::EXITED);
    match status.ok().flatten().and_then(|status| status.exit_status()) {
        Some(0) | None => Ok(()),
        Some(_) => Err(Error::Refused(format!(
            "the build has ended, but its files in {} cannot be removed: see what \"rkt image gc\" says",
            path.display()
        ))),
    }
}

/// In the new process: nobody is to wait for its output, its end or its working directory.
fn in_background(trash: &Trash) -> Result<()> {
    let fail = |e: Errno| Error::io("use", "/dev/null")(e.into());
    let null = fs::File::options().read(true).write(true).open("/dev/null").map_err(Error::io("open", "/dev/null"))?;
    rustix::stdio::dup2_stdin(&null).map_err(fail)?;
    rustix::stdio::dup2_stdout(&null).map_err(fail)?;
    rustix::stdio::dup2_stderr(&null).map_err(fail)?;
    let _ = setsid(); // Ctrl-C is not meant for it; where it cannot be, it is.
    std::env::set_current_dir("/").map_err(Error::io("open", "/"))?;
    Ok(trash.remove()?)
}
