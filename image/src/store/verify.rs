//! Whether a stored image is still what was fetched.
//!
//! What was fetched is read again, from beginning to end, and extracted once more below `tmp/`, one layer at a time; the tree in
//! the store has to be the same in everything.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;

use appc_rooted::Root;
use appc_spec::{ImageId, ImageManifest};
use serde::Serialize;

use super::import::Summed;
use super::metadata::Metadata;
use super::oci::fix::{describe_empty, rebuild};
use super::oci::jobs::unpack_into;
use super::oci::{Info, StoredLayer, StoredOci, layer_key};
use super::{IoContext, Store, WorkDir, remove_tree, work};
use crate::archive::{self, Limit, Ownership, UnpackOptions};
use crate::error::{Error, Result};
use crate::oci::{Source, small, verified};
use crate::progress::Progress;
use crate::tree::compare::{Change, Difference, Rules, compare};

/// Something of a stored image that is not what was fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Which part of the image: `archive`, `manifest`, `tree`, `blob sha256:…`, `layer sha256:…`.
    pub part: String,
    /// The path in the part's tree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What is wrong with it.
    pub what: String,
}

impl Fault {
    fn of(part: impl Into<String>, what: impl Into<String>) -> Fault {
        Fault { part: part.into(), path: None, what: what.into() }
    }

    fn path(part: &str, difference: Difference) -> Fault {
        let what = match difference.change {
            Change::Added => "added".to_owned(),
            Change::Removed => "removed".to_owned(),
            Change::Changed(what) => format!("changed: {}", what.join(", ")),
        };
        Fault { part: part.to_owned(), path: Some(difference.path.to_string_lossy().into_owned()), what }
    }
}

impl Store {
    /// Compares the image with what was fetched, and returns everything that is not the same.
    ///
    /// # Errors
    /// [`Error::NotStored`]; [`Error::Damaged`] when the metadata cannot be read; why something could not be compared.
    pub fn verify(&self, id: &ImageId, progress: &dyn Progress) -> Result<Vec<Fault>> {
        let (metadata, _) = self.metadata(id)?.ok_or_else(|| Error::NotStored(id.to_string()))?;
        let _pin = self.pin([id])?;
        let work = WorkDir::new(self)?;
        let mut faults = Vec::new();
        let check = Check { store: self, id, metadata: &metadata, work: work.path(), progress };
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
        let rootfs = self.work.join("rootfs");
        fs::create_dir(&rootfs).on("create", &rootfs)?;
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
        self.tree("tree", &self.store.tree(self.id), &root, faults)
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
        let fresh = self.work.join("layer/rootfs");
        // What was made of one that could not be unpacked.
        remove_tree::remove(&self.work.join("layer")).on("remove", &fresh)?;
        let unpacked = oci.open(blob).and_then(|content| {
            unpack_into(&fresh, verified(content, blob), None, layer.diff_id.algorithm(), Limit::NONE, self.progress)
        });
        let info = match unpacked {
            Ok((found, size, info)) if found == layer.diff_id && size == blob.size => info,
            Ok(_) => return blob_fault(&blob.digest, Err(wrong("it is not the layer that it was")), faults),
            Err(e) => return blob_fault(&blob.digest, Err(e), faults),
        };
        let tree = self.store.tree_dir(&layer_key(&layer.diff_id));
        let stored = work::found(work::read(&tree.join("layer"))).on("read", tree.join("layer"))?;
        match stored.map(|text| serde_json::from_slice::<Info>(&text)) {
            Some(Ok(stored)) if stored == info => {}
            _ => faults.push(Fault::of(&part, "what is known of it is not what it says")),
        }
        self.tree(&part, &tree.join("rootfs"), &open(&fresh)?, faults)
    }

    /// The tree `key`, which is made of the trees below it.
    fn fix(&self, below: &[String], key: &str, faults: &mut Vec<Fault>) -> Result<()> {
        let rootfs = |key: &String| self.store.tree_dir(key).join("rootfs");
        let fresh = self.work.join("fix");
        fs::create_dir(&fresh).on("create", &fresh)?;
        fs::set_permissions(&fresh, std::os::unix::fs::PermissionsExt::from_mode(0o755)).on("create", &fresh)?;
        if let Some((own, below)) = below.split_last() {
            let info = self.store.tree_dir(own).join("layer");
            let Ok(Ok(info)) = work::read(&info).map(|text| serde_json::from_slice::<Info>(&text)) else {
                return Ok(()); // Which has been said of the layer.
            };
            let below = below.iter().map(|key| open(&rootfs(key))).collect::<Result<Vec<Root>>>();
            let (Ok(below), Ok(own)) = (below, open(&rootfs(own))) else { return Ok(()) };
            if let Err(e) = rebuild(&below, &own, &info, &open(&fresh)?) {
                faults.push(Fault::of("tree", format!("what the layers share cannot be compared: {e}")));
            }
        } else {
            describe_empty(&open(&fresh)?)?;
        }
        self.tree("tree", &rootfs(&key.to_owned()), &open(&fresh)?, faults)?;
        remove_tree::remove(&fresh).on("remove", &fresh)
    }

    /// Compares the tree at `stored` with what it has to be.
    fn tree(&self, part: &str, stored: &Path, right: &Root, faults: &mut Vec<Fault>) -> Result<()> {
        let Some(stored) = work::found(Root::open(stored)).on("open", stored)? else {
            faults.push(Fault::of(part, "missing"));
            return Ok(());
        };
        let different = compare(std::slice::from_ref(right), &[stored], Rules::Exact)?;
        faults.extend(different.into_iter().map(|difference| Fault::path(part, difference)));
        Ok(())
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
