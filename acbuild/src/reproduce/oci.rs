//! The OCI images in an archive or a layout that a script wrote.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use appc_image::Quiet;
use appc_image::archive::{CopyOptions, Limit, Ownership, copy_tree};
use appc_image::layer::{LayerOptions, settle_layer, unpack_layer};
use appc_image::layout::OciLayout;
use appc_image::oci::{Descriptor, Index, OciImage, Platform, Source, media_type, read_image, small, verified};
use appc_rooted::Root;
use serde_json::Value;

use super::compare::{Image, read_json};
use crate::error::{Error, Result};

/// All images in the layout or archive `path`, by what they are called in it, unpacked below `place`.
pub(super) fn open(path: &Path, place: &Path) -> Result<BTreeMap<String, Image>> {
    let layout = if path.is_dir() { OciLayout::whole(path) } else { OciLayout::whole_archive(path) }?;
    let mut found = Vec::new();
    list(&layout, &layout.top()?, "", &mut found)?;
    let mut images = BTreeMap::new();
    for (number, (name, descriptor)) in found.into_iter().enumerate() {
        let one = One { layout: &layout, descriptor };
        let image = read_image(&one, &Platform::host())?;
        let place = place.join(number.to_string());
        fs::create_dir_all(&place).map_err(Error::io("create", &place))?;
        let documents: [(&'static str, Value); 2] = [
            ("manifest", read_json("manifest", path, &image.manifest_bytes)?),
            ("config", read_json("config", path, &image.config_bytes)?),
        ];
        let rootfs = unpack(&one, &image, &place)?;
        images.insert(name, Image { id: image.manifest.digest.to_string(), documents: documents.into(), rootfs });
    }
    Ok(images)
}

/// Finds the manifests below an index, each with its name and, where several have that, its platform.
fn list(layout: &OciLayout, index: &Descriptor, name: &str, found: &mut Vec<(String, Descriptor)>) -> Result<()> {
    let bytes = small(layout, index)?;
    let manifests = serde_json::from_slice::<Index>(&bytes)
        .map_err(|e| Error::Refused(format!("the index {} is no JSON of one: {e}", index.digest)))?
        .manifests;
    for descriptor in manifests {
        let own = OciLayout::name_of(&descriptor).map(str::to_owned);
        let own = own.or_else(|| descriptor.platform.as_ref().map(Platform::to_string)).unwrap_or_default();
        let words = [name, &own].into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>();
        let name = words.join(" ");
        match media_type::is_index(&descriptor.media_type) {
            // As deep as images are read.
            true if words.len() < 4 => list(layout, &descriptor, &name, found)?,
            true => return Err(Error::refused("indexes are nested too deeply in the image that was written")),
            false => found.push((name, descriptor)),
        }
    }
    Ok(())
}

/// One image of a layout.
struct One<'l> {
    layout: &'l OciLayout,
    descriptor: Descriptor,
}

impl Source for One<'_> {
    fn top(&self) -> appc_image::Result<Descriptor> {
        Ok(self.descriptor.clone())
    }

    fn open(&self, descriptor: &Descriptor) -> appc_image::Result<Box<dyn std::io::Read + Send + '_>> {
        self.layout.open(descriptor)
    }

    fn describe(&self) -> String {
        self.layout.describe()
    }
}

/// Merges the layers in one tree below `place`.
fn unpack(source: &dyn Source, image: &OciImage, place: &Path) -> Result<Root> {
    let make = |name: &str| {
        let path = place.join(name);
        fs::create_dir(&path).map_err(Error::io("create", &path))?;
        Root::open(&path).map_err(Error::io("open", path))
    };
    let ownership = Ownership::of_this_process();
    let (whole, mut below) = (make("rootfs")?, Vec::new());
    for (number, layer) in image.layers.iter().enumerate() {
        let tree = make(&format!("layer-{number}"))?;
        let options = LayerOptions { tee: None, ownership, algorithm: layer.diff_id.algorithm(), limit: Limit::NONE };
        let content = verified(source.open(&layer.descriptor)?, &layer.descriptor);
        let unpacked = unpack_layer(content, &tree, &options, &Quiet)?;
        settle_layer(&tree, &unpacked, &below, ownership)?;
        copy_tree(&tree, "", &whole, "", &CopyOptions { layer: true, ownership, ..CopyOptions::default() })?;
        below.push(tree);
    }
    Ok(whole)
}
