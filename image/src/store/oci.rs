//! OCI images in the store.
//!
//! ```text
//! <dir>/store/blobs/sha256/<hex>              manifest, configuration and layers, as they were fetched
//! <dir>/store/blobs/oci-sha512/<hex>          the same, of images that use SHA-512
//! <dir>/store/trees/layer-sha256-<diff ID>/rootfs/   a layer, extracted in overlay form, shared by all images that have it
//! <dir>/store/trees/layer-sha256-<diff ID>/layer     JSON: what is known of it (`Info`)
//! <dir>/store/trees/fix-sha256-<hex>/rootfs/  what a layer needs of those below it (`fix.rs`)
//! <dir>/store/images/<image ID>/manifest      the App Container manifest that its configuration is mapped to
//! <dir>/store/images/<image ID>/metadata      has `oci`: which blobs and layers are the image's (`OciParts`)
//! ```
//!
//! What is about an image, such as signatures, are blobs, too, and the image's own (`about.rs`); so is the index that it
//! was chosen from, when something is about that (`convert/kept_index.rs`). The image ID is the SHA-512 of the manifest's
//! bytes. A blob or a tree belongs to the images whose metadata name it, and goes with the last of them.

mod about;
pub(super) mod fix;
mod import;
pub(super) mod jobs;
mod references;

pub use about::{About, Referrer};
pub(crate) use import::oci_image_id;
pub(super) use references::is_shared_tree;

use std::collections::HashSet;
use std::fs;
use std::io::Read;
use std::path::PathBuf;

use appc_spec::ImageId;
use appc_spec::oci::Origin;
use serde::{Deserialize, Serialize};

use super::metadata::damaged;
use super::{IoContext, Pin, Store, work};
use crate::error::{Error, Result};
use crate::oci::{Algorithm, Descriptor, Digest, Source};

/// The names of trees that are being made begin so.
pub(super) const PARTIAL: &str = "partial-";

/// The name of a tree until it is whole.
fn partial(key: &str) -> String {
    format!("{PARTIAL}{key}")
}

/// What an OCI image in the store consists of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OciParts {
    /// The manifest.
    pub manifest: Descriptor,
    /// The configuration.
    pub config: Descriptor,
    /// The layers, the lowest first.
    pub layers: Vec<StoredLayer>,
    /// Names in `store/trees` of what makes the root file system, the lowest first.
    pub(crate) trees: Vec<String>,
    /// What is about the image.
    #[serde(default, skip_serializing_if = "About::is_empty")]
    pub about: About,
}

/// A layer of an OCI image in the store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredLayer {
    /// The layer as it was fetched.
    pub blob: Descriptor,
    /// The digest of the plain tar.
    pub diff_id: Digest,
    /// Bytes of file content in the tree.
    pub tree_size: u64,
}

impl OciParts {
    /// All blobs, each as often as it occurs.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        let image = [&self.manifest, &self.config].into_iter().chain(self.layers.iter().map(|layer| &layer.blob));
        image.chain(&self.about.blobs)
    }

    /// The bytes of all blobs.
    fn size(&self) -> u64 {
        let mut seen = HashSet::new();
        self.blobs().filter(|blob| seen.insert(&blob.digest)).map(|blob| blob.size).sum()
    }
}

/// What is known of an extracted layer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Info {
    pub(crate) tree_size: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) omitted: Vec<(String, String)>,
    /// Directories that nothing in the layer describes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) implied: Vec<PathBuf>,
    /// Hard links to files of layers below: the name and its target.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) links: Vec<(PathBuf, PathBuf)>,
}

/// The name of a layer's tree.
pub(crate) fn layer_key(diff_id: &Digest) -> String {
    format!("layer-{}-{}", diff_id.algorithm(), diff_id.hex())
}

/// The folder of `store/` and the name in it of a blob.
///
/// SHA-512 has a folder of its own: in `blobs/sha512` names are image IDs, which are digests of *uncompressed* archives.
fn blob_place(digest: &Digest) -> (&'static str, &str) {
    let folder = match digest.algorithm() {
        Algorithm::Sha256 => "store/blobs/sha256",
        Algorithm::Sha512 => "store/blobs/oci-sha512",
    };
    (folder, digest.hex())
}

/// The folders that [`blob_place`] gives.
const BLOB_FOLDERS: [&str; 2] = ["store/blobs/sha256", "store/blobs/oci-sha512"];

impl Store {
    /// The file that a part of an OCI image was fetched as.
    pub fn oci_blob(&self, digest: &Digest) -> PathBuf {
        let (folder, name) = blob_place(digest);
        self.dir.join(folder).join(name)
    }

    /// The OCI image with this ID, to be read again; nothing when the image is none.
    ///
    /// # Errors
    /// [`Error::NotStored`] when there is no such image.
    pub fn oci(&self, id: &ImageId) -> Result<Option<StoredOci<'_>>> {
        let (metadata, _) = self.metadata(id)?.ok_or_else(|| Error::NotStored(id.to_string()))?;
        let Some(parts) = metadata.oci else { return Ok(None) };
        let source = metadata.source;
        Ok(Some(StoredOci { store: self, id: id.clone(), parts, source, _pin: self.pin([id])? }))
    }

    /// Whether the blob is in the store with all its bytes.
    fn has_blob(&self, blob: &Descriptor) -> bool {
        fs::metadata(self.oci_blob(&blob.digest)).is_ok_and(|file| file.is_file() && file.len() == blob.size)
    }

    /// Whether the tree is in the store.
    fn has_tree(&self, key: &str) -> bool {
        self.tree_dir(key).join("rootfs").is_dir()
    }
}

/// An OCI image in the store, which stays there meanwhile. Its top is the manifest: of an index only the image for this
/// machine was fetched.
#[derive(Debug)]
pub struct StoredOci<'s> {
    store: &'s Store,
    id: ImageId,
    parts: Box<OciParts>,
    source: String,
    _pin: Pin,
}

impl StoredOci<'_> {
    /// What it consists of.
    pub fn parts(&self) -> &OciParts {
        &self.parts
    }

    /// What a conversion wants to know of where it came from.
    pub fn origin(&self) -> Origin {
        import::told_origin(&self.source, &self.parts.manifest.digest, &self.parts.config.digest)
    }
}

impl Source for StoredOci<'_> {
    fn top(&self) -> Result<Descriptor> {
        Ok(self.parts.manifest.clone())
    }

    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send + '_>> {
        let path = self.store.oci_blob(&descriptor.digest);
        let file = work::found(work::open(&path)).on("read", &path)?;
        let missing = || damaged(&self.id, format!("its blob {} is missing", descriptor.digest));
        Ok(Box::new(file.ok_or_else(missing)?))
    }

    fn describe(&self) -> String {
        self.id.short()
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        Ok(self.parts.about.of(subject).cloned().collect())
    }

    fn tagged(&self, tag: &str) -> Result<Option<Descriptor>> {
        Ok(self.parts.about.tagged(tag).cloned())
    }
}
