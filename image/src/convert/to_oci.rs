//! An image archive made an OCI image.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use appc_rooted::Root;
use appc_spec::oci::{ARCHIVE_RECORD, IMAGE_ID, MANIFEST, OciParts, Original as Documents, RESOLVED_USER};
use appc_spec::{App, ImageManifest};
use serde_json::{Value, json};

use super::in_the_way::InTheWay;
use super::index::Index;
use super::layer::{self, Made};
use super::tail::Tail;
use super::{Options, Referrers, copy, layer_type, whitelist};
use crate::archive::entry::Entry;
use crate::archive::reader::Dialect;
use crate::archive::writer::{What, write_tree};
use crate::archive::{self, Finished, Omission};
use crate::oci::{Descriptor, Digest, Manifest, Sink, Source, media_type};
use crate::{Error, Progress, Result};

/// Annotation of a layer that is nothing but a path whitelist.
pub(super) const WHITELIST: &str = "io.appc.layer.path-whitelist";

/// An image that another one lies on, or a part of one.
pub struct Below {
    /// Its files.
    pub files: Files,
    /// Its name and labels, for whoever looks at the layer.
    pub name: String,
}

/// The files of an image.
pub enum Files {
    /// The image archive.
    Archive(File),
    /// A layer of an image in the store. One that has a path whitelist is such a layer together with those below it.
    Tree(Root),
}

/// An OCI image that was made of an archive.
#[derive(Debug)]
pub struct Converted {
    /// The manifest, as the sink was told.
    pub top: Descriptor,
    /// What is not in the layers, because it would hide files of other layers there. It comes back with the archive.
    pub omitted: Vec<Omission>,
    /// The archive was made of an OCI image whose layers, with what was said of them, it no longer has: it became a layer.
    pub without_originals: bool,
}

/// Writes the image archive `aci` to `sink`, upon the archives of the images it depends on, lowest first.
///
/// # Errors
/// [`Error::Archive`] for what cannot be in a layer, [`Error::Manifest`], and whatever the sink refuses.
pub fn to_oci(
    aci: &File,
    below: &[Below],
    sink: &dyn Sink,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Converted> {
    if let Some(original) = Original::of(aci)? {
        let top = copy(&original, sink, Some(&options.platform), Referrers::LeftOut, progress)?;
        return Ok(Converted { top, omitted: Vec::new(), without_originals: false });
    }
    let Some(layer_type) = layer_type(options.write.compression) else {
        let compression = options.write.compression;
        return Err(Error::Option(format!("layers cannot be compressed with {compression}: use gzip, zstd or none")));
    };
    let manifest = ImageManifest::parse(&archive::manifest(again(aci)?)?).map_err(Error::Manifest)?;
    if !manifest.dependencies.is_empty() && below.is_empty() {
        let names: Vec<String> = manifest.dependencies.iter().map(|below| below.image_name.to_string()).collect();
        let rule = format!("it depends on {}, which is not given", names.join(" and "));
        return Err(Error::Oci { what: format!("image {}", manifest.name), rule });
    }
    let indexed = (!manifest.path_whitelist.is_empty()).then(Vec::new);
    let in_the_way = InTheWay::default();
    let mut layers =
        Layers { sink, options, layer_type, descriptors: Vec::new(), diff_ids: Vec::new(), in_the_way, indexed };
    let mut omitted = Vec::new();
    for image in below {
        let annotations = [("io.appc.layer.image-name".to_owned(), image.name.clone())].into();
        let layer = match &image.files {
            Files::Archive(archive) => {
                let (made, layer) = layers.add(archive, annotations, progress)?;
                omitted.extend(made.omitted);
                layer
            }
            Files::Tree(tree) => layers.add_tree(tree, annotations, progress)?,
        };
        layers.in_the_way.add(&layer)?;
    }
    let (made, _) = layers.add(aci, BTreeMap::new(), progress)?;
    if !manifest.path_whitelist.is_empty() {
        layers.restrict(&manifest.path_whitelist)?;
    }
    let mut parts = appc_spec::oci::to_oci(&manifest);
    let without_originals = parts.came_with.is_some();
    // The layers are not the ones that this speaks of.
    if let Some(config) = parts.config.as_object_mut().filter(|_| without_originals) {
        config.shift_remove("history");
    }
    annotate(&mut parts, &manifest, &made)?;
    resolve_user(&mut parts, manifest.app.as_ref(), aci)?;
    omitted.extend(made.omitted);
    Ok(Converted { top: layers.finish(parts)?, omitted, without_originals })
}

/// The layers written so far.
struct Layers<'o> {
    sink: &'o dyn Sink,
    options: &'o Options,
    layer_type: &'static str,
    descriptors: Vec<Descriptor>,
    diff_ids: Vec<Digest>,
    in_the_way: InTheWay,
    /// The same layers, if they are to be read again.
    indexed: Option<Vec<File>>,
}

