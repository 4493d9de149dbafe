//! Taking an OCI image into the store: what is not there is fetched, and one rename counts.

use std::collections::HashSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use appc_spec::oci::{Origin, to_appc};
use appc_spec::{ImageId, ImageManifest};
use ring::digest::{SHA512, digest};

use super::jobs::Gathered;
use super::{About, BLOB_FOLDERS, OciParts, StoredLayer, layer_key};
use crate::error::{Error, Result};
use crate::oci::{Descriptor, Digest, OciImage, Platform, Source, read_image};
use crate::progress::Progress;
use crate::reference::Reference;
use crate::store::import::{place_all, write_image};
use crate::store::metadata::Metadata;
use crate::store::{IoContext, Store, StoredImage, WorkDir, make_dir, remove_tree, sync_file_system};

impl Store {
    /// Imports the image for `platform` from `source`; `origin` says where it comes from, in the words of a
    /// [`Reference`].
    ///
    /// Blobs and layers that are in the store already are neither fetched nor extracted, whichever image they came with; of a
    /// blob that an import was killed over, or its network failed, only the rest is. Any number of processes may import at once; whoever
    /// wants a layer that another one is fetching waits for that.
    ///
    /// # Errors
    /// What is wrong with the image, or why it or the store cannot be had. Then nothing has changed.
    pub fn import_oci(
        &self,
        source: &dyn Source,
        platform: &Platform,
        origin: &str,
        progress: &dyn Progress,
    ) -> Result<StoredImage> {
        let image = read_image(source, platform)?;
        let id = oci_image_id(&image.manifest_bytes);
        let manifest = manifest_of(&image, origin).map_err(Error::Manifest)?;
        let work = WorkDir::new(self)?;
        let gathered = Gathered::new(self, work.path());
        let _turns = gathered.turns(&image)?;
        gathered.take_over(&image)?;
        loop {
            let mut new = match gathered.fetch(source, &image, progress) {
                Err(error @ (Error::Fetch { .. } | Error::Unacceptable { .. })) => {
                    // The next attempt goes on with the blobs.
                    let trees = work.path().join("store/trees");
                    remove_tree(&trees).on("remove", &trees)?;
                    work.leave();
                    return Err(error);
                }
                fetched => fetched?,
            };
            let Some((metadata, fixed)) = gathered.metadata(&image, &manifest, origin)? else { continue };
            new |= fixed;
            if let Some(stored) = self.commit_oci(&gathered, &id, &manifest, metadata, new)? {
                return Ok(stored);
            }
            // Something of it went with another image that was removed meanwhile.
        }
    }

    /// The App Container manifest of an OCI image as it is called in `origin`, whatever it was first fetched as; nothing when
    /// it is none of OCI.
    ///
    /// # Errors
    /// When it is not in the store, or what it says of itself has no counterpart.
    pub fn manifest_from(&self, id: &ImageId, origin: &str) -> Result<Option<ImageManifest>> {
        let Some(source) = self.oci(id)? else { return Ok(None) };
        let image = read_image(&source, &Platform::host())?;
        manifest_of(&image, origin).map(Some).map_err(Error::Manifest)
    }

    /// Moves what has been gathered into the store; nothing when parts have vanished since they were looked for.
    fn commit_oci(
        &self,
        gathered: &Gathered,
        id: &ImageId,
        manifest: &ImageManifest,
        mut metadata: Metadata,
        new: bool,
    ) -> Result<Option<StoredImage>> {
        let image = gathered.work.join("image");
        let _ = fs::remove_dir_all(&image);
        metadata.checksum = Some(libdeflater::crc32(manifest.to_json().as_bytes()));
        write_image(gathered.work, manifest.to_json().as_bytes(), &metadata)?;
        if new || self.metadata(id).ok().flatten().is_none() {
            sync_file_system(gathered.work)?;
        } else {
            sync_file(&image.join("manifest"))?;
            sync_file(&image.join("metadata"))?;
        }
        let _lock = self.lock()?;
        let stored = self.metadata(id).ok().flatten();
        let keep = stored.is_some() && self.has_manifest(id);
        if let Some((stored, _)) = stored.filter(|_| keep) {
            metadata.join(&stored);
            self.keep_about(&mut metadata, &stored);
            metadata.write(&image.join("metadata"))?;
            sync_file(&image.join("metadata"))?;
        }
        let parts = metadata.oci.as_ref();
        let Some(mut moves) = parts.map_or(Ok(None), |parts| self.moves(gathered, parts))? else { return Ok(None) };
        let there = self.image_dir(id);
        if there.join("metadata").exists() {
            // It may be in use: its directory, which is what is locked, stays.
            place_all(&moves)?;
            for name in ["manifest", "metadata"].into_iter().skip(usize::from(keep)) {
                fs::rename(image.join(name), there.join(name)).on("write", there.join(name))?;
            }
        } else {
            moves.push((image, there));
            place_all(&moves)?;
        }
        self.get(id).map(Some)
    }

