//! Descriptors: what refers to a blob.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Digest, Platform};

/// What a document says of a blob it refers to. Fields that are not known are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the blob is: see [`media_type`](super::media_type).
    #[serde(default)]
    pub media_type: String,
    /// The blob's name.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// Free text by names such as `org.opencontainers.image.ref.name`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "super::document::null_is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// What the manifest runs on, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Everything else, such as `urls` or `artifactType`.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Descriptor {
    /// The descriptor of a blob of which nothing more is known.
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Descriptor {
        Descriptor {
            media_type: media_type.into(),
            digest,
            size,
            annotations: BTreeMap::new(),
            platform: None,
            extra: Map::new(),
        }
    }

    /// The descriptor of `bytes`.
    pub fn of(media_type: impl Into<String>, bytes: &[u8]) -> Descriptor {
        Descriptor::new(media_type, Digest::of(bytes), bytes.len() as u64)
    }

    /// A manifest's descriptor as lists of referrers have it: with its type and its annotations.
    pub fn of_referrer(media_type: &str, manifest: &[u8]) -> Descriptor {
        let mut descriptor = Descriptor::of(media_type, manifest);
        let document: Value = serde_json::from_slice(manifest).unwrap_or_default();
        let kinds = [&document["artifactType"], &document["config"]["mediaType"]];
        if let Some(kind) = kinds.into_iter().find(|kind| kind.is_string()) {
            descriptor.extra.insert("artifactType".into(), kind.clone());
        }
        let annotations = document["annotations"].as_object().into_iter().flatten();
        let text = annotations.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
        descriptor.annotations = text.collect();
        descriptor
    }

    /// The same blob without annotations, platform and anything else that only one document says of it.
    pub fn bare(&self) -> Descriptor {
        Descriptor::new(self.media_type.clone(), self.digest.clone(), self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::media_type;

    #[test]
    fn descriptors_in_lists_of_referrers() {
        let manifest = br#"{"config":{"mediaType":"a/b"},"annotations":{"x":"y","n":1}}"#;
        let descriptor = Descriptor::of_referrer(media_type::MANIFEST, manifest);
        assert_eq!(descriptor.extra["artifactType"], "a/b");
        assert_eq!(descriptor.annotations.into_iter().collect::<Vec<_>>(), [("x".to_owned(), "y".to_owned())]);
    }
}
