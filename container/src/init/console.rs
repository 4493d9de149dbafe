//! A terminal of the container's own devpts.

use std::os::fd::OwnedFd;

use appc_rooted::{Mode, OFlags, Root};
use rustix::fs::{FileType, fstat, fstatfs, makedev};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};

use crate::error::{Context, Error, Result};
use crate::plan::{ProcessPlan, Stdio};
use crate::{console, rootfs};

/// linux/magic.h.
const DEVPTS_SUPER_MAGIC: i64 = 0x1cd1;

/// Both sides of a terminal.
pub(super) struct Terminal {
    pub(super) master: OwnedFd,
    pub(super) slave: OwnedFd,
}

/// Opens a terminal of the size and for the user that the process wants. `stdio` says who is at its other side.
pub(super) fn open(root: &Root, process: &ProcessPlan, stdio: &Stdio) -> Result<Terminal> {
    let master = open_ptmx(root)?;
    unlockpt(&master).context(|| "unlock the terminal")?;
    // By way of the master: whatever `/dev/pts/0` may be, this is its other side.
    let slave = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
        .context(|| "open the terminal's other side")?;
    // Before the program can ask for it.
    match process.console_size {
        Some((columns, rows)) => console::set_size(&slave, columns, rows),
        None => console::copy_size(&slave),
    }
    .context(|| "set the terminal's size")?;
    if matches!(stdio, Stdio::Terminal) {
        console::copy_line_ends(&slave).context(|| "set the terminal's mode")?;
    }
    if process.uid != 0 {
        let uid = rustix::fs::Uid::from_raw(process.uid);
        rustix::fs::fchown(&slave, Some(uid), None).context(|| "give the terminal to the user")?;
    }
    Ok(Terminal { master, slave })
}

/// The multiplexer, after making sure that it is one: on a devpts, and the device that only a devpts has there.
fn open_ptmx(root: &Root) -> Result<OwnedFd> {
    let pts = root
        .open_at("/dev/pts", OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW)
        .context(|| "open /dev/pts, which process.terminal needs")?;
    let is_devpts = fstatfs(&pts).context(|| "look at /dev/pts")?.f_type as i64 == DEVPTS_SUPER_MAGIC;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let found = rustix::fs::openat(&pts, "ptmx", flags, Mode::empty()).context(|| "open /dev/pts/ptmx")?;
    let status = fstat(&found).context(|| "look at /dev/pts/ptmx")?;
    let on_devpts = fstatfs(&found).context(|| "look at /dev/pts/ptmx")?.f_type as i64 == DEVPTS_SUPER_MAGIC;
    // 5:2 in devices.txt; inode 2 is what fs/devpts gives it.
    if !is_devpts || !on_devpts || status.st_rdev != makedev(5, 2) || status.st_ino != 2 {
        return Err(Error::Other("/dev/pts/ptmx is not a terminal multiplexer: mount a devpts on /dev/pts".to_owned()));
    }
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(&pts, "ptmx", flags, Mode::empty()).context(|| "open /dev/pts/ptmx")
}

/// Shows it as `/dev/console`.
pub(super) fn mount(root: &Root, slave: &OwnedFd) -> Result<()> {
    let target = rootfs::placeholder(root, "/dev/console".as_ref()).context(|| "make /dev/console")?;
    let kind = FileType::from_raw_mode(fstat(&target).context(|| "look at /dev/console")?.st_mode);
    if !matches!(kind, FileType::RegularFile | FileType::CharacterDevice) {
        return Err(Error::Other("/dev/console is neither a file nor a device: nothing is mounted there".to_owned()));
    }
    rootfs::bind(slave, &target).context(|| "mount the terminal on /dev/console")
}
