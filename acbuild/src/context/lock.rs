//! The directory `.acbuild` and its lock.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use super::{
    BUILD_MODE, CACHE, HISTORY, MEASURE, NAME, NEW_CACHE, NEW_MANIFEST, NEW_MEASURE, TOUCHED, files, remove_tree,
};
use crate::cache::State;
use crate::document::Mode;
use crate::error::{Error, Result};
use crate::output;

/// Everything that may be in the directory, the original program's leavings too: in this order it is removed.
const ENTRIES: [&str; 17] = [
    BUILD_MODE,
    CACHE,
    NEW_CACHE,
    HISTORY,
    NEW_MANIFEST,
    MEASURE,
    NEW_MEASURE,
    TOUCHED,
    "deleted",
    "staging",
    "currentaci",
    "layers",
    "target",
    "work",
    "depstore-tar",
    "depstore-expanded",
    "ociblobs",
];
pub(super) const LOCK: &str = "lock";
/// For how long nothing is said of waiting for another command, in hundredths of a second.
const SILENCE: u32 = 50;

/// What a command is going to do with the build.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Look at what is said of it, which is as it was while others change it.
    Look,
    /// Look at it, beside others who look.
    Read,
    /// Change it, alone.
    Change,
}

/// The build's directory, locked for as long as this lives.
#[derive(Debug)]
pub(super) struct Locked {
    pub(super) dir: PathBuf,
    pub(super) _lock: File,
    /// Somebody else has it, to change the build.
    pub(super) busy: bool,
}

impl Locked {
    /// Waits for the lock. `Ok(None)` when there is no directory, or it went away while waiting.
    pub(super) fn wait(work_path: &Path, access: Access) -> Result<Option<Locked>> {
        loop {
            let Some((dir, lock)) = open_lock(work_path, access)? else { return Ok(None) };
            let busy = take(&lock, access, &dir).map_err(|e| Error::io("lock", dir.join(LOCK))(e.into()))?;
            if is_at(&lock, &dir.join(LOCK))? {
                return Ok(Some(Locked { dir, _lock: lock, busy }));
            }
        }
    }

    /// What kind of image is built here; nothing when there is no build.
    pub(super) fn mode(&self) -> Result<Option<Mode>> {
        match files::read(&self.dir, BUILD_MODE) {
            // Killed while writing it.
            Ok(mode) if mode.is_empty() => Ok(None),
            Ok(mode) => match std::str::from_utf8(&mode).ok().and_then(Mode::parse) {
                Some(mode) => Ok(Some(mode)),
                None => {
                    let mode = mode.escape_ascii();
                    Err(Error::Refused(format!("the build mode is \"{mode}\", and only appc and oci are supported")))
                }
            },
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io("read", self.dir.join(BUILD_MODE))(e)),
        }
    }

    /// The state of the build's cache, if it has one.
    pub(super) fn state(&self) -> Result<Option<State>> {
        match files::read(&self.dir, CACHE) {
            Ok(bytes) => Ok(Some(State::parse(&bytes)?)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io("read", self.dir.join(CACHE))(e)),
        }
    }

    /// Removes everything but the lock, the sign that there is a build first.
    pub(super) fn clear(&self) -> Result<()> {
        for name in ENTRIES {
            remove_tree(self.dir.join(name))?;
        }
        Ok(())
    }

    /// Removes the directory. The lock goes last, as others wait on it.
    pub(super) fn remove(&self) -> Result<()> {
        self.clear()?;
        let lock = self.dir.join(LOCK);
        fs::remove_file(&lock).map_err(Error::io("remove", lock))?;
        fs::remove_dir(&self.dir).map_err(Error::io("remove", &self.dir))
    }
}

/// Takes the lock of the build in `dir`, and tells whether it was left to somebody else who changes the build.
fn take(lock: &File, access: Access, dir: &Path) -> Result<bool, Errno> {
    let flock = |operation| rustix::io::retry_on_intr(|| rustix::fs::flock(lock, operation));
    let (at_once, waiting) = match access {
        Access::Look | Access::Read => (FlockOperation::NonBlockingLockShared, FlockOperation::LockShared),
        Access::Change => (FlockOperation::NonBlockingLockExclusive, FlockOperation::LockExclusive),
    };
    for _ in 0..SILENCE {
        match flock(at_once) {
            Err(Errno::WOULDBLOCK) if access == Access::Look => return Ok(true),
            Err(Errno::WOULDBLOCK) => std::thread::sleep(Duration::from_millis(10)),
            taken => return taken.map(|()| false),
        }
    }
    output::note(format_args!("waiting for another command of the build in {}", dir.display()));
    flock(waiting).map(|()| false)
}

/// Whether `dir` holds anything that no build made.
pub(super) fn has_foreign_entry(dir: &Path) -> Result<bool> {
    for entry in fs::read_dir(dir).map_err(Error::io("read", dir))? {
        let name = entry.map_err(Error::io("read", dir))?.file_name();
        if name != LOCK && !ENTRIES.iter().any(|known| name == *known) {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(super) fn foreign(dir: &Path) -> Error {
    Error::Refused(format!("{} holds files that acbuild did not make: remove it by hand", dir.display()))
}

/// Opens the lock file of the build below `work_path`, unless there is none.
fn open_lock(work_path: &Path, access: Access) -> Result<Option<(PathBuf, File)>> {
    let dir = work_path.join(NAME);
    let path = dir.join(LOCK);
    // NFS locks exclusively only what is open for writing.
    let opened = files::open_lock(&path, OpenOptions::new().read(true).write(access == Access::Change));
    match opened {
        Ok(lock) => Ok(Some((dir, lock))),
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("lock", path)(e)),
        // A build of the original program has a lock file only while a command runs.
        Err(_) if dir.join(BUILD_MODE).exists() => {
            create_lock(&path)?;
            open_lock(work_path, access)
        }
        Err(_) => Ok(None),
    }
}

pub(super) fn create_lock(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o644);
    files::open_lock(path, &mut options).map_err(Error::io("lock", path))
}

/// Whether `path` still leads to the open file.
pub(crate) fn is_at(file: &File, path: &Path) -> Result<bool> {
    let ours = file.metadata().map_err(Error::io("lock", path))?;
    match fs::metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Error::io("lock", path)(e)),
    }
}
