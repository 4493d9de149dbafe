//! Directories for the time of a command, among the temporary files.
//!
//! Each is locked with flock(2) for as long as the command lives or anything that it has started, which inherits the
//! lock. One that nobody holds was left by a command that was killed: it goes when the next one is made.

use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use appc_image::store::remove_tree;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::context::is_at;
use crate::error::{Error, Result};

/// What their names begin with.
const PREFIX: &str = "acbuild-";
/// What follows: whose they are, for people.
const KINDS: [&str; 5] = ["script-", "modify-", "verify-", "diff-", "ended-"];

/// A directory that goes with this value.
#[derive(Debug)]
pub(crate) struct Temporary {
    path: PathBuf,
    lock: File,
}

impl Temporary {
    /// Makes one, and removes what earlier ones have left.
    pub(crate) fn new(kind: &str) -> Result<Temporary> {
        Temporary::new_in(&std::env::temp_dir(), kind)
    }

    /// The same in a directory for such.
    pub(crate) fn new_in(place: &Path, kind: &str) -> Result<Temporary> {
        collect(place);
        let prefix = format!("{PREFIX}{kind}-");
        loop {
            let mut builder = tempfile::Builder::new();
            let made = builder.prefix(&prefix).permissions(fs::Permissions::from_mode(0o700)).tempdir_in(place);
            let path = made.map_err(Error::io("create a directory in", place))?.keep();
            // Between the two, somebody else may have found it without a lock, and removed it.
            let lock = match open(&path) {
                Err(Errno::NOENT) => continue,
                opened => opened.map_err(|e| Error::io("open", &path)(e.into()))?,
            };
            if lock_now(&lock) && is_at(&lock, &path)? {
                return Ok(Temporary { path, lock });
            }
        }
    }

    /// Removes it before its time.
    pub(crate) fn remove(&self) -> Result<()> {
        remove_tree(&self.path).map_err(Error::io("remove", &self.path))
    }

    /// What holds its lock.
    pub(crate) fn lock(&self) -> BorrowedFd<'_> {
        self.lock.as_fd()
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // What cannot be removed now is for the next command to remove.
        let _ = remove_tree(&self.path);
    }
}

/// Opens a directory so that programs that are started have it open, too.
fn open(path: &Path) -> Result<File, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    rustix::fs::open(path, flags, Mode::empty()).map(|fd: OwnedFd| File::from(fd))
}

/// Whether nobody else has the lock.
fn lock_now(directory: &File) -> bool {
    rustix::fs::flock(directory, FlockOperation::NonBlockingLockExclusive).is_ok()
}

/// Removes what commands have left that were killed. Whatever is in the way is another's business, or the next one's.
fn collect(place: &Path) {
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let kind = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if kind.is_some_and(|kind| KINDS.iter().any(|known| kind.starts_with(known))) {
            let path = entry.path();
            let Ok(directory) = open(&path) else { continue };
            if is_ours(&directory) && lock_now(&directory) && is_at(&directory, &path).unwrap_or(false) {
                let _ = remove_tree(&path);
            }
        }
    }
}

/// Whether this user made it, for nobody else.
fn is_ours(directory: &File) -> bool {
    let me = rustix::process::geteuid().as_raw();
    directory.metadata().is_ok_and(|found| found.uid() == me && found.mode() & 0o7777 == 0o700)
}
