//! Directories and files below a cgroup mount, by descriptor.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use appc_rooted::Root;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::{Error, Result};
use crate::files::read_kernels;

/// Directories made on the way are marked with the sticky bit, see the [module](super).
const ON_THE_WAY: Mode = Mode::from_bits_retain(0o1755);
/// The last one is removed by whoever asked for it.
const LAST: Mode = Mode::from_bits_retain(0o755);
/// How often another process may take the parent away between two of our calls.
const RACES: usize = 100;

/// A cgroup that is held open.
#[derive(Debug)]
pub(super) struct Dir {
    fd: OwnedFd,
    /// For messages.
    pub path: PathBuf,
}

impl Dir {
    fn open(parent: BorrowedFd<'_>, name: &OsStr, path: PathBuf) -> io::Result<Dir> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Dir { fd: rustix::fs::openat(parent, name, flags, Mode::empty())?, path })
    }

    /// The cgroup `path` below `mount`, which is opened as `root`.
    pub(super) fn below(root: &Root, mount: &Path, path: &Path) -> io::Result<Dir> {
        let fd = root.open_at(path, OFlags::PATH | OFlags::DIRECTORY)?;
        Ok(Dir { fd, path: mount.join(path) })
    }

    /// Makes `path` below `mount` and what is missing above it.
    ///
    /// `visit` sees each directory on the way, from the mount to the last: whether it was made, and its parent.
    /// Returns the last, and whether it was made.
    pub(super) fn make(
        root: &Root,
        mount: &Path,
        path: &Path,
        mut visit: impl FnMut(Step<'_>) -> Result<()>,
    ) -> Result<(Dir, bool)> {
        let mut races = 0;
        loop {
            match Dir::descend(root, mount, path, &mut visit) {
                // The last container in a directory on the way left, and took it along.
                Err(Error::Io { cause, .. }) if is_gone(&cause) && races < RACES => races += 1,
                done => return done,
            }
        }
    }

    fn descend(
        root: &Root,
        mount: &Path,
        path: &Path,
        visit: &mut impl FnMut(Step<'_>) -> Result<()>,
    ) -> Result<(Dir, bool)> {
        let mut dir = Dir::below(root, mount, Path::new("")).map_err(|e| Error::io("open", mount, e))?;
        let mut made = false;
        let mut names = path.iter().peekable();
        while let Some(name) = names.next() {
            visit(Step::Above(&dir))?;
            let mode = if names.peek().is_some() { ON_THE_WAY } else { LAST };
            let below = dir.path.join(name);
            let (child, new) = dir.make_child(name, mode, &below).map_err(|e| Error::io("create cgroup", below, e))?;
            if let Err(e) = visit(Step::Entered { parent: &dir, child: &child }) {
                if new {
                    // The first failure is the one to tell.
                    let _ = unlink(dir.as_fd(), name);
                }
                return Err(e);
            }
            (dir, made) = (child, new);
        }
        Ok((dir, made))
    }

    fn make_child(&self, name: &OsStr, mode: Mode, path: &Path) -> io::Result<(Dir, bool)> {
        let made = match rustix::fs::mkdirat(&self.fd, name, mode) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(e) => return Err(e.into()),
        };
        match Dir::open(self.fd.as_fd(), name, path.to_owned()) {
            Ok(dir) => Ok((dir, made)),
            Err(e) => {
                if made {
                    // The first failure is the one to tell.
                    let _ = unlink(self.as_fd(), name);
                }
                Err(e)
            }
        }
    }

    pub(super) fn read(&self, file: &str) -> io::Result<String> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        read_kernels(File::from(rustix::fs::openat(&self.fd, file, flags, Mode::empty())?))
    }

