//! Finding images: by ID, by the beginning of an ID, by name and labels.

use std::cmp::{Ordering, Reverse};
use std::fmt;
use std::fs;
use std::path::Path;
use std::str::FromStr;

use appc_spec::{AcIdentifier, ImageId, ImageIdPrefix, ImageManifest, ImageName, Labels, host_arch};

use super::metadata::{OtherName, Summary, damaged};
use super::{IoContext, OciParts, Store, work};
use crate::error::{Error, Result};

/// An image in the store.
#[derive(Debug, Clone)]
pub struct StoredImage {
    /// The image ID.
    pub id: ImageId,
    /// The image manifest, with the first name that the image has.
    pub manifest: ImageManifest,
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
    pub oci: Option<Box<OciParts>>,
    /// What else it was fetched as.
    pub also: Vec<OtherName>,
}

impl StoredImage {
    /// Whether this is one of its names, whatever the labels.
    pub fn has_name(&self, wanted: &ImageName) -> bool {
        self.manifest.name == wanted.name || self.also.iter().any(|also| also.name.name == wanted.name)
    }

    /// Whether one of its names has all these labels.
    pub fn has_labels(&self, wanted: &ImageName) -> bool {
        let others = self.also.iter().filter(|also| also.name.name == wanted.name);
        let mut all = others.map(|also| &also.name.labels).chain([&self.manifest.labels]);
        all.any(|labels| wanted.labels.match_image(labels))
    }
}

/// How somebody names an image in the store.
#[derive(Debug, Clone)]
pub enum Query {
    /// By an ID or the beginning of one: `sha512-` and at least two digits.
    Id(ImageIdPrefix),
    /// By name and labels: `example.com/app:1.0,arch=amd64`.
    Name(ImageName),
}

impl FromStr for Query {
    type Err = appc_spec::Error;

    fn from_str(text: &str) -> Result<Query, appc_spec::Error> {
        match text.starts_with("sha512-") {
            true => text.parse().map(Query::Id),
            false => text.parse().map(Query::Name),
        }
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Query::Id(prefix) => prefix.fmt(f),
            Query::Name(name) => name.fmt(f),
        }
    }
}

impl Store {
    /// The image with this ID.
    ///
    /// # Errors
    /// [`Error::NotStored`] when there is none.
    pub fn get(&self, id: &ImageId) -> Result<StoredImage> {
        let summary = self.summary(id)?.ok_or_else(|| Error::NotStored(id.to_string()))?;
        self.load(summary)
    }

    /// The image that `query` means.
    ///
    /// By name, every label asked for must be in the image with the same value; labels not asked for are free. Of several
    /// images the one made for this machine is preferred, then the one imported last.
    ///
    /// # Errors
    /// [`Error::NotStored`] when there is none, [`Error::Ambiguous`] when several IDs begin like that.
    pub fn resolve(&self, query: &Query) -> Result<StoredImage> {
        let mut found = self.find(query)?;
        if let (Query::Id(prefix), 2..) = (query, found.len()) {
            let candidates = found.iter().map(Summary::describe).collect();
            return Err(Error::Ambiguous { prefix: prefix.to_string(), candidates });
        }
        if found.is_empty() {
            return Err(Error::NotStored(query.to_string()));
        }
        self.load(found.swap_remove(0))
    }

    /// All images, by name, then by import time.
    pub fn list(&self) -> Result<Vec<Summary>> {
        let mut images = self.list_all()?.0;
        images.sort_unstable_by(Summary::by_name);
        Ok(images)
    }

    /// All images, in no order, and what is wrong with those that cannot be read.
    pub fn list_all(&self) -> Result<(Vec<Summary>, Vec<Error>)> {
        // One that is being removed, or was never wholly imported, is none.
        self.summaries(&self.names()?)
    }

    /// The manifest as it is in the archive, byte for byte.
    pub fn manifest_bytes(&self, id: &ImageId) -> Result<Vec<u8>> {
        let path = self.image_dir(id).join("manifest");
        work::found(work::read(&path)).on("read", &path)?.ok_or_else(|| Error::NotStored(id.to_string()))
    }

    fn load(&self, summary: Summary) -> Result<StoredImage> {
        let Summary { id, name, labels, source, imported, last_used, size, tree_size, omitted, oci, also, .. } =
            summary;
        let manifest = self.manifest_bytes(&id)?;
        let mut manifest = ImageManifest::parse(&manifest).map_err(|e| damaged(&id, format!("manifest: {e}")))?;
        // The first name may have been taken away.
        (manifest.name, manifest.labels) = (name, labels);
        Ok(StoredImage { id, manifest, source, imported, last_used, size, tree_size, omitted, oci, also })
    }

