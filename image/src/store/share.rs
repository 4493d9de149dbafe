//! Files that images have in common, on the disk once.
//!
//! A file of a new tree that another tree has, under the same path and with the same content, is made from that one. Where
//! the file system can do so, its blocks are shared: nobody can tell, and owner, mode, time and attributes may be others.
//! Else it becomes another name of it, when it agrees in all of these, too. That is safe since nobody writes to trees: pods
//! stack something of their own on them or run on copies, and what is extracted or rendered for users is copied.
//!
//! Hard links show in what programs see as a file's link count. So files that are hard links within their own tree are left
//! alone, be it here or there, for then two names of one image could become one file; and what lies in `etc` or `var`, too, where
//! programs such as cron refuse files with more than one name.
//!
//! What trees have is listed beside each of them, in `files`: for each path a number that stands for it with its size, and one
//! for it with owner, mode and time, too, sorted: where only links are made nothing else is looked at. The list can be lost:
//! then only nothing is shared with that tree.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use appc_rooted::Root;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::oci::PARTIAL;
use super::{IoContext, Store, work};
use crate::error::{Error, Result};
use crate::render::merge::open;
use crate::store::lookup::entries;
use crate::tree::apply::xattrs_at;
use crate::tree::compare::same_content;
use crate::tree::walk::{Visitor, failed, walk};

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
    let mut numbers: Vec<u64> = listing.0.iter().flat_map(|file| [file.like, file.same]).collect();
    numbers.sort_unstable();
    let list: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    fs::write(dir.join("files"), list).on("write", dir.join("files"))?;

    let tree = Root::open(&rootfs).on("open", &rootfs)?;
    let clones = can_clone(dir)?;
    let left = listing.0.into_iter().map(|file| (if clones { file.like } else { file.same }, file.path)).collect();
    let mut sharing = Sharing { tree, left, touched: HashMap::new(), clones };
    // Beside it are other layers of its image.
    let stored = store.dir.join("store/trees");
    for place in [Some(stored.as_path()), dir.parent()].into_iter().flatten() {
        sharing.with_those_in(place, dir)?;
    }
    sharing.finish()
}

/// The files of a tree.
#[derive(Default)]
pub(super) struct Listing(Vec<Listed>);

struct Listed {
    path: Box<[u8]>,
    /// The number of its path and size.
    like: u64,
    /// That of all that is known of it but its content and its attributes.
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
                let (like, same) = (number(&(path, stat.st_size)), number(&(path, about(&stat))));
                self.0.push(Listed { path: path.into(), like, same });
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
    /// What has found nothing to be shared with yet.
    left: HashMap<u64, Box<[u8]>>,
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
            if !common.is_empty()
                && let Ok(other) = Root::open(other.join("rootfs"))
            {
                self.with(&other, common)?;
            }
        }
        Ok(())
    }

    fn with(&mut self, other: &Root, common: HashSet<u64>) -> Result<()> {
        for number in common {
            let Some(path) = self.left.get(&number).cloned() else { continue };
            let what = || format!("share {}", Path::new(OsStr::from_bytes(&path)).display());
            match self.one(other, &path) {
                Ok(true) => drop(self.left.remove(&number)),
                // Another that is the same may still come.
                Ok(false) | Err(Errno::NOENT | Errno::MLINK | Errno::PERM | Errno::XDEV | Errno::OPNOTSUPP) => {}
                // As in a tree with something else in that place, or one whose files this user cannot read or replace.
                Err(Errno::NOTDIR | Errno::LOOP | Errno::ACCESS | Errno::EXIST) => {}
                Err(e) => return Err(Error::io(what())(e)),
            }
        }
        Ok(())
    }

    /// Makes the file `path` of the new tree from the one that `other` has there, when it is the same.
    fn one(&mut self, other: &Root, path: &[u8]) -> Result<bool, Errno> {
        let (above, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&b""[..], path),
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let from = open(other, Path::new(OsStr::from_bytes(above)), flags)?;
        let to = open(&self.tree, Path::new(OsStr::from_bytes(above)), flags)?;
        let (theirs, own) = (stat(from.as_fd(), name)?, stat(to.as_fd(), name)?);
        // A clone has attributes of its own.
        let alike = theirs.st_size == own.st_size
            && (self.clones
                || about(&theirs) == about(&own) && xattrs_at(from.as_fd(), name)? == xattrs_at(to.as_fd(), name)?);
        if !alike || !same_content(&from, &to, name)? {
            return Ok(false);
        }
        if !self.touched.contains_key(above) {
            self.touched.insert(above.into(), times(&rustix::fs::statat(&to, "", AtFlags::EMPTY_PATH)?));
        }
        let name = Path::new(OsStr::from_bytes(name));
        match self.clones {
            true => clone(&from, &to, name, &own)?,
            false => rustix::fs::linkat(&from, name, &to, NEW, AtFlags::empty())?,
        }
        rustix::fs::renameat(&to, NEW, &to, name).inspect_err(|_| unlink(&to).unwrap_or_default())?;
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

fn unlink(dir: &OwnedFd) -> Result<(), Errno> {
    rustix::fs::unlinkat(dir, NEW, AtFlags::empty())
}

/// Whether the file system of the new tree in `dir` can share blocks, tried with the list that is there.
fn can_clone(dir: &Path) -> Result<bool> {
    let (list, copy) = (dir.join("files"), dir.join("files.copy"));
    let (from, to) = (File::open(&list).on("read", &list)?, File::create(&copy).on("create", &copy)?);
    let cloned = rustix::fs::ioctl_ficlone(to, from).is_ok();
    fs::remove_file(&copy).on("remove", &copy)?;
    Ok(cloned)
}

/// Makes a new file in `to` that shares its blocks with `name` in `from` and otherwise is as `name` in `to`.
fn clone(from: &OwnedFd, to: &OwnedFd, name: &Path, own: &Stat) -> Result<(), Errno> {
    let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let source = rustix::fs::openat(from, name, read, Mode::empty())?;
    let write = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(to, NEW, write, Mode::from(0o600))?;
    fill(&source, to, name, own, &file).inspect_err(|_| unlink(to).unwrap_or_default())
}

fn fill(source: &OwnedFd, to: &OwnedFd, name: &Path, own: &Stat, file: &OwnedFd) -> Result<(), Errno> {
    // Not of these two, as when one of them must not be shared: then they stay apart.
    rustix::fs::ioctl_ficlone(file, source).map_err(|_| Errno::OPNOTSUPP)?;
    rustix::fs::fchown(file, Some(Uid::from_raw(own.st_uid)), Some(Gid::from_raw(own.st_gid)))?;
    for (attribute, value) in xattrs_at(to.as_fd(), name.as_os_str().as_bytes())? {
        rustix::fs::fsetxattr(file, attribute, &value, rustix::fs::XattrFlags::empty())?;
    }
    rustix::fs::fchmod(file, Mode::from_raw_mode(own.st_mode & 0o7777))?;
    rustix::fs::futimens(file, &times(own))
}

fn times(stat: &Stat) -> Timestamps {
    let time = Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ };
    Timestamps { last_access: time, last_modification: time }
}
