//! What is remembered of addresses: which image came from there, and until when it need not be asked again.
//!
//! ```text
//! <dir>/fetch/known/<sha256 of the address>      JSON: `Known`
//! <dir>/fetch/partial/<sha256 of the address>    what has come of a download (`partial.rs`)
//! ```
//!
//! Losing any of it costs a download.

use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use appc_spec::ImageId;
use serde::{Deserialize, Serialize};

use super::http::Response;
use crate::error::{Error, Result};
use crate::store::Store;

/// How the names of records begin that are being written.
const NEW: &str = ".tmp";
/// More than writing one takes.
const WRITTEN: Duration = Duration::from_secs(60);

/// What came from an address.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Known {
    /// The image's ID.
    pub(super) image: String,
    /// Whether its signature was checked.
    pub(super) verified: bool,
    #[serde(flatten)]
    pub(super) validators: Validators,
    /// Seconds since 1970.
    pub(super) fetched: u64,
    /// For how many seconds it is not asked for again.
    pub(super) max_age: u64,
}

/// By what a server tells whether a file is still the same.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Validators {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) etag: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) last_modified: Option<String>,
}

impl Validators {
    pub(super) fn of(answer: &Response) -> Validators {
        let text = |name| answer.header(name).map(str::to_owned);
        Validators { etag: text("etag"), last_modified: text("last-modified") }
    }

    /// What goes into `If-Range`. A weak ETag says only that two files are about the same.
    pub(super) fn strong(&self) -> Option<&str> {
        let etag = self.etag.as_deref().filter(|etag| !etag.starts_with("W/"));
        etag.or_else(|| self.last_modified.as_deref().filter(|_| self.etag.is_none()))
    }
}

impl Known {
    pub(super) fn id(&self) -> Option<ImageId> {
        self.image.parse().ok()
    }

    /// Whether it need not be asked for again yet.
    pub(super) fn is_fresh(&self) -> bool {
        let now = now();
        // A clock that was set back makes nothing fresh.
        (self.fetched..self.fetched.saturating_add(self.max_age)).contains(&now)
    }
}

/// For how long an answer says that it can be used without asking.
pub(super) fn max_age(answer: &Response) -> u64 {
    let Some(control) = answer.header("cache-control") else { return 0 };
    let directives: Vec<String> = control.split(',').map(|directive| directive.trim().to_ascii_lowercase()).collect();
    if directives.iter().any(|directive| directive == "no-store" || directive == "no-cache") {
        return 0;
    }
    let age = directives.iter().find_map(|directive| directive.strip_prefix("max-age="));
    age.and_then(|age| age.trim_matches('"').parse().ok()).unwrap_or(0)
}

pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The directory of what is remembered.
#[derive(Debug)]
pub(super) struct Cache {
    dir: PathBuf,
}

impl Cache {
    pub(super) fn of(store: &Store) -> Cache {
        Cache { dir: store.dir().join("fetch") }
    }

    pub(super) fn get(&self, url: &str) -> Option<Known> {
        // What cannot be read is not known.
        serde_json::from_slice(&fs::read(self.dir.join("known").join(key(url))).ok()?).ok()
    }

    pub(super) fn put(&self, url: &str, known: &Known) -> Result<()> {
        let dir = self.make("known")?;
        let what = || format!("write below {}", dir.display());
        let mut file = tempfile::Builder::new().prefix(NEW).tempfile_in(&dir).map_err(Error::io(what()))?;
        let text = serde_json::to_vec(known).map_err(|e| Error::io(what())(io::Error::from(e)))?;
        file.write_all(&text).map_err(Error::io(what()))?;
        file.persist(dir.join(key(url))).map_err(|e| Error::io(what())(e.error))?;
        Ok(())
    }

    /// Forgets what came from `url`.
    pub(super) fn forget(&self, url: &str) {
        // What is not known need not be forgotten.
        let _ = fs::remove_file(self.dir.join("known").join(key(url)));
    }

    /// The file for what comes from `url`.
    pub(super) fn partial(&self, url: &str) -> Result<PathBuf> {
        Ok(self.make("partial")?.join(key(url)))
    }

    fn make(&self, name: &str) -> Result<PathBuf> {
        let dir = self.dir.join(name);
        make_dir(&dir)?;
        Ok(dir)
    }
}

/// Removes what is known of addresses whose images are not in the store any more, and records that a killed process was writing, and
/// returns how many those are.
///
/// # Errors
/// When the directory cannot be read or written to.
pub fn remove_unknown(store: &Store) -> Result<usize> {
    let dir = store.dir().join("fetch/known");
    let entries = match fs::read_dir(&dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries.map_err(Error::io(format!("read {}", dir.display())))?,
    };
    let mut removed = 0;
    for entry in entries {
        let path = entry.map_err(Error::io(format!("read {}", dir.display())))?.path();
        let is_new = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(NEW.as_bytes()));
        let is_of_use = if is_new { is_young(&path) } else { is_of_stored(store, &path) };
        if !is_of_use && fs::remove_file(&path).is_ok() {
            removed += 1;
        }
    }
    Ok(removed)
}

/// Whether somebody may still be writing it.
fn is_young(path: &Path) -> bool {
    let changed = fs::symlink_metadata(path).and_then(|stat| stat.modified());
    changed.is_ok_and(|changed| SystemTime::now().duration_since(changed).unwrap_or_default() < WRITTEN)
}

fn is_of_stored(store: &Store, record: &Path) -> bool {
    let known = fs::read(record).ok().and_then(|text| serde_json::from_slice::<Known>(&text).ok());
    known.and_then(|known| known.id()).is_some_and(|id| !matches!(store.pin([&id]), Err(Error::NotStored(_))))
}

/// Nobody else has a business there.
fn make_dir(dir: &Path) -> Result<()> {
    let made = DirBuilder::new().mode(0o700).recursive(true).create(dir);
    made.map_err(Error::io(format!("create {}", dir.display())))
}

/// Addresses may be long, and hold passwords.
fn key(url: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, url.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
