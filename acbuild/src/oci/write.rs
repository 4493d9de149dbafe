//! Writing the image of an oci build.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

use appc_image::Progress;
use appc_image::archive::WriteOptions;
use appc_image::layer::{Changes, WrittenLayer, write_changes, write_layer};
use appc_image::oci::{Descriptor, Digest, Index, Manifest, OciImage, Platform, Sink, Source, media_type, read_image};
use appc_rooted::Root;
use jiff::Timestamp;

use super::config::History;
use super::image::{Taken, as_oci, json};
use super::layers::{self, Below};
use super::{Config, Image};
use crate::cache::{Compressed, Known, StoredLayers};
use crate::context::Build;
use crate::error::{Error, Result};
use crate::output;
use crate::progress::Bar;

/// Puts all blobs of the image into `sink`, those of the image that the build began with as they were fetched, and those
/// that are `known` as they were written before. An image that nothing was done to is the same image. Returns its manifest
/// with the platform that it is for; it has no name yet.
pub(crate) fn put(
    build: &Build,
    (image, known): (&Image, &StoredLayers<'_>),
    sink: &dyn Sink,
    options: &WriteOptions,
) -> Result<Descriptor> {
    let open = Open::find(build, image, known)?;
    let mut writer = Writer::new(sink, options);
    if let Some(base) = &image.base {
        let (store, stored) = base.open()?;
        let source = store.oci(&stored.id)?.ok_or_else(|| Error::refused("the image in the store has no layers"))?;
        let original = read_image(&source, &image.config.platform())?;
        writer.take_over(&source, image)?;
        if matches!(open, Open::Nothing) && image.layers.is_empty() && is_untouched(image, &original) {
            return writer.original(&original);
        }
    }
    for (number, layer) in image.layers.iter().enumerate() {
        if let Some(Known::Layer(layer)) = known.get(number) {
            writer.add_known(layer)?;
            continue;
        }
        let path = layers::tree(build, layer);
        let tree = Root::open(&path).map_err(Error::io("open", path))?;
        let (written, file) = writer.add(build.dir(), |out, bar| write_layer(&tree, out, options, bar))?;
        known.keep(number, Some((&written, &file)));
    }
    let number = image.layers.len();
    let is_open = !matches!(open, Open::Nothing);
    match open {
        Open::Nothing => known.keep(number, None),
        Open::Known(layer) => writer.add_known(layer)?,
        Open::Changes(changes) => {
            let tree = build.rootfs()?;
            let (written, file) =
                writer.add(build.dir(), |out, bar| write_changes(&changes, &tree, out, options, bar))?;
            known.keep(number, Some((&written, &file)));
        }
    }
    writer.finish(image, is_open)
}

/// The open layer.
enum Open<'k> {
    Nothing,
    Known(&'k Compressed),
    Changes(Box<Changes>),
}

impl<'k> Open<'k> {
    fn find(build: &Build, image: &Image, known: &'k StoredLayers<'_>) -> Result<Open<'k>> {
        match known.get(image.layers.len()) {
            Some(Known::Nothing) => return Ok(Open::Nothing),
            Some(Known::Layer(layer)) => return Ok(Open::Known(layer)),
            None => {}
        }
        let changes = Below::open(build, image)?.changes(build)?;
        output::sockets(changes.sockets());
        Ok(if changes.is_empty() { Open::Nothing } else { Open::Changes(Box::new(changes)) })
    }
}

/// Puts an image into `sink` that has the files of `original`, which is in `source`, and of which only what is said of it
/// was changed.
pub(crate) fn put_edited(
    source: &dyn Source,
    original: &OciImage,
    image: &Image,
    sink: &dyn Sink,
    options: &WriteOptions,
) -> Result<Descriptor> {
    let mut writer = Writer::new(sink, options);
    writer.take_over(source, image)?;
    match is_untouched(image, original) {
        true => writer.original(original),
        false => writer.finish(image, false),
    }
}

/// Puts an index of images that `sink` has into it.
pub(crate) fn put_index(manifests: Vec<Descriptor>, sink: &dyn Sink) -> Result<Descriptor> {
    let platforms: Vec<String> = manifests.iter().flat_map(|image| &image.platform).map(Platform::to_string).collect();
    if let Some(twice) = platforms.iter().find(|one| platforms.iter().filter(|other| other == one).count() > 1) {
        let why = format!(
            "there is an image for {twice} more than once: say what each is for with \"acbuild label add arch\""
        );
        return Err(Error::Refused(why));
    }
    let bytes = json(&Index::new(manifests))?;
    let top = Descriptor::of(media_type::INDEX, &bytes);
    sink.put(&top, &mut &bytes[..])?;
    Ok(top)
}

/// Whether the documents still say what those of the base said.
fn is_untouched(image: &Image, original: &OciImage) -> bool {
    let manifest: Option<Manifest> = serde_json::from_slice(&original.manifest_bytes).ok();
    let config = Config::parse(&original.config_bytes).ok();
    manifest.is_some_and(|manifest| manifest.annotations == image.annotations) && config.as_ref() == Some(&image.config)
}

struct Writer<'w> {
    sink: &'w dyn Sink,
    options: &'w WriteOptions,
    layers: Vec<Descriptor>,
    diff_ids: Vec<Digest>,
    /// The newest time in each layer of this build, in seconds since 1970.
    times: Vec<i64>,
}

