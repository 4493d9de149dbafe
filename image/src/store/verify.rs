//! Whether a stored image is still what was fetched.
//!
//! What was fetched is read again, from beginning to end, and extracted once more below `tmp/`, one layer at a time; the tree in
//! the store has to be the same in everything. What was extracted takes the place of one that is not (`mend.rs`).

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use appc_rooted::Root;
use appc_spec::{ImageId, ImageManifest};
use serde::Serialize;

use super::import::Summed;
use super::mend::{Fresh, Repair};
use super::metadata::Metadata;
use super::oci::fix::{describe_empty, rebuild};
use super::oci::jobs::{unpack_into, write_info};
use super::oci::{Info, StoredLayer, StoredOci, layer_key};
use super::rendered::PART;
use super::{IoContext, Store, WorkDir, remove_tree, work};
use crate::archive::{self, Limit, Ownership, UnpackOptions};
use crate::error::{Error, Result};
use crate::oci::{Source, small, verified};
use crate::progress::Progress;
use crate::tree::compare::{Change, Difference, Rules, compare};

/// What was found of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Everything that is not what was fetched.
    pub faults: Vec<Fault>,
    /// What was done about its trees, when these were damaged.
    pub repair: Option<Repair>,
}

/// Something of a stored image that is not what was fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Which part of the image: `archive`, `manifest`, `tree`, `rendered tree`, `blob sha256:…`, `layer sha256:…`.
    pub part: String,
    /// The path in the part's tree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What is wrong with it.
    pub what: String,
}

impl Fault {
    pub(super) fn of(part: impl Into<String>, what: impl Into<String>) -> Fault {
        Fault { part: part.into(), path: None, what: what.into() }
    }

    pub(super) fn path(part: &str, difference: Difference) -> Fault {
        let what = match difference.change {
            Change::Added => "added".to_owned(),
            Change::Removed => "removed".to_owned(),
            Change::Changed(what) => format!("changed: {}", what.join(", ")),
        };
        Fault { part: part.to_owned(), path: Some(difference.path.to_string_lossy().into_owned()), what }
    }

    /// Whether it is in what was made of what was fetched, and can be made again.
    pub fn is_of_tree(&self) -> bool {
        self.part == "tree" || self.part == PART || self.part.starts_with("layer ")
    }
}

impl Store {
    /// Compares the image with what was fetched, and tells everything that is not the same. Trees that are not are made again.
    ///
    /// # Errors
    /// [`Error::NotStored`]; [`Error::Damaged`] when the metadata cannot be read; why something could not be compared or
    /// replaced.
    pub fn verify(&self, id: &ImageId, progress: &dyn Progress) -> Result<Verified> {
        let work = WorkDir::new(self)?;
        let fresh = Fresh::below(work.path());
        let mut faults = self.compare(id, work.path(), &fresh, progress)?;
        let repair = match self.replace_trees(id, &fresh)? {
            // It is made of links to the files of the others.
            None => self.verify_rendered(id, work.path(), &mut faults)?,
            repair => repair,
        };
        Ok(Verified { faults, repair })
    }

    /// Compares the image, and leaves in `fresh` what is to be instead of its trees.
    fn compare(&self, id: &ImageId, work: &Path, fresh: &Fresh, progress: &dyn Progress) -> Result<Vec<Fault>> {
        let (metadata, _) = self.metadata(id)?.ok_or_else(|| Error::NotStored(id.to_string()))?;
        let _pin = self.pin([id])?;
        let mut faults = Vec::new();
        let check = Check { store: self, id, metadata: &metadata, work, fresh, progress };
        match self.oci(id)? {
            Some(oci) => check.oci(&oci, &mut faults)?,
            None => check.archive(&mut faults)?,
        }
        Ok(faults)
    }
}

struct Check<'c> {
    store: &'c Store,
    id: &'c ImageId,
    metadata: &'c Metadata,
    work: &'c Path,
    fresh: &'c Fresh<'c>,
    progress: &'c dyn Progress,
}

