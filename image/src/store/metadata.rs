//! `metadata`: what the store knows about an image beside its manifest. One small file, so that listing opens no manifest.

use std::fs::{self, File};
use std::io;
use std::iter;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use appc_spec::{AcIdentifier, ImageId, ImageManifest, ImageName, Label, Labels};
use rustix::fs::Mode;
use serde::{Deserialize, Serialize};

use super::{IoContext, OciParts, Store, work};
use crate::error::{Error, Result};

/// Fewer images than these are read sooner than a thread starts.
const WORTH_A_THREAD: usize = 500;

/// What is known about a stored image without its manifest.
#[derive(Debug, Clone)]
pub struct Summary {
    /// The image ID.
    pub id: ImageId,
    /// The first name that it has: the one in the manifest, unless that was taken away.
    pub name: AcIdentifier,
    /// The labels that go with that.
    pub labels: Labels,
    /// What else it was fetched as.
    pub also: Vec<OtherName>,
    /// When it was last fetched under the first name, nanoseconds since 1970.
    pub fetched: i64,
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
    /// What it consists of, when it is an OCI image. That is long, and of ten thousand most are none.
    pub oci: Option<Box<OciParts>>,
}

/// One more name of an image that several names lead to, such as the tags of a registry.
#[derive(Debug, Clone)]
pub struct OtherName {
    /// Name and labels, as its manifest would have them if it had been fetched by this name first.
    pub name: ImageName,
    /// Where the image was fetched from under this name.
    pub source: String,
    /// When it was last, nanoseconds since 1970.
    pub fetched: i64,
}

/// A name in the file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Named {
    name: String,
    labels: Vec<(String, String)>,
    source: String,
    fetched: i64,
}

impl Named {
    fn read(self) -> Result<OtherName, appc_spec::Error> {
        let name = ImageName { name: self.name.parse()?, labels: read_labels(self.labels)? };
        Ok(OtherName { name, source: self.source, fetched: self.fetched })
    }
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
    pub(super) oci: Option<Box<OciParts>>,
    /// CRC-32 of what nothing else has a digest of: the archive as it was fetched, compressed, or the manifest that an OCI
    /// image's configuration was mapped to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) checksum: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fetched: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    also: Vec<Named>,
    /// The first name was taken away. It stays here, as the manifest has it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    first_gone: bool,
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
            checksum: None,
            fetched: None,
            also: Vec::new(),
            first_gone: false,
        }
    }

    /// Adds the name of this metadata, which was just fetched, to those of the `stored` image, whose first name stays: its manifest has it.
    pub(super) fn join(&mut self, stored: &Metadata) {
        self.imported = stored.imported;
        let (name, labels) = (stored.name.clone(), stored.labels.clone());
        let named = Named {
            name: std::mem::replace(&mut self.name, name),
            labels: std::mem::replace(&mut self.labels, labels),
            source: std::mem::replace(&mut self.source, stored.source.clone()),
            fetched: now(),
        };
        (self.fetched, self.checksum, self.first_gone) = (stored.fetched, stored.checksum, stored.first_gone);
        self.also.clone_from(&stored.also);
        let same = |a: &Named| (&a.name, &a.labels, &a.source) == (&named.name, &named.labels, &named.source);
        self.also.retain(|also| !same(also));
        match (&named.name, &named.labels, &named.source) == (&self.name, &self.labels, &self.source) {
            true => (self.fetched, self.first_gone) = (Some(named.fetched), false),
            false => self.also.push(named),
        }
    }

    /// How many names there are.
    pub(super) fn names(&self) -> usize {
        self.also.len() + usize::from(!self.first_gone)
    }

    /// Takes away the names that are `gone`, by name and source. Returns how many are left.
    pub(super) fn without(&mut self, gone: impl Fn(&ImageName, &str) -> bool) -> Result<usize, appc_spec::Error> {
        let is_gone = |named: Named| named.read().map(|named| gone(&named.name, &named.source));
        let (name, labels, source) = (self.name.clone(), self.labels.clone(), self.source.clone());
        self.first_gone |= is_gone(Named { name, labels, source, fetched: 0 })?;
        for named in std::mem::take(&mut self.also) {
            if !is_gone(named.clone())? {
                self.also.push(named);
            }
        }
        Ok(self.names())
    }

    /// Whether this is the metadata of the image with that manifest.
    pub(super) fn is_of(&self, manifest: &ImageManifest) -> bool {
        let labels = manifest.labels.iter().map(|l| (l.name.as_str(), l.value.as_str()));
        let known = self.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        self.name == manifest.name.as_str() && labels.eq(known)
    }

    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_vec(self).map_err(io::Error::from).on("write", path)?;
        fs::write(path, text).on("write", path)
    }

    /// Makes the time of use that of the import, to the nanosecond, which it is of no image that was used or imported again:
    /// see [`Store::take_back`].
    pub(super) fn mark_unused(&self, path: &Path) -> Result<()> {
        let since = Duration::from_nanos(u64::try_from(self.imported).unwrap_or_default());
        let stamp = |file: File| file.set_modified(std::time::UNIX_EPOCH + since);
        File::options().write(true).open(path).and_then(stamp).on("write", path)
    }

    fn summary(self, id: &ImageId, last_used: i64) -> Result<Summary, appc_spec::Error> {
        let mut also = self.also.into_iter().map(Named::read).collect::<Result<Vec<_>, _>>()?;
        let first = match self.first_gone && !also.is_empty() {
            true => also.remove(0),
            false => {
                let name = ImageName { name: self.name.parse()?, labels: read_labels(self.labels)? };
                OtherName { name, source: self.source, fetched: self.fetched.unwrap_or(self.imported) }
            }
        };
        Ok(Summary {
            id: id.clone(),
            name: first.name.name,
            labels: first.name.labels,
            also,
            fetched: first.fetched,
            source: first.source,
            imported: self.imported,
            last_used,
            size: self.size,
            tree_size: self.tree_size,
            omitted: self.omitted,
            oci: self.oci,
        })
    }
}

