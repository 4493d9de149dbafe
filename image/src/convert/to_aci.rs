//! An OCI image made an image archive.

use std::fs::File;

use appc_spec::ImageManifest;
use appc_spec::oci::{ARCHIVE_RECORD, IMAGE_ID, MANIFEST, MANIFEST_STASH, Origin, keep_documents, to_appc};

use super::squash::{self, squash};
use super::to_oci::{self, WHITELIST};
use super::{Options, layer, tail};
use crate::archive::{Compression, Finished, Written, image_id};
use crate::oci::{Digest, Layer, Manifest, OciImage, Source, read_image, verified};
use crate::{Error, Progress, Result};

/// Writes the image of `source` for the platform of `options` as an image archive to `out`, an empty file.
///
/// # Errors
/// What of the image is wrong, with its place. What `out` holds then is no archive.
pub fn to_aci(
    source: &dyn Source,
    origin: &Origin,
    out: &File,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Written> {
    let image = read_image(source, &options.platform)?;
    let (mut manifest, annotations) = documents(source, &image, origin)?;
    let carried = Carried::of(&annotations, &image, &manifest);
    if let Some(carried) = &carried
        && carried.unedited
        && let Some(written) = carried.again(source, out, options, progress)?
    {
        return Ok(written);
    }
    // With its own layer alone it still depends on what lay below; with all of them it does not.
    let layers: Vec<&Layer> = match &carried {
        Some(carried) => vec![carried.layer],
        None => {
            manifest.dependencies.clear();
            manifest.path_whitelist.clear();
            image.layers.iter().collect()
        }
    };
    // One that carries a manifest may have become another than that speaks of.
    let alone = manifest.dependencies.is_empty() && manifest.path_whitelist.is_empty();
    let kept = to_oci::documents(&manifest, |_| Ok(()))?.map(|kept| Digest::of(kept.manifest.as_bytes()));
    if alone && kept.as_ref() != Some(&image.manifest.digest) {
        keep_documents(&mut manifest, &image.config_bytes, &image.manifest_bytes);
    }
    let finished = squash(source, &layers, manifest.to_json().as_bytes(), clone(out)?, options, progress)?;
    written(&finished, has_layers_of(&manifest, &image), source, &image, out, options)
}

/// Writes the image of `source` with all that its layers have to `out`, which may be a pipe: nothing of what makes an image
/// convert back to the same.
pub(super) fn whole(
    source: &dyn Source,
    origin: &Origin,
    out: File,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Finished> {
    let image = read_image(source, &options.platform)?;
    let (mut manifest, _) = documents(source, &image, origin)?;
    manifest.dependencies.clear();
    manifest.path_whitelist.clear();
    let layers: Vec<&Layer> = image.layers.iter().collect();
    squash(source, &layers, manifest.to_json().as_bytes(), out, options, progress)
}

/// Reads the image of `source` for the platform of `options` to its end: both documents, and all layers.
///
/// # Errors
/// What of the image is wrong, with its place.
pub fn validate(source: &dyn Source, options: &Options, progress: &dyn Progress) -> Result<()> {
    let image = read_image(source, &options.platform)?;
    documents(source, &image, &Origin::default())?;
    let layers: Vec<&Layer> = image.layers.iter().collect();
    squash::read(source, &layers, options.limit, progress).map(drop)
}

/// The App Container manifest for an image, and the image's own.
fn documents(source: &dyn Source, image: &OciImage, origin: &Origin) -> Result<(ImageManifest, Manifest)> {
    let origin = Origin {
        config_digest: image.config.digest.to_string(),
        manifest_digest: image.manifest.digest.to_string(),
        ..origin.clone()
    };
    let mapped = to_appc(&image.config_bytes, &image.manifest_bytes, &origin).map_err(Error::Manifest)?;
    let own = serde_json::from_slice(&image.manifest_bytes).map_err(|e| Error::Oci {
        what: format!("manifest {} of {}", image.manifest.digest, source.describe()),
        rule: e.to_string(),
    })?;
    Ok((mapped, own))
}

fn clone(out: &File) -> Result<File> {
    out.try_clone().map_err(Error::io("write the archive"))
}

/// Whether the layers of `image` are those of the image that the manifest says it was made of.
fn has_layers_of(manifest: &ImageManifest, image: &OciImage) -> bool {
    let stash = manifest.annotations.get(MANIFEST_STASH);
    let original = stash.and_then(|text| serde_json::from_str::<Manifest>(text).ok());
    let digests = image.layers.iter().map(|layer| &layer.descriptor.digest);
    original.is_some_and(|original| original.layers.iter().map(|layer| &layer.digest).eq(digests))
}

/// Appends the original layers, if the archive is to carry them and can.
fn written(
    finished: &Finished,
    originals: bool,
    source: &dyn Source,
    image: &OciImage,
    out: &File,
    options: &Options,
) -> Result<Written> {
    let image_id = image_id(&finished.plain)?;
    let mut size = finished.size;
    if originals && options.originals && options.write.compression == Compression::Gzip {
        let mut tail = tail::Writer::new(clone(out)?)?;
        for layer in &image.layers {
            let descriptor = &layer.descriptor;
            tail.put(descriptor, &mut verified(source.open(descriptor)?, descriptor))?;
        }
        size = tail.finish()?;
    }
    Ok(Written { image_id, size, sockets: Vec::new(), omitted: Vec::new() })
}

/// What an image that was made of an archive carries of it.
struct Carried<'i> {
    /// The layer with the archive's own files.
    layer: &'i Layer,
    record: &'i str,
    manifest: &'i str,
    id: &'i str,
    unedited: bool,
}

impl<'i> Carried<'i> {
    fn of(document: &'i Manifest, image: &'i OciImage, now: &ImageManifest) -> Option<Carried<'i>> {
        let get = |name| document.annotations.get(name).map(String::as_str);
        let (manifest, id) = (get(MANIFEST)?, get(IMAGE_ID)?);
        let (diff_id, record) = get(ARCHIVE_RECORD)?.split_once(',')?;
        let layer = image.layers.iter().find(|layer| layer.diff_id.to_string() == diff_id)?;
        // A layer that somebody put on top belongs to the image, too; the whitelist is in the manifest.
        let mut own = image.layers.iter().filter(|layer| !layer.descriptor.annotations.contains_key(WHITELIST));
        let top = own.next_back().is_some_and(|last| last.diff_id == layer.diff_id);
        let then = ImageManifest::parse(manifest.as_bytes()).ok()?;
        top.then(|| Carried { layer, record, manifest, id, unedited: then == *now })
    }

    /// Writes the very archive; none if what comes out is another one.
    fn again(
        &self,
        source: &dyn Source,
        out: &File,
        options: &Options,
        progress: &dyn Progress,
    ) -> Result<Option<Written>> {
        let descriptor = &self.layer.descriptor;
        let content = verified(source.open(descriptor)?, descriptor);
        let made = layer::to_archive(content, self.record, self.manifest.as_bytes(), clone(out)?, options, progress);
        if let Ok(finished) = made {
            let image_id = image_id(&finished.plain)?;
            if image_id.as_str() == self.id {
                return Ok(Some(Written { image_id, size: finished.size, sockets: Vec::new(), omitted: Vec::new() }));
            }
        }
        // Whatever was wrong: the image is still an image, and reading it again shows whether it can be had at all.
        rustix::fs::ftruncate(out, 0).map_err(Error::io("write the archive"))?;
        rustix::fs::seek(out, rustix::fs::SeekFrom::Start(0)).map_err(Error::io("write the archive"))?;
        Ok(None)
    }
}
