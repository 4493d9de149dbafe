//! Reading OCI layouts.

use std::collections::HashSet;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;

use super::files::Files;
use super::referrers::{Referrer, referrers, tagged};
use super::{INDEX_FILE, LAYOUT_FILE, REF_NAME, blob_path, index};
use crate::error::printable;
use crate::oci::{DOCUMENT_MAX, Descriptor, Digest, Index, Source, media_type};
use crate::{Error, Result};

/// One image of an OCI layout, in a directory or an archive.
pub struct OciLayout {
    files: Files,
    place: String,
    top: Descriptor,
    /// The index itself, which is no blob.
    index_bytes: Vec<u8>,
    index: Index,
    referrers: Vec<Referrer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    image_layout_version: String,
}

impl OciLayout {
    /// Opens the layout in the directory `dir` for the image `name`, or for the only one.
    pub fn open(dir: &Path, name: Option<&str>) -> Result<OciLayout> {
        OciLayout::of(Files::directory(dir)?, format!("oci:{}", dir.display()), name)
    }

    /// Opens the layout in the archive `file`, compressed or not, for the image `name`, or for the only one.
    pub fn open_archive(file: &Path, name: Option<&str>) -> Result<OciLayout> {
        OciLayout::of(Files::archive(file)?, format!("oci-archive:{}", file.display()), name)
    }

    /// Opens the layout in the directory `dir` for all images in it: what is read is the index.
    pub fn whole(dir: &Path) -> Result<OciLayout> {
        OciLayout::all(Files::directory(dir)?, format!("oci:{}", dir.display()))
    }

    /// Opens the layout in the archive `file` for all images in it.
    pub fn whole_archive(file: &Path) -> Result<OciLayout> {
        OciLayout::all(Files::archive(file)?, format!("oci-archive:{}", file.display()))
    }

    fn all(files: Files, place: String) -> Result<OciLayout> {
        let index_bytes = read_index(&files, &place)?;
        let index = parse_index(&index_bytes).map_err(|rule| Error::Oci { what: place.clone(), rule })?;
        let (top, referrers) = (Descriptor::of(media_type::INDEX, &index_bytes), referrers(&files, &index));
        Ok(OciLayout { files, place, top, index_bytes, index, referrers })
    }

    /// What the image is called in the index.
    pub fn name(&self) -> Option<&str> {
        OciLayout::name_of(&self.top)
    }

    /// What the image of a descriptor in an index is called there.
    pub fn name_of(descriptor: &Descriptor) -> Option<&str> {
        descriptor.annotations.get(REF_NAME).map(String::as_str)
    }

    /// How many images the index names, the same one under another name too, and what is about others.
    pub fn count(&self) -> usize {
        self.index.manifests.len()
    }

    pub(super) fn of(files: Files, mut place: String, name: Option<&str>) -> Result<OciLayout> {
        let index_bytes = read_index(&files, &place)?;
        let refuse = |rule: String| Error::Oci { what: place.clone(), rule };
        let index = parse_index(&index_bytes).map_err(refuse)?;
        let whole = Descriptor::of(media_type::INDEX, &index_bytes);
        let referrers = referrers(&files, &index);
        let about_others: HashSet<&Digest> = referrers.iter().map(|one| &one.descriptor.digest).collect();
        let mut images = index.clone();
        images.manifests.retain(|one| !about_others.contains(&one.digest));
        if name.is_none() {
            // Nobody means these without saying so.
            images.manifests.retain(|one| !OciLayout::name_of(one).is_some_and(Digest::is_tag_of_one));
        }
        // Where there is nothing else, what is about something elsewhere is what is meant.
        let images = if images.manifests.is_empty() { &index } else { &images };
        let top = index::choose(images, whole, name).map_err(refuse)?;
        if let Some(name) = name {
            place = format!("{place}:{}", printable(name.as_bytes()));
        }
        Ok(OciLayout { files, place, top, index_bytes, index, referrers })
    }
}

/// The bytes of the index, once the layout is known to be one that is understood.
pub(super) fn read_index(files: &Files, place: &str) -> Result<Vec<u8>> {
    let refuse = |rule: String| Error::Oci { what: place.to_owned(), rule };
    let version = files.whole(LAYOUT_FILE, DOCUMENT_MAX)?;
    let version = version.ok_or_else(|| refuse(format!("it is no OCI layout: there is no {LAYOUT_FILE} in it")))?;
    check_version(&version).map_err(refuse)?;
    files.whole(INDEX_FILE, DOCUMENT_MAX)?.ok_or_else(|| refuse(format!("there is no {INDEX_FILE} in it")))
}

fn check_version(document: &[u8]) -> Result<(), String> {
    let version: Version = serde_json::from_slice(document)
        .map_err(|e| format!("its {LAYOUT_FILE}: {}", printable(e.to_string().as_bytes())))?;
    match version.image_layout_version.split('.').next() {
        Some("1") => Ok(()),
        _ => Err(format!("its version {} is not known", printable(version.image_layout_version.as_bytes()))),
    }
}

pub(super) fn parse_index(bytes: &[u8]) -> Result<Index, String> {
    let index: Index = serde_json::from_slice(bytes)
        .map_err(|e| format!("its {INDEX_FILE}: {}", printable(e.to_string().as_bytes())))?;
    if index.schema_version != 2 {
        return Err(format!("its {INDEX_FILE}: schemaVersion is not 2"));
    }
    Ok(index)
}

/// A blob of a layout.
pub(super) fn open_blob<'f>(files: &'f Files, place: &str, d: &Descriptor) -> Result<Box<dyn Read + Send + 'f>> {
    let noun = media_type::noun(&d.media_type);
    let refuse = |rule: String| Error::Oci { what: format!("{noun} {} of {place}", d.digest), rule };
    let (content, len) = files.open(&blob_path(&d.digest))?.ok_or_else(|| refuse("it is not there".into()))?;
    if len != d.size {
        return Err(refuse(format!("it has {len} bytes instead of {}", d.size)));
    }
    Ok(content)
}

impl Source for OciLayout {
    fn top(&self) -> Result<Descriptor> {
        Ok(self.top.clone())
    }

    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send + '_>> {
        // Only the index itself is asked for without being a blob.
        if self.top.media_type == media_type::INDEX
            && descriptor.digest == self.top.digest
            && Descriptor::of(media_type::INDEX, &self.index_bytes).digest == descriptor.digest
        {
            return Ok(Box::new(self.index_bytes.as_slice()));
        }
        open_blob(&self.files, &self.place, descriptor)
    }

    fn describe(&self) -> String {
        self.place.clone()
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        let listed = self.referrers.iter().filter(|one| one.subject == *subject).map(|one| &one.descriptor);
        Ok(listed.cloned().chain(tagged(&self.files, &self.index, subject)).collect())
    }

    fn tagged(&self, tag: &str) -> Result<Option<Descriptor>> {
        Ok(self.index.manifests.iter().find(|one| OciLayout::name_of(one) == Some(tag)).cloned())
    }
}
