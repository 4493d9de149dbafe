//! Giving images out again: the archive as it came, or its files.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use appc_rooted::Root;
use appc_spec::ImageId;
use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use super::beside::{Beside, EXTRACT};
use super::import::Summed;
use super::metadata::{Metadata, damaged};
use super::{IoContext, Store, StoredImage, work};
use crate::archive::{self, Limit, Ownership, UnpackOptions, image_id};
use crate::copy::{CopyOptions, copy_tree};
use crate::error::{Error, Result};
use crate::layer::digest_layer;
use crate::oci::Algorithm;
use crate::progress::{Progress, Quiet};
use crate::render;

/// How an image is extracted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExtractOptions {
    /// The directory becomes the root file system itself, instead of getting `manifest` and `rootfs`.
    pub rootfs_only: bool,
    /// A directory that exists is replaced, instead of being an error.
    pub overwrite: bool,
}

impl Store {
    /// Writes the archive into `out`, byte for byte as it was fetched. For images that came as one: an OCI image is had by
    /// [`Store::oci`].
    ///
    /// # Errors
    /// [`Error::Damaged`] when it is no longer what was fetched: what `out` has is worth nothing then.
    pub fn export(&self, id: &ImageId, mut out: impl Write, progress: &dyn Progress) -> Result<()> {
        let (blob, metadata) = self.open_blob(id)?;
        if metadata.checksum.is_none() {
            self.check_archive(id, &blob)?;
        }
        let mut blob = Summed::new(blob);
        progress.start(Some(metadata.size), "exporting");
        let mut block = vec![0; 1 << 20];
        loop {
            let length = blob.read(&mut block).on("read", self.blob(id))?;
            if length == 0 {
                break;
            }
            out.write_all(&block[..length]).map_err(Error::io("cannot write the exported image"))?;
            progress.advance(length as u64);
        }
        progress.finish();
        match metadata.checksum {
            Some(sum) if sum != blob.checksum() => {
                Err(damaged(id, "the bytes of its archive are not those that were fetched".into()))
            }
            _ => Ok(()),
        }
    }

    /// Whether an archive that nobody took a checksum of is the image still; it is at its beginning then.
    fn check_archive(&self, id: &ImageId, mut blob: &File) -> Result<()> {
        let (digest, _) = digest_layer(blob, None, Algorithm::Sha512, Limit::NONE, &Quiet)?;
        match image_id(&digest)? {
            found if found == *id => blob.rewind().on("read", self.blob(id)),
            found => Err(damaged(id, format!("the image ID of its archive is {found}"))),
        }
    }

    /// Extracts the image, without its dependencies, as the directory `dir`: `manifest` and `rootfs`, or the root file system alone.
    ///
    /// An archive is read and checked again; the layers of an OCI image are copied from their trees. `dir` appears when all
    /// of it is there, and what it replaces goes after that.
    ///
    /// # Errors
    /// [`Error::Exists`] without `overwrite`; [`Error::Option`] for a directory that nobody means to replace, such as `/` or
    /// the current one.
    pub fn extract(&self, id: &ImageId, dir: &Path, options: ExtractOptions, progress: &dyn Progress) -> Result<()> {
        let target = self.extraction_target(dir, options.overwrite)?;
        if let Some(oci) = self.oci(id)? {
            let layers: Vec<PathBuf> = oci.parts().trees.iter().map(|key| self.tree_dir(key).join("rootfs")).collect();
            let fill = |root: &Root| copy_layers(&layers, root, progress).and_then(|()| self.manifest_bytes(id));
            return make_directory(&target, options, fill);
        }
        let (blob, metadata) = self.open_blob(id)?;
        make_directory(&target, options, |root| {
            let ownership = Ownership::for_the_caller();
            let total = Some(metadata.size);
            let unpack = UnpackOptions { ownership, total, limit: Limit::NONE, ..Default::default() };
            let unpacked = archive::unpack(blob, root, &unpack, progress)?;
            match unpacked.image_id == *id {
                true => Ok(unpacked.manifest),
                false => Err(damaged(id, format!("its archive has the image ID {}", unpacked.image_id))),
            }
        })
    }

    /// Makes the directory `dir` of the image together with its dependencies: `manifest` and `rootfs`, or the root file system
    /// alone, which is that of an app.
    ///
    /// # Errors
    /// Those of [`render::layers`] and of [`Store::extract`].
    pub fn render(
        &self,
        image: &StoredImage,
        dir: &Path,
        options: ExtractOptions,
        progress: &dyn Progress,
    ) -> Result<()> {
        let target = self.extraction_target(dir, options.overwrite)?;
        let rendered = render::layers(self, image)?;
        make_directory(&target, options, |root| {
            copy_layers(&rendered.lower, root, progress)?;
            self.manifest_bytes(&image.id)
        })
    }

