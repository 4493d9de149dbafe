//! The root file system of a build as a whole: its own files over those of its dependencies, less what a path whitelist
//! leaves out.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use appc_image::archive::{CopyOptions, Ownership, copy_tree};
use appc_image::fetch::Insecure;
use appc_image::render::{self, Rendered};
use appc_image::store::Store;
use appc_rooted::{Mode, OFlags, Root};
use appc_spec::ImageManifest;
use rustix::fs::{AtFlags, Timespec, Timestamps};
use rustix::io::Errno;

use crate::context::Build;
use crate::error::{Error, Result};
use crate::output;
use crate::run::{self, deleted::Deleted};
use crate::session::Session;

/// What the root file system of a build is made of.
pub(crate) struct Parts {
    /// The dependencies' trees, the lowest first.
    pub(crate) below: Vec<Root>,
    /// The build's own files.
    pub(crate) own: Root,
    /// What is deleted of the dependencies.
    pub(crate) deleted: Deleted,
    pub(crate) whitelist: Vec<String>,
    /// Keeps the trees in the store.
    _rendered: Option<Rendered>,
}

/// Trees that make a root file system when they are stacked, the lowest first.
pub(crate) struct Layers {
    pub(crate) trees: Vec<Root>,
    /// Keeps them in the store.
    _rendered: Option<Rendered>,
}

impl Layers {
    /// Those of an image in a store.
    pub(crate) fn of(rendered: Rendered) -> Result<Layers> {
        Ok(Layers { trees: rendered.open()?, _rendered: Some(rendered) })
    }

    /// A whole tree by itself.
    pub(crate) fn of_tree(tree: Root) -> Layers {
        Layers { trees: vec![tree], _rendered: None }
    }
}

impl Parts {
    /// Those of an image whose own files are in `own`. What it depends on must be in the store.
    pub(crate) fn of_image(store: &Store, manifest: &ImageManifest, own: Root) -> Result<Parts> {
        let rendered = render::dependencies(store, manifest)?;
        let whitelist = manifest.path_whitelist.clone();
        Ok(Parts { below: rendered.open()?, own, deleted: Deleted::default(), whitelist, _rendered: Some(rendered) })
    }

    /// Those of `build`, which has this `manifest`. Dependencies that are not in the store are fetched.
    pub(crate) fn of(session: &Session, build: &Build, manifest: &ImageManifest) -> Result<Parts> {
        let rendered = run::dependencies(session, manifest, Insecure::default())?;
        let parts = Parts::new(build, rendered.as_ref(), manifest.path_whitelist.clone())?;
        Ok(Parts { _rendered: rendered, ..parts })
    }

    /// Those of `build` over the trees of its dependencies, which must stay in the store meanwhile.
    pub(crate) fn new(build: &Build, rendered: Option<&Rendered>, whitelist: Vec<String>) -> Result<Parts> {
        let below = rendered.map_or(Ok(Vec::new()), Rendered::open)?;
        let deleted = Deleted::load(build.dir())?;
        Ok(Parts { below, own: build.rootfs()?, deleted, whitelist, _rendered: None })
    }

    /// The trees to stack, the lowest first: those there are or, where that is not all there is to it, one in the empty
    /// directory `dir`.
    pub(crate) fn layers(self, dir: &Path) -> Result<Layers> {
        if self.whitelist.is_empty() && self.deleted.is_empty() {
            let Parts { mut below, own, _rendered, .. } = self;
            below.push(own);
            return Ok(Layers { trees: below, _rendered });
        }
        let whole = self.merge(dir)?;
        let tree = Root::open(&whole).map_err(Error::io("open", whole))?;
        Ok(Layers::of_tree(tree))
    }

    /// Copies everything into one tree in the empty directory `dir`, and returns where that is.
    pub(crate) fn merge(&self, dir: &Path) -> Result<PathBuf> {
        let tree = dir.join("tree");
        let whole = make(&tree)?;
        let options = CopyOptions { layer: true, ownership: Ownership::of_this_process(), ..CopyOptions::default() };
        let copy = |layer| {
            output::omissions(&copy_tree(layer, "", &whole, "", &options)?.omitted);
            Ok::<_, Error>(())
        };
        self.below.iter().try_for_each(copy)?;
        let trash = make(&dir.join("trash"))?;
        for (number, path) in self.deleted.iter().enumerate() {
            let shown = || Path::new("/").join(path);
            discard(&whole, path, &trash, number).map_err(|e| Error::io("remove", shown())(e))?;
        }
        copy(&self.own)?;
        if self.whitelist.is_empty() {
            return Ok(tree);
        }
        let listed = dir.join("listed");
        render::listed(&[whole], &self.whitelist, &make(&listed)?)?;
        Ok(listed)
    }
}

/// Moves what is at `path`, if anything is, out of the tree, to be removed with the directory `trash`. The directory that it
/// was in keeps its times.
pub(crate) fn discard(tree: &Root, path: &Path, trash: &Root, number: usize) -> io::Result<()> {
    let (parent, name) = match tree.parent(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    let stat = rustix::fs::statat(&parent, "", AtFlags::EMPTY_PATH)?;
    match rustix::fs::renameat(&parent, name, trash, number.to_string()) {
        Err(Errno::NOENT) => return Ok(()),
        done => done?,
    }
    let time = |tv_sec, tv_nsec| Timespec { tv_sec, tv_nsec };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec as _),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec as _),
    };
    let directory = rustix::fs::openat(&parent, ".", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
    Ok(rustix::fs::futimens(directory, &times)?)
}

fn make(path: &Path) -> Result<Root> {
    fs::create_dir(path).map_err(Error::io("create", path))?;
    Root::open(path).map_err(Error::io("open", path))
}
