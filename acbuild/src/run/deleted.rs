//! What commands have deleted that came from a dependency.
//!
//! App Container images have no whiteouts: what is deleted is kept beside the root file system (`.acbuild/deleted`), hidden
//! from later commands by an overlay layer (`seam.rs`), and left out of the path whitelist that `write` makes.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The name of the file in the build's directory.
pub(crate) const FILE: &str = "deleted";

/// Paths relative to the root. What dependencies have at one of them, and below it, is not part of the image; what the
/// build itself has there is. No path is below another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Deleted(BTreeSet<PathBuf>);

impl Deleted {
    /// Reads those of the build in `dir`.
    pub(crate) fn load(dir: &Path) -> Result<Deleted> {
        let path = dir.join(FILE);
        match fs::read(&path) {
            Ok(bytes) => Ok(Deleted::from_bytes(&bytes)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Deleted::default()),
            Err(e) => Err(Error::io("read", path)(e)),
        }
    }

    /// Makes them those of the build in `dir`, all at once.
    pub(crate) fn save(&self, dir: &Path) -> Result<()> {
        let (new, path) = (dir.join("staging").join(FILE), dir.join(FILE));
        if self.is_empty() {
            return match fs::remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path)(e)),
                _ => Ok(()),
            };
        }
        fs::write(&new, self.to_bytes()).map_err(Error::io("write", &new))?;
        fs::rename(&new, &path).map_err(Error::io("replace", path))
    }

    /// Each path with a NUL behind it, the one byte that no path has.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|path| [path.as_os_str().as_bytes(), b"\0"].concat()).collect()
    }

    /// Reads them back.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Deleted {
        let mut deleted = Deleted::default();
        for path in bytes.split(|byte| *byte == 0).filter(|path| !path.is_empty()) {
            let clean = appc_rooted::clean(Path::new(OsStr::from_bytes(path)));
            deleted.insert(clean.strip_prefix("/").unwrap_or(&clean));
        }
        deleted
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The paths, those above before those beside them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().map(PathBuf::as_path)
    }

    /// Whether what dependencies have at `path` is deleted.
    pub(crate) fn hides(&self, path: &Path) -> bool {
        path.ancestors().any(|above| self.0.contains(above))
    }

    /// Deletes what dependencies have at `path`.
    pub(crate) fn insert(&mut self, path: &Path) {
        if !path.as_os_str().is_empty() && !self.hides(path) {
            self.forget(path);
            self.0.insert(path.to_owned());
        }
    }

    /// Something of the build's own covers `path`, so that nothing at or below it needs deletion.
    pub(crate) fn forget(&mut self, path: &Path) {
        self.0.retain(|deleted| !deleted.starts_with(path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_is_below_another_and_bytes_come_back() {
        let mut deleted = Deleted::default();
        for path in ["a/b", "a/b/c", "x/y/z", "x/y", "x/yy", ""] {
            deleted.insert(Path::new(path));
        }
        assert_eq!(deleted.iter().collect::<Vec<_>>(), ["a/b", "x/y", "x/yy"].map(Path::new));
        assert!(deleted.hides(Path::new("x/y/z")) && deleted.hides(Path::new("a/b")));
        assert!(!deleted.hides(Path::new("a")) && !deleted.hides(Path::new("x/yyy")));
        assert_eq!(Deleted::from_bytes(&deleted.to_bytes()), deleted);
        deleted.forget(Path::new("x"));
        assert_eq!(deleted.iter().collect::<Vec<_>>(), [Path::new("a/b")]);
        // Whatever a file says: nothing leads out of the root.
        let read = Deleted::from_bytes(b"/../../etc\0\0/usr//share/\0");
        assert_eq!(read.iter().collect::<Vec<_>>(), ["etc", "usr/share"].map(Path::new));
    }
}
