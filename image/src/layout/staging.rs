//! Blobs on their way into the directory of a layout: they are there when the image is, and nothing is left of one that never
//! will be.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::{TempDir, TempPath};

use super::blob_path;
use super::write::temporary_in;
use crate::oci::Digest;
use crate::{Error, Result};

/// How the names begin that are none of a layout's.
pub(super) const TEMPORARY: &str = ".tmp-";

/// A place in `dir`, gone with what is still in it.
#[derive(Debug)]
pub(super) struct Staging {
    dir: PathBuf,
    place: Option<TempDir>,
    blobs: Mutex<BTreeSet<Digest>>,
    /// The directories that were not there before, the deepest first.
    made: Vec<PathBuf>,
}

impl Staging {
    /// Begins in `dir`, which is made when there is none.
    pub(super) fn begin(dir: &Path) -> Result<Staging> {
        let made: Vec<PathBuf> = dir.ancestors().take_while(|above| is_missing(above)).map(Path::to_owned).collect();
        let mut staging = Staging { dir: dir.to_owned(), place: None, blobs: Mutex::default(), made };
        fs::create_dir_all(dir).map_err(Error::io(format!("make {}", dir.display())))?;
        let place =
            tempfile::Builder::new().prefix(TEMPORARY).permissions(Permissions::from_mode(0o700)).tempdir_in(dir);
        staging.place = Some(place.map_err(Error::io(format!("make a directory in {}", dir.display())))?);
        Ok(staging)
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        self.place.as_ref().map_or_else(|| self.dir.join(&name), |place| place.path().join(&name))
    }

    fn blobs(&self) -> MutexGuard<'_, BTreeSet<Digest>> {
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the blob is on its way.
    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.blobs().contains(digest)
    }

    /// A file for a blob.
    pub(super) fn file(&self) -> Result<(File, TempPath)> {
        temporary_in(self.place.as_ref().map_or(&self.dir, |place| place.path()))
    }

    /// The file has all of the blob.
    pub(super) fn keep(&self, digest: &Digest, file: TempPath) -> Result<()> {
        let path = self.path(digest);
        file.persist(&path).map_err(|e| Error::io(format!("write {}", path.display()))(e.error))?;
        self.blobs().insert(digest.clone());
        Ok(())
    }

    /// Puts the blobs where the layout has them.
    pub(super) fn place(&self) -> Result<()> {
        let mut blobs = self.blobs();
        while let Some(digest) = blobs.pop_first() {
            let path = self.dir.join(blob_path(&digest));
            let above = path.parent().unwrap_or(&self.dir);
            let placed = fs::create_dir_all(above).and_then(|()| fs::rename(self.path(&digest), &path));
            placed.map_err(Error::io(format!("write {}", path.display())))?;
        }
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        drop(self.place.take());
        for dir in &self.made {
            // What has become a layout, ours or that of another process, is not empty.
            if fs::remove_dir(dir).is_err() {
                break;
            }
        }
    }
}

fn is_missing(path: &Path) -> bool {
    !path.as_os_str().is_empty()
        && fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}