impl<'w> Writer<'w> {
    fn new(sink: &'w dyn Sink, options: &'w WriteOptions) -> Writer<'w> {
        Writer { sink, options, layers: Vec::new(), diff_ids: Vec::new(), times: Vec::new() }
    }

    fn put(&self, descriptor: &Descriptor, content: &mut dyn Read) -> Result<()> {
        if !self.sink.has(descriptor)? {
            self.sink.put(descriptor, content)?;
        }
        Ok(())
    }

    /// The layers that stay as they are.
    fn take_over(&mut self, source: &dyn Source, image: &Image) -> Result<()> {
        for Taken { blob, diff_id } in &image.taken {
            let here = as_oci(blob);
            if !self.sink.has(&here)? {
                self.sink.put(&here, &mut source.open(blob)?)?;
            }
            self.layers.push(here);
            self.diff_ids.push(diff_id.clone());
        }
        Ok(())
    }

    /// The base itself, its documents byte for byte.
    fn original(&self, original: &OciImage) -> Result<Descriptor> {
        self.put(&original.config, &mut &original.config_bytes[..])?;
        self.put(&original.manifest, &mut &original.manifest_bytes[..])?;
        let config = Config::parse(&original.config_bytes)?;
        Ok(Descriptor { platform: Some(config.platform()), ..original.manifest.clone() })
    }

    /// A layer of this build that was compressed before.
    fn add_known(&mut self, layer: &Compressed) -> Result<()> {
        self.push(layer.blob.clone(), layer.diff_id.clone(), layer.newest, &layer.content)
    }

    fn push(&mut self, blob: Descriptor, diff_id: Digest, newest: i64, mut content: &File) -> Result<()> {
        self.put(&blob, &mut content)?;
        self.layers.push(blob);
        self.diff_ids.push(diff_id);
        self.times.push(newest);
        Ok(())
    }

    /// A layer of this build, which is compressed now, by way of a file in `dir`. Returns that file.
    fn add(
        &mut self,
        dir: &Path,
        write: impl FnOnce(File, &dyn Progress) -> appc_image::Result<WrittenLayer>,
    ) -> Result<(WrittenLayer, File)> {
        let mut file = tempfile::tempfile_in(dir).map_err(Error::io("write to", dir))?;
        let out = file.try_clone().map_err(Error::io("write to", dir))?;
        let written = write(out, &Bar::new())?;
        file.rewind().map_err(Error::io("read from", dir))?;
        let blob = Descriptor::new(written.media_type, written.digest.clone(), written.size);
        self.push(blob, written.diff_id.clone(), written.newest, &file)?;
        Ok((written, file))
    }

    /// The configuration with all layers, and how they came about. `open`: the steps since the last one made a layer.
    fn config(&self, image: &Image, open: bool) -> Config {
        let mut config = image.config.clone();
        config.rootfs.diff_ids = self.diff_ids.clone();
        config.created = self.created(image);
        // A history that does not speak of all layers is refused by some; then there had better be none.
        let told = config.history.iter().filter(|entry| !entry.empty_layer).count();
        if told != image.taken.len() {
            config.history.clear();
            return config;
        }
        for (layer, newest) in image.layers.iter().zip(&self.times) {
            config.history.push(entry(Some(self.time(*newest)), &layer.steps, false));
        }
        if open || !image.steps.is_empty() {
            let of_layer = self.times.get(image.layers.len()).map(|newest| self.time(*newest));
            config.history.push(entry(of_layer.or(config.created.clone()), &image.steps, !open));
        }
        config
    }

    /// When the image was made, as far as its files tell: the same files are the same image at any time. What is said of the
    /// image that the build began with stands for the files of that.
    fn created(&self, image: &Image) -> Option<String> {
        if self.options.source_date_epoch.is_some() {
            return Some(self.time(0));
        }
        let told = image.config.created.clone();
        let Some(newest) = self.times.iter().max().copied() else {
            return told.or_else(|| image.taken.is_empty().then(|| self.time(0)));
        };
        let is_later = |told: &String| told.parse().is_ok_and(|told: Timestamp| told.as_second() >= newest);
        told.filter(is_later).or_else(|| Some(self.time(newest)))
    }

    /// What `SOURCE_DATE_EPOCH` says or, without it, a time as the documents have it: they know years of four digits only.
    fn time(&self, seconds: i64) -> String {
        let seconds = self.options.source_date_epoch.unwrap_or(seconds).clamp(0, Timestamp::MAX.as_second());
        Timestamp::from_second(seconds).unwrap_or_default().to_string()
    }

    fn finish(self, image: &Image, open: bool) -> Result<Descriptor> {
        let config = self.config(image, open);
        let bytes = json(&config)?;
        let descriptor = Descriptor::of(media_type::CONFIG, &bytes);
        self.put(&descriptor, &mut &bytes[..])?;
        let mut manifest = image.manifest()?;
        manifest.config = descriptor;
        manifest.layers = self.layers.clone();
        let bytes = json(&manifest)?;
        let mut top = Descriptor::of(media_type::MANIFEST, &bytes);
        self.put(&top, &mut &bytes[..])?;
        top.platform = Some(config.platform());
        Ok(top)
    }
}

fn entry(created: Option<String>, steps: &[String], empty_layer: bool) -> History {
    let created_by = Some(steps.join("; ")).filter(|steps| !steps.is_empty());
    History { created, created_by, empty_layer, ..History::default() }
}
