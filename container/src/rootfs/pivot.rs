//! Leaving the host's file system for good.

use std::os::fd::AsFd;

use appc_rooted::Root;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{chroot, fchdir, pivot_root};

use super::clone_at;
use crate::error::{Context, Error, Result};
use crate::sys::namespace::setns;

/// Makes `root`, which is mounted on top of the host's root, the root of this process and detaches the host's.
pub(crate) fn enter(root: &Root, no_pivot: bool) -> Result<()> {
    fchdir(root).context(|| "enter the root")?;
    if no_pivot {
        // The host's root stays below; only someone with CAP_SYS_ADMIN can take the container's away from above it.
        return chroot(".").context(|| "chroot into the root");
    }
    // Both names are the same directory: the old root ends up on top of the new one, where it is still `.`, so that
    // no directory has to be found to put it on. See pivot_root(2), NOTES.
    match pivot_root(".", ".") {
        Err(Errno::INVAL) => {
            let why = "pivot_root: the host's root cannot be left, as it is its initramfs: mount a tmpfs and switch_root \
                       to it, or use --no-pivot";
            return Err(Error::Other(why.to_owned()));
        }
        done => done.context(|| "pivot_root")?,
    }
    unmount(".", UnmountFlags::DETACH).context(|| "detach the host's root")?;
    fchdir(root).context(|| "enter the root")
}

/// For a container that is to share its caller's mount namespace: takes the root there, from the temporary namespace it
/// was built in. It is attached nowhere, so that nothing appears on the host, and goes with its last process.
pub(crate) fn return_to(namespace: impl AsFd) -> Result<Root> {
    let here = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .context(|| "open the root")?;
    let root = clone_at(here, true).context(|| "copy the root")?;
    setns(namespace.as_fd(), libc::CLONE_NEWNS).context(|| "return to the caller's mount namespace")?;
    fchdir(&root).context(|| "enter the root")?;
    chroot(".").context(|| "chroot into the root")?;
    Ok(Root::from_fd(root))
}