fn read_labels(labels: Vec<(String, String)>) -> Result<Labels, appc_spec::Error> {
    // Not one by one with `set`, which looks for the name each time: a manifest may have very many.
    labels.into_iter().map(|(name, value)| Ok(Label::new(name.parse()?, value))).collect()
}

impl Store {
    /// The image's metadata and when it was last used; nothing when the image is not in the store.
    pub(super) fn metadata(&self, id: &ImageId) -> Result<Option<(Metadata, i64)>> {
        let path = self.image_dir(id).join("metadata");
        let file = work::found(rustix::fs::open(&path, work::READ, Mode::empty()).map_err(Into::into));
        parse(id, file.on("read", &path)?, &mut Vec::new())
    }

    /// The image, when it is in the store.
    pub(super) fn summary(&self, id: &ImageId) -> Result<Option<Summary>> {
        self.metadata(id)?.map(|found| summary(id, found)).transpose()
    }

    /// Those of the images called `names` that are in the store, and what is wrong with those whose metadata cannot be
    /// read: one such image hides no other.
    pub(super) fn summaries(&self, names: &[String]) -> Result<(Vec<Summary>, Vec<Error>)> {
        let folder = self.dir.join("store/images");
        let Some(images) = work::found(File::open(&folder)).on("list", &folder)? else { return Ok(Default::default()) };
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(names.len() / WORTH_A_THREAD + 1);
        let (own, others) = names.split_at(names.len().div_ceil(threads));
        let parts = std::thread::scope(|scope| {
            let images = &images;
            let part = |names| scope.spawn(move || self.summaries_in(images, names));
            let parts: Vec<_> = others.chunks(own.len().max(1)).map(part).collect();
            // This thread takes a share, too: the memory of others costs more.
            let own = self.summaries_in(images, own);
            let join = |part: ScopedJoinHandle<_>| part.join().unwrap_or_else(|e| std::panic::resume_unwind(e));
            iter::once(own).chain(parts.into_iter().map(join)).collect::<Vec<_>>()
        });
        let (found, damaged): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        Ok((found.into_iter().flatten().collect(), damaged.into_iter().flatten().collect()))
    }

    /// The same of `names` alone; `images` is the folder they are in.
    fn summaries_in(&self, images: &File, names: &[String]) -> (Vec<Summary>, Vec<Error>) {
        let mut found = Vec::with_capacity(names.len());
        let (mut damaged, mut text, mut path) = (Vec::new(), Vec::new(), String::new());
        for name in names {
            let Ok(id) = &name.parse() else { continue };
            path.clear();
            path.extend([ImageId::as_str(id), "/metadata"]);
            // Below the open folder: with thousands of images the way to it is half of the work.
            let file = rustix::fs::openat(images, path.as_str(), work::READ, Mode::empty()).map_err(Into::into);
            let file = work::found(file).or_else(|e| Err(e).on("read", self.image_dir(id)));
            match file.and_then(|file| parse(id, file, &mut text)?.map(|metadata| summary(id, metadata)).transpose()) {
                Ok(image) => found.extend(image),
                Err(why) => damaged.push(why),
            }
        }
        (found, damaged)
    }
}

/// Reads an open `metadata` by way of `text`, and the time of its last change.
fn parse(id: &ImageId, file: Option<OwnedFd>, text: &mut Vec<u8>) -> Result<Option<(Metadata, i64)>> {
    let Some(file) = file.map(File::from) else { return Ok(None) };
    let stat = work::read_open_into(&file, text).map_err(|e| damaged(id, format!("metadata: {e}")))?;
    let metadata = serde_json::from_slice(text).map_err(|e| damaged(id, format!("metadata: {e}")))?;
    Ok(Some((metadata, stat.mtime() * 1_000_000_000 + stat.mtime_nsec())))
}

fn summary(id: &ImageId, (metadata, last_used): (Metadata, i64)) -> Result<Summary> {
    metadata.summary(id, last_used).map_err(|e| broken(id, &e))
}

/// Metadata that cannot be read.
pub(super) fn broken(id: &ImageId, why: &dyn std::fmt::Display) -> Error {
    damaged(id, format!("metadata: {why}"))
}

pub(super) fn damaged(id: &ImageId, why: String) -> Error {
    Error::Damaged { id: id.clone(), why }
}

/// Nanoseconds since 1970.
pub(super) fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
