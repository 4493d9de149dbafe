//! Layers of OCI images that were compressed, kept to be written again.

use std::fs::File;
use std::io::Seek;

use appc_image::archive::WriteOptions;
use appc_image::layer::WrittenLayer;
use appc_image::oci::{Algorithm, Descriptor, Digest};

use super::image::store_copy;
use super::step::find;
use super::{Cache, Change, Kept, Key, Lock, digest};
use crate::context::Build;
use crate::error::Result;
use crate::oci::Image;
use crate::session::Session;

/// What the layers that a build with a cache has made, the closed ones and then the open one, are at the moment. By default
/// nothing is known of any.
#[derive(Default)]
pub(crate) struct StoredLayers<'s> {
    /// The command, for those who list the cache.
    line: &'s str,
    /// Nothing for a build without a cache.
    cache: Option<Cache>,
    layers: Vec<(String, Option<(Known, Lock)>)>,
}

/// What the cache knows of a layer.
pub(crate) enum Known {
    /// The open one has nothing.
    Nothing,
    /// It is this.
    Layer(Box<Compressed>),
}

/// A layer as it was written.
pub(crate) struct Compressed {
    pub(crate) blob: Descriptor,
    /// The digest of the plain tar.
    pub(crate) diff_id: Digest,
    /// The latest of the times of its files, in seconds since 1970.
    pub(crate) newest: i64,
    pub(crate) content: File,
}

impl<'s> StoredLayers<'s> {
    /// Looks for those of `image`, as `options` write them.
    pub(crate) fn find(session: &'s Session, build: &Build, image: &Image, options: &WriteOptions) -> Result<Self> {
        let mut layers = StoredLayers { line: session.line(), ..StoredLayers::default() };
        let Some(state) = build.state() else { return Ok(layers) };
        // Without the cache they are written as ever.
        let Ok(Some(cache)) = Cache::of_build(&state, build.dir()) else { return Ok(layers) };
        let outline = image.outline();
        let WriteOptions { compression, level, source_date_epoch, .. } = options;
        for upper in image.taken.len()..=outline.len() {
            let mut key = Key::new(&cache, &state.state, "write layer");
            key.list("below", &outline[..upper]);
            key.field("layer", outline.get(upper).map_or("open", String::as_str));
            key.field("options", format!("{compression:?} {level:?} {source_date_epoch:?}"));
            let key = key.finish();
            let found = find(session, &cache, &key).unwrap_or_default();
            let known = found.and_then(|(kept, lock)| Some((Known::read(&cache, &kept)?, lock)));
            layers.layers.push((key, known));
        }
        layers.cache = Some(cache);
        Ok(layers)
    }

    /// Whether no file of the build is needed to write the image.
    pub(crate) fn is_complete(&self) -> bool {
        self.cache.is_some() && self.layers.iter().all(|(_, known)| known.is_some())
    }

    /// Layer `number` of those that the build has made; the open one is the last.
    pub(crate) fn get(&self, number: usize) -> Option<&Known> {
        let (_, known) = self.layers.get(number)?;
        known.as_ref().map(|(known, _)| known)
    }

    /// Keeps a layer that was written to `file`; nothing when there is none.
    pub(crate) fn keep(&self, number: usize, layer: Option<(&WrittenLayer, &File)>) {
        let (Some(cache), Some((key, _))) = (&self.cache, self.layers.get(number)) else { return };
        let Some((layer, file)) = layer else {
            return store_copy(cache, self.line, key, Change::Nothing, None);
        };
        // What is left out is told each time.
        if layer.sockets.is_empty() {
            let (media_type, diff_id) = (layer.media_type.to_owned(), layer.diff_id.to_string());
            let change = Change::Compressed { media_type, diff_id, newest: layer.newest };
            store_copy(cache, self.line, key, change, Some(file));
        }
    }
}

impl Known {
    /// What was kept, if it is what it was.
    fn read(cache: &Cache, kept: &Kept) -> Option<Known> {
        let (media_type, diff_id, newest) = match &kept.change {
            Change::Nothing => return Some(Known::Nothing),
            Change::Compressed { media_type, diff_id, newest } => (media_type.as_str(), diff_id.parse().ok()?, *newest),
            _ => return None,
        };
        let mut content = cache.result(&kept.digest).ok()?;
        if !digest(&content).is_ok_and(|digest| digest == kept.digest) {
            cache.drop_result(kept);
            return None;
        }
        content.rewind().ok()?;
        let blob = format!("{}:{}", Algorithm::Sha256, kept.digest).parse().ok()?;
        let blob = Descriptor::new(media_type, blob, kept.size);
        Some(Known::Layer(Box::new(Compressed { blob, diff_id, newest, content })))
    }
}
