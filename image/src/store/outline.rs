//! What an image is made of, as a tree: its dependencies, or its layers.

use std::collections::HashSet;

use appc_spec::ImageId;
use serde::Serialize;

use super::{Store, StoredImage};
use crate::error::{Error, Result};
use crate::render::dependency;

/// Deeper than any image; the dependencies of a cycle end where it closes.
const DEEPEST: usize = 500;

/// An image or a layer, and what it is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outline {
    /// The image's name, or what a layer is called by.
    pub name: String,
    /// The image ID, or the digest of the layer as it was fetched; none of what is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The size as it was fetched.
    pub size: u64,
    /// The size of the files in its own tree.
    pub tree_size: u64,
    /// Why there is nothing below it, where there should be: it is shown elsewhere, or cannot be had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Its dependencies or layers, the lowest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub below: Vec<Outline>,
}

impl Outline {
    /// The IDs of everything in it.
    pub(super) fn ids(&self) -> Vec<String> {
        self.id.iter().cloned().chain(self.below.iter().flat_map(Outline::ids)).collect()
    }
}

impl Store {
    /// What the image is made of. A dependency that is missing is part of the answer, not an error.
    pub fn outline(&self, image: &StoredImage) -> Result<Outline> {
        self.outline_of(image, &mut Vec::new(), &mut HashSet::new())
    }

    fn outline_of(
        &self,
        image: &StoredImage,
        chain: &mut Vec<ImageId>,
        seen: &mut HashSet<ImageId>,
    ) -> Result<Outline> {
        let name = match image.manifest.labels.get("version") {
            Some(version) => format!("{}:{version}", image.manifest.name),
            None => image.manifest.name.to_string(),
        };
        let mut outline = Outline {
            name,
            id: Some(image.id.to_string()),
            size: image.size,
            tree_size: image.tree_size,
            note: None,
            below: Vec::new(),
        };
        let has_more = !image.manifest.dependencies.is_empty() || image.oci.is_some();
        if chain.contains(&image.id) {
            outline.note = Some("depends on itself".into());
            return Ok(outline);
        }
        if !seen.insert(image.id.clone()) || chain.len() >= DEEPEST {
            outline.note = has_more.then(|| "see above".into());
            return Ok(outline);
        }
        chain.push(image.id.clone());
        for wanted in &image.manifest.dependencies {
            outline.below.push(match dependency(self, &image.manifest, wanted) {
                Ok(below) => self.outline_of(&below, chain, seen)?,
                Err(Error::Dependency { dependency, rule, .. }) => missing(dependency, rule),
                Err(e) => missing(wanted.image_name.to_string(), e.to_string()),
            });
        }
        chain.pop();
        for layer in image.oci.iter().flat_map(|oci| &oci.layers) {
            outline.below.push(Outline {
                name: layer.diff_id.to_string(),
                id: Some(layer.blob.digest.to_string()),
                size: layer.blob.size,
                tree_size: layer.tree_size,
                note: None,
                below: Vec::new(),
            });
        }
        Ok(outline)
    }
}

fn missing(name: String, why: String) -> Outline {
    Outline { name, id: None, size: 0, tree_size: 0, note: Some(why), below: Vec::new() }
}