    /// What is to be moved where; nothing when something is in neither place.
    fn moves(&self, gathered: &Gathered, parts: &OciParts) -> Result<Option<Vec<(PathBuf, PathBuf)>>> {
        for folder in BLOB_FOLDERS {
            make_dir(&self.dir.join(folder), 0o755)?;
        }
        let mut moves: Vec<(PathBuf, PathBuf)> = self.missing(gathered, parts.blobs()).collect();
        for key in parts.trees.iter().filter(|key| !self.has_tree(key)) {
            moves.push((gathered.tree(key), self.tree_dir(key)));
        }
        moves.sort();
        moves.dedup();
        Ok(moves.iter().all(|(from, _)| from.exists()).then_some(moves))
    }

    /// From where to where the blobs go that the store has not.
    pub(super) fn missing<'m>(
        &'m self,
        gathered: &'m Gathered,
        blobs: impl Iterator<Item = &'m Descriptor> + 'm,
    ) -> impl Iterator<Item = (PathBuf, PathBuf)> + 'm {
        let new = blobs.filter(|blob| !self.has_blob(blob));
        new.map(|blob| (gathered.blob(&blob.digest), self.oci_blob(&blob.digest)))
    }
}

impl Gathered<'_> {
    /// What there is to know of the image, and whether a tree was made for it. Nothing when a part has vanished.
    fn metadata(&self, image: &OciImage, manifest: &ImageManifest, origin: &str) -> Result<Option<(Metadata, bool)>> {
        let mut metadata = Metadata::new(manifest, origin);
        let (mut layers, mut seen) = (Vec::new(), HashSet::new());
        for layer in &image.layers {
            let Some(info) = self.info(&layer_key(&layer.diff_id))? else { return Ok(None) };
            let (blob, diff_id) = (layer.descriptor.clone(), layer.diff_id.clone());
            if seen.insert(diff_id.clone()) {
                metadata.tree_size += info.tree_size;
                metadata.omitted.extend(info.omitted);
            }
            layers.push(StoredLayer { blob, diff_id, tree_size: info.tree_size });
        }
        let Some((trees, made)) = self.trees(image)? else { return Ok(None) };
        let (manifest, config) = (image.manifest.clone(), image.config.clone());
        let parts = OciParts { manifest, config, layers, trees, about: About::default() };
        metadata.size = parts.size();
        metadata.oci = Some(Box::new(parts));
        Ok(Some((metadata, made)))
    }
}

/// The App Container manifest of an image, as far as it holds for what is in the store.
fn manifest_of(image: &OciImage, origin: &str) -> Result<ImageManifest, appc_spec::Error> {
    let told = told_origin(origin, &image.manifest.digest, &image.config.digest);
    let mut manifest = to_appc(&image.config_bytes, &image.manifest_bytes, &told)?;
    // What it was converted from had them; the layers hold their files.
    manifest.dependencies.clear();
    // Nobody has checked that it may call itself what it does: what is asked for by that name would get this image.
    if !told.registry.is_empty() {
        manifest.name = told.image_name()?;
    }
    Ok(manifest)
}

pub(super) fn sync_file(path: &Path) -> Result<()> {
    File::open(path).and_then(|file| file.sync_all()).on("sync", path)
}

/// The image ID of an OCI image: the digest of its manifest.
pub(crate) fn oci_image_id(manifest: &[u8]) -> ImageId {
    let mut bytes = [0; 64];
    bytes.copy_from_slice(digest(&SHA512, manifest).as_ref());
    ImageId::from_digest(bytes)
}

/// What the mapping wants to know of where the image comes from.
pub(super) fn told_origin(origin: &str, manifest: &Digest, config: &Digest) -> Origin {
    let mut told = Origin {
        original: origin.to_owned(),
        config_digest: config.to_string(),
        manifest_digest: manifest.to_string(),
        ..Origin::default()
    };
    let file_name = |path: &Path| {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    };
    match Reference::parse(origin.as_ref(), |_| None) {
        Ok(Reference::Docker(name)) => {
            told.registry = name.registry;
            told.repository = name.repository;
            told.tag = name.tag.unwrap_or_default();
        }
        Ok(
            Reference::OciLayout { dir: path, name }
            | Reference::OciArchive { file: path, name }
            | Reference::DockerArchive { file: path, name },
        ) => match name {
            // `docker save` and `skopeo copy` write whole names, others only tags.
            Some(name) if name.contains(['/', ':']) => {
                let (repository, tag) = match name.rsplit_once(':') {
                    Some((repository, tag)) if !tag.contains('/') => (repository, tag),
                    _ => (name.as_str(), ""),
                };
                (told.repository, told.tag) = (repository.to_owned(), tag.to_owned());
            }
            name => {
                told.repository = file_name(&path);
                told.tag = name.unwrap_or_default();
            }
        },
        _ => {}
    }
    told
}
