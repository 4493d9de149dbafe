//! The root file system of a build as a whole: its own files over those of its dependencies, less what a path whitelist
//! leaves out.

use std::fs;
use std::path::{Path, PathBuf};

use appc_image::archive::{CopyOptions, Ownership, copy_tree};
use appc_image::fetch::{self, Fetcher, Insecure};
use appc_image::registry::docker_config_path;
use appc_image::render::{self, Rendered};
use appc_image::store::Store;
use appc_rooted::Root;
use appc_spec::ImageManifest;

use crate::context::Build;
use crate::error::{Error, Result};
use crate::output;
use crate::session::Session;

/// What the root file system of a build is made of.
pub(crate) struct Parts {
    /// The dependencies' trees, the lowest first.
    pub(crate) below: Vec<Root>,
    /// The build's own files.
    pub(crate) own: Root,
    whitelist: Vec<String>,
    /// Keeps the trees in the store.
    _rendered: Option<Rendered>,
}

impl Parts {
    /// Those of `build`, which has this `manifest`. Dependencies that are not in the store are fetched.
    pub(crate) fn of(session: &Session, build: &Build, manifest: &ImageManifest) -> Result<Parts> {
        let rendered = dependencies(session, manifest)?;
        let below = rendered.as_ref().map_or(Ok(Vec::new()), Rendered::open)?;
        let whitelist = manifest.path_whitelist.clone();
        Ok(Parts { below, own: build.rootfs()?, whitelist, _rendered: rendered })
    }

    /// Whether the trees stacked are all there is to it.
    pub(crate) fn is_plain(&self) -> bool {
        self.whitelist.is_empty()
    }

    /// Copies everything into one tree in the empty directory `dir`, and returns where that is.
    pub(crate) fn merge(&self, dir: &Path) -> Result<PathBuf> {
        let tree = dir.join("tree");
        let whole = make(&tree)?;
        let options = CopyOptions { layer: true, ownership: Ownership::of_this_process(), ..CopyOptions::default() };
        for layer in self.below.iter().chain([&self.own]) {
            output::omissions(&copy_tree(layer, "", &whole, "", &options)?.omitted);
        }
        if self.whitelist.is_empty() {
            return Ok(tree);
        }
        let listed = dir.join("listed");
        render::listed(&[whole], &self.whitelist, &make(&listed)?)?;
        Ok(listed)
    }
}

fn make(path: &Path) -> Result<Root> {
    fs::create_dir(path).map_err(Error::io("create", path))?;
    Root::open(path).map_err(Error::io("open", path))
}

/// The trees of what the image depends on. What is not in the store is fetched.
fn dependencies(session: &Session, manifest: &ImageManifest) -> Result<Option<Rendered>> {
    if manifest.dependencies.is_empty() {
        return Ok(None);
    }
    let store = Store::open(session.store_dir())?;
    if let Ok(rendered) = render::dependencies(&store, manifest) {
        return Ok(Some(rendered));
    }
    let options = fetch::Options {
        insecure: Insecure::default(),
        config_dirs: fetch::config_dirs(),
        docker_config: docker_config_path(),
        ..fetch::Options::default()
    };
    Fetcher::new(&store, options, session)?.fetch_dependencies_of(manifest)?;
    Ok(Some(render::dependencies(&store, manifest)?))
}
