//! Damaged trees are made again.
//!
//! [`Store::verify`] extracts what was fetched once more. Where a tree in the store is not the same, the new one takes its place,
//! unless somebody uses an image that has it: pods do not get other files under their feet.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use appc_spec::ImageId;
use serde::Serialize;

use super::lookup::entries;
use super::share::{list, share};
use super::{IoContext, Store, sync_dir, sync_file_system, work};
use crate::error::{Error, Result};

/// What was done about damaged trees of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Repair {
    /// They were made again from what was fetched.
    Rebuilt,
    /// Nothing: somebody uses them.
    InUse,
}

/// New trees, below a work directory, with the names that they have in the store.
pub(super) struct Fresh<'w> {
    work: &'w Path,
}

impl Fresh<'_> {
    pub(super) fn below(work: &Path) -> Fresh<'_> {
        Fresh { work }
    }

    pub(super) fn tree(&self, key: &str) -> PathBuf {
        self.work.join("fresh").join(key)
    }

    /// Takes the directory `tree` as the tree `key`.
    pub(super) fn take(&self, tree: &Path, key: &str) -> Result<()> {
        let to = self.tree(key);
        fs::create_dir_all(self.work.join("fresh")).on("write to", self.work)?;
        fs::rename(tree, &to).on("write to", &to)
    }

    fn keys(&self) -> Result<Vec<String>> {
        entries(&self.work.join("fresh"))
    }
}

impl Store {
    /// Puts the trees in `fresh`, which are of the image `id` and perhaps of others, in place of those in the store.
    pub(super) fn replace_trees(&self, id: &ImageId, fresh: &Fresh) -> Result<Option<Repair>> {
        let keys = fresh.keys()?;
        if keys.is_empty() {
            return Ok(None);
        }
        for tree in keys.iter().filter(|key| !key.starts_with("fix-")).map(|key| fresh.tree(key)) {
            // What is not the same byte for byte is not shared: a damaged file stays where it is.
            share(self, &tree, list(&tree.join("rootfs"))?)?;
        }
        sync_file_system(fresh.work)?;
        let _lock = self.lock()?;
        if !self.image_dir(id).join("metadata").exists() {
            return Err(Error::NotStored(id.to_string()));
        }
        let users = self.users_of(&keys)?;
        let Some(_unused) = self.lock_all_unused(&users)? else { return Ok(Some(Repair::InUse)) };
        for key in self.rendered_trees()? {
            // Made of links to the files of the others, and made again when it is needed.
            if self.rendered_from(&key)?.iter().any(|from| users.contains(from)) {
                self.remove_rendered(&key)?;
            }
        }
        // Removed from there, when all is done: nobody may find half a tree.
        let old = fresh.work.join("old");
        fs::create_dir(&old).on("create", &old)?;
        for key in &keys {
            let tree = self.tree_dir(key);
            work::found(fs::rename(&tree, old.join(key))).on("replace", &tree)?;
            fs::rename(fresh.tree(key), &tree).on("write to", &tree)?;
        }
        sync_dir(&self.dir.join("store/trees"))?;
        Ok(Some(Repair::Rebuilt))
    }

    /// The images that have one of the trees, and those of which nobody knows what they have.
    fn users_of(&self, keys: &[String]) -> Result<Vec<ImageId>> {
        let mut users = self.ids()?;
        users.retain(|id| match self.metadata(id) {
            Ok(Some((metadata, _))) => match metadata.oci {
                Some(parts) => parts.trees.iter().any(|key| keys.contains(key)),
                None => keys.contains(&id.to_string()),
            },
            Ok(None) => false,
            Err(_) => true,
        });
        Ok(users)
    }

    /// The directories of all these images, locked so that nobody uses them; nothing when somebody does.
    fn lock_all_unused(&self, images: &[ImageId]) -> Result<Option<Vec<File>>> {
        images.iter().map(|id| self.lock_unused(id)).collect()
    }
}
