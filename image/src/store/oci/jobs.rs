//! Fetching and extracting what is missing of an OCI image, several layers at once.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use appc_rooted::Root;

use super::{Info, blob_place, layer_key, partial};
use crate::archive::{Limit, Ownership};
use crate::error::{Error, Result};
use crate::layer::{LayerOptions, digest_layer, unpack_layer};
use crate::oci::{Algorithm, Descriptor, Digest, Layer, OciImage, Source, verified};
use crate::parallel::for_each;
use crate::pour::pour;
use crate::progress::{Part, Progress};
use crate::store::share::{list, share};
use crate::store::work::{Turn, each_abandoned, found, open};
use crate::store::{IoContext, Store};

/// Layers that are worked on at once. Each has threads of its own; more only take turns at the disk.
const AT_ONCE: usize = 2;

/// The place below `tmp/` where the parts of an image gather.
pub(super) struct Gathered<'w> {
    pub(super) store: &'w Store,
    pub(super) work: &'w Path,
    /// Held while a layer is compared with the others.
    sharing: Mutex<()>,
}

/// A layer of which something is missing.
struct Job<'i> {
    layer: &'i Layer,
    blob: bool,
    tree: bool,
}

impl<'w> Gathered<'w> {
    pub(super) fn new(store: &'w Store, work: &'w Path) -> Gathered<'w> {
        Gathered { store, work, sharing: Mutex::new(()) }
    }

    /// Where a blob is gathered.
    pub(super) fn blob(&self, digest: &Digest) -> PathBuf {
        let (folder, name) = blob_place(digest);
        self.work.join(folder).join(name)
    }

    /// Where a tree is gathered.
    pub(super) fn tree(&self, key: &str) -> PathBuf {
        self.work.join("store/trees").join(key)
    }

    /// The directory of a tree, gathered or in the store.
    pub(super) fn tree_at(&self, key: &str) -> PathBuf {
        let gathered = self.tree(key);
        if gathered.exists() { gathered } else { self.store.tree_dir(key) }
    }

    pub(super) fn has_blob(&self, blob: &Descriptor) -> bool {
        self.blob(&blob.digest).exists() || self.store.has_blob(blob)
    }

    pub(super) fn has_tree(&self, key: &str) -> bool {
        self.tree(key).exists() || self.store.has_tree(key)
    }

    /// Fetches and extracts what is neither in the store nor gathered yet, and tells whether there was anything.
    pub(super) fn fetch(&self, source: &dyn Source, image: &OciImage, progress: &dyn Progress) -> Result<bool> {
        let mut fetched = false;
        for (descriptor, bytes) in [(&image.manifest, &image.manifest_bytes), (&image.config, &image.config_bytes)] {
            if !self.has_blob(descriptor) {
                self.new_blob(&descriptor.digest, |path| fs::write(path, bytes))?;
                fetched = true;
            }
        }
        let jobs = self.jobs(image)?;
        if !jobs.is_empty() {
            let total = jobs.iter().fold(0, |total: u64, job| total.saturating_add(job.layer.descriptor.size));
            let most = self.store.limit().packed(true);
            if total > most {
                let rule = format!("its layers are {total} bytes long, more than the {most} that are allowed");
                return Err(Error::Oci { what: source.describe(), rule });
            }
            self.store.check_room(&source.describe(), total)?;
            progress.start(Some(total), "fetch");
            self.run(&jobs, source, progress)?;
            progress.finish();
        }
        Ok(fetched || !jobs.is_empty())
    }

    /// The layers of which something is missing, each once.
    fn jobs<'i>(&self, image: &'i OciImage) -> Result<Vec<Job<'i>>> {
        let mut blobs: HashMap<&Digest, &Digest> = HashMap::new();
        let mut trees: HashMap<&Digest, ()> = HashMap::new();
        let mut jobs = Vec::new();
        for layer in &image.layers {
            let (digest, diff_id) = (&layer.descriptor.digest, &layer.diff_id);
            let first_blob = match blobs.insert(digest, diff_id) {
                Some(other) if other != diff_id => {
                    return Err(wrong(layer, "the configuration names two different digests of its plain tar".into()));
                }
                before => before.is_none(),
            };
            let first_tree = trees.insert(diff_id, ()).is_none();
            let blob = first_blob && !self.has_blob(&layer.descriptor);
            let tree = first_tree && !self.has_tree(&layer_key(diff_id));
            if blob || tree {
                jobs.push(Job { layer, blob, tree });
            }
        }
        Ok(jobs)
    }

    fn run(&self, jobs: &[Job], source: &dyn Source, progress: &dyn Progress) -> Result<()> {
        for_each(jobs, AT_ONCE, |job, failed| self.job(job, source, &Stopped { progress, failed }))
    }

    /// One pass over a layer: fetched or read from the store, checked, kept, extracted.
    fn job(&self, job: &Job, source: &dyn Source, stopped: &Stopped) -> Result<()> {
        let (descriptor, diff_id) = (&job.layer.descriptor, &job.layer.diff_id);
        let content: Box<dyn Read + Send + '_> = match job.blob {
            true => Box::new(verified(self.content(source, descriptor)?, descriptor)),
            false => {
                let path = Some(self.blob(&descriptor.digest)).filter(|path| path.exists());
                let path = path.unwrap_or_else(|| self.store.oci_blob(&descriptor.digest));
                Box::new(verified(File::open(&path).on("read", &path)?, descriptor))
            }
        };
        let content = Stoppable { content, failed: stopped.failed };
        let part = Part::new(stopped.progress, descriptor.size, &descriptor.digest.short());
        // Its name is its digest, which is known to be right only at the end.
        let gathering = self.blob(&descriptor.digest).with_extension("partial");
        let tee = if job.blob { Some(self.new_file(&gathering)?) } else { None };
        let (found, size) = match job.tree {
            true => self.extract(content, tee, diff_id, &part)?,
            false => digest_layer(content, tee.as_ref(), diff_id.algorithm(), self.store.limit(), &part)?,
        };
        if found != *diff_id {
            return Err(wrong(job.layer, format!("its plain tar is {found}, the configuration says {diff_id}")));
        }
        if size != descriptor.size {
            return Err(wrong(job.layer, format!("only {size} of its {} bytes are an archive", descriptor.size)));
        }
        if job.tree {
            let key = layer_key(diff_id);
            let (from, to) = (self.tree(&partial(&key)), self.tree(&key));
            let listing = list(&from.join("rootfs"))?;
            // One after the other: the second of two that are alike finds the first.
            let _turn = self.sharing.lock().unwrap_or_else(PoisonError::into_inner);
            share(self.store, &from, listing)?;
            fs::rename(&from, &to).on("write to", &to)?;
        }
        if job.blob {
            let path = self.blob(&descriptor.digest);
            fs::rename(&gathering, &path).on("write to", &path)?;
        }
        Ok(())
    }

    /// Waits for those who are fetching layers of the image; who comes later waits for this one.
    pub(super) fn turns(&self, image: &OciImage) -> Result<Vec<Turn>> {
        let missing = image.layers.iter().map(|layer| &layer.descriptor).filter(|blob| !self.has_blob(blob));
        // In the same order for all, so that no two wait for each other.
        let names: BTreeSet<String> = missing.map(|blob| format!("blob-{}", blob.digest.hex())).collect();
        names.iter().map(|name| Turn::take(self.store, name)).collect()
    }

    /// Takes over what imports that were broken off have left of the image's layers.
    pub(super) fn take_over(&self, image: &OciImage) -> Result<()> {
        for blob in image.layers.iter().map(|layer| &layer.descriptor).filter(|blob| !self.has_blob(blob)) {
            let (folder, name) = blob_place(&blob.digest);
            let before = self.before(&blob.digest);
            each_abandoned(self.store, |left| {
                for extension in ["", "before", "partial"] {
                    let left = left.join(folder).join(name).with_extension(extension);
                    // The longest of several: all are the same as far as they go.
                    if left.is_file() && len(&left) > len(&before) {
                        self.make_folder(&before)?;
                        fs::rename(&left, &before).on("take over", &left)?;
                    }
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// What was left of a blob.
    fn before(&self, digest: &Digest) -> PathBuf {
        self.blob(digest).with_extension("before")
    }

    /// A blob: what is left of it, and the rest from `source`.
    fn content<'s>(&self, source: &'s dyn Source, blob: &Descriptor) -> Result<Box<dyn Read + Send + 's>> {
        let before = self.before(&blob.digest);
        let Some(file) = found(open(&before)).on("read", &before)? else { return source.open(blob) };
        let len = len(&before).min(blob.size);
        let start = file.take(len);
        match len == blob.size {
            true => Ok(Box::new(start)),
            false => Ok(Box::new(start.chain(source.open_at(blob, len)?))),
        }
    }

    fn extract(
        &self,
        content: impl Read + Send,
        tee: Option<File>,
        diff_id: &Digest,
        progress: &dyn Progress,
    ) -> Result<(Digest, u64)> {
        let tree = self.tree(&partial(&layer_key(diff_id)));
        let (found, size, info) =
            unpack_into(&tree.join("rootfs"), content, tee, diff_id.algorithm(), self.store.limit(), progress)?;
        write_info(&tree, &info)?;
        Ok((found, size))
    }

    /// Makes a blob that is known whole.
    fn new_blob(&self, digest: &Digest, write: impl FnOnce(&Path) -> io::Result<()>) -> Result<()> {
        let path = self.blob(digest);
        drop(self.new_file(&path)?);
        write(&path).on("write", &path)
    }

    /// Takes a blob that is not there, and refuses one that is another.
    pub(super) fn take_blob(&self, descriptor: &Descriptor, content: &mut dyn Read) -> Result<()> {
        let path = self.blob(&descriptor.digest);
        let partial = path.with_extension("partial");
        let mut file = self.new_file(&partial)?;
        pour(&mut verified(content, descriptor), &mut file).on("write to", &path)?;
        fs::rename(&partial, &path).on("write to", &path)
    }

    /// Makes the folder that `path` is to be in.
    fn make_folder(&self, path: &Path) -> Result<()> {
        let Some(folder) = path.parent() else { return Ok(()) };
        DirBuilder::new().recursive(true).mode(0o755).create(folder).on("create", folder)
    }

    fn new_file(&self, path: &Path) -> Result<File> {
        self.make_folder(path)?;
        // Left by an attempt before this one, when something was removed meanwhile.
        let _ = fs::remove_file(path);
        let file = File::create_new(path).on("create", path)?;
        file.set_permissions(Permissions::from_mode(0o644)).on("create", path)?;
        Ok(file)
    }
}

fn len(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |file| file.len())
}

/// Unpacks a layer as the new directory `rootfs`. Returns the digest of its plain tar, its size as it came and what there
/// is to know of it.
pub(in crate::store) fn unpack_into(
    rootfs: &Path,
    content: impl Read + Send,
    tee: Option<File>,
    algorithm: Algorithm,
    limit: Limit,
    progress: &dyn Progress,
) -> Result<(Digest, u64, Info)> {
    fs::create_dir_all(rootfs).on("create", rootfs)?;
    fs::set_permissions(rootfs, Permissions::from_mode(0o755)).on("create", rootfs)?;
    let root = Root::open(rootfs).on("open", rootfs)?;
    let options = LayerOptions { tee, ownership: Ownership::of_this_process(), algorithm, limit };
    let layer = unpack_layer(content, &root, &options, progress)?;
    let omitted = layer.omitted.iter().map(|o| (o.path.display().to_string(), o.what.clone()));
    let info =
        Info { tree_size: layer.tree_size, omitted: omitted.collect(), implied: layer.implied, links: layer.links };
    Ok((layer.diff_id, layer.size, info))
}

/// Writes what is known of a tree beside it.
pub(in crate::store) fn write_info(tree: &Path, info: &Info) -> Result<()> {
    let path = tree.join("layer");
    let text = serde_json::to_vec(info).map_err(io::Error::from).on("write", &path)?;
    fs::write(&path, text).on("write", &path)
}

fn wrong(layer: &Layer, rule: String) -> Error {
    Error::Oci { what: format!("layer {}", layer.descriptor.digest), rule }
}

struct Stopped<'p> {
    progress: &'p dyn Progress,
    failed: &'p AtomicBool,
}

/// Content that ends with an error when another layer has failed: nothing else waits for a slow registry.
struct Stoppable<'c> {
    content: Box<dyn Read + Send + 'c>,
    failed: &'c AtomicBool,
}

impl Read for Stoppable<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.failed.load(Ordering::Relaxed) {
            true => Err(io::Error::other("another layer has failed")),
            false => self.content.read(into),
        }
    }
}
