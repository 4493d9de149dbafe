//! The image files that a script wrote.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use appc_image::archive::looks_like_aci;

use crate::error::{Error, Result};

/// What tells that a file was written: where it is on the disk, how long it is and when it last changed.
type Mark = (u64, u64, i64, i64);

/// The files of a directory.
#[derive(Debug)]
pub(super) struct Files {
    dir: PathBuf,
    marks: BTreeMap<PathBuf, Mark>,
}

/// The images among the files that a run left.
#[derive(Debug)]
pub(super) struct Outputs {
    /// Paths below the run's directory.
    pub(super) images: Vec<PathBuf>,
}

impl Files {
    /// What there is now, to compare with later.
    pub(super) fn of(dir: &Path) -> Result<Files> {
        let mut files = Files { dir: dir.to_owned(), marks: BTreeMap::new() };
        let mut waiting = vec![PathBuf::new()];
        while let Some(below) = waiting.pop() {
            let path = dir.join(&below);
            for entry in fs::read_dir(&path).map_err(Error::io("read", &path))? {
                let entry = entry.map_err(Error::io("read", &path))?;
                let metadata = entry.metadata().map_err(Error::io("read", entry.path()))?;
                let name = below.join(entry.file_name());
                if metadata.is_dir() && entry.file_name() != ".acbuild" {
                    waiting.push(name);
                } else if metadata.is_file() {
                    files.marks.insert(name, mark(&metadata));
                }
            }
        }
        Ok(files)
    }

    /// The images that are new or have changed since `before`.
    pub(super) fn since(self, before: &Files) -> Result<Outputs> {
        let mut images = Vec::new();
        for (name, mark) in self.marks {
            if before.marks.get(&name) != Some(&mark) {
                let path = self.dir.join(&name);
                let file = File::open(&path).map_err(Error::io("read", &path))?;
                // What is no archive at all is no image either.
                if looks_like_aci(file).unwrap_or(false) {
                    images.push(name);
                }
            }
        }
        Ok(Outputs { images })
    }
}

fn mark(metadata: &Metadata) -> Mark {
    (metadata.ino(), metadata.size(), metadata.ctime(), metadata.ctime_nsec())
}
