//! Whether something is an image, without unpacking it.

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::path::Path;

use appc_spec::ImageManifest;

use super::decode::Direct;
use super::entry::{Entry, Type, cleaned};
use super::reader::Reader;
use super::{Kind, Limit};
use crate::extract::{MANIFEST_MAX, Place, place};
use crate::{Error, Result};

/// Reads the image archive `source` to its end, and returns its manifest.
///
/// # Errors
/// The first rule of the specification ("Image Archives", "Image Manifest Schema") that it breaks.
pub fn validate(source: impl Read) -> Result<ImageManifest> {
    ImageManifest::parse(&whole(source)?).map_err(Error::Manifest)
}

/// The manifest of an archive that is whole and breaks no rule, itself perhaps excepted: nobody has looked at it.
pub(super) fn whole(source: impl Read) -> Result<Vec<u8>> {
    let mut reader = Reader::new(Direct::new(source, Limit::Usual)?);
    let mut manifest = None;
    let mut seen = Seen::default();
    while let Some(entry) = reader.next()? {
        match place(Kind::Aci, &entry)? {
            Place::Top => {}
            Place::Manifest if manifest.is_some() => return Err(entry.refuse("it is in the archive twice")),
            Place::Manifest => manifest = Some(reader.whole(MANIFEST_MAX)?),
            Place::Rootfs(path) => seen.add(path, &entry)?,
        }
    }
    let incomplete = |what: &str| {
        let rule = format!("the archive ends without a {what}: it is no App Container image");
        Error::Archive { entry: String::new(), offset: reader.offset(), rule }
    };
    let manifest = manifest.ok_or_else(|| incomplete("manifest"))?;
    if seen.paths.is_empty() {
        return Err(incomplete("rootfs"));
    }
    Ok(manifest)
}

/// What an archive has so far.
#[derive(Default)]
pub(crate) struct Seen {
    /// Every path below the root file system, and whether there can be others below it.
    paths: HashMap<Vec<u8>, bool>,
}

impl Seen {
    /// Takes the next entry, which is to be at `path`.
    ///
    /// # Errors
    /// When it cannot be there beside what came before it.
    pub(crate) fn add(&mut self, path: &[u8], entry: &Entry) -> Result<()> {
        if self.paths.contains_key(path) {
            return Err(entry.refuse("it is in the archive twice"));
        }
        let mut slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        if slashes.any(|(at, _)| self.paths.get(&path[..at]) == Some(&false)) {
            return Err(entry.refuse("what is above it is not a directory"));
        }
        if entry.kind == Type::HardLink {
            let target =
                cleaned(&entry.link).map_err(|rule| entry.refuse(format!("as a hard link's target, {rule}")))?;
            match target.strip_prefix(b"rootfs/").map(|target| self.paths.get(target)) {
                Some(Some(false)) => {}
                _ => return Err(entry.refuse("it is a hard link to something that is no file before it")),
            }
        }
        self.paths.insert(path.to_vec(), entry.kind == Type::Directory);
        Ok(())
    }
}

/// Looks at the extracted image in the directory `layout`, and returns its manifest.
///
/// # Errors
/// The first rule of the specification ("Image Layout") that it breaks.
pub fn validate_layout(layout: &Path) -> Result<ImageManifest> {
    let broken = |rule: String| Error::Tree { path: layout.into(), rule };
    let what = || format!("read {}", layout.display());
    let (mut manifest, mut rootfs) = (false, false);
    for entry in fs::read_dir(layout).map_err(Error::io(what()))? {
        let entry = entry.map_err(Error::io(what()))?;
        let kind = entry.file_type().map_err(Error::io(what()))?;
        match entry.file_name().to_str() {
            Some("manifest") if kind.is_file() => manifest = true,
            Some("manifest") => return Err(broken("the manifest must be a regular file".into())),
            Some("rootfs") if kind.is_dir() => rootfs = true,
            Some("rootfs") => return Err(broken("rootfs is not a directory".into())),
            _ => return Err(broken(format!("unrecognized file path in layout: {:?}", entry.file_name()))),
        }
    }
    match (manifest, rootfs) {
        (false, _) => Err(broken("no image manifest found in layout".into())),
        (_, false) => Err(broken("no rootfs found in layout".into())),
        (true, true) => {
            let text = fs::read(layout.join("manifest")).map_err(Error::io(what()))?;
            ImageManifest::parse(&text).map_err(Error::Manifest)
        }
    }
}
