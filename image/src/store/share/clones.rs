//! Where the file system can share blocks: files by what is in them, whatever they are called, and how they are shared.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

use appc_rooted::{OFlags, Root};
use rustix::fs::{Gid, Mode, Uid, XattrFlags};
use rustix::io::Errno;

use super::{NEW, Place, number, times};
use crate::error::Result;
use crate::render::merge::open;
use crate::store::{IoContext, work};

/// So much at its beginning and at its end stands for a file; what differs in between is told when two are compared.
const SAMPLE: u64 = 4096;

/// A number that stands for a file of this size by its content; nothing for one that cannot be read.
pub(super) fn content_number(tree: &Root, path: &[u8], size: u64) -> Option<u64> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = File::from(open(tree, Path::new(OsStr::from_bytes(path)), flags).ok()?);
    let len = SAMPLE.min(size);
    let (mut first, mut last) = (vec![0; len as usize], vec![0; len as usize]);
    let read = file.read_exact_at(&mut first, 0).and_then(|()| file.read_exact_at(&mut last, size - len));
    read.ok().map(|()| number(&(size, first, last)))
}

/// Writes down in `dir` which number each path has.
pub(super) fn write_names(dir: &Path, left: &HashMap<u64, Vec<Box<[u8]>>>) -> Result<()> {
    let mut bytes = Vec::new();
    for (number, paths) in left {
        // One of a number will do: the others are the same, or are compared in vain.
        for path in paths.iter().take(1) {
            bytes.extend(number.to_le_bytes());
            bytes.extend(&**path);
            bytes.push(0);
        }
    }
    fs::write(dir.join("names"), bytes).on("write", dir.join("names"))
}

/// What [`write_names`] wrote in `dir`, if it did.
pub(super) fn read_names(dir: &Path) -> io::Result<HashMap<u64, Box<[u8]>>> {
    let bytes = work::read(&dir.join("names"))?;
    let (mut names, mut rest) = (HashMap::new(), &bytes[..]);
    while let Some((number, after)) = rest.split_first_chunk::<8>() {
        let end = after.iter().position(|byte| *byte == 0).ok_or(Errno::INVAL)?;
        names.insert(u64::from_le_bytes(*number), after[..end].into());
        rest = &after[end + 1..];
    }
    Ok(names)
}

/// Whether the file system of the new tree in `dir` can share blocks, tried with the list that is there.
pub(super) fn can_clone(dir: &Path) -> Result<bool> {
    let (list, copy) = (dir.join("files"), dir.join("files.copy"));
    let (from, to) = (File::open(&list).on("read", &list)?, File::create(&copy).on("create", &copy)?);
    let cloned = rustix::fs::ioctl_ficlone(to, from).is_ok();
    fs::remove_file(&copy).on("remove", &copy)?;
    Ok(cloned)
}

/// Makes a new file beside `own` that shares its blocks with `theirs` and otherwise is as `own`.
pub(super) fn clone(theirs: &Place<'_>, own: &Place<'_>) -> Result<(), Errno> {
    let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let source = rustix::fs::openat(&theirs.dir, theirs.name, read, Mode::empty())?;
    let write = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&own.dir, NEW, write, Mode::from(0o600))?;
    fill(&source, own, &file).inspect_err(|_| own.remove_new())
}

fn fill(source: &OwnedFd, own: &Place<'_>, file: &OwnedFd) -> Result<(), Errno> {
    // Not of these two, as when one of them must not be shared: then they stay apart.
    rustix::fs::ioctl_ficlone(file, source).map_err(|_| Errno::OPNOTSUPP)?;
    let stat = &own.stat;
    rustix::fs::fchown(file, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    for (attribute, value) in own.xattrs()? {
        rustix::fs::fsetxattr(file, attribute, &value, XattrFlags::empty())?;
    }
    rustix::fs::fchmod(file, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    rustix::fs::futimens(file, &times(stat))
}
