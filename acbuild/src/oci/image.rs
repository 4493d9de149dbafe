//! What is said of the image of an oci build.

use std::collections::BTreeMap;
use std::path::PathBuf;

use appc_image::oci::{Descriptor, Digest, Layer, Manifest, OciImage, media_type};
use serde::{Deserialize, Serialize};

use super::Config;
use crate::error::{Error, Result};

/// What `write` makes the documents of the image of, kept as JSON in `currentaci/manifest`.
///
/// One file, since one command changes several parts of it and a kill must not come in between.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Image {
    /// The name in the index that it is written to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tag: Option<String>,
    /// The image that the build began with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) base: Option<Base>,
    /// Its layers, or the lowest of them that `squash` left, the lowest first. They stay as they are.
    #[serde(default)]
    pub(crate) taken: Vec<Taken>,
    /// What `layer` has closed, the lowest first.
    #[serde(default)]
    pub(crate) layers: Vec<Closed>,
    /// The commands since then.
    #[serde(default)]
    pub(crate) steps: Vec<String>,
    /// Annotations of the manifest.
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, String>,
    /// The configuration, with the layers and the history of what is taken only.
    pub(crate) config: Config,
}

/// An image in a store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Base {
    /// The directory of the store.
    pub(crate) store: PathBuf,
    /// The image ID.
    pub(crate) id: String,
}

/// A layer that is taken over as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Taken {
    /// The layer, compressed or not.
    pub(crate) blob: Descriptor,
    /// The digest of the plain tar.
    pub(crate) diff_id: Digest,
}

/// A layer of this build that nothing is added to any more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Closed {
    /// Its directory in `.acbuild/layers`.
    pub(crate) number: u32,
    /// The commands that made it.
    pub(crate) steps: Vec<String>,
}

impl Image {
    /// One with this configuration and nothing else.
    pub(crate) fn new(config: Config) -> Image {
        let (tag, base, taken, layers, steps, annotations) = Default::default();
        Image { tag, base, taken, layers, steps, annotations, config }
    }

    /// What is said of an image that is there, all layers of which are taken over.
    pub(crate) fn of(original: &OciImage) -> Result<Image> {
        let manifest: Manifest = serde_json::from_slice(&original.manifest_bytes)
            .map_err(|e| Error::Refused(format!("the manifest {}: {e}", original.manifest.digest)))?;
        let mut image = Image::new(Config::parse(&original.config_bytes)?);
        image.annotations = manifest.annotations;
        let take = |layer: &Layer| Taken { blob: layer.descriptor.clone(), diff_id: layer.diff_id.clone() };
        image.taken = original.layers.iter().map(take).collect();
        Ok(image)
    }

    /// Reads what [`Document::to_bytes`](crate::document::Document::to_bytes) gave.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Image> {
        serde_json::from_slice(bytes)
            .map_err(|e| Error::Refused(format!("error loading manifest: {e} - try \"acbuild end\" and begin again")))
    }

    /// The layers below the open one: those of the base by their digests, those of this build by their numbers.
    pub(crate) fn outline(&self) -> Vec<String> {
        let base = self.taken.iter().map(|layer| layer.diff_id.to_string());
        base.chain(self.layers.iter().map(|layer| layer.number.to_string())).collect()
    }

    /// Whatever comes is in a new layer from now on. The one that is closed has this number.
    pub(crate) fn close(&mut self, number: u32) {
        let steps = std::mem::take(&mut self.steps);
        self.layers.push(Closed { number, steps });
    }

    /// The manifest as far as it is known before the layers of this build are written.
    pub(crate) fn manifest(&self) -> Result<Manifest> {
        let config = Descriptor::of(media_type::CONFIG, &json(&self.config)?);
        let layers = self.taken.iter().map(|layer| as_oci(&layer.blob)).collect();
        let mut manifest = Manifest::new(config, layers);
        manifest.annotations = self.annotations.clone();
        Ok(manifest)
    }
}

/// The same layer as OCI manifests name it: theirs must not speak of docker's.
pub(super) fn as_oci(layer: &Descriptor) -> Descriptor {
    let mut layer = layer.clone();
    let kept = layer.media_type.strip_prefix("application/vnd.docker.image.rootfs.").and_then(|kind| match kind {
        "diff.tar" => Some(media_type::LAYER_TAR),
        "diff.tar.gzip" => Some(media_type::LAYER_GZIP),
        "diff.tar.zstd" => Some(media_type::LAYER_ZSTD),
        "foreign.diff.tar.gzip" => Some("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"),
        _ => None,
    });
    if let Some(kept) = kept {
        layer.media_type = kept.to_owned();
    }
    layer
}

/// A document's bytes.
pub(super) fn json(document: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(document).map_err(|e| Error::Refused(format!("the manifest cannot be written as JSON: {e}")))
}
