//! An index of which one image was taken, kept for what is about it.
//!
//! Who signs an image for many platforms signs its index. A place that holds the image for one of them cannot hold the index as
//! such: what it lists is not there. So its bytes are the only layer of an artifact (OCI image specification, "Guidelines for
//! Artifact Usage") that is about the image's manifest, and goes wherever that goes. What is about the index names it as ever.

use serde_json::Value;

use crate::oci::{Descriptor, Manifest, media_type};

/// The type of the artifact and of its layer.
pub(super) const KIND: &str = "application/vnd.appc.oci.index.v1+json";

/// The configuration of the artifact.
pub(super) const CONFIG: &[u8] = b"{}";

/// The artifact with `index` that is about the manifest `image`.
pub(super) fn artifact(index: &Descriptor, image: &Descriptor) -> Manifest {
    let layer = Descriptor::new(KIND, index.digest.clone(), index.size);
    let mut artifact = Manifest::new(Descriptor::of(media_type::EMPTY, CONFIG), vec![layer]);
    artifact.subject = Some(image.bare());
    artifact.extra.insert("artifactType".into(), KIND.into());
    artifact
}

/// The index in an artifact; nothing when that is another one.
pub(super) fn held(artifact: &[u8]) -> Option<Descriptor> {
    let kind = |value: &Value| value["artifactType"] == KIND;
    serde_json::from_slice(artifact).is_ok_and(|value| kind(&value)).then_some(())?;
    let artifact: Manifest = serde_json::from_slice(artifact).ok()?;
    artifact.layers.into_iter().next().filter(|layer| layer.media_type == KIND)
}
