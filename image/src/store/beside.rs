//! A directory beside the one that it is to become, and what killed processes left of such.
//!
//! ```text
//! .extract-<pid>-<n>         the new directory, until it is whole
//! .extract-<pid>-<n>.old     what it replaces, where the two cannot be exchanged
//! .extract-<pid>-<n>.lock    says whose the two are; locked while somebody works on them
//! ```
//! They lie in somebody's folder, where a name proves nothing: only a lock file of this user, with our words in it, that nobody
//! holds shows that the two have been left.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::lookup::entries;
use super::{IoContext, remove_tree, work};
use crate::error::Result;

const PREFIX: &str = ".extract-";
const WORDS: &[u8] =
    b"Made by rkt while it extracts an image. Both go when it is done, or when the next image comes here.\n";

/// An empty directory and a name for another one, which are removed at the end, whatever is in them.
pub(super) struct Beside {
    path: PathBuf,
    _lock: File,
}

impl Beside {
    /// Makes them in the directory `above`, and removes there what killed processes left.
    pub(super) fn new(above: &Path) -> Result<Beside> {
        for name in entries(above)?.iter().filter(|name| name.starts_with(PREFIX) && name.ends_with(".lock")) {
            // What cannot be removed is in nobody's way.
            let _ = remove_left(&above.join(name));
        }
        let make = |path: &Path| match path.exists() {
            true => Err(io::ErrorKind::AlreadyExists.into()),
            false => File::create_new(lock_of(path)).map(drop),
        };
        let path = work::fresh(above, PREFIX, make).on("write to", above)?;
        let lock = || {
            let mut lock = File::options().write(true).open(lock_of(&path))?;
            work::flock(&lock, FlockOperation::LockExclusive)?;
            lock.write_all(WORDS)?;
            fs::create_dir(&path)?;
            Ok(lock)
        };
        let lock = lock().on("write to", above)?;
        Ok(Beside { path, _lock: lock })
    }

    pub(super) fn new_dir(&self) -> &Path {
        &self.path
    }

    /// A name for what is replaced.
    pub(super) fn old_dir(&self) -> PathBuf {
        old_of(&self.path)
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // What cannot be removed now goes with the next one here.
        let _ = remove(&self.path);
    }
}

fn lock_of(path: &Path) -> PathBuf {
    path.with_extension("lock")
}

fn old_of(path: &Path) -> PathBuf {
    path.with_extension("old")
}

/// Removes what belongs to the lock file `path`, if it has been left.
fn remove_left(path: &Path) -> io::Result<()> {
    let lock = work::open(path)?;
    match work::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
        locked => locked?,
    }
    let mut words = Vec::new();
    (&lock).take(WORDS.len() as u64 + 1).read_to_end(&mut words)?;
    let own = lock.metadata()?.uid() == rustix::process::geteuid().as_raw();
    match own && words == WORDS && work::still_at(&lock, path)? {
        true => remove(&path.with_extension("")),
        false => Ok(()),
    }
}

/// Last the lock file, without which nobody would know whose the rest is.
fn remove(path: &Path) -> io::Result<()> {
    remove_tree::remove(path)?;
    remove_tree::remove(&old_of(path))?;
    fs::remove_file(lock_of(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_is_removed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let above = dir.path();
        let living = Beside::new(above).unwrap();
        fs::create_dir_all(above.join(".extract-1-0/rootfs/etc")).unwrap();
        fs::create_dir_all(above.join(".extract-1-0.old/rootfs")).unwrap();
        fs::write(lock_of(&above.join(".extract-1-0")), WORDS).unwrap();
        // As the user may call things, too.
        for name in [".extract-2-0", ".extract-3-0"] {
            fs::create_dir(above.join(name)).unwrap();
        }
        fs::write(lock_of(&above.join(".extract-2-0")), "my own words").unwrap();
        std::os::unix::fs::symlink(".extract-1-0.lock", lock_of(&above.join(".extract-3-0"))).unwrap();
        drop(Beside::new(above).unwrap());
        let mut names = entries(above).unwrap();
        names.sort();
        assert!(living.new_dir().is_dir());
        drop(living);
        names.retain(|name| above.join(name).symlink_metadata().is_ok());
        assert_eq!(names, [".extract-2-0", ".extract-2-0.lock", ".extract-3-0", ".extract-3-0.lock"]);
    }
}
