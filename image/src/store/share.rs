//! Files that images have in common, on the disk once.
//!
//! A file of a new tree that is in another tree already, or twice in the new one, is made from that one. Where the file
//! system can do so, its blocks are shared: nobody can tell, and path, owner, mode, time and attributes may be others. Else
//! it becomes another name of it, when another tree has it under the same path and it agrees in all of these, too. (Under
//! another path, an image that has both would have one file with two names.) That is safe since nobody writes to trees:
//! pods stack something of their own on them or run on copies, and what is extracted or rendered for users is copied.
//!
//! Hard links show in what programs see as a file's link count. So files that are hard links within their own tree are left
//! alone, be it here or there, for then two names of one image could become one file; and what lies in `etc` or `var`, too, where
//! programs such as cron refuse files with more than one name.
//!
//! What trees have is listed beside each of them, in `files`: for each file a number that stands for its path, size, owner,
//! mode and time and, where blocks are shared, one for its content, sorted; which path is meant by those is in `names`. The
//! lists can be lost: then only nothing is shared with that tree.

mod clones;

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use appc_rooted::Root;
use rustix::fs::{AtFlags, FileType, OFlags, Stat, Timespec, Timestamps};
use rustix::io::Errno;

use clones::{can_clone, clone, content_number, read_names, write_names};

use super::oci::PARTIAL;
use super::{IoContext, Store, work};
use crate::archive::entry::Xattrs;
use crate::error::{Error, Result};
use crate::render::merge::open;
use crate::store::lookup::entries;
use crate::tree::apply::xattrs_at;
use crate::tree::compare::same_content;
use crate::tree::walk::{Visitor, failed, split, walk};

/// Folders at the top of a tree whose files have one name each.
const ALONE: [&[u8]; 2] = [b"etc", b"var"];

/// The name that a file has until it is in place.
const NEW: &str = ".shared-by-the-store";

/// The files of a new tree that could be shared; none when it holds what its owner cannot look into: sharing only saves room.
pub(super) fn list(rootfs: &Path) -> Result<Option<Listing>> {
    let top = File::open(rootfs).on("open", rootfs)?;
    let mut listing = Listing::default();
    Ok(walk(OwnedFd::from(top), &mut listing).is_ok().then_some(listing))
}

/// Shares what is listed of the new tree in `dir` (`rootfs` is in it) with the trees of `store` and those beside it, and
/// keeps the list for those that come later.
pub(super) fn share(store: &Store, dir: &Path, listing: Option<Listing>) -> Result<()> {
    let Some(listing) = listing else { return Ok(()) };
    let rootfs = dir.join("rootfs");
    let tree = Root::open(&rootfs).on("open", &rootfs)?;
    let mut numbers: Vec<u64> = listing.0.iter().map(|file| file.same).collect();
    write_numbers(dir, &mut numbers)?;
    let clones = can_clone(dir)?;
    let mut left: HashMap<u64, Vec<Box<[u8]>>> = HashMap::new();
    for Listed { path, size, same } in listing.0 {
        if let Some(number) = if clones { content_number(&tree, &path, size) } else { Some(same) } {
            left.entry(number).or_default().push(path);
        }
    }
    if clones {
        numbers.extend(left.keys());
        write_numbers(dir, &mut numbers)?;
        write_names(dir, &left)?;
    }
    let mut sharing = Sharing { tree, left, touched: HashMap::new(), clones };
    // Beside it are other layers of its image.
    let stored = store.dir.join("store/trees");
    for place in [Some(stored.as_path()), dir.parent()].into_iter().flatten() {
        sharing.with_those_in(place, dir)?;
    }
    if clones {
        sharing.with_itself(&rootfs)?;
    }
    sharing.finish()
}

fn write_numbers(dir: &Path, numbers: &mut [u64]) -> Result<()> {
    numbers.sort_unstable();
    let list: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    fs::write(dir.join("files"), list).on("write", dir.join("files"))
}

/// The files of a tree.
#[derive(Default)]
pub(super) struct Listing(Vec<Listed>);

struct Listed {
    path: Box<[u8]>,
    size: u64,
    /// The number of all that is known of it but its content and its attributes.
    same: u64,
}

impl Visitor for Listing {
    fn directory(&mut self, path: &[u8], _: BorrowedFd<'_>, _: &Stat) -> Result<bool> {
        Ok(!ALONE.contains(&path))
    }

    fn other(&mut self, path: &[u8], dir: BorrowedFd<'_>, name: &[u8], kind: FileType) -> Result<()> {
        if kind == FileType::RegularFile {
            let stat = stat(dir, name).map_err(failed("look at", path))?;
            if stat.st_nlink == 1 && stat.st_size > 0 {
                let same = number(&(path, about(&stat)));
                self.0.push(Listed { path: path.into(), size: stat.st_size as u64, same });
            }
        }
        Ok(())
    }
}

