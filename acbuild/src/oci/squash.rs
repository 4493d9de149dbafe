//! Making one layer of several.

use std::io::Read;

use appc_image::Quiet;
use appc_image::oci::{Descriptor, Manifest, Platform, Source, media_type};
use appc_image::store::StoredOci;
use serde_json::json;

use super::Image;
use super::image::{Base, Closed, json as bytes};
use super::layers::{self, Below};
use crate::context::Build;
use crate::error::{Error, Result};

/// Makes the layers from the one numbered `from` on the open layer; the first one is 1. Returns what is to be removed once
/// the manifest is saved, by [`Leftovers::remove`].
pub(crate) fn squash(build: &Build, image: &mut Image, from: usize) -> Result<Leftovers> {
    let closed = image.base_layers().len() + image.layers.len();
    let open = usize::from(!Below::open(build, image)?.changes(build)?.is_empty());
    if from == 0 || from > closed + open {
        let all = closed + open;
        return Err(Error::Refused(format!("--from must be a layer of the image, which has {all}: it is {from}")));
    }
    let keep = from - 1;
    let keep_closed = keep.saturating_sub(image.base_layers().len());
    let gone = image.layers.split_off(keep_closed.min(image.layers.len()));
    let steps: Vec<String> = gone.iter().flat_map(|layer| layer.steps.clone()).collect();
    image.steps.splice(0..0, steps);
    if keep < image.base_layers().len() {
        image.base = match (&image.base, keep) {
            (Some(base), 1..) => Some(lowest(base, keep, image)?),
            _ => None,
        };
        image.config.rootfs.diff_ids.truncate(keep);
        truncate_history(image, keep);
    }
    Ok(Leftovers(gone))
}

/// Trees of layers that are no more.
pub(crate) struct Leftovers(Vec<Closed>);

impl Leftovers {
    /// Removes them.
    pub(crate) fn remove(&self, build: &Build) -> Result<()> {
        layers::remove(build, &self.0)
    }
}

/// Leaves the history of the lowest `keep` layers.
fn truncate_history(image: &mut Image, keep: usize) {
    let mut layers = 0;
    image.config.history.retain(|entry| {
        layers += usize::from(!entry.empty_layer);
        layers < keep || layers == keep && !entry.empty_layer
    });
}

/// The lowest layers of the base as an image of their own, in the same store: all of it is there already.
fn lowest(base: &Base, keep: usize, image: &Image) -> Result<Base> {
    let (store, stored) = base.open()?;
    let Some(of) = store.oci(&stored.id)? else { return Err(Error::refused("the image in the store has no layers")) };
    let layers = base.layers[..keep].to_vec();
    let diff_ids: Vec<_> = layers.iter().map(|layer| &layer.diff_id).collect();
    let platform = image.config.platform();
    let rootfs = json!({ "type": "layers", "diff_ids": diff_ids });
    let config = json!({ "architecture": platform.architecture, "os": platform.os, "config": {}, "rootfs": rootfs });
    let config = bytes(&config)?;
    let descriptors = layers.iter().map(|layer| layer.blob.clone()).collect();
    let manifest = bytes(&Manifest::new(Descriptor::of(media_type::CONFIG, &config), descriptors))?;
    let lowest = Lowest { of, config, manifest };
    let id = store.import_oci(&lowest, &Platform::host(), "acbuild squash", &Quiet)?.id;
    Ok(Base { store: base.store.clone(), id: id.to_string(), layers })
}

/// Some layers of a stored image, with documents of their own.
struct Lowest<'s> {
    of: StoredOci<'s>,
    config: Vec<u8>,
    manifest: Vec<u8>,
}

impl Source for Lowest<'_> {
    fn top(&self) -> appc_image::Result<Descriptor> {
        Ok(Descriptor::of(media_type::MANIFEST, &self.manifest))
    }

    fn open(&self, descriptor: &Descriptor) -> appc_image::Result<Box<dyn Read + Send + '_>> {
        let own = [(media_type::MANIFEST, &self.manifest), (media_type::CONFIG, &self.config)];
        let found = own.into_iter().find(|(kind, bytes)| Descriptor::of(*kind, bytes).digest == descriptor.digest);
        match found {
            Some((_, bytes)) => Ok(Box::new(bytes.as_slice())),
            None => self.of.open(descriptor),
        }
    }

    fn describe(&self) -> String {
        self.of.describe()
    }
}
