//! What a layer needs of those below it.
//!
//! A layer is extracted alone, so that all images can share it. Some things need the layers below: a directory that no entry
//! describes has to be like the one below it, or it is none, where there is a link below that leads to one, or where nothing
//! but marks is in it that hide nothing; and a hard link may lead to a file there. All of that is made in a small tree of its own
//! that lies right above the layer; its name tells all layers below, since it is good for those only.

mod small;

use std::fs;
use std::os::fd::AsFd;
use std::path::Path;

use appc_rooted::{OFlags, Root};

use small::Small;

use super::jobs::Gathered;
use super::{Info, layer_key, partial};
use crate::error::{Error, Result};
use crate::oci::{Digest, OciImage};
use crate::render::merge::like;
use crate::store::{IoContext, work};
use crate::tree::overlay;

impl Gathered<'_> {
    /// What is known of a layer; nothing when it is not there any more.
    pub(super) fn info(&self, key: &str) -> Result<Option<Info>> {
        let path = self.tree_at(key).join("layer");
        let Some(text) = work::found(work::read(&path)).on("read", &path)? else { return Ok(None) };
        serde_json::from_slice(&text).map(Some).map_err(std::io::Error::from).on("read", &path)
    }

    /// The trees of the image's root file system, the lowest first, and whether one was made. Nothing when a layer is
    /// not there any more.
    pub(super) fn trees(&self, image: &OciImage) -> Result<Option<(Vec<String>, bool)>> {
        let (mut trees, mut made) = (Vec::new(), false);
        for layer in &image.layers {
            let key = layer_key(&layer.diff_id);
            let Some(info) = self.info(&key)? else { return Ok(None) };
            let Some(root) = self.root(&key)? else { return Ok(None) };
            // The kernel does not look at this attribute of the root.
            let dir = root.open_at("", OFlags::RDONLY | OFlags::DIRECTORY).on("open", self.tree_at(&key))?;
            if overlay::is_opaque(dir.as_fd()).map_err(Error::io("look at a layer"))? {
                trees.clear();
            }
            let fix = self.fix(&trees, &key, &root, &info)?;
            trees.push(key);
            match fix {
                Fix::Vanished => return Ok(None),
                Fix::None => {}
                Fix::There(fix) => trees.push(fix),
                Fix::Made(fix) => {
                    trees.push(fix);
                    made = true;
                }
            }
        }
        if trees.is_empty() {
            // An image without layers has a root directory all the same.
            let key = fix_key(&[]);
            if !self.has_tree(&key) {
                self.new_tree(&key)?;
                made = true;
            }
            trees.push(key);
        }
        Ok(Some((trees, made)))
    }

    fn fix(&self, below: &[String], key: &str, root: &Root, info: &Info) -> Result<Fix> {
        if info.links.is_empty() && (below.is_empty() || info.implied.is_empty()) {
            return Ok(Fix::None);
        }
        let fix = fix_key(&[below, &[key.to_owned()]].concat());
        if self.has_tree(&fix) {
            return Ok(Fix::There(fix));
        }
        let mut layers = Vec::new();
        for key in below {
            let Some(root) = self.root(key)? else { return Ok(Fix::Vanished) };
            layers.push(root);
        }
        let small = Small::of(&layers, root, info)?;
        if small.is_empty() {
            return Ok(Fix::None);
        }
        small.build(&self.new_tree(&fix)?)?;
        let done = self.tree(&fix);
        fs::rename(self.tree(&partial(&fix)), &done).on("write to", &done)?;
        Ok(Fix::Made(fix))
    }

    /// An empty tree that is not finished.
    fn new_tree(&self, key: &str) -> Result<Root> {
        // Only a finished one has its name, but for an empty one, which is finished at once.
        let name = if *key == fix_key(&[]) { key.to_owned() } else { partial(key) };
        let rootfs = self.tree(&name).join("rootfs");
        let _ = crate::store::remove_tree(&self.tree(&name));
        fs::create_dir_all(&rootfs).on("create", &rootfs)?;
        fs::set_permissions(&rootfs, std::os::unix::fs::PermissionsExt::from_mode(0o755)).on("create", &rootfs)?;
        let root = Root::open(&rootfs).on("open", &rootfs)?;
        if *key == fix_key(&[]) {
            describe_empty(&root)?;
        }
        Ok(root)
    }

    fn root(&self, key: &str) -> Result<Option<Root>> {
        let rootfs = self.tree_at(key).join("rootfs");
        work::found(Root::open(&rootfs)).on("open", &rootfs)
    }
}

enum Fix {
    /// A layer has gone with the last image that had it.
    Vanished,
    None,
    There(String),
    Made(String),
}

fn fix_key(trees: &[String]) -> String {
    format!("fix-sha256-{}", Digest::of(trees.join("\n").as_bytes()).hex())
}

/// What the root directory of an image without layers is like: the same each time.
pub(in crate::store) fn describe_empty(root: &Root) -> Result<()> {
    like(None, Path::new(""), root, Path::new("")).map_err(failed(Path::new("")))
}

/// Makes the small tree above the layer `own` once more, in `out`; `below` are the trees below it, the lowest first.
pub(in crate::store) fn rebuild(below: &[Root], own: &Root, info: &Info, out: &Root) -> Result<()> {
    Small::of(below, own, info)?.build(out)
}

fn failed<E: Into<std::io::Error>>(path: &Path) -> impl FnOnce(E) -> Error {
    Error::io(format!("make /{} like the layers below", path.display()))
}
