//! What has come of a download, kept for the next attempt.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::cache::Validators;
use crate::error::{Error, Result};
use crate::store::Store;

/// A file on its way: `<path>`, and what the server says of it in `<path>.json`. Locked while it is open, so that of two
/// processes that want the same the second finds what the first has fetched. It stays when the process is killed.
#[derive(Debug)]
pub(super) struct Partial {
    path: PathBuf,
    file: File,
    /// How many bytes have come.
    have: u64,
    about: About,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct About {
    #[serde(flatten)]
    validators: Validators,
    total: Option<u64>,
}

impl Partial {
    /// Opens or makes the file, and waits until nobody else has it.
    pub(super) fn open(path: PathBuf) -> Result<Partial> {
        let what = || format!("write {}", path.display());
        let file = loop {
            let mut options = File::options();
            let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
            let file = file.map_err(Error::io(what()))?;
            rustix::io::retry_on_intr(|| flock(&file, FlockOperation::LockExclusive)).map_err(Error::io(what()))?;
            // Whoever had it may have removed it.
            if is_at(&file, &path).map_err(Error::io(what()))? {
                break file;
            }
        };
        let about = fs::read(about_path(&path)).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let have = if about.is_some() { file.metadata().map_err(Error::io(what()))?.len() } else { 0 };
        Ok(Partial { path, file, have, about: about.unwrap_or_default() })
    }

    pub(super) fn have(&self) -> u64 {
        self.have
    }

    pub(super) fn total(&self) -> Option<u64> {
        self.about.total
    }

    pub(super) fn validators(&self) -> &Validators {
        &self.about.validators
    }

    /// By what the server is to make sure that the rest belongs to what has come.
    pub(super) fn resumable(&self) -> Option<&str> {
        self.about.validators.strong().filter(|_| self.have > 0)
    }

    /// Whether nothing is missing, and the server can tell whether it is still the same.
    pub(super) fn is_complete(&self) -> bool {
        let validators = &self.about.validators;
        let can_tell = validators.etag.is_some() || validators.last_modified.is_some();
        can_tell && self.have > 0 && self.about.total == Some(self.have)
    }

    /// Forgets what has come.
    pub(super) fn restart(&mut self, validators: Validators, total: Option<u64>) -> Result<()> {
        let what = || format!("write {}", self.path.display());
        self.file.set_len(0).map_err(Error::io(what()))?;
        self.file.seek(SeekFrom::Start(0)).map_err(Error::io(what()))?;
        self.have = 0;
        self.about = About { validators, total };
        let text = serde_json::to_vec(&self.about).map_err(|e| Error::io(what())(io::Error::from(e)))?;
        fs::write(about_path(&self.path), text).map_err(Error::io(what()))
    }

    /// What has come, from the beginning.
    pub(super) fn reader(&self) -> Result<impl Read + use<>> {
        Ok(self.reopened()?.take(self.have))
    }

    /// The file, to be read from the beginning.
    pub(super) fn reopened(&self) -> Result<File> {
        File::open(&self.path).map_err(Error::io(format!("read {}", self.path.display())))
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let what = || format!("write {}", self.path.display());
        if self.have == 0 || self.file.stream_position().map_err(Error::io(what()))? != self.have {
            self.file.seek(SeekFrom::Start(self.have)).map_err(Error::io(what()))?;
        }
        self.file.write_all(bytes).map_err(Error::io(what()))?;
        self.have += bytes.len() as u64;
        Ok(())
    }

    /// Removes it: it has served, or is no good.
    pub(super) fn remove(self) -> Result<()> {
        let _ = fs::remove_file(about_path(&self.path));
        fs::remove_file(&self.path).map_err(Error::io(format!("remove {}", self.path.display())))
    }
}

/// Removes what is left of downloads that nobody has gone on with for as long as `age`, and returns how many those are.
///
/// # Errors
/// When the directory cannot be read or written to.
pub fn remove_partial(store: &Store, age: Duration) -> Result<usize> {
    let dir = store.dir().join("fetch/partial");
    let what = || format!("read {}", dir.display());
    let entries = match fs::read_dir(&dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries.map_err(Error::io(what()))?,
    };
    let mut removed = 0;
    for entry in entries {
        let path = entry.map_err(Error::io(what()))?.path();
        if path.extension().is_some() {
            // Goes with its file; alone it is of no use.
            if !path.with_extension("").exists() {
                let _ = fs::remove_file(&path);
            }
            continue;
        }
        let Ok(file) = File::open(&path) else { continue };
        let changed = file.metadata().and_then(|stat| stat.modified()).map_err(Error::io(what()))?;
        let is_old = SystemTime::now().duration_since(changed).unwrap_or_default() >= age;
        if is_old && flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = fs::remove_file(about_path(&path));
            fs::remove_file(&path).map_err(Error::io(format!("remove {}", path.display())))?;
            removed += 1;
        }
    }
    Ok(removed)
}

fn about_path(path: &Path) -> PathBuf {
    path.with_extension("json")
}

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let then = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(now) => Ok((then.dev(), then.ino()) == (now.dev(), now.ino())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}
