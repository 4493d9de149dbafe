//! Directories for work on its way, which tell the living from what a killed process left.

use std::fs::{self, DirBuilder, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FlockOperation, Mode, OFlags};

use super::{IoContext, Store, remove_tree};
use crate::error::Result;

/// What directories of this kind are called; others may use `tmp/` too.
const PREFIX: &str = "store-";

/// A directory below `tmp/`, locked while it is worked in, removed with everything in it when dropped.
#[derive(Debug)]
pub(crate) struct WorkDir {
    path: PathBuf,
    /// It stays when it is dropped, for the next who does the same.
    left: bool,
    _lock: File,
}

impl WorkDir {
    pub(crate) fn new(store: &Store) -> Result<WorkDir> {
        let tmp = store.dir.join("tmp");
        if !tmp.exists() && store.dir.join("store").is_dir() {
            super::make_dir(&tmp, 0o700)?;
        }
        loop {
            let path = fresh(&tmp, PREFIX, |path| DirBuilder::new().mode(0o700).create(path)).on("write to", &tmp)?;
            // Between its making and its locking it looks abandoned: when it was taken for that, make another.
            if let Some(lock) = try_lock(&path).on("lock", &path)? {
                return Ok(WorkDir { path, left: false, _lock: lock });
            }
            let _ = fs::remove_dir(&path);
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves it as a killed process would.
    pub(super) fn leave(mut self) {
        self.left = true;
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        if !self.left {
            // What cannot be removed now is found by the next gc.
            let _ = remove_tree::remove(&self.path);
        }
    }
}

/// A name below `tmp/` that one at a time has. What a killed process leaves of it is collected as its directories are.
#[derive(Debug)]
pub(super) struct Turn {
    path: PathBuf,
    _lock: File,
}

impl Turn {
    /// Waits until nobody else has the name.
    pub(super) fn take(store: &Store, name: &str) -> Result<Turn> {
        let path = store.dir.join("tmp").join(format!("{PREFIX}{name}"));
        loop {
            let file = File::options().write(true).create(true).truncate(false).open(&path).on("write to", &path)?;
            flock(&file, FlockOperation::LockExclusive).on("lock", &path)?;
            // Whoever had it has removed it.
            if still_at(&file, &path).on("lock", &path)? {
                return Ok(Turn { path, _lock: file });
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // What cannot be removed now is found by the next gc.
        let _ = fs::remove_file(&self.path);
    }
}

/// Removes the directories and names that nobody works with any more, and returns how many.
pub(super) fn remove_abandoned(store: &Store) -> Result<usize> {
    let mut removed = 0;
    each_abandoned(store, |path| {
        removed += 1;
        remove_tree::remove(path).on("remove", path)
    })?;
    Ok(removed)
}

/// Shows `see` the directories that nobody works in any more, and nobody else meanwhile.
pub(super) fn each_abandoned(store: &Store, mut see: impl FnMut(&Path) -> Result<()>) -> Result<()> {
    let tmp = store.dir.join("tmp");
    for entry in super::lookup::entries(&tmp)?.iter().filter(|entry| entry.starts_with(PREFIX)) {
        let path = tmp.join(entry);
        if let Some(_lock) = try_lock(&path).on("lock", &path)? {
            see(&path)?;
        }
    }
    Ok(())
}

/// The lock of the directory `path`, unless somebody holds it or the directory has gone.
fn try_lock(path: &Path) -> io::Result<Option<File>> {
    let Some(file) = found(File::open(path))? else { return Ok(None) };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(e) => Err(e),
        Ok(()) => Ok(still_at(&file, path)?.then_some(file)),
    }
}

/// `flock(2)`, which a signal does not end.
pub(super) fn flock(file: &File, operation: FlockOperation) -> io::Result<()> {
    Ok(rustix::io::retry_on_intr(|| rustix::fs::flock(file, operation))?)
}

/// Whether `path` still names the open `file`.
pub(super) fn still_at(file: &File, path: &Path) -> io::Result<bool> {
    let Some(now) = found(fs::symlink_metadata(path))? else { return Ok(false) };
    let then = file.metadata()?;
    Ok((then.dev(), then.ino()) == (now.dev(), now.ino()))
}

/// A missing file is no error but nothing.
pub(super) fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// How small files of the store are opened: whatever stands in their place must not make anybody wait.
pub(super) const READ: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

/// No small file of the store is larger.
const SMALL: u64 = 512 << 20;

/// Opens a file of the store to read it, whatever size it has.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let file = File::from(rustix::fs::open(path, READ, Mode::empty())?);
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidData, "it is no regular file")),
    }
}

/// Reads a small file of the store. Such are never written to, only replaced.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    Ok(read_open(&File::from(rustix::fs::open(path, READ, Mode::empty())?))?.1)
}

/// Reads one that was opened with [`READ`].
pub(super) fn read_open(file: &File) -> io::Result<(Metadata, Vec<u8>)> {
    let mut text = Vec::new();
    read_open_into(file, &mut text).map(|stat| (stat, text))
}

/// The same, in place of what is in `text`.
pub(super) fn read_open_into(mut file: &File, text: &mut Vec<u8>) -> io::Result<Metadata> {
    let stat = file.metadata()?;
    if !stat.is_file() || stat.len() > SMALL {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no regular file of a sensible size"));
    }
    text.resize(usize::try_from(stat.len()).unwrap_or(0), 0);
    file.read_exact(text)?;
    Ok(stat)
}

/// Makes something with a new name below `dir`. (`tempfile` would put that name into each error.)
pub(super) fn fresh(dir: &Path, prefix: &str, make: impl Fn(&Path) -> io::Result<()>) -> io::Result<PathBuf> {
    static SERIAL: AtomicU64 = AtomicU64::new(0);
    loop {
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let path = dir.join(format!("{prefix}{}-{serial}", std::process::id()));
        match make(&path) {
            // Left by another process of that number, or by one in another pid namespace.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
            done => return done.map(|()| path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_living_are_left_alone_and_the_rest_is_collected() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let living = WorkDir::new(&store).unwrap();
        fs::create_dir_all(dir.path().join("tmp/store-dead/a/b")).unwrap();
        fs::create_dir(dir.path().join("tmp/other")).unwrap();
        assert_eq!(remove_abandoned(&store).unwrap(), 1);
        assert!(living.path().exists() && dir.path().join("tmp/other").exists());
        drop(living);
        assert_eq!(fs::read_dir(dir.path().join("tmp")).unwrap().count(), 1);
    }
}
