//! Reading archives: whole, or only what is needed.

use std::io::Read;
use std::os::unix::ffi::OsStrExt;

use appc_rooted::{OFlags, Root};

use super::decode::{Direct, How, Stream};
use super::digest::image_id;
use super::reader::{Dialect, Reader};
use super::{Kind, Limit, UnpackOptions, Unpacked};
use crate::extract::{Extractor, MANIFEST_MAX, Place, first_component, place};
use crate::oci::Algorithm;
use crate::{Error, Progress, Result};

/// Unpacks the archive `source` into `rootfs`, an empty directory, in one pass on several threads.
///
/// Nothing is synced to disk. After an error `rootfs` holds what was made until then.
///
/// # Errors
/// [`Error::Archive`] with the entry, its offset and the rule for whatever is not exactly an image: two files of one
/// name, an entry that leaves the root by `..`, an absolute name, a link on the way or a hard link, anything beside
/// `manifest` and `rootfs`, a truncated archive, garbage behind it.
pub fn unpack(
    source: impl Read + Send,
    rootfs: &Root,
    options: &UnpackOptions,
    progress: &dyn Progress,
) -> Result<Unpacked> {
    unpack_then(source, rootfs, options, progress, || Ok(()))
}

/// [`unpack`], with something to do with the tree as soon as it is whole: the digest takes a little longer.
pub(crate) fn unpack_then(
    source: impl Read + Send,
    rootfs: &Root,
    options: &UnpackOptions,
    progress: &dyn Progress,
    then: impl FnOnce() -> Result<()>,
) -> Result<Unpacked> {
    let UnpackOptions { tee, ownership, kind, total, layer, limit } = options;
    let (ownership, kind, total) = (*ownership, *kind, *total);
    let top = rootfs.open_at("", OFlags::RDONLY | OFlags::DIRECTORY).map_err(Error::io("open the target directory"))?;
    progress.start(total, "unpack");
    let extractor = Extractor::new(top, kind, ownership, *layer)?;
    let as_image = How { algorithm: Algorithm::Sha512, dialect: Dialect::Image, limit: *limit };
    let unpacked = std::thread::scope(|scope| {
        let mut reader = Reader::new(Stream::start(scope, source, tee.as_ref(), as_image, progress)?);
        let extracted = extractor.run(&mut reader)?;
        let (digest, size) = reader.into_source().finish_beside(then)?;
        Ok::<_, Error>(Unpacked {
            image_id: image_id(&digest)?,
            size,
            manifest: extracted.manifest,
            tree_size: extracted.tree_size,
            omitted: extracted.omitted,
        })
    })?;
    progress.finish();
    Ok(unpacked)
}

/// The image manifest of the archive `source`, verbatim and unchecked. Reads no further than it has to.
pub fn manifest(source: impl Read) -> Result<Vec<u8>> {
    let mut reader = Reader::new(Direct::new(source, Limit::Usual)?);
    while let Some(entry) = reader.next()? {
        if let Place::Manifest = place(Kind::Aci, &entry)? {
            return reader.whole(MANIFEST_MAX);
        }
    }
    let rule = "the archive ends without a manifest: it is no App Container image".into();
    Err(Error::Archive { entry: String::new(), offset: reader.offset(), rule })
}

/// The first name at the top of the archive `source`; empty when there is none. Reads no further than that.
pub(crate) fn first_name(source: impl Read) -> Result<Vec<u8>> {
    let mut reader = Reader::of(Dialect::Layer, Direct::new(source, Limit::Usual)?);
    while let Some(entry) = reader.next()? {
        let name = first_component(&entry.path).as_bytes();
        if !name.is_empty() {
            return Ok(name.to_vec());
        }
    }
    Ok(Vec::new())
}

/// Whether the archive `source` is meant as an image, as against being a plain tar of a file system: it has a `manifest`.
///
/// The first entry decides when it is neither that nor the `rootfs`; otherwise this reads on until it has seen both.
pub fn looks_like_aci(source: impl Read) -> Result<bool> {
    let mut reader = Reader::new(Direct::new(source, Limit::Usual)?);
    let (mut manifest, mut rootfs) = (false, false);
    while let Some(entry) = reader.next()? {
        match first_component(&entry.path).to_str() {
            Some("") => {}
            Some("manifest") => manifest = true,
            Some("rootfs") => rootfs = true,
            _ if !manifest && !rootfs => return Ok(false),
            _ => {}
        }
        if manifest && rootfs {
            return Ok(true);
        }
    }
    Ok(manifest)
}
