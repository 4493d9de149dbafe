//! The images that a script wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use appc_image::archive::{Compression, compression_of, looks_like_aci};
use appc_image::layout::{ArchiveKind, archive_kind};

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
    /// Paths of files and layouts, below the run's directory.
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
        let (mut images, mut layouts) = (Vec::new(), BTreeSet::new());
        for (name, mark) in self.marks {
            if before.marks.get(&name) == Some(&mark) {
                continue;
            }
            let path = self.dir.join(&name);
            if let Some(layout) = layout_of(&path) {
                layouts.extend(layout.strip_prefix(&self.dir).map(Path::to_owned));
            } else if is_image(&path)? {
                images.push(name);
            }
        }
        // What is in a layout is part of its images.
        images.retain(|name| !layouts.iter().any(|layout| name.starts_with(layout)));
        images.extend(layouts);
        Ok(Outputs { images })
    }
}

/// The layout whose index this file is.
fn layout_of(path: &Path) -> Option<&Path> {
    let dir = path.parent().filter(|_| path.file_name().is_some_and(|name| name == "index.json"))?;
    dir.join("oci-layout").is_file().then_some(dir)
}

/// Whether it is an image of either kind. What is no archive at all is none; OCI images are not compressed as a whole.
fn is_image(path: &Path) -> Result<bool> {
    let open = || File::open(path).map_err(Error::io("read", path));
    let is_plain = compression_of(&open()?).is_ok_and(|compression| compression == Compression::None);
    Ok(looks_like_aci(open()?).unwrap_or(false) || is_plain && archive_kind(path)? == ArchiveKind::Oci)
}

fn mark(metadata: &Metadata) -> Mark {
    (metadata.ino(), metadata.size(), metadata.ctime(), metadata.ctime_nsec())
}
