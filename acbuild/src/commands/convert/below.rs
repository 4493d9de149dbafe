//! The images that another one lies on.

use std::collections::HashSet;
use std::path::PathBuf;

use appc_image::convert::{Below, Files, Options};
use appc_image::render;
use appc_image::store::{Pin, Query, Store};
use appc_rooted::Root;
use appc_spec::{ImageId, ImageManifest, ImageName};

use super::input::exported;
use crate::error::{Error, Result};
use crate::session::Session;

/// Images that others lie on.
#[derive(Default)]
pub(super) struct Lower {
    /// Lowest first.
    pub(super) below: Vec<Below>,
    /// Keep what they are made of in the store.
    _pins: Vec<Pin>,
}

/// All images that one with this manifest lies on.
pub(super) fn below(manifest: &ImageManifest, options: &Options, session: &Session) -> Result<Lower> {
    if manifest.dependencies.is_empty() {
        return Ok(Lower::default());
    }
    let mut pins = Vec::new();
    let store = Store::open_existing(session.store_dir())?;
    let mut all: Vec<Part> = Vec::new();
    for dependency in &manifest.dependencies {
        let stored = match &dependency.image_id {
            Some(id) => store.get(id)?,
            None => {
                let name = ImageName { name: dependency.image_name.clone(), labels: dependency.labels.clone() };
                store.resolve(&Query::Name(name))?
            }
        };
        if !dependency.labels.match_image(&stored.manifest.labels) || dependency.size.is_some_and(|s| s != stored.size)
        {
            let text = format!("the image {} in the store is not the one that is depended on", stored.manifest.name);
            return Err(Error::Refused(text));
        }
        let rendered = render::layers(&store, &stored)?;
        pins.push(rendered.pin);
        // An image is its archive, unless it has layers of its own or a path whitelist, which is one for all below it, too.
        let is_archive = |id: &ImageId| {
            let image = store.get(id)?;
            Ok(image.oci.is_none() && image.manifest.path_whitelist.is_empty())
        };
        let archives = rendered.images.iter().map(is_archive).collect::<Result<Vec<bool>>>()?;
        if archives.into_iter().all(|is_one| is_one) {
            all.extend(rendered.images.into_iter().map(Part::Image));
        } else {
            let name = name_of(&stored.manifest);
            all.extend(rendered.lower.into_iter().map(|tree| Part::Tree(tree, name.clone())));
        }
    }
    // Of what comes twice the topmost counts.
    let mut seen = HashSet::new();
    let mut kept: Vec<Part> = all.into_iter().rev().filter(|lower| seen.insert(lower.clone())).collect();
    kept.reverse();
    let below = |lower: Part| match lower {
        Part::Image(id) => {
            let name = name_of(&store.get(&id)?.manifest);
            Ok(Below { files: Files::Archive(exported(&store, &id, options)?), name })
        }
        Part::Tree(path, name) => {
            let tree = Root::open(&path).map_err(Error::io("open", &path))?;
            Ok(Below { files: Files::Tree(tree), name })
        }
    };
    Ok(Lower { below: kept.into_iter().map(below).collect::<Result<_>>()?, _pins: pins })
}

/// What a layer is made of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Part {
    Image(ImageId),
    Tree(PathBuf, String),
}

fn name_of(manifest: &ImageManifest) -> String {
    ImageName { name: manifest.name.clone(), labels: manifest.labels.clone() }.to_string()
}
