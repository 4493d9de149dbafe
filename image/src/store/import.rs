//! Taking an image into the store: one pass over its bytes, one rename that counts.

use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use appc_rooted::Root;
use appc_spec::{ImageId, ImageManifest};

use super::metadata::{Fingerprint, Metadata};
use super::share::{Listing, list, share};
use super::{IoContext, Store, StoredImage, WorkDir, remove_tree, sync_dir};
use crate::archive::{self, Limit, Ownership, UnpackOptions, Unpacked};
use crate::error::{Error, Result};
use crate::progress::Progress;

impl Store {
    /// Imports the image archive `source`; `origin` says where it comes from.
    ///
    /// An image that is in the store already stays as it is and only its source and time of use change. A file that has not
    /// changed since it was imported is not even read. Any number of processes may import at once.
    ///
    /// # Errors
    /// What is wrong with the archive or its manifest, or why the store cannot be written to. Then nothing has changed.
    pub fn import(&self, source: File, origin: &str, progress: &dyn Progress) -> Result<StoredImage> {
        let before = Fingerprint::of(&source).on("read", origin)?;
        if let Some(stored) = self.known(before.as_ref(), origin)? {
            return Ok(stored);
        }
        let work = WorkDir::new(self)?;
        let file = source.try_clone().on("read", origin)?;
        let (unpacked, checksum, listing) = unpack(source, work.path(), self.limit, progress)?;
        let manifest = ImageManifest::parse(&unpacked.manifest).map_err(Error::Manifest)?;
        let mut metadata = Metadata::new(&manifest, origin);
        metadata.size = unpacked.size;
        metadata.checksum = Some(checksum);
        metadata.tree_size = unpacked.tree_size;
        let omitted = unpacked.omitted.iter().map(|o| (o.path.display().to_string(), o.what.clone()));
        metadata.omitted = omitted.collect();
        // A file that changed while it was read is not what it is now.
        metadata.file = before.filter(|before| Fingerprint::of(&file).ok().flatten().as_ref() == Some(before));
        write_image(work.path(), &unpacked.manifest, &metadata)?;
        let id = unpacked.image_id;
        let mut parts = Parts { id: &id, work: work.path(), metadata, mends: false };
        if let Some(stored) = parts.update(self)? {
            return Ok(stored);
        }
        share(self, &work.path().join("tree"), listing)?;
        sync_file_system(work.path())?;
        parts.commit(self)
    }

    /// The stored image that was last imported from this very file, used again.
    fn known(&self, file: Option<&Fingerprint>, origin: &str) -> Result<Option<StoredImage>> {
        let Some(file) = file else { return Ok(None) };
        for id in self.ids()? {
            // An image whose metadata cannot be read is not this one.
            let Ok(Some((metadata, _))) = self.metadata(&id) else { continue };
            let same = metadata.file.as_ref() == Some(file) && metadata.source == origin;
            if !same || !self.is_whole(&id, metadata.size) {
                continue;
            }
            let pin = match self.pin([&id]) {
                // Somebody has just removed it.
                Err(Error::NotStored(_)) => continue,
                pin => pin?,
            };
            pin.mark_used();
            return self.get(&id).map(Some);
        }
        Ok(None)
    }

    fn blob_size(&self, id: &ImageId) -> Result<u64> {
        let blob = self.blob(id);
        Ok(fs::metadata(&blob).on("read", &blob)?.len())
    }

    /// Whether everything of an image of so many bytes is there, as far as that is known without reading it.
    pub(crate) fn is_whole(&self, id: &ImageId, size: u64) -> bool {
        self.tree(id).is_dir() && self.blob_size(id).is_ok_and(|there| there == size) && self.has_manifest(id)
    }

    /// Whether the manifest is there and can be read: fetching again is to mend one that cannot.
    pub(super) fn has_manifest(&self, id: &ImageId) -> bool {
        self.manifest_bytes(id).is_ok_and(|manifest| ImageManifest::parse(&manifest).is_ok())
    }
}

/// An image that lies in a work directory, ready to be moved into the store.
struct Parts<'i> {
    id: &'i ImageId,
    work: &'i Path,
    metadata: Metadata,
    /// The stored archive is not what was fetched: this one takes its place.
    mends: bool,
}

