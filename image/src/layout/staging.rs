//! Blobs on their way into the directory of a layout: they are there when the image is, and nothing is left of one that never
//! will be.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{FlockOperation, flock};

use super::blob_path;
use super::new_file::{Complete, NewFile, NewFiles};
use crate::oci::Digest;
use crate::{Error, Result};

/// How the names begin that are none of a layout's.
pub(crate) const TEMPORARY: &str = ".tmp-";

/// Blobs that will be in `dir`, gone with it.
#[derive(Debug)]
pub(super) struct Staging {
    dir: PathBuf,
    /// Gone before the directories that were made for them.
    files: Option<NewFiles>,
    blobs: Mutex<BTreeMap<Digest, Complete>>,
    /// The directories that were not there before, the deepest first.
    made: Vec<PathBuf>,
}

impl Staging {
    /// Begins in `dir`, which is made when there is none, and removes there what killed processes left.
    pub(super) fn begin(dir: &Path) -> Result<Staging> {
        let made: Vec<PathBuf> = dir.ancestors().take_while(|above| is_missing(above)).map(Path::to_owned).collect();
        let staging = Staging { dir: dir.to_owned(), files: Some(NewFiles::new(dir)), blobs: Mutex::default(), made };
        fs::create_dir_all(dir).map_err(Error::io(format!("make {}", dir.display())))?;
        staging.files.iter().for_each(NewFiles::clean);
        Ok(staging)
    }

    fn blobs(&self) -> MutexGuard<'_, BTreeMap<Digest, Complete>> {
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the blob is on its way.
    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.blobs().contains_key(digest)
    }

    /// A file for a blob, or for what is said of all.
    pub(super) fn file(&self) -> Result<NewFile> {
        let file = || self.files.as_ref().map_or_else(|| NewFiles::new(&self.dir).file(), NewFiles::file);
        match file() {
            Err(e) if e.io_kind() == Some(io::ErrorKind::NotFound) => {
                self.make_again()?;
                file()
            }
            made => made,
        }
    }

    /// Another process, which had made the directory, has removed it as its image came to nothing.
    fn make_again(&self) -> Result<()> {
        fs::create_dir_all(&self.dir).map_err(Error::io(format!("make {}", self.dir.display())))
    }

    /// Locks the directory: two that finish at once must not lose each other's image.
    pub(super) fn lock(&self) -> Result<File> {
        let failed = || Error::io(format!("lock {}", self.dir.display()));
        loop {
            match File::open(&self.dir) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => self.make_again()?,
                Err(e) => return Err(failed()(e)),
                Ok(lock) => {
                    flock(&lock, FlockOperation::LockExclusive).map_err(|errno| failed()(errno.into()))?;
                    if is_at(&lock, &self.dir) {
                        return Ok(lock);
                    }
                }
            }
        }
    }

    /// The file has all of the blob.
    pub(super) fn keep(&self, digest: &Digest, file: NewFile) {
        self.blobs().insert(digest.clone(), file.complete());
    }

    /// Puts the blobs where the layout has them.
    pub(super) fn place(&self) -> Result<()> {
        let mut blobs = self.blobs();
        while let Some((digest, blob)) = blobs.pop_first() {
            let path = self.dir.join(blob_path(&digest));
            let above = path.parent().unwrap_or(&self.dir);
            let placed = fs::create_dir_all(above).and_then(|()| blob.publish(&path));
            placed.map_err(Error::io(format!("write {}", path.display())))?;
        }
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        drop(self.files.take());
        for dir in &self.made {
            // What has become a layout, ours or that of another process, is not empty.
            if remove_unused(dir).is_err() {
                break;
            }
        }
    }
}

fn is_missing(path: &Path) -> bool {
    !path.as_os_str().is_empty()
        && fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Removes an empty directory, unless somebody is about to put something into it.
fn remove_unused(dir: &Path) -> io::Result<()> {
    let lock = File::open(dir)?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
    fs::remove_dir(dir)
}

/// Whether the open directory still has its name.
fn is_at(open: &File, path: &Path) -> bool {
    let id = |meta: fs::Metadata| (meta.dev(), meta.ino());
    open.metadata().map(id).ok() == fs::metadata(path).map(id).ok()
}