impl Check<'_> {
    fn archive(&self, faults: &mut Vec<Fault>) -> Result<()> {
        let manifest = self.manifest(faults)?;
        let path = self.store.blob(self.id);
        let Some(blob) = work::found(work::open(&path)).on("read", &path)? else {
            faults.push(Fault::of("archive", "missing"));
            return Ok(());
        };
        let size = blob.metadata().on("read", &path)?.len();
        let tree = self.work.join("tree");
        let rootfs = tree.join("rootfs");
        fs::create_dir_all(&rootfs).on("create", &rootfs)?;
        let root = open(&rootfs)?;
        let ownership = Ownership::of_this_process();
        let options =
            UnpackOptions { ownership, total: Some(size), layer: true, limit: Limit::NONE, ..UnpackOptions::default() };
        let mut blob = Summed::new(blob);
        let unpacked = match archive::unpack(&mut blob, &root, &options, self.progress) {
            Ok(unpacked) => unpacked,
            Err(e @ Error::Io { .. }) => return Err(e),
            Err(e) => {
                faults.push(Fault::of("archive", e.to_string()));
                return Ok(());
            }
        };
        if unpacked.image_id != *self.id {
            faults.push(Fault::of("archive", format!("its image ID is {}", unpacked.image_id)));
            return Ok(());
        }
        if self.metadata.checksum.is_some_and(|sum| sum != blob.checksum()) || size != self.metadata.size {
            faults.push(Fault::of("archive", "its compressed bytes are not those that were fetched"));
        }
        if manifest.is_some_and(|manifest| manifest != unpacked.manifest) {
            faults.push(Fault::of("manifest", "it is not the one in the archive"));
        }
        match self.tree("tree", &self.store.tree(self.id), &root, faults)? {
            true => Ok(()),
            false => self.fresh.take(&tree, &self.id.to_string()),
        }
    }

    fn oci(&self, oci: &StoredOci, faults: &mut Vec<Fault>) -> Result<()> {
        if let Some(manifest) = self.manifest(faults)?
            && self.metadata.checksum.is_some_and(|sum| sum != libdeflater::crc32(&manifest))
        {
            faults.push(Fault::of("manifest", "it is not the one that was made of the configuration"));
        }
        for document in [&oci.parts().manifest, &oci.parts().config] {
            blob_fault(&document.digest, small(oci, document).map(drop), faults)?;
        }
        for blob in oci.parts().about.blobs() {
            let read = oci.open(blob).and_then(|content| {
                let read = io::copy(&mut verified(content, blob), &mut io::sink());
                read.map(drop).map_err(Error::io(format!("read {}", blob.digest)))
            });
            blob_fault(&blob.digest, read, faults)?;
        }
        let mut seen = HashSet::new();
        for layer in &oci.parts().layers {
            if seen.insert((&layer.blob.digest, &layer.diff_id)) {
                self.layer(oci, layer, faults)?;
            }
        }
        let trees = &oci.parts().trees;
        for (at, key) in trees.iter().enumerate().filter(|(_, key)| key.starts_with("fix-")) {
            self.fix(&trees[..at], key, faults)?;
        }
        Ok(())
    }

    /// One layer: its blob, and its tree when that is good.
    fn layer(&self, oci: &StoredOci, layer: &StoredLayer, faults: &mut Vec<Fault>) -> Result<()> {
        let (blob, part) = (&layer.blob, format!("layer {}", layer.diff_id));
        let tree = self.work.join("layer");
        let fresh = tree.join("rootfs");
        // What was made of the one before.
        remove_tree::remove(&tree).on("remove", &tree)?;
        let unpacked = oci.open(blob).and_then(|content| {
            unpack_into(&fresh, verified(content, blob), None, layer.diff_id.algorithm(), Limit::NONE, self.progress)
        });
        let info = match unpacked {
            Ok((found, size, info)) if found == layer.diff_id && size == blob.size => info,
            Ok(_) => return blob_fault(&blob.digest, Err(wrong("it is not the layer that it was")), faults),
            Err(e) => return blob_fault(&blob.digest, Err(e), faults),
        };
        let key = layer_key(&layer.diff_id);
        let stored = self.store.tree_dir(&key);
        let text = work::found(work::read(&stored.join("layer"))).on("read", stored.join("layer"))?;
        let known =
            matches!(text.map(|text| serde_json::from_slice::<Info>(&text)), Some(Ok(stored)) if stored == info);
        if !known {
            faults.push(Fault::of(&part, "what is known of it is not what it says"));
        }
        if !self.tree(&part, &stored.join("rootfs"), &open(&fresh)?, faults)? || !known {
            write_info(&tree, &info)?;
            self.fresh.take(&tree, &key)?;
        }
        Ok(())
    }

    /// The tree `key` as it should be.
    fn good(&self, key: &str) -> PathBuf {
        Some(self.fresh.tree(key)).filter(|tree| tree.exists()).unwrap_or_else(|| self.store.tree_dir(key))
    }

    /// The tree `key`, which is made of the trees below it.
    fn fix(&self, below: &[String], key: &str, faults: &mut Vec<Fault>) -> Result<()> {
        let tree = self.work.join("fix");
        let rootfs = tree.join("rootfs");
        remove_tree::remove(&tree).on("remove", &tree)?;
        fs::create_dir_all(&rootfs).on("create", &rootfs)?;
        fs::set_permissions(&rootfs, std::os::unix::fs::PermissionsExt::from_mode(0o755)).on("create", &rootfs)?;
        if let Some((own, below)) = below.split_last() {
            let Ok(Ok(info)) =
                work::read(&self.good(own).join("layer")).map(|text| serde_json::from_slice::<Info>(&text))
            else {
                return Ok(()); // Which has been said of the layer.
            };
            let root = |key: &String| open(&self.good(key).join("rootfs"));
            let below = below.iter().map(root).collect::<Result<Vec<Root>>>();
            let (Ok(below), Ok(own)) = (below, root(own)) else { return Ok(()) };
            if let Err(e) = rebuild(&below, &own, &info, &open(&rootfs)?) {
                faults.push(Fault::of("tree", format!("what the layers share cannot be compared: {e}")));
                return Ok(());
            }
        } else {
            describe_empty(&open(&rootfs)?)?;
        }
        match self.tree("tree", &self.store.tree_dir(key).join("rootfs"), &open(&rootfs)?, faults)? {
            true => Ok(()),
            false => self.fresh.take(&tree, key),
        }
    }

    /// Compares the tree at `stored` with what it has to be, and tells whether it is.
    fn tree(&self, part: &str, stored: &Path, right: &Root, faults: &mut Vec<Fault>) -> Result<bool> {
        let Some(stored) = work::found(Root::open(stored)).on("open", stored)? else {
            faults.push(Fault::of(part, "missing"));
            return Ok(false);
        };
        let different = compare(std::slice::from_ref(right), &[stored], Rules::Exact)?;
        let same = different.is_empty();
        faults.extend(different.into_iter().map(|difference| Fault::path(part, difference)));
        Ok(same)
    }

    /// The manifest, when it can be read and is of the image that the metadata speaks of.
    fn manifest(&self, faults: &mut Vec<Fault>) -> Result<Option<Vec<u8>>> {
        let path = self.store.image_dir(self.id).join("manifest");
        let bytes = match work::read(&path) {
            Ok(bytes) => bytes,
            Err(e) => {
                faults.push(Fault::of("manifest", crate::error::errno_text(&e)));
                return Ok(None);
            }
        };
        match ImageManifest::parse(&bytes) {
            Ok(manifest) if self.metadata.is_of(&manifest) => {}
            Ok(_) => faults.push(Fault::of("metadata", "name and labels are not those of the manifest")),
            Err(e) => faults.push(Fault::of("manifest", e.to_string())),
        }
        Ok(Some(bytes))
    }
}

fn open(path: &Path) -> Result<Root> {
    Root::open(path).on("open", path)
}

fn wrong(rule: &str) -> Error {
    Error::Oci { what: "layer".into(), rule: rule.into() }
}

/// Notes what is wrong with a blob; what could not be looked at is an error.
fn blob_fault(digest: &crate::oci::Digest, read: Result<()>, faults: &mut Vec<Fault>) -> Result<()> {
    match read {
        Err(e @ Error::Io { .. }) => return Err(e),
        Err(e) => faults.push(Fault::of(format!("blob {digest}"), e.to_string())),
        Ok(()) => {}
    }
    Ok(())
}