fn stat(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Stat, Errno> {
    rustix::fs::statat(dir, Path::new(OsStr::from_bytes(name)), AtFlags::SYMLINK_NOFOLLOW)
}

/// What is compared before a file is looked at. Whether two files are the same is never told from this alone.
fn number(what: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// Everything of a file's inode that programs see, but for its number of names.
fn about(stat: &Stat) -> impl Hash + PartialEq {
    (stat.st_size, stat.st_mode, stat.st_uid, stat.st_gid, stat.st_mtime, stat.st_mtime_nsec)
}

struct Sharing {
    tree: Root,
    /// What has found nothing to be shared with yet, by its number.
    left: HashMap<u64, Vec<Box<[u8]>>>,
    /// The times of directories, which change with what is made in them.
    touched: HashMap<Box<[u8]>, Timestamps>,
    /// Whether the file system can share blocks.
    clones: bool,
}

impl Sharing {
    /// Shares with the trees in the folder `place` that are whole, but for the new one, `own`.
    fn with_those_in(&mut self, place: &Path, own: &Path) -> Result<()> {
        for key in entries(place)? {
            if self.left.is_empty() {
                break;
            }
            let other = place.join(&key);
            if other == own || key.starts_with(PARTIAL) {
                continue;
            }
            // Gone since, or never listed.
            let Ok(list) = work::read(&other.join("files")) else { continue };
            let (numbers, _) = list.as_chunks::<8>();
            let numbers = numbers.iter().map(|number| u64::from_le_bytes(*number));
            let common: HashSet<u64> = numbers.filter(|n| self.left.contains_key(n)).collect();
            // Without them, as one that was made where blocks are not shared, it has nothing for us.
            let names = if self.clones && !common.is_empty() { read_names(&other).ok() } else { None };
            if !common.is_empty()
                && let Ok(other) = Root::open(other.join("rootfs"))
            {
                self.with(&other, common, &names.unwrap_or_default())?;
            }
        }
        Ok(())
    }

    fn with(&mut self, other: &Root, common: HashSet<u64>, names: &HashMap<u64, Box<[u8]>>) -> Result<()> {
        for number in common {
            let Some(mut paths) = self.left.remove(&number) else { continue };
            let mut left = Vec::new();
            for path in paths.drain(..) {
                let there = if self.clones { names.get(&number) } else { Some(&path) };
                // Another that is the same may still come.
                if !there.map_or(Ok(false), |there| self.shared(other, there, &path))? {
                    left.push(path);
                }
            }
            if !left.is_empty() {
                self.left.insert(number, left);
            }
        }
        Ok(())
    }

    /// Shares what the new tree has twice.
    fn with_itself(&mut self, rootfs: &Path) -> Result<()> {
        let tree = Root::open(rootfs).on("open", rootfs)?;
        for paths in std::mem::take(&mut self.left).into_values() {
            let Some((first, others)) = paths.split_first() else { continue };
            for path in others {
                self.shared(&tree, first, path)?;
            }
        }
        Ok(())
    }

    /// Makes the file `path` of the new tree from `there` in `other`, when it is the same and that can be done.
    fn shared(&mut self, other: &Root, there: &[u8], path: &[u8]) -> Result<bool> {
        match self.one(other, there, path) {
            Ok(done) => Ok(done),
            Err(Errno::NOENT | Errno::MLINK | Errno::PERM | Errno::XDEV | Errno::OPNOTSUPP) => Ok(false),
            // As in a tree with something else in that place, or one whose files this user cannot read or replace.
            Err(Errno::NOTDIR | Errno::LOOP | Errno::ACCESS | Errno::EXIST) => Ok(false),
            Err(e) => Err(Error::io(format!("share {}", Path::new(OsStr::from_bytes(path)).display()))(e)),
        }
    }

    fn one(&mut self, other: &Root, there: &[u8], path: &[u8]) -> Result<bool, Errno> {
        let (theirs, own) = (Place::of(other, there)?, Place::of(&self.tree, path)?);
        // A clone has attributes of its own.
        let alike = theirs.stat.st_size == own.stat.st_size
            && (self.clones || about(&theirs.stat) == about(&own.stat) && theirs.xattrs()? == own.xattrs()?);
        if !alike || !same_content((&theirs.dir, theirs.name), (&own.dir, own.name))? {
            return Ok(false);
        }
        let (above, _) = split(path);
        if !self.touched.contains_key(above) {
            self.touched.insert(above.into(), times(&rustix::fs::statat(&own.dir, "", AtFlags::EMPTY_PATH)?));
        }
        match self.clones {
            true => clone(&theirs, &own)?,
            false => rustix::fs::linkat(&theirs.dir, theirs.name, &own.dir, NEW, AtFlags::empty())?,
        }
        rustix::fs::renameat(&own.dir, NEW, &own.dir, own.name).inspect_err(|_| own.remove_new())?;
        Ok(true)
    }

    fn finish(self) -> Result<()> {
        for (path, times) in &self.touched {
            let path = Path::new(OsStr::from_bytes(path));
            let set = open(&self.tree, path, OFlags::RDONLY | OFlags::DIRECTORY)
                .and_then(|dir| rustix::fs::futimens(dir, times));
            set.map_err(Error::io(format!("set the times of {}", path.display())))?;
        }
        Ok(())
    }
}

/// A file of a tree.
struct Place<'p> {
    /// The directory that it is in.
    dir: OwnedFd,
    name: &'p [u8],
    stat: Stat,
}

impl<'p> Place<'p> {
    fn of(tree: &Root, path: &'p [u8]) -> Result<Place<'p>, Errno> {
        let (above, name) = split(path);
        let dir = open(tree, Path::new(OsStr::from_bytes(above)), OFlags::PATH | OFlags::DIRECTORY)?;
        let stat = stat(dir.as_fd(), name)?;
        Ok(Place { dir, name, stat })
    }

    fn xattrs(&self) -> Result<Xattrs, Errno> {
        xattrs_at(self.dir.as_fd(), self.name)
    }

    /// Removes what was to take its place.
    fn remove_new(&self) {
        // It is in a tree that is refused as a whole then.
        let _ = rustix::fs::unlinkat(&self.dir, NEW, AtFlags::empty());
    }
}

fn times(stat: &Stat) -> Timestamps {
    let time = Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ };
    Timestamps { last_access: time, last_modification: time }
}