    /// One `write(2)`, as these files want it.
    pub(super) fn write(&self, file: &str, value: &str) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.fd, file, flags, Mode::empty())?;
        rustix::io::write(file, value.as_bytes())?;
        Ok(())
    }

    /// The processes in this cgroup itself. Those outside our PID namespace read as 0 and are left out.
    pub(super) fn processes(&self) -> io::Result<Vec<i32>> {
        let text = self.read("cgroup.procs")?;
        Ok(text.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid != 0).collect())
    }

    /// The cgroups directly below.
    pub(super) fn children(&self) -> io::Result<Vec<Dir>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let list = rustix::fs::openat(&self.fd, ".", flags, Mode::empty())?;
        let mut children = Vec::new();
        for entry in rustix::fs::Dir::new(list)? {
            let entry = entry?;
            let name = OsStr::new(entry.file_name().to_str().unwrap_or("."));
            if entry.file_type() == rustix::fs::FileType::Directory && name != "." && name != ".." {
                match Dir::open(self.fd.as_fd(), name, self.path.join(name)) {
                    Ok(child) => children.push(child),
                    Err(e) if is_gone(&e) => {}
                    Err(e) => return Err(e),
                }
            }
        }
        Ok(children)
    }

    /// Calls `see` for this cgroup and everything below it, deepest first. What vanishes meanwhile is skipped.
    pub(super) fn walk(&self, see: &mut impl FnMut(&Dir) -> io::Result<()>) -> io::Result<()> {
        let children = match self.children() {
            Err(e) if is_gone(&e) => return Ok(()),
            children => children?,
        };
        children.iter().try_for_each(|child| child.walk(see))?;
        match see(self) {
            Err(e) if is_gone(&e) => Ok(()),
            seen => seen,
        }
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What [`Dir::make`] shows on its way down.
pub(super) enum Step<'a> {
    /// A child of this one comes next.
    Above(&'a Dir),
    /// `child` is there, made or found.
    Entered { parent: &'a Dir, child: &'a Dir },
}

/// Removes the cgroup `path` and what is below it.
///
/// # Errors
/// `EBUSY` while there are processes.
pub(super) fn remove(root: &Root, mount: &Path, path: &Path) -> io::Result<()> {
    let (parent, name) = match root.parent(path) {
        Err(e) if is_gone(&e) => return Ok(()),
        found => found?,
    };
    match unlink(parent.as_fd(), name) {
        Err(e) if e.raw_os_error() == Some(Errno::BUSY.raw_os_error()) => {}
        done => return done,
    }
    // Busy with processes, or with cgroups that the container made.
    remove_below(&Dir::below(root, mount, path)?)?;
    unlink(parent.as_fd(), name)
}

fn remove_below(dir: &Dir) -> io::Result<()> {
    for child in dir.children()? {
        remove_below(&child)?;
        unlink(dir.as_fd(), child.path.file_name().unwrap_or_default())?;
    }
    Ok(())
}

/// Removes the directories above `path` that carry our mark and are empty.
pub(super) fn remove_made_parents(root: &Root, path: &Path) {
    for above in path.ancestors().skip(1).take_while(|p| !p.as_os_str().is_empty()) {
        // Any failure means that it is in use, or gone: either way not ours to remove any more.
        let removed = is_made(root, above).and_then(|made| match made {
            true => root.parent(above).and_then(|(parent, name)| unlink(parent.as_fd(), name)),
            false => Err(Errno::PERM.into()),
        });
        if removed.is_err() {
            return;
        }
    }
}

/// Whether the cgroup `path` was made on the way to another.
fn is_made(root: &Root, path: &Path) -> io::Result<bool> {
    Ok(Mode::from_raw_mode(root.lstat(path)?.st_mode).contains(Mode::SVTX))
}

fn unlink(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT | Errno::NODEV) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// A removed cgroup reads as either, depending on who looks through what.
pub(super) fn is_gone(e: &io::Error) -> bool {
    [Errno::NOENT, Errno::NODEV].iter().any(|gone| e.raw_os_error() == Some(gone.raw_os_error()))
}