    /// The names in `images/`, of which some may be left over.
    pub(super) fn names(&self) -> Result<Vec<String>> {
        entries(&self.dir.join("store/images"))
    }

    /// The image IDs among them.
    pub(super) fn ids(&self) -> Result<Vec<ImageId>> {
        Ok(self.names()?.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// All images that `query` fits, the one that [`Store::resolve`] takes first.
    pub fn find(&self, query: &Query) -> Result<Vec<Summary>> {
        match query {
            Query::Id(prefix) => self.find_by_id(prefix),
            Query::Name(name) => self.find_by_name(name),
        }
    }

    fn find_by_id(&self, prefix: &ImageIdPrefix) -> Result<Vec<Summary>> {
        if let Ok(id) = prefix.to_string().parse::<ImageId>() {
            return Ok(self.summary(&id)?.into_iter().collect());
        }
        let mut names = self.names()?;
        names.retain(|name| name.parse().is_ok_and(|id| prefix.matches(&id)));
        let (mut found, damaged) = self.summaries(&names)?;
        found.sort_by(|a, b| a.id.cmp(&b.id));
        // Whether it is the one that is meant cannot be known.
        match damaged.into_iter().next() {
            Some(damaged) => Err(damaged),
            None => Ok(found),
        }
    }

    fn find_by_name(&self, wanted: &ImageName) -> Result<Vec<Summary>> {
        let mut found = self.list()?;
        found.retain(|image| image.fetched_as(wanted).is_some());
        found.sort_by_cached_key(|image| (image.is_foreign(), Reverse(image.fetched_as(wanted)), image.id.clone()));
        Ok(found)
    }
}

impl Summary {
    /// The order by name, then by import time.
    pub fn by_name(&self, other: &Summary) -> Ordering {
        (&self.name, self.imported, &self.id).cmp(&(&other.name, other.imported, &other.id))
    }

    /// The name with the version, as people write it: `example.com/app:1.0`.
    pub fn name_and_version(&self) -> String {
        with_version(&self.name, &self.labels)
    }

    /// All its names, as people write them, the one in its manifest first.
    pub fn names(&self) -> Vec<String> {
        let also = self.also.iter().map(|also| with_version(&also.name.name, &also.name.labels));
        let mut names = vec![self.name_and_version()];
        for name in also {
            // The same from elsewhere.
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// Whether `origin` is where it was fetched from, under any name.
    pub fn came_from(&self, origin: &str) -> bool {
        self.source == origin || self.also.iter().any(|also| also.source == origin)
    }

    /// Whether its labels say that it is for another kind of machine than this one.
    pub fn is_foreign(&self) -> bool {
        let other = |label, here| self.labels.get(label).is_some_and(|value| value != here);
        other("os", "linux") || other("arch", host_arch())
    }

    /// When it was last fetched under a name that `wanted` fits; nothing when it has none such.
    fn fetched_as(&self, wanted: &ImageName) -> Option<i64> {
        let fits = |name: &AcIdentifier, labels: &Labels| *name == wanted.name && wanted.labels.match_image(labels);
        let first = fits(&self.name, &self.labels).then_some(self.fetched);
        let also = self.also.iter().filter(|also| fits(&also.name.name, &also.name.labels)).map(|also| also.fetched);
        first.into_iter().chain(also).max()
    }

    /// The image among others: `sha512-0123456789ab (example.com/app:1.0)`.
    pub fn describe(&self) -> String {
        format!("{} ({})", self.id.short(), self.name_and_version())
    }
}

fn with_version(name: &AcIdentifier, labels: &Labels) -> String {
    match labels.get("version") {
        Some(version) => format!("{name}:{version}"),
        None => name.to_string(),
    }
}

/// The names in the directory `path`; none when it is missing.
pub(super) fn entries(path: &Path) -> Result<Vec<String>> {
    let Some(entries) = work::found(fs::read_dir(path)).on("list", path)? else { return Ok(Vec::new()) };
    let mut names = Vec::new();
    for entry in entries {
        // Nothing with a name that is not UTF-8 is ours.
        names.extend(entry.on("list", path)?.file_name().into_string());
    }
    Ok(names)
}