impl Layers<'_> {
    fn add(
        &mut self,
        archive: &File,
        annotations: BTreeMap<String, String>,
        progress: &dyn Progress,
    ) -> Result<(Made, File)> {
        let (out, written) = self.temp()?;
        let made = layer::from_archive(again(archive)?, written, &mut self.in_the_way, self.options, progress)?;
        let layer = self.put(&made.layer, out, annotations)?;
        Ok((made, layer))
    }

    fn add_tree(
        &mut self,
        tree: &Root,
        annotations: BTreeMap<String, String>,
        progress: &dyn Progress,
    ) -> Result<File> {
        let (out, written) = self.temp()?;
        let (layer, _told) = write_tree(What::Layer, tree, written, &self.options.write, progress)?;
        self.put(&layer, out, annotations)
    }

    /// Adds the layer that a path whitelist is.
    fn restrict(&mut self, whitelist: &[String]) -> Result<()> {
        let mut index = Index::default();
        for (at, layer) in self.indexed.iter().flatten().enumerate() {
            let (mut number, mut added) = (0, Ok(()));
            archive::each_entry(Dialect::Layer, again(layer)?, |entry| {
                if added.is_ok() {
                    added = index.add(entry, (at as u32, number));
                    number += 1;
                }
            })?;
            added?;
        }
        let (out, written) = self.temp()?;
        let layer = whitelist::write(&index, whitelist, written, &self.options.write)?;
        self.put(&layer, out, [(WHITELIST.to_owned(), "true".to_owned())].into()).map(drop)
    }

    /// A file for a layer, and again to write to it.
    fn temp(&self) -> Result<(File, File)> {
        let dir = &self.options.temp_dir;
        let make = || tempfile::tempfile_in(dir).and_then(|file| Ok((file.try_clone()?, file)));
        make().map_err(Error::io(format!("make a file in {}", dir.display())))
    }

    /// Adds a layer with this content, and returns it.
    fn put(&mut self, layer: &Finished, mut content: File, annotations: BTreeMap<String, String>) -> Result<File> {
        let packed = layer.packed.clone().ok_or_else(super::record::broken)?;
        let mut descriptor = Descriptor::new(self.layer_type, packed, layer.size);
        if !self.sink.has(&descriptor)? {
            content.seek(SeekFrom::Start(0)).map_err(Error::io("read a layer"))?;
            self.sink.put(&descriptor, &mut content)?;
        }
        descriptor.annotations = annotations;
        if let Some(indexed) = &mut self.indexed {
            indexed.push(again(&content)?);
        }
        self.descriptors.push(descriptor);
        self.diff_ids.push(layer.plain.clone());
        Ok(content)
    }

    fn finish(self, mut parts: OciParts) -> Result<Descriptor> {
        parts.config["rootfs"] = json!({ "type": "layers", "diff_ids": self.diff_ids });
        let config = parts.config.to_string().into_bytes();
        let config_descriptor = Descriptor::of(media_type::CONFIG, &config);
        self.sink.put(&config_descriptor, &mut &config[..])?;
        let mut manifest = Manifest::new(config_descriptor, self.descriptors);
        manifest.annotations = parts.annotations;
        let manifest = serde_json::to_vec(&manifest).map_err(|e| Error::io("write the manifest")(e))?;
        let mut top = Descriptor::of(media_type::MANIFEST, &manifest);
        if top.size > crate::oci::DOCUMENT_MAX {
            let rule = format!("its manifest would be {} bytes long, more than is allowed", top.size);
            return Err(Error::Oci { what: "the image".into(), rule });
        }
        self.sink.put(&top, &mut &manifest[..])?;
        top.platform = super::copy::platform_of(&parts.config);
        self.sink.finish(&top)?;
        Ok(top)
    }
}

/// The archive from its beginning.
pub(super) fn again(archive: &File) -> Result<File> {
    let mut file = archive.try_clone().map_err(Error::io("read the archive"))?;
    file.seek(SeekFrom::Start(0)).map_err(Error::io("read the archive"))?;
    Ok(file)
}

/// What it takes to make the archive again: the image's ID, its manifest, and which layer is its own.
fn annotate(parts: &mut OciParts, manifest: &ImageManifest, made: &Made) -> Result<()> {
    // JSON cannot hold bytes that are no text; a manifest that has some is not the same when it comes back.
    let verbatim = std::str::from_utf8(&made.manifest).ok();
    let text = verbatim.map_or_else(|| manifest.to_json(), str::to_owned);
    parts.annotations.insert(MANIFEST.to_owned(), text);
    let id = format!("sha512-{}", made.archive.hex());
    parts.annotations.insert(IMAGE_ID.to_owned(), id);
    if let Some(record) = made.record.as_ref().filter(|_| verbatim.is_some()) {
        parts.annotations.insert(ARCHIVE_RECORD.to_owned(), format!("{},{record}", made.layer.plain));
    }
    Ok(())
}

