//! Files in the making, of which nothing is left when the process is killed: they have no name until they are complete.
//!
//! Where the file system knows no such files they lie in a directory that the next who writes there removes when its maker is
//! gone.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use super::TEMPORARY;
use crate::store::beside::{self, Beside};
use crate::{Error, Result};

/// So many files without a name are open at once: it is not always that a process may have more than 1024 files.
const NAMELESS_MAX: usize = 128;

/// Makes files that will be somewhere in a directory.
#[derive(Debug)]
pub(super) struct NewFiles {
    dir: PathBuf,
    made: AtomicUsize,
    nameless: usize,
    named: Mutex<Option<Beside>>,
}

impl NewFiles {
    /// In `dir`, in which nothing is made yet.
    pub(super) fn new(dir: &Path) -> NewFiles {
        NewFiles { dir: dir.to_owned(), made: AtomicUsize::new(0), nameless: NAMELESS_MAX, named: Mutex::default() }
    }

    /// Removes what killed processes left in the directory.
    pub(super) fn clean(&self) {
        // What cannot be removed is in nobody's way.
        let _ = beside::clean(&self.dir, &beside::WRITE);
    }

    /// A new and empty file.
    pub(super) fn file(&self) -> Result<NewFile> {
        let failed = || Error::io(format!("make a file in {}", self.dir.display()));
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        if number < self.nameless {
            let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
            match rustix::fs::open(&self.dir, flags, Mode::from(0o644)) {
                Ok(file) => return Ok(NewFile { file: file.into(), place: Place::Nameless }),
                Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOSYS | Errno::INVAL) => {}
                Err(errno) => return Err(failed()(errno.into())),
            }
        }
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        let beside = match &mut *named {
            Some(beside) => beside,
            none => none.insert(Beside::new(&self.dir, &beside::WRITE)?),
        };
        let path = beside.new_dir().join(number.to_string());
        let file = File::options().read(true).write(true).create_new(true).mode(0o644).open(&path).map_err(failed())?;
        Ok(NewFile { file, place: Place::Named(path) })
    }
}

/// A file that can be written to.
#[derive(Debug)]
pub(super) struct NewFile {
    pub(super) file: File,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Nameless,
    /// In the directory beside, gone with that.
    Named(PathBuf),
}

impl NewFile {
    /// The file has everything that it will have.
    pub(super) fn complete(self) -> Complete {
        match self.place {
            Place::Nameless => Complete::Nameless(self.file),
            Place::Named(path) => Complete::Named(path),
        }
    }
}

/// A file that waits for its name.
#[derive(Debug)]
pub(super) enum Complete {
    Nameless(File),
    Named(PathBuf),
}

impl Complete {
    /// Gives it the name `target`, in place of what is there.
    pub(super) fn publish(self, target: &Path) -> io::Result<()> {
        match self {
            Complete::Named(path) => fs::rename(path, target),
            Complete::Nameless(file) => match link(&file, target) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => replace(&file, target),
                linked => linked,
            },
        }
    }
}

/// Gives a nameless file a name that is free.
fn link(file: &File, target: &Path) -> io::Result<()> {
    let nameless = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(rustix::fs::linkat(CWD, nameless, CWD, target, AtFlags::SYMLINK_FOLLOW)?)
}

/// Gives a nameless file a name that something has: it needs a name to be renamed, which it has for no longer than that.
fn replace(file: &File, target: &Path) -> io::Result<()> {
    let linked = tempfile::Builder::new().prefix(TEMPORARY).make_in(directory_of(target), |path| link(file, path))?;
    linked.into_temp_path().persist(target).map_err(|e| e.error)
}

/// The directory that a file is in.
pub(super) fn directory_of(file: &Path) -> &Path {
    file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// The names in a directory.
    fn names(dir: &Path) -> Vec<String> {
        let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn files_with_and_without_a_name_are_seen_when_they_are_published() {
        let dir = tempfile::tempdir().unwrap();
        let files = NewFiles { nameless: 1, ..NewFiles::new(dir.path()) };
        let (mut one, mut two) = (files.file().unwrap(), files.file().unwrap());
        one.file.write_all(b"one").unwrap();
        two.file.write_all(b"two").unwrap();
        assert!(names(dir.path()).iter().all(|name| name.starts_with(TEMPORARY)));
        let target = dir.path().join("file");
        for (new, content) in [(one, "one"), (two, "two")] {
            new.complete().publish(&target).unwrap();
            assert_eq!(fs::read_to_string(&target).unwrap(), content);
        }
        files.file().unwrap().complete().publish(&target).unwrap();
        drop(files);
        assert_eq!(names(dir.path()), ["file"]);
    }

    #[test]
    fn what_a_killed_process_left_goes_and_what_somebody_works_on_stays() {
        let dir = tempfile::tempdir().unwrap();
        let files = || NewFiles { nameless: 0, ..NewFiles::new(dir.path()) };
        let living = files();
        let file = living.file().unwrap();
        // As after a kill: the directory stays, and nobody holds the lock.
        let killed = files();
        killed.file().unwrap();
        let (one, other) = (names(dir.path()).len(), dir.path().join("left"));
        assert_eq!(one, 4);
        let left = killed.named.lock().unwrap().as_ref().unwrap().new_dir().to_owned();
        let lock = left.with_extension("lock");
        for (path, copy) in [(&left, other.clone()), (&lock, other.with_extension("lock"))] {
            assert!(std::process::Command::new("cp").arg("-r").args([path, &copy]).status().unwrap().success());
        }
        drop(killed);
        fs::rename(&other, &left).unwrap();
        fs::rename(other.with_extension("lock"), &lock).unwrap();
        files().clean();
        assert!(!left.exists() && !lock.exists());
        file.complete().publish(&dir.path().join("file")).unwrap();
        drop(living);
        assert_eq!(names(dir.path()), ["file"]);
    }
}
