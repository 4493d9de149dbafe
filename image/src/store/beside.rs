//! A directory beside what it, or something in it, is to become, and what killed processes left of such.
//!
//! ```text
//! .extract-<pid>-<n>         the new directory, until it is whole
//! .extract-<pid>-<n>.old     what it replaces, where the two cannot be exchanged
//! .extract-<pid>-<n>.lock    says whose the two are; locked while somebody works on them
//! ```
//! For images that are written the names begin in another way, see [`Kind`].
//!
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

/// What such directories are for.
pub(crate) struct Kind {
    /// How their names begin.
    prefix: &'static str,
    /// What their lock files say.
    words: &'static [u8],
}

/// For an image that is extracted.
pub(super) const EXTRACT: Kind = Kind {
    prefix: ".extract-",
    words: b"Made by rkt while it extracts an image. Both go when it is done, or when the next image comes here.\n",
};

/// For an image that is written to a layout or an archive of one.
pub(crate) const WRITE: Kind = Kind {
    prefix: crate::layout::TEMPORARY,
    words: b"Made while an image is written here. Both go when that is done, or when the next image is written.\n",
};

/// An empty directory and a name for another one, which are removed at the end, whatever is in them.
#[derive(Debug)]
pub(crate) struct Beside {
    path: PathBuf,
    _lock: File,
}

impl Beside {
    /// Makes them in the directory `above`, and removes there what killed processes left.
    pub(crate) fn new(above: &Path, kind: &Kind) -> Result<Beside> {
        clean(above, kind)?;
        let make = |path: &Path| match path.exists() {
            true => Err(io::ErrorKind::AlreadyExists.into()),
            false => File::create_new(lock_of(path)).map(drop),
        };
        let path = work::fresh(above, kind.prefix, make).on("write to", above)?;
        let lock = || {
            let mut lock = File::options().write(true).open(lock_of(&path))?;
            work::flock(&lock, FlockOperation::LockExclusive)?;
            lock.write_all(kind.words)?;
            fs::create_dir(&path)?;
            Ok(lock)
        };
        let lock = lock().on("write to", above)?;
        Ok(Beside { path, _lock: lock })
    }

    pub(crate) fn new_dir(&self) -> &Path {
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

/// Removes in the directory `above` what killed processes left.
pub(crate) fn clean(above: &Path, kind: &Kind) -> Result<()> {
    for name in entries(above)?.iter().filter(|name| name.starts_with(kind.prefix) && name.ends_with(".lock")) {
        // What cannot be removed is in nobody's way.
        let _ = remove_left(&above.join(name), kind.words);
    }
    Ok(())
}

fn lock_of(path: &Path) -> PathBuf {
    path.with_extension("lock")
}

fn old_of(path: &Path) -> PathBuf {
    path.with_extension("old")
}

/// Removes what belongs to the lock file `path`, if it has been left.
fn remove_left(path: &Path, words: &[u8]) -> io::Result<()> {
    let lock = work::open(path)?;
    match work::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
        locked => locked?,
    }
    let mut said = Vec::new();
    (&lock).take(words.len() as u64 + 1).read_to_end(&mut said)?;
    let own = lock.metadata()?.uid() == rustix::process::geteuid().as_raw();
    match own && said == words && work::still_at(&lock, path)? {
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
        let living = Beside::new(above, &EXTRACT).unwrap();
        fs::create_dir_all(above.join(".extract-1-0/rootfs/etc")).unwrap();
        fs::create_dir_all(above.join(".extract-1-0.old/rootfs")).unwrap();
        fs::write(lock_of(&above.join(".extract-1-0")), EXTRACT.words).unwrap();
        // As the user may call things, too.
        for name in [".extract-2-0", ".extract-3-0"] {
            fs::create_dir(above.join(name)).unwrap();
        }
        fs::write(lock_of(&above.join(".extract-2-0")), "my own words").unwrap();
        std::os::unix::fs::symlink(".extract-1-0.lock", lock_of(&above.join(".extract-3-0"))).unwrap();
        drop(Beside::new(above, &EXTRACT).unwrap());
        let mut names = entries(above).unwrap();
        names.sort();
        assert!(living.new_dir().is_dir());
        drop(living);
        names.retain(|name| above.join(name).symlink_metadata().is_ok());
        assert_eq!(names, [".extract-2-0", ".extract-2-0.lock", ".extract-3-0", ".extract-3-0.lock"]);
    }
}
