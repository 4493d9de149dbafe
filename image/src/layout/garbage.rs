//! What a layout had for one image only, when that is no longer in its index.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::blob_path;
use super::files::Files;
use super::referrers::document;
use crate::oci::{Descriptor, Digest, Index, media_type};

/// Removes the blobs that `old` refers to and nothing in `index` does. What has no referrer for another reason stays, and so
/// does all when a document cannot be read.
pub(super) fn remove(dir: &Path, files: &Files, old: &Descriptor, index: &Index) {
    let Some(had) = reached(files, [old]) else { return };
    let Some(needed) = reached(files, &index.manifests) else { return };
    for digest in had.difference(&needed) {
        // The image is there whether this one goes or not.
        let _ = fs::remove_file(dir.join(blob_path(digest)));
    }
}

/// All blobs that these and the documents behind them refer to; nothing when one of those cannot be read.
fn reached<'d>(files: &Files, from: impl IntoIterator<Item = &'d Descriptor>) -> Option<HashSet<Digest>> {
    let mut found = HashSet::new();
    let mut waiting: Vec<Descriptor> = from.into_iter().cloned().collect();
    while let Some(descriptor) = waiting.pop() {
        let is_document =
            media_type::is_manifest(&descriptor.media_type) || media_type::is_index(&descriptor.media_type);
        if found.insert(descriptor.digest.clone()) && is_document {
            descriptors(&serde_json::from_slice(&document(files, &descriptor)?).ok()?, &mut waiting);
        }
    }
    Some(found)
}

/// The descriptors in a document, wherever they are in it.
fn descriptors(value: &Value, found: &mut Vec<Descriptor>) {
    match value {
        Value::Array(all) => all.iter().for_each(|one| descriptors(one, found)),
        Value::Object(fields) => {
            found.extend(Descriptor::deserialize(value).ok());
            fields.values().for_each(|one| descriptors(one, found));
        }
        _ => {}
    }
}
