//! What is in the cache, and removing it.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::FlockOperation;

use super::{Cache, Kept, NEW, Record};
use crate::error::{Error, Result};

/// A step that is known.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) command: String,
    /// Bytes of its result.
    pub(crate) size: u64,
    pub(crate) used: SystemTime,
    result: String,
}

/// What stays.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Entries that were used no longer ago.
    pub(crate) older_than: Option<Duration>,
    /// So many bytes of the entries that were used last.
    pub(crate) max_size: Option<u64>,
}

/// What was removed, and what is left.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Removed {
    pub(crate) entries: usize,
    pub(crate) bytes: u64,
    pub(crate) left: u64,
}

impl Cache {
    /// The steps, the one that was used last first.
    pub(crate) fn list(&self) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for name in names(&self.path.join("steps"))? {
            let used = fs::metadata(self.path.join("steps").join(&name)).and_then(|found| found.modified());
            // Removed since, or none of ours.
            let (Some(Record { key, command, kept, .. }), Ok(used)) = (self.record(&name), used) else { continue };
            entries.push(Entry { key, command, size: kept.size, used, result: kept.digest });
        }
        entries.sort_by(|a, b| b.used.cmp(&a.used).then_with(|| a.key.cmp(&b.key)));
        Ok(entries)
    }

    /// Removes what is beyond `limits`, and what killed processes left. What a build still needs stays.
    pub(crate) fn collect(&self, limits: Limits, now: SystemTime) -> Result<Removed> {
        let _lock = self.lock(FlockOperation::LockExclusive)?;
        let mut needed: HashSet<String> = self.needed()?.into_iter().collect();
        let (mut removed, mut size) = (Removed::default(), 0);
        let listed = self.list()?;
        let known: HashSet<String> = listed.iter().map(|entry| entry.key.clone()).collect();
        for entry in listed {
            let age = now.duration_since(entry.used).unwrap_or_default();
            let fits = limits.max_size.is_none_or(|most| size + entry.size <= most);
            if needed.contains(&entry.result) || fits && limits.older_than.is_none_or(|most| age < most) {
                size += entry.size;
                needed.insert(entry.result);
            } else {
                self.remove(&Path::new("steps").join(&entry.key))?;
                removed.entries += 1;
            }
        }
        removed.bytes = self.remove_but("steps", |name| known.contains(name))?;
        removed.bytes += self.remove_but("results", |name| needed.contains(name))?;
        removed.bytes += self.remove_but("", |name| !name.starts_with(NEW))?;
        // Of files that nobody looked at for so long.
        let old = limits.older_than.unwrap_or(Duration::MAX);
        self.remove_but("contents", |name| {
            let made = fs::metadata(self.path.join("contents").join(name)).and_then(|found| found.modified());
            made.is_ok_and(|made| now.duration_since(made).unwrap_or_default() < old)
        })?;
        removed.left = size;
        Ok(removed)
    }

    /// Removes the files of a folder but those that stay, and returns how long they were.
    fn remove_but(&self, folder: &str, stays: impl Fn(&str) -> bool) -> Result<u64> {
        let mut bytes = 0;
        for name in names(&self.path.join(folder))?.iter().filter(|name| !stays(name)) {
            let path = Path::new(folder).join(name);
            bytes += fs::symlink_metadata(self.path.join(&path)).map_or(0, |found| found.len());
            self.remove(&path)?;
        }
        Ok(bytes)
    }

    fn remove(&self, path: &Path) -> Result<()> {
        match fs::remove_file(self.path.join(path)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", self.shown.join(path))(e)),
            _ => Ok(()),
        }
    }

    /// Removes a result that is not what it should be. Steps that have it are no longer known.
    pub(super) fn drop_result(&self, kept: &Kept) {
        // The next one who reads it tries again.
        let _ = self.remove(&Path::new("results").join(&kept.digest));
    }
}

/// The names in a folder, in order; none when it is not there.
pub(super) fn names(path: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let entries = match fs::read_dir(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(names),
        entries => entries.map_err(Error::io("read", path))?,
    };
    for entry in entries {
        // Others are none of ours.
        names.extend(entry.map_err(Error::io("read", path))?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}