    /// Whether the archive has the bytes that were fetched, as far as anybody has noted what those were.
    pub(super) fn has_intact_archive(&self, id: &ImageId) -> Result<bool> {
        let (blob, metadata) = match self.open_blob(id) {
            Err(Error::Damaged { .. }) => return Ok(false),
            opened => opened?,
        };
        let Some(sum) = metadata.checksum else { return Ok(true) };
        let mut blob = Summed::new(blob);
        io::copy(&mut blob, &mut io::sink()).on("read", self.blob(id))?;
        Ok(blob.checksum() == sum)
    }

    fn open_blob(&self, id: &ImageId) -> Result<(File, Metadata)> {
        let Some((metadata, _)) = self.metadata(id)? else { return Err(Error::NotStored(id.to_string())) };
        let path = self.blob(id);
        let blob = work::found(work::open(&path)).on("read", &path)?;
        let blob = blob.ok_or_else(|| damaged(id, "its archive is missing".into()))?;
        let size = blob.metadata().on("read", &path)?.len();
        if size != metadata.size {
            return Err(damaged(id, format!("its archive has {size} bytes, it came with {}", metadata.size)));
        }
        Ok((blob, metadata))
    }

    /// `dir` without links, `.` and `..`, when it is one that may be made or replaced.
    fn extraction_target(&self, dir: &Path, overwrite: bool) -> Result<PathBuf> {
        match work::found(fs::symlink_metadata(dir)).on("use", dir)? {
            None => {
                let name = dir.file_name().ok_or_else(|| Error::Option(format!("{} is no name", dir.display())))?;
                let above = dir.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
                return Ok(fs::canonicalize(above).on("use", above)?.join(name));
            }
            Some(_) if !overwrite => return Err(Error::Exists(dir.to_owned())),
            Some(_) => {}
        }
        let target = fs::canonicalize(dir).on("use", dir)?;
        if target == Path::new("/") {
            return Err(Error::Option("this would delete your root filesystem. Refusing.".into()));
        }
        if std::env::current_dir().is_ok_and(|here| here.starts_with(&target)) {
            return Err(Error::Option(format!(
                "this would delete the current directory, {}. Refusing.",
                dir.display()
            )));
        }
        let store = fs::canonicalize(&self.dir).on("use", &self.dir)?;
        if store.starts_with(&target) || target.starts_with(&store) {
            return Err(Error::Option(format!("this would delete the store in {}. Refusing.", store.display())));
        }
        Ok(target)
    }
}

/// Copies layers over one another, the lowest first.
fn copy_layers(layers: &[PathBuf], to: &Root, progress: &dyn Progress) -> Result<()> {
    let ownership = Ownership::for_the_caller();
    let options = CopyOptions { layer: true, ownership, progress: Some(progress), ..CopyOptions::default() };
    for layer in layers {
        copy_tree(&Root::open(layer).on("open", layer)?, "", to, "", &options)?;
    }
    Ok(())
}

/// Makes the directory `target`, whose root file system `fill` makes and whose manifest it returns. It is there whole or not at all.
fn make_directory(target: &Path, options: ExtractOptions, fill: impl FnOnce(&Root) -> Result<Vec<u8>>) -> Result<()> {
    let above = target.parent().unwrap_or(Path::new("/"));
    // In the same directory: an ordinary user cannot move one that is read-only into another.
    let beside = Beside::new(above, &EXTRACT)?;
    let (new, old) = (beside.new_dir(), beside.old_dir());
    let rootfs = if options.rootfs_only { new.to_owned() } else { new.join("rootfs") };
    fs::create_dir_all(&rootfs).on("create", &rootfs)?;
    let manifest = fill(&Root::open(&rootfs).on("open", &rootfs)?)?;
    if !options.rootfs_only {
        fs::write(new.join("manifest"), &manifest).on("write", new.join("manifest"))?;
    }
    // At no moment is neither there, where the file system can do that.
    if options.overwrite && rustix::fs::renameat_with(CWD, new, CWD, target, RenameFlags::EXCHANGE).is_ok() {
        return Ok(());
    }
    if options.overwrite {
        work::found(fs::rename(target, &old)).on("replace", target)?;
    }
    if let Err(e) = rename_new(new, target) {
        // Put back what was there; when there was nothing, there is nothing to put back.
        let _ = fs::rename(&old, target);
        return Err(e).on("create", target);
    }
    Ok(())
}

/// Renames a directory, in place of nothing.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Not every file system has that flag; then an empty directory may be replaced.
        Err(Errno::INVAL) => fs::rename(from, to),
        done => Ok(done?),
    }
}
