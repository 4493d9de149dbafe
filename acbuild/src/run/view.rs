//! The root file system that a command sees: layers stacked by an overlay mount that nobody else sees or, where the kernel
//! refuses one, a copy of them.

use std::fs::DirBuilder;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use appc_container::overlay_plain;
use appc_image::archive::{CopyOptions, Ownership, copy_tree};
use appc_image::layer::Changes;
use appc_rooted::Root;
use rustix::fs::CWD;
use rustix::mount::{OpenTreeFlags, open_tree};

use super::deleted::Deleted;
use super::seam;
use crate::error::{Error, Result};
use crate::progress::Bar;
use crate::whole::discard;
use crate::{difference, output};

/// What is stacked.
pub(super) struct Layers<'l> {
    /// The dependencies, the lowest first.
    pub(super) dependencies: &'l [PathBuf],
    /// What is deleted of them.
    pub(super) deleted: &'l Deleted,
    /// The build's own files.
    pub(super) own: PathBuf,
    /// The staging directory, in which `upper` gets what the command writes.
    pub(super) staging: &'l Path,
}

/// The layers together.
pub(super) struct View<'l> {
    layers: Layers<'l>,
    tree: Root,
    /// Where the tree is when it is a copy.
    copy: Option<PathBuf>,
}

/// Layers that a command has changed, or their copy.
pub(super) struct Changed<'l> {
    layers: Layers<'l>,
    copy: Option<Root>,
}

impl<'l> View<'l> {
    /// Stacks `layers`, or copies them.
    pub(super) fn new(layers: Layers<'l>) -> Result<View<'l>> {
        // With an upper layer, and with what hides: it is these that some file systems refuse.
        let stacked = layers.hide().and_then(|()| overlay(&layers.all(None), layers.staging, "work"));
        let why = match stacked {
            Ok(mount) => return Ok(View { layers, tree: Root::from_fd(mount), copy: None }),
            Err(why) => why,
        };
        output::warning(format_args!("{why}: copying the files of the image instead, which takes longer"));
        let path = layers.staging.join("copy");
        let tree = make(&path)?;
        layers.copy_to(&tree)?;
        Ok(View { layers, tree, copy: Some(path) })
    }

    /// What there is.
    pub(super) fn tree(&self) -> &Root {
        &self.tree
    }

    /// A mount of all with `places`, a directory in the staging directory, over it, for a command to change.
    pub(super) fn open(self, places: &str) -> Result<(OwnedFd, Changed<'l>)> {
        let View { layers, tree, copy } = self;
        let places = layers.staging.join(places);
        let Some(copy) = copy else {
            // The upper layer cannot be that of two mounts, and the kernel takes no work directory twice.
            drop(tree);
            let mount = overlay(&layers.all(Some(places)), layers.staging, "second-work")?;
            return Ok((mount, Changed { layers, copy: None }));
        };
        lay_down(&places, &tree)?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let mount = open_tree(CWD, &copy, flags).map_err(|e| Error::io("mount", copy)(e.into()))?;
        Ok((mount, Changed { layers, copy: Some(tree) }))
    }
}

impl Layers<'_> {
    /// Makes the layer that hides what is deleted.
    fn hide(&self) -> Result<()> {
        let path = self.staging.join("seam");
        seam::hide(&make(&path)?, self.deleted).map_err(Error::io("prepare", path))
    }

    /// The directories to stack, the lowest first.
    fn all(&self, places: Option<PathBuf>) -> Vec<PathBuf> {
        let above = [self.staging.join("seam"), self.own.clone()];
        self.dependencies.iter().cloned().chain(above).chain(places).collect()
    }

    fn copy_to(&self, tree: &Root) -> Result<()> {
        self.dependencies.iter().try_for_each(|layer| lay_down(layer, tree))?;
        let trash = make(&self.staging.join("discarded"))?;
        for (number, path) in self.deleted.iter().enumerate() {
            discard(tree, path, &trash, number).map_err(Error::io("remove", Path::new("/").join(path)))?;
        }
        lay_down(&self.own, tree)
    }
}

impl Changed<'_> {
    /// Has the upper layer hold what was changed, as an overlay mount would have it but for whiteouts, which not every file
    /// system takes. Returns what those would hide.
    pub(super) fn settle(&self) -> Result<Vec<PathBuf>> {
        let Some(copy) = &self.copy else { return Ok(Vec::new()) };
        let Layers { dependencies, own, staging, .. } = &self.layers;
        let open = |path: &PathBuf| Root::open(path).map_err(Error::io("open", path));
        let places = staging.join("places");
        let below = dependencies.iter().chain([own, &places]).map(open).collect::<Result<Vec<_>>>()?;
        let mut changes = Changes::between(&below, copy)?;
        output::sockets(changes.sockets());
        let removed = changes.take_removed();
        difference::unpack(&changes, copy, &below, &open(&staging.join("upper"))?, staging)?;
        Ok(removed)
    }
}

fn overlay(layers: &[PathBuf], staging: &Path, work: &str) -> Result<OwnedFd> {
    let work = staging.join(work);
    make(&work)?;
    Ok(overlay_plain(layers, &staging.join("upper"), &work)?)
}

/// Copies a layer over what there is.
fn lay_down(layer: &Path, tree: &Root) -> Result<()> {
    let from = Root::open(layer).map_err(Error::io("open", layer))?;
    let bar = Bar::new();
    let ownership = Ownership::of_this_process();
    let options = CopyOptions { layer: true, ownership, progress: Some(&bar), ..CopyOptions::default() };
    output::omissions(&copy_tree(&from, "", tree, "", &options)?.omitted);
    Ok(())
}

fn make(path: &Path) -> Result<Root> {
    DirBuilder::new().mode(0o755).create(path).map_err(Error::io("create", path))?;
    Root::open(path).map_err(Error::io("open", path))
}
