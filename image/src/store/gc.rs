//! Removing images, and what killed processes left.

use std::collections::BTreeSet;
use std::fs;

use appc_spec::ImageId;

use super::lookup::entries;
use super::metadata::Metadata;
use super::oci::is_shared_tree;
use super::{IoContext, Store, StoredImage, remove_tree, sync_dir, work};
use crate::error::{Error, Result};

/// The names of trees that were merged from several images begin so; other trees are called as their image.
pub(crate) const RENDERED: &str = "rendered-";

/// The names of what is being removed begin so.
const GONE: &str = "gone-";

/// What [`Store::gc`] removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Work that no process was doing any more.
    pub abandoned: usize,
    /// Blobs, trees and directories that belonged to no image.
    pub leftovers: usize,
    /// Merged trees that nobody uses. They are made again when needed.
    pub rendered: usize,
}

impl Store {
    /// Removes the image and everything that was made from it.
    ///
    /// # Errors
    /// [`Error::NotStored`], [`Error::InUse`] while it is pinned.
    pub fn remove(&self, id: &ImageId) -> Result<()> {
        // Before the lock, which a store that does not exist has no place for.
        if !self.image_dir(id).join("metadata").exists() {
            return Err(Error::NotStored(id.to_string()));
        }
        let _lock = self.lock()?;
        self.remove_locked(id)
    }

    /// Removes `image`, which the caller has just imported and has no use for, unless it was here before, or somebody else has
    /// imported or used it since. Its time of use tells: an import of what is there, and a use, set it to another time than
    /// that of the first import.
    ///
    /// # Errors
    /// When the store cannot be read or written to.
    pub fn take_back(&self, image: &StoredImage) -> Result<()> {
        let _lock = self.lock()?;
        let fresh = |(metadata, last_used): (Metadata, i64)| last_used == metadata.imported;
        if !self.metadata(&image.id)?.is_some_and(fresh) {
            return Ok(());
        }
        match self.remove_locked(&image.id) {
            Err(Error::InUse(_)) => Ok(()),
            removed => removed,
        }
    }

    fn remove_locked(&self, id: &ImageId) -> Result<()> {
        let image = self.image_dir(id);
        let missing = || Error::NotStored(id.to_string());
        if !image.exists() {
            return Err(missing());
        }
        let _unused = self.lock_unused(id)?.ok_or_else(|| Error::InUse(id.clone()))?;
        let has_archive = self.blob(id).exists();
        let metadata = image.join("metadata");
        work::found(fs::remove_file(&metadata)).on("remove", &metadata)?.ok_or_else(missing)?;
        sync_dir(&image)?;
        // From here on it is not in the store, and the rest is anybody's to remove.
        for key in self.rendered_trees()? {
            if self.rendered_from(&key)?.contains(id) {
                self.remove_rendered(&key)?;
            }
        }
        self.remove_path("store/trees", &id.to_string())?;
        self.remove_path("store/blobs/sha512", id.hex())?;
        if !has_archive {
            self.remove_unshared()?;
        }
        self.remove_path("store/images", &id.to_string())
    }

    /// Removes what belongs to no image, and merged trees of images that are neither pinned nor in `in_use`.
    pub fn gc(&self, in_use: &[ImageId]) -> Result<Report> {
        if !self.dir.join("store/images").exists() {
            return Ok(Report::default());
        }
        let mut report = Report { abandoned: work::remove_abandoned(self)?, ..Report::default() };
        let _lock = self.lock()?;
        let stored = |id: &ImageId| self.image_dir(id).join("metadata").exists();
        let images: BTreeSet<ImageId> = self.ids()?.into_iter().filter(stored).collect();
        for key in self.rendered_trees()? {
            let from = self.rendered_from(&key)?;
            if !self.still_needed(&from, &images, in_use)? {
                self.remove_rendered(&key)?;
                report.rendered += 1;
            }
        }
        report.leftovers += self.remove_unshared()?;
        let names: BTreeSet<String> = images.iter().map(ImageId::to_string).collect();
        let digests: BTreeSet<&str> = images.iter().map(ImageId::hex).collect();
        for (folder, owned) in [
            (
                "store/trees",
                &(|name: &str| name.starts_with(RENDERED) || is_shared_tree(name) || names.contains(name))
                    as &dyn Fn(&str) -> bool,
            ),
            ("store/blobs/sha512", &|name| digests.contains(name)),
            ("store/images", &|name| names.contains(name)),
        ] {
            for name in entries(&self.dir.join(folder))?.iter().filter(|name| !owned(name)) {
                self.remove_path(folder, name)?;
                report.leftovers += 1;
            }
        }
        Ok(report)
    }

    /// The images that nobody has used since `before`, in nanoseconds since 1970: neither `in_use`, nor what an image that
    /// stays depends on.
    ///
    /// # Errors
    /// When the store cannot be read. Images that are damaged are left to who looks at them.
    pub fn unused_since(&self, before: i64, in_use: &[ImageId]) -> Result<Vec<ImageId>> {
        let (old, stays): (Vec<_>, Vec<_>) =
            self.list()?.into_iter().partition(|image| image.last_used < before && !in_use.contains(&image.id));
        let mut needed = BTreeSet::new();
        if !old.is_empty() {
            for image in &stays {
                // A damaged one needs nothing that could be known.
                let Ok(image) = self.get(&image.id) else { continue };
                needed.extend(self.outline(&image)?.ids());
            }
        }
        Ok(old.into_iter().map(|image| image.id).filter(|id| !needed.contains(id.as_str())).collect())
    }

    /// Whether a merged tree has all its images and somebody who uses the last of them.
    fn still_needed(&self, from: &[ImageId], images: &BTreeSet<ImageId>, in_use: &[ImageId]) -> Result<bool> {
        let Some(top) = from.last() else { return Ok(false) };
        let whole = from.iter().all(|id| images.contains(id));
        Ok(whole && (in_use.contains(top) || self.lock_unused(top)?.is_none()))
    }

    pub(super) fn rendered_trees(&self) -> Result<Vec<String>> {
        let mut keys = entries(&self.dir.join("store/trees"))?;
        keys.retain(|key| key.starts_with(RENDERED));
        Ok(keys)
    }

    /// The images that a merged tree was made from, itself last; none when it is not whole.
    pub(super) fn rendered_from(&self, key: &str) -> Result<Vec<ImageId>> {
        let path = self.tree_dir(key).join("images");
        let list = work::found(work::read(&path)).on("read", &path)?.unwrap_or_default();
        Ok(String::from_utf8_lossy(&list).lines().filter_map(|line| line.parse().ok()).collect())
    }

    /// Removes a merged tree. Without its list it is not whole, so that nobody uses half of it.
    pub(super) fn remove_rendered(&self, key: &str) -> Result<()> {
        let list = self.tree_dir(key).join("images");
        work::found(fs::remove_file(&list)).on("remove", &list)?;
        self.remove_path("store/trees", key)
    }

    /// Removes a file or a tree. Under the lock only.
    pub(super) fn remove_path(&self, folder: &str, name: &str) -> Result<()> {
        let path = self.dir.join(folder).join(name);
        // Half a tree under its name would be taken for the whole one. To gc this name is nobody's.
        let gone = self.dir.join(folder).join(format!("{GONE}{}", name.trim_start_matches(GONE)));
        if path.is_dir() && path != gone {
            remove_tree::remove(&gone).on("remove", &gone)?;
            fs::rename(&path, &gone).on("remove", &path)?;
            return remove_tree::remove(&gone).on("remove", &gone);
        }
        remove_tree::remove(&path).on("remove", &path)
    }
}
