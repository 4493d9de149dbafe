//! What images take on the disk, what of it they share, and what would be freed by removing each.
//!
//! Counted are the blocks of files: of a file with several names once, and of a sparse one what it has.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Stat};

use super::{IoContext, Store, Summary, work};
use crate::error::Result;
use crate::tree::walk::{Visitor, failed, walk};

/// What the images of a store take.
#[derive(Debug, Clone)]
pub struct Usage {
    /// Each image, in the order of their names.
    pub images: Vec<ImageUsage>,
    /// Everything that belongs to some image, once.
    pub total: u64,
}

/// What one image takes. Sizes in bytes.
#[derive(Debug, Clone)]
pub struct ImageUsage {
    /// The image.
    pub image: Summary,
    /// All that belongs to it.
    pub used: u64,
    /// What would be free if it alone were removed.
    pub freed: u64,
}

impl ImageUsage {
    /// What stays with other images when it is removed.
    pub fn shared(&self) -> u64 {
        self.used.saturating_sub(self.freed)
    }
}

/// Numbers of images.
type Images = BTreeSet<usize>;

/// Something that lies in the store: whose it is, and with which of these alone it goes.
struct Part {
    path: PathBuf,
    owners: Images,
    goes_with: Images,
}

impl Store {
    /// Looks at every file of the store.
    pub fn usage(&self) -> Result<Usage> {
        let images = self.list()?;
        let parts = self.parts(&images)?;
        let mut sum =
            Sum { used: vec![0; images.len()], freed: vec![0; images.len()], total: 0, several: HashMap::new() };
        for (number, part) in parts.iter().enumerate() {
            // What is removed meanwhile is not there.
            let Some(file) = work::found(fs::symlink_metadata(&part.path)).on("look at", &part.path)? else { continue };
            if file.is_dir() {
                let Some(top) = work::found(File::open(&part.path)).on("open", &part.path)? else { continue };
                walk(OwnedFd::from(top), &mut Walk { sum: &mut sum, part, number })?;
            } else {
                let id = (file.dev(), file.ino());
                sum.file(part, number, file.blocks() * 512, (file.nlink() > 1).then_some(id));
            }
        }
        let Sum { mut used, mut freed, mut total, several } = sum;
        for (bytes, numbers) in several.into_values() {
            let parts = || numbers.iter().map(|number| &parts[*number]);
            total += bytes;
            let owners: Images = parts().flat_map(|part| &part.owners).copied().collect();
            owners.iter().for_each(|owner| used[*owner] += bytes);
            let alone = owners.iter().filter(|owner| parts().all(|part| part.goes_with.contains(owner)));
            alone.for_each(|owner| freed[*owner] += bytes);
        }
        let images = images.into_iter().zip(used.into_iter().zip(freed));
        Ok(Usage { images: images.map(|(image, (used, freed))| ImageUsage { image, used, freed }).collect(), total })
    }

    fn parts(&self, images: &[Summary]) -> Result<Vec<Part>> {
        let mut owners: HashMap<PathBuf, Images> = HashMap::new();
        for (number, image) in images.iter().enumerate() {
            let mut own = vec![self.image_dir(&image.id)];
            match &image.oci {
                None => own.extend([self.blob(&image.id), self.tree_dir(&image.id.to_string())]),
                Some(oci) => {
                    own.extend(oci.blobs().map(|blob| self.oci_blob(&blob.digest)));
                    own.extend(oci.trees.iter().map(|key| self.tree_dir(key)));
                }
            }
            for path in own {
                owners.entry(path).or_default().insert(number);
            }
        }
        let part = |(path, owners): (PathBuf, Images)| {
            let goes_with = if owners.len() == 1 { owners.clone() } else { Images::new() };
            Part { path, owners, goes_with }
        };
        let mut parts: Vec<Part> = owners.into_iter().map(part).collect();
        let numbers: HashMap<_, _> = images.iter().enumerate().map(|(number, image)| (&image.id, number)).collect();
        for key in self.rendered_trees()? {
            // Gone with any of them.
            let from = self.rendered_from(&key)?;
            let from: Images = from.iter().filter_map(|id| numbers.get(id)).copied().collect();
            parts.push(Part { path: self.tree_dir(&key), owners: from.clone(), goes_with: from });
        }
        Ok(parts)
    }
}

struct Sum {
    used: Vec<u64>,
    freed: Vec<u64>,
    total: u64,
    /// Files with several names: their size, and the parts that have one.
    several: HashMap<(u64, u64), (u64, BTreeSet<usize>)>,
}

impl Sum {
    fn file(&mut self, part: &Part, number: usize, bytes: u64, several: Option<(u64, u64)>) {
        if let Some(id) = several {
            self.several.entry(id).or_insert((bytes, BTreeSet::new())).1.insert(number);
            return;
        }
        self.total += bytes;
        part.owners.iter().for_each(|owner| self.used[*owner] += bytes);
        part.goes_with.iter().for_each(|owner| self.freed[*owner] += bytes);
    }
}

struct Walk<'w> {
    sum: &'w mut Sum,
    part: &'w Part,
    number: usize,
}

impl Walk<'_> {
    fn count(&mut self, stat: &Stat) {
        let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let several = !directory && stat.st_nlink > 1;
        let bytes = u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
        self.sum.file(self.part, self.number, bytes, several.then_some((stat.st_dev, stat.st_ino)));
    }
}

impl Visitor for Walk<'_> {
    fn directory(&mut self, _: &[u8], _: BorrowedFd<'_>, stat: &Stat) -> Result<bool> {
        self.count(stat);
        Ok(true)
    }

    fn other(&mut self, path: &[u8], dir: BorrowedFd<'_>, name: &[u8], _: FileType) -> Result<()> {
        let name = Path::new(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(name));
        let stat = rustix::fs::statat(dir.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed("look at", path))?;
        self.count(&stat);
        Ok(())
    }
}