impl Parts<'_> {
    /// Changes only what is known about an image that is stored already, when it is.
    fn update(&mut self, store: &Store) -> Result<Option<StoredImage>> {
        if store.metadata(self.id).ok().flatten().is_none() {
            return Ok(None);
        }
        // Before others have to wait.
        self.mends = match store.has_intact_archive(self.id) {
            // Somebody has just removed it.
            Err(Error::NotStored(_)) => return Ok(None),
            intact => !intact?,
        };
        let _lock = store.lock()?;
        match store.metadata(self.id).ok().flatten() {
            Some((stored, _)) if !self.mends && store.is_whole(self.id, stored.size) => {
                self.metadata.checksum = stored.checksum;
                self.replace_metadata(store, &stored)?;
                store.get(self.id).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Moves into the store what is not there.
    fn commit(&mut self, store: &Store) -> Result<StoredImage> {
        let _lock = store.lock()?;
        let image = store.image_dir(self.id);
        let blob = (self.work.join("blob"), store.blob(self.id));
        let tree = (self.work.join("tree"), store.tree_dir(&self.id.to_string()));
        let Some((stored, _)) = store.metadata(self.id).ok().flatten() else {
            place_all(&[blob, tree, (self.work.join("image"), image)])?;
            return store.get(self.id);
        };
        // Somebody was quicker, or the stored image has lost something. What it has stays: pods may be using it.
        if self.mends || store.blob_size(self.id).ok() != Some(stored.size) {
            place(&blob.0, &blob.1)?;
        } else {
            self.metadata.checksum = stored.checksum;
        }
        if !tree.1.join("rootfs").is_dir() {
            place(&tree.0, &tree.1)?;
        }
        if !store.has_manifest(self.id) {
            place(&self.work.join("image/manifest"), &image.join("manifest"))?;
        }
        self.replace_metadata(store, &stored)?;
        store.get(self.id)
    }

    fn replace_metadata(&mut self, store: &Store, stored: &Metadata) -> Result<()> {
        self.metadata.imported = stored.imported;
        // The bytes that are exported may be the ones that came first, compressed in another way.
        self.metadata.size = store.blob_size(self.id)?;
        let (new, old) = (self.work.join("image/metadata"), store.image_dir(self.id).join("metadata"));
        self.metadata.write(&new)?;
        File::open(&new).and_then(|file| file.sync_all()).on("sync", &new)?;
        fs::rename(&new, &old).on("write", &old)
    }
}

/// Places all parts, or none.
pub(super) fn place_all(parts: &[(PathBuf, PathBuf)]) -> Result<()> {
    for (done, (from, to)) in parts.iter().enumerate() {
        if let Err(e) = place(from, to) {
            // Back to where the work directory's end is theirs too.
            parts[..done].iter().for_each(|(from, to)| drop(fs::rename(to, from)));
            return Err(e);
        }
    }
    Ok(())
}

/// Renames `from` to `to`, in place of what nobody owns, and makes that durable.
pub(crate) fn place(from: &Path, to: &Path) -> Result<()> {
    remove_tree::remove(to).on("remove", to)?;
    fs::rename(from, to).on("write to", to)?;
    to.parent().map_or(Ok(()), sync_dir)
}

/// Unpacks into `work/tree/rootfs` with a copy of the archive in `work/blob`, whose checksum is returned, too, and what the tree has
/// to share. Most of it is on the disk then.
fn unpack(
    source: File,
    work: &Path,
    limit: Limit,
    progress: &dyn Progress,
) -> Result<(Unpacked, u32, Option<Listing>)> {
    let blob = work.join("blob");
    let rootfs = work.join("tree/rootfs");
    fs::create_dir_all(&rootfs).on("create", &rootfs)?;
    let tee = File::create_new(&blob).on("create", &blob)?;
    tee.set_permissions(Permissions::from_mode(0o644)).on("create", &blob)?;
    let total = source.metadata().ok().filter(|m| m.is_file()).map(|m| m.len());
    let options = UnpackOptions {
        tee: Some(tee),
        ownership: Ownership::of_this_process(),
        total,
        layer: true,
        limit,
        ..Default::default()
    };
    let root = Root::open(&rootfs).on("open", &rootfs)?;
    let mut summed = Summed::new(source);
    let mut listing = None;
    let unpacked = archive::unpack_then(&mut summed, &root, &options, progress, || {
        // The disk works meanwhile.
        std::thread::scope(|scope| {
            let synced = scope.spawn(|| sync_file_system(work));
            listing = list(&rootfs)?;
            synced.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    })?;
    Ok((unpacked, summed.checksum(), listing))
}

/// A file of which every byte that is read is counted into a checksum.
pub(super) struct Summed {
    file: File,
    crc: libdeflater::Crc,
}

impl Summed {
    pub(super) fn new(file: File) -> Summed {
        Summed { file, crc: libdeflater::Crc::new() }
    }

    pub(super) fn checksum(&self) -> u32 {
        self.crc.sum()
    }
}

impl Read for Summed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let len = self.file.read(into)?;
        self.crc.update(&into[..len]);
        Ok(len)
    }
}

pub(super) fn write_image(work: &Path, manifest: &[u8], metadata: &Metadata) -> Result<()> {
    let image = work.join("image");
    fs::create_dir(&image).on("create", &image)?;
    fs::write(image.join("manifest"), manifest).on("write", image.join("manifest"))?;
    metadata.write(&image.join("metadata"))?;
    for (path, mode) in [(image.join("manifest"), 0o644), (image.join("metadata"), 0o644), (image, 0o755)] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).on("write", &path)?;
    }
    metadata.mark_unused(&work.join("image/metadata"))
}

/// Everything written so far is on the disk: one call instead of one for each file.
pub(crate) fn sync_file_system(path: &Path) -> Result<()> {
    let dir = File::open(path).on("open", path)?;
    rustix::fs::syncfs(dir).map_err(Into::into).on("sync the file system of", path)
}
