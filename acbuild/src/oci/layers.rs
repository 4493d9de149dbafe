//! The layers that the root file system of a build lies on, and what it has over them.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::PathBuf;

use appc_image::Error::NotStored;
use appc_image::layer::{Changes, Part};
use appc_image::render::{self, Rendered};
use appc_image::store::{Pin, Store, StoredImage};
use appc_rooted::Root;

use super::Image;
use super::image::{Base, Closed};
use crate::context::Build;
use crate::error::{Error, Result};
use crate::{difference, output};

/// The trees below the root file system.
pub(super) struct Below {
    /// The lowest first, in the form of overlay mounts.
    pub(super) trees: Vec<Root>,
    /// Keeps them in the store.
    _pin: Option<Pin>,
}

impl Below {
    /// Opens those of `image`.
    pub(super) fn open(build: &Build, image: &Image) -> Result<Below> {
        let (mut paths, pin) = match of_base(image)? {
            Some(base) => (base.lower, Some(base.pin)),
            None => (Vec::new(), None),
        };
        paths.extend(image.layers.iter().map(|layer| tree(build, layer)));
        let open = |path: PathBuf| Root::open(&path).map_err(Error::io("open", path));
        Ok(Below { trees: paths.into_iter().map(open).collect::<Result<_>>()?, _pin: pin })
    }

    /// Makes sure that those of the image that the build began with are there.
    pub(super) fn check_base(image: &Image) -> Result<()> {
        of_base(image).map(drop)
    }

    /// What the root file system has over them where a command has `touched` it, or anywhere.
    fn changes_in(&self, build: &Build, touched: Option<&Part>) -> Result<Changes> {
        match touched {
            Some(part) => Ok(Changes::in_part(&self.trees, &build.rootfs()?, part)?),
            None => self.changes(build),
        }
    }

    /// What the root file system has over them.
    pub(super) fn changes(&self, build: &Build) -> Result<Changes> {
        Ok(Changes::between(&self.trees, &build.rootfs()?)?)
    }
}

/// The layers that `image` has of the image that the build began with.
fn of_base(image: &Image) -> Result<Option<Rendered>> {
    let Some(base) = &image.base else { return Ok(None) };
    let (store, stored) = base.open()?;
    Ok(Some(render::lowest_layers(&store, &stored, image.taken.len())?))
}

impl Base {
    /// The store, and the image in it.
    pub(super) fn open(&self) -> Result<(Store, StoredImage)> {
        let gone = |_| {
            let (id, store) = (&self.id, self.store.display());
            Error::Refused(format!(
                "the image that this build began with is not in the store {store} any more: fetch {id} again"
            ))
        };
        let store = Store::open_existing(&self.store).map_err(gone)?;
        let stored = store.get(&self.id.parse()?).map_err(|e| match e {
            NotStored(_) => gone(e),
            other => other.into(),
        })?;
        Ok((store, stored))
    }
}

/// The tree of a layer that was closed.
pub(super) fn tree(build: &Build, layer: &Closed) -> PathBuf {
    directory(build, layer.number).join("rootfs")
}

fn directory(build: &Build, number: u32) -> PathBuf {
    build.dir().join("layers").join(number.to_string())
}

/// The open layer on its way to be closed: a tree in the build's staging directory, which is there whole or not at all.
#[derive(Debug)]
pub(crate) struct Closing {
    number: u32,
    rootfs: PathBuf,
}

impl Closing {
    /// Makes a tree of what the open layer has; nothing when that is nothing.
    pub(crate) fn new(build: &Build, image: &Image) -> Result<Option<Closing>> {
        let touched = build.touched()?;
        if touched.as_ref().is_some_and(Part::is_empty) {
            return Ok(None);
        }
        let below = Below::open(build, image)?;
        let changes = below.changes_in(build, touched.as_ref())?;
        if changes.is_empty() {
            return Ok(None);
        }
        output::sockets(changes.sockets());
        let number = image.layers.iter().map(|layer| layer.number).max().map_or(0, |last| last + 1);
        let rootfs = extract(build, &changes, &below)?;
        Ok(Some(Closing { number, rootfs }))
    }

    /// Its directory in `.acbuild/layers`.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// The tree.
    pub(crate) fn tree(&self) -> Result<Root> {
        Root::open(&self.rootfs).map_err(Error::io("open", &self.rootfs))
    }

    /// Puts it where layers are.
    pub(crate) fn place(self, build: &Build) -> Result<()> {
        place(build, self.number)
    }
}

/// Makes the staging directory, which has a `rootfs`, the closed layer `number`.
pub(crate) fn place(build: &Build, number: u32) -> Result<()> {
    let (to, layers) = (directory(build, number), build.dir().join("layers"));
    DirBuilder::new().recursive(true).mode(0o755).create(&layers).map_err(Error::io("create", &layers))?;
    // Left by a command that was killed before the manifest knew of it.
    appc_image::store::remove_tree(&to).map_err(Error::io("remove", &to))?;
    fs::rename(build.dir().join("staging"), &to).map_err(Error::io("create", to))
}

/// Makes the changes a tree of their own.
fn extract(build: &Build, changes: &Changes, below: &Below) -> Result<PathBuf> {
    let rootfs = build.staging()?.join("rootfs");
    DirBuilder::new().mode(0o755).create(&rootfs).map_err(Error::io("create", &rootfs))?;
    fs::set_permissions(&rootfs, fs::Permissions::from_mode(0o755)).map_err(Error::io("set the mode of", &rootfs))?;
    let root = Root::open(&rootfs).map_err(Error::io("open", &rootfs))?;
    difference::unpack(changes, &build.rootfs()?, &below.trees, &root, build.dir())?;
    Ok(rootfs)
}

/// Removes layers that the manifest does not know any more.
pub(super) fn remove(build: &Build, layers: &[Closed]) -> Result<()> {
    for layer in layers {
        let path = directory(build, layer.number);
        appc_image::store::remove_tree(&path).map_err(Error::io("remove", &path))?;
    }
    Ok(())
}