/// A user that is named by a file is the owner of that file, which only who has the file can tell.
fn resolve_user(parts: &mut OciParts, app: Option<&App>, archive: &File) -> Result<()> {
    let Some(app) = app.filter(|app| app.user.starts_with('/') || app.group.starts_with('/')) else { return Ok(()) };
    let owner = |path: &str, id: fn(&Entry) -> u32| -> Result<String> {
        if !path.starts_with('/') {
            return Ok(path.to_owned());
        }
        let wanted = format!("rootfs/{}", path.trim_matches('/'));
        let mut found = None;
        archive::each_entry(Dialect::Image, again(archive)?, |entry| {
            if entry.path == wanted.trim_end_matches('/').as_bytes() {
                found = Some(id(entry).to_string());
            }
        })?;
        found.ok_or_else(|| Error::Oci {
            what: format!("user {path} of the app"),
            rule: "it is meant to be the owner of that file, which is not in the image".into(),
        })
    };
    let user = format!(
        "{}:{}",
        owner(&app.user, |entry| entry.attributes.uid)?,
        owner(&app.group, |entry| entry.attributes.gid)?
    );
    if let Some(run) = parts.config.get_mut("config") {
        run["User"] = Value::String(user.clone());
    }
    parts.annotations.insert(RESOLVED_USER.to_owned(), user);
    Ok(())
}

/// The OCI image that an archive was made of, with what was edited in the manifest, if all of its layers are still there.
pub(super) struct Original {
    tail: Tail,
    manifest: Descriptor,
    manifest_bytes: String,
    config: Descriptor,
    config_bytes: String,
}

impl Original {
    pub(super) fn of(aci: &File) -> Result<Option<Original>> {
        let Some(tail) = Tail::of(aci) else { return Ok(None) };
        // Who has a tail has been written here, with the manifest first: this is quick. Nothing but the manifest was
        // edited since: whoever changes files writes another archive.
        let manifest = ImageManifest::parse(&archive::manifest(again(aci)?)?).map_err(Error::Manifest)?;
        let resolve = |parts: &mut OciParts| resolve_user(parts, manifest.app.as_ref(), aci);
        let Some(documents) = documents(&manifest, resolve)? else { return Ok(None) };
        let Ok(parsed) = serde_json::from_str::<Manifest>(&documents.manifest) else { return Ok(None) };
        let media_type = parsed.media_type.unwrap_or_else(|| media_type::MANIFEST.to_owned());
        let manifest = Descriptor::of(media_type, documents.manifest.as_bytes());
        let original = Original {
            tail,
            manifest,
            manifest_bytes: documents.manifest,
            config: parsed.config,
            config_bytes: documents.config,
        };
        let whole = parsed.layers.iter().all(|layer| original.tail.open(layer).is_some());
        Ok(Some(original).filter(|_| whole))
    }
}

/// The two documents of the image that one with this manifest was made of, as they were, or with what was edited since, for
/// which a user that is named by a file is to be resolved.
pub(super) fn documents(
    manifest: &ImageManifest,
    resolve: impl FnOnce(&mut OciParts) -> Result<()>,
) -> Result<Option<Documents>> {
    let mut parts = appc_spec::oci::to_oci(manifest);
    if parts.original.is_some() {
        return Ok(parts.original);
    }
    // What it depends on, or leaves out, is no layer of the original.
    if !manifest.dependencies.is_empty() || !manifest.path_whitelist.is_empty() {
        return Ok(None);
    }
    resolve(&mut parts)?;
    let Some(Value::Object(mut document)) = parts.came_with else { return Ok(None) };
    let config = parts.config.to_string();
    if let Some(Value::Object(descriptor)) = document.get_mut("config") {
        let Descriptor { digest, size, .. } = Descriptor::of(media_type::CONFIG, config.as_bytes());
        descriptor.insert("digest".into(), json!(digest));
        descriptor.insert("size".into(), json!(size));
        // The content itself, in which nothing was edited.
        descriptor.shift_remove("data");
    }
    document.insert("annotations".into(), json!(parts.annotations));
    Ok(Some(Documents { config, manifest: Value::Object(document).to_string() }))
}

impl Source for Original {
    fn top(&self) -> Result<Descriptor> {
        Ok(self.manifest.clone())
    }

    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send + '_>> {
        if descriptor.digest == self.manifest.digest {
            return Ok(Box::new(self.manifest_bytes.as_bytes()));
        }
        if descriptor.digest == self.config.digest {
            return Ok(Box::new(self.config_bytes.as_bytes()));
        }
        match self.tail.open(descriptor) {
            Some(content) => Ok(Box::new(content)),
            None => {
                let what = format!("blob {} of {}", descriptor.digest, self.describe());
                Err(Error::Oci { what, rule: "it is not there".into() })
            }
        }
    }

    fn describe(&self) -> String {
        "the image archive".into()
    }
}
