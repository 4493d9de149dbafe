//! The digests of large files of the host, so that they are not read again until they change.

use std::fs;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use appc_image::fingerprint::Memory;
use appc_image::oci::Digest;
use rustix::fs::Stat;

use super::{Cache, sha256};

/// Smaller files are read as fast as this can be looked up.
const LARGE: i64 = 256 * 1024;

/// A file that changed so many seconds before it is looked at may change once more without looking different: times have a
/// granularity, and pages that are mapped and not written back yet change without a new one for up to half a minute
/// (`vm.dirty_expire_centisecs`, mmap(2)). Git calls such files racy.
const RACY: i64 = 60;

/// What is remembered in the cache.
pub(super) struct Contents<'c> {
    cache: &'c Cache,
    now: i64,
}

impl Contents<'_> {
    pub(super) fn new(cache: &Cache) -> Contents<'_> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs().cast_signed());
        Contents { cache, now }
    }

    fn path(&self, stat: &Stat) -> PathBuf {
        let about = format!(
            "{} {} {} {}.{} {}.{}",
            stat.st_dev,
            stat.st_ino,
            stat.st_size,
            stat.st_mtime,
            stat.st_mtime_nsec,
            stat.st_ctime,
            stat.st_ctime_nsec
        );
        self.cache.path.join("contents").join(sha256(about.as_bytes()))
    }
}

/// Whether a file can be told from what it will be when it changes the next time.
fn is_settled(stat: &Stat, now: i64) -> bool {
    stat.st_size >= LARGE && stat.st_mtime.max(stat.st_ctime) < now - RACY
}

impl Memory for Contents<'_> {
    fn recall(&self, stat: &Stat) -> Option<Digest> {
        if !is_settled(stat, self.now) {
            return None;
        }
        let path = self.path(stat);
        self.cache.own_file(&path).ok()?;
        fs::read_to_string(path).ok()?.parse().ok()
    }

    fn remember(&self, stat: &Stat, digest: &Digest) {
        if is_settled(stat, self.now) {
            // Else it is read again the next time.
            let _ = self.cache.new_file().and_then(|file| {
                fs::write(file.path(), digest.to_string())?;
                file.persist(self.path(stat)).map_err(|e| e.error)
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_just_changed_is_not_remembered() {
        let file = tempfile::tempfile().unwrap();
        let mut stat = rustix::fs::fstat(&file).unwrap();
        (stat.st_size, stat.st_mtime, stat.st_ctime) = (LARGE, 1000, 1000);
        assert!(is_settled(&stat, 1000 + RACY + 1));
        assert!(!is_settled(&stat, 1000 + RACY));
        // A clock that was set back, and a time of modification that was.
        assert!(!is_settled(&stat, 0));
        stat.st_mtime = 0;
        assert!(!is_settled(&stat, 1000 + RACY));
        (stat.st_ctime, stat.st_size) = (0, LARGE - 1);
        assert!(!is_settled(&stat, 1000 + RACY));
    }
}
