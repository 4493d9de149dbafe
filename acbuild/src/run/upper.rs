//! Reading the upper layer of an overlay mount that a command has written to.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use appc_image::stack;
use appc_rooted::{OFlags, Root};
use rustix::fs::{AtFlags, FileType, Stat, Timespec, Timestamps, UTIME_OMIT};

use super::deleted::Deleted;
use super::steps::Step;
use crate::error::{Error, Result};
use crate::install::list;

/// The stack that the layer lay on.
pub(crate) struct Below<'r> {
    /// The build's own files: the topmost.
    pub(crate) own: &'r Root,
    /// The dependencies, the lowest first.
    pub(crate) dependencies: &'r [Root],
}

/// What a command has changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Changes {
    /// In the build's own files.
    pub(crate) steps: Vec<Step>,
    /// All that is deleted of the dependencies from now on.
    pub(crate) deleted: Deleted,
}

impl Changes {
    /// Has the build's own files at `paths` go as well, where the command has not changed anything.
    pub(crate) fn remove_also(&mut self, mut paths: Vec<PathBuf>) {
        let changed = |path: &Path| {
            self.steps.iter().any(|step| match step {
                Step::Remove(_) => false,
                Step::Put(there) | Step::Like(there, _) => there.starts_with(path),
            })
        };
        paths.retain(|path| !changed(path));
        self.steps.splice(0..0, paths.into_iter().map(Step::Remove));
    }
}

/// Finds out what `upper` says of the stack `below`, of which `deleted` is deleted already. What only means something to
/// overlay mounts is taken out of `upper`: the rest is what steps move. `removed` is what it does not say.
pub(crate) fn read(upper: &Root, below: &Below<'_>, deleted: Deleted, removed: &[PathBuf]) -> Result<Changes> {
    let mut reader = Reader { upper, below, changes: Changes { steps: Vec::new(), deleted } };
    let top = Path::new("");
    for path in removed {
        let gone = reader.removed(path, Place::InBoth);
        gone.map_err(|e| Error::io("read", Path::new("/").join(path))(e))?;
    }
    let time = reader.directory(top, Place::InBoth)?;
    reader.changes.steps.push(Step::Like(top.into(), time));
    Ok(reader.changes)
}

/// Where a directory of the upper layer is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The build has it, too: it is changed.
    InBoth,
    /// The build has none: it is moved as a whole.
    Moved,
}

struct Reader<'r> {
    upper: &'r Root,
    below: &'r Below<'r>,
    changes: Changes,
}

impl Reader<'_> {
    /// Reads a directory and everything below it, and returns how old it is. No path is longer than the kernel takes, so
    /// this does not go too deep.
    fn directory(&mut self, path: &Path, place: Place) -> Result<(i64, i64)> {
        let fail = |e: io::Error| Error::io("read", Path::new("/").join(path))(e);
        let names = list(self.upper, path).map_err(fail)?;
        let directory = open(self.upper, path).map_err(fail)?;
        let before = rustix::fs::fstat(&directory).map_err(|e| fail(e.into()))?;
        stack::strip_directory(&directory).map_err(fail)?;
        let mut emptied = false;
        for name in names {
            let child = path.join(&name);
            let stat = rustix::fs::statat(&directory, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(|e| fail(e.into()))?;
            if stack::is_whiteout(&stat) {
                rustix::fs::unlinkat(&directory, &name, AtFlags::empty()).map_err(|e| fail(e.into()))?;
                emptied = true;
                self.removed(&child, place).map_err(fail)?;
            } else if is_directory(&stat) {
                self.child(&child, place)?;
            } else {
                stack::strip(&directory, name.as_bytes()).map_err(fail)?;
                self.changes.deleted.forget(&child);
                self.put(&child, place);
            }
        }
        if emptied {
            set_time(directory.as_fd(), &before).map_err(fail)?;
        }
        Ok((before.st_mtime, before.st_mtime_nsec.cast_signed()))
    }

    fn child(&mut self, child: &Path, place: Place) -> Result<()> {
        let fail = |e: io::Error| Error::io("read", Path::new("/").join(child))(e);
        let opaque = stack::is_opaque(open(self.upper, child).map_err(fail)?).map_err(fail)?;
        let there = place == Place::InBoth && self.below.own.lstat(child).is_ok_and(|stat| is_directory(&stat));
        if there && !opaque {
            let time = self.directory(child, Place::InBoth)?;
            self.changes.steps.push(Step::Like(child.into(), time));
            return Ok(());
        }
        if opaque {
            self.changes.deleted.forget(child);
            self.delete(child).map_err(fail)?;
        }
        self.directory(child, Place::Moved)?;
        self.put(child, place);
        Ok(())
    }

    fn put(&mut self, path: &Path, place: Place) {
        if place == Place::InBoth {
            self.changes.steps.push(Step::Put(path.into()));
        }
    }

    fn removed(&mut self, path: &Path, place: Place) -> io::Result<()> {
        if place == Place::InBoth && self.below.own.lstat(path).is_ok() {
            self.changes.steps.push(Step::Remove(path.into()));
        }
        self.delete(path)
    }

    /// Deletes what the dependencies have there, if they have something.
    fn delete(&mut self, path: &Path) -> io::Result<()> {
        if stack::shows(self.below.dependencies, path)? {
            self.changes.deleted.insert(path);
        }
        Ok(())
    }
}

fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

fn open(root: &Root, path: &Path) -> io::Result<OwnedFd> {
    root.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW)
}

/// A directory is as old as the command left it, whatever was taken out of it since.
fn set_time(directory: BorrowedFd<'_>, stat: &Stat) -> io::Result<()> {
    let omit = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let modified = Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ };
    Ok(rustix::fs::futimens(directory, &Timestamps { last_access: omit, last_modification: modified })?)
}
