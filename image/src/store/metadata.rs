//! `metadata`: what the store knows about an image beside its manifest. One small file, so that listing opens no manifest.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use appc_spec::{AcIdentifier, ImageId, ImageManifest, Label, Labels};
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::{IoContext, OciParts, Store, work};
use crate::error::{Error, Result};

/// What is known about a stored image without its manifest.
#[derive(Debug, Clone)]
pub struct Summary {
    /// The image ID.
    pub id: ImageId,
    /// The name in the manifest.
    pub name: AcIdentifier,
    /// The labels in the manifest.
    pub labels: Labels,
    /// Where the image was last fetched from.
    pub source: String,
    /// When it was first imported, nanoseconds since 1970.
    pub imported: i64,
    /// When it was last imported or run, nanoseconds since 1970.
    pub last_used: i64,
    /// The size of the archive as it was fetched.
    pub size: u64,
    /// The size of the files in its tree.
    pub tree_size: u64,
    /// What could not be extracted by the user who imported it: a path and what it is.
    pub omitted: Vec<(String, String)>,
    /// What it consists of, when it is an OCI image.
    pub oci: Option<OciParts>,
}

/// The file. Fields are only ever added, each with a default.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata {
    pub(super) name: String,
    pub(super) labels: Vec<(String, String)>,
    pub(super) source: String,
    pub(super) imported: i64,
    pub(super) size: u64,
    pub(super) tree_size: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) omitted: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<Fingerprint>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) oci: Option<OciParts>,
}

/// A file that is still what it was when it was imported need not be read again. The inode's change time cannot be set
/// by its owner, unlike the modification time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Fingerprint {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Fingerprint {
    /// Of a regular file that has not been changed for some time: clocks of file systems tick in steps of up to two seconds, and
    /// a second change within the same step would leave no trace.
    pub(super) fn of(file: &File) -> io::Result<Option<Fingerprint>> {
        let stat = file.metadata()?;
        let settled = now() / 1_000_000_000 - stat.ctime() > 2;
        let fingerprint = || Fingerprint {
            device: stat.dev(),
            inode: stat.ino(),
            size: stat.size(),
            modified: (stat.mtime(), stat.mtime_nsec()),
            changed: (stat.ctime(), stat.ctime_nsec()),
        };
        Ok((stat.is_file() && settled).then(fingerprint))
    }
}

impl Metadata {
    pub(super) fn new(manifest: &ImageManifest, source: &str) -> Metadata {
        let labels = manifest.labels.iter().map(|l| (l.name.to_string(), l.value.clone())).collect();
        Metadata {
            name: manifest.name.to_string(),
            labels,
            source: source.to_owned(),
            imported: now(),
            size: 0,
            tree_size: 0,
            omitted: Vec::new(),
            file: None,
            oci: None,
        }
    }

    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_vec(self).map_err(io::Error::from).on("write", path)?;
        fs::write(path, text).on("write", path)
    }

    fn summary(self, id: &ImageId, last_used: i64) -> Result<Summary, appc_spec::Error> {
        // Not one by one with `set`, which looks for the name each time: a manifest may have very many.
        let label = |(name, value): (String, String)| Ok(Label::new(name.parse()?, value));
        let labels = self.labels.into_iter().map(label).collect::<Result<Labels, appc_spec::Error>>()?;
        Ok(Summary {
            id: id.clone(),
            name: self.name.parse()?,
            labels,
            source: self.source,
            imported: self.imported,
            last_used,
            size: self.size,
            tree_size: self.tree_size,
            omitted: self.omitted,
            oci: self.oci,
        })
    }
}

impl Store {
    /// The image's metadata and when it was last used; nothing when the image is not in the store.
    pub(super) fn metadata(&self, id: &ImageId) -> Result<Option<(Metadata, i64)>> {
        let path = self.image_dir(id).join("metadata");
        parse(id, work::found(rustix::fs::open(&path, READ, Mode::empty()).map_err(Into::into)).on("read", &path)?)
    }

    /// The image, when it is in the store.
    pub(super) fn summary(&self, id: &ImageId) -> Result<Option<Summary>> {
        self.metadata(id)?.map(|found| summary(id, found)).transpose()
    }

    /// Those of the images `ids` that are in the store, and what is wrong with those whose metadata cannot be read: one
    /// such image hides no other.
    pub(super) fn summaries(&self, ids: &[ImageId]) -> Result<(Vec<Summary>, Vec<Error>)> {
        let folder = self.dir.join("store/images");
        let Some(images) = work::found(File::open(&folder)).on("list", &folder)? else { return Ok(Default::default()) };
        let mut found = Vec::with_capacity(ids.len());
        let mut damaged = Vec::new();
        for id in ids {
            // Below the open folder: with thousands of images the way to it is half of the work.
            let file = rustix::fs::openat(&images, format!("{id}/metadata"), READ, Mode::empty());
            let file = work::found(file.map_err(Into::into)).on("read", self.image_dir(id));
            match file.and_then(|file| parse(id, file)?.map(|metadata| summary(id, metadata)).transpose()) {
                Ok(image) => found.extend(image),
                Err(why) => damaged.push(why),
            }
        }
        Ok((found, damaged))
    }
}

const READ: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC);

/// Reads an open `metadata`, and the time of its last change.
fn parse(id: &ImageId, file: Option<OwnedFd>) -> Result<Option<(Metadata, i64)>> {
    let Some(mut file) = file.map(File::from) else { return Ok(None) };
    let mut read = || {
        let stat = file.metadata()?;
        // The file is never written to, only replaced: one read is all.
        let mut text = vec![0; stat.len() as usize];
        file.read_exact(&mut text)?;
        Ok((stat, text))
    };
    let (stat, text) = read().on("read the metadata of", id.to_string())?;
    let metadata = serde_json::from_slice(&text).map_err(|e| damaged(id, format!("metadata: {e}")))?;
    Ok(Some((metadata, stat.mtime() * 1_000_000_000 + stat.mtime_nsec())))
}

fn summary(id: &ImageId, (metadata, last_used): (Metadata, i64)) -> Result<Summary> {
    metadata.summary(id, last_used).map_err(|e| damaged(id, format!("metadata: {e}")))
}

pub(super) fn damaged(id: &ImageId, why: String) -> Error {
    Error::Damaged { id: id.clone(), why }
}

/// Nanoseconds since 1970.
pub(super) fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
