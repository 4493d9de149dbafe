//! Walking a tree in the order of the bytes of its names, without following a link.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, SeekFrom, Stat};
use rustix::io::Errno;

use crate::{Error, Result};

/// Is told what a walk finds. Paths are below the top, which is empty itself.
pub(crate) trait Visitor {
    /// A directory, before what is in it. Tells whether to go in.
    fn directory(&mut self, path: &[u8], fd: BorrowedFd<'_>, stat: &Stat) -> Result<bool>;

    /// Anything else, by its name in an open directory.
    fn other(&mut self, path: &[u8], dir: BorrowedFd<'_>, name: &[u8], kind: FileType) -> Result<()>;
}

/// At most so many directories are held open.
const MAX_OPEN: usize = 64;

/// How many bytes of a directory are read at once: nearly all have fewer.
const LISTED_AT_ONCE: usize = 16 << 10;

/// A name in a directory, and what it is as far as the directory says.
type Name = (Box<[u8]>, FileType);

/// A directory that the walk is in.
struct Frame {
    /// `None` while too many deeper ones are open.
    fd: Option<OwnedFd>,
    id: (u64, u64),
    names: std::vec::IntoIter<Name>,
    /// How long its path is.
    path: usize,
}

/// Walks the tree below `top`, an open directory.
pub(crate) fn walk(top: OwnedFd, visitor: &mut impl Visitor) -> Result<()> {
    let mut path = Vec::new();
    let mut frames = Vec::new();
    frames.extend(enter(top, &path, visitor)?);
    while let Some(depth) = frames.len().checked_sub(1) {
        let frame: &mut Frame = &mut frames[depth];
        path.truncate(frame.path);
        let Some((name, kind)) = frame.names.next() else {
            frames.pop();
            continue;
        };
        if frames[depth].fd.is_none() {
            frames[depth].fd = Some(reopen(&frames, &path)?);
        }
        let Some(dir) = &frames[depth].fd else { continue };
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(&name);
        let kind = if kind == FileType::Unknown { kind_of(dir.as_fd(), &name, &path)? } else { kind };
        if kind != FileType::Directory {
            visitor.other(&path, dir.as_fd(), &name, kind)?;
            continue;
        }
        let child = open(dir.as_fd(), &name, &path)?;
        frames.extend(enter(child, &path, visitor)?);
        if frames.len() > MAX_OPEN {
            // Never the top: everything is reopened from there.
            let far = frames.len() - MAX_OPEN;
            frames[far].fd = None;
        }
    }
    Ok(())
}

fn enter(fd: OwnedFd, path: &[u8], visitor: &mut impl Visitor) -> Result<Option<Frame>> {
    let stat = rustix::fs::fstat(&fd).map_err(failed("look at", path))?;
    if !visitor.directory(path, fd.as_fd(), &stat)? {
        return Ok(None);
    }
    let names = list(&fd).map_err(failed("list", path))?.into_iter();
    Ok(Some(Frame { fd: Some(fd), id: (stat.st_dev, stat.st_ino), names, path: path.len() }))
}

fn list(fd: &OwnedFd) -> std::result::Result<Vec<Name>, Errno> {
    let (mut names, mut buffer) = (Vec::new(), Vec::with_capacity(LISTED_AT_ONCE));
    // The same open directory may have been read before.
    rustix::fs::seek(fd, SeekFrom::Start(0))?;
    let mut entries = RawDir::new(fd, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push((name.into(), entry.file_type()));
        }
    }
    names.sort_unstable_by(|(a, _): &(Box<[u8]>, FileType), (b, _)| a.cmp(b));
    Ok(names)
}

fn open(dir: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty()).map_err(failed("open", path))
}

/// The handle of the last frame, whose path is `path`, found again from the top.
fn reopen(frames: &[Frame], path: &[u8]) -> Result<OwnedFd> {
    let mut above: Option<OwnedFd> = None;
    for name in path.split(|b| *b == b'/') {
        let dir = above.as_ref().or(frames[0].fd.as_ref()).map(AsFd::as_fd);
        let dir = dir.ok_or_else(|| changed(path))?;
        above = Some(open(dir, name, path)?);
    }
    let fd = above.ok_or_else(|| changed(path))?;
    let stat = rustix::fs::fstat(&fd).map_err(failed("look at", path))?;
    if frames.last().map(|frame| frame.id) != Some((stat.st_dev, stat.st_ino)) {
        return Err(changed(path));
    }
    Ok(fd)
}

fn kind_of(dir: BorrowedFd<'_>, name: &[u8], path: &[u8]) -> Result<FileType> {
    let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed("look at", path))?;
    Ok(FileType::from_raw_mode(stat.st_mode))
}

/// The error that says that something moved under our feet.
pub(crate) fn changed(path: &[u8]) -> Error {
    let rule = "it changed while it was being read: nothing may change the tree meanwhile";
    Error::Tree { path: shown(path), rule: rule.into() }
}

/// The directory that a path is in, and its name there.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

/// All directories above a path, the root too; of the root none.
pub(crate) fn parents(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let root = (!path.is_empty()).then_some(&b""[..]);
    root.into_iter().chain(path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(slash, _)| &path[..slash]))
}

/// A path as the user knows it: absolute in the tree.
pub(crate) fn shown(path: &[u8]) -> PathBuf {
    Path::new("/").join(OsStr::from_bytes(path))
}

/// Makes an error say what could not be done with `path`.
pub(crate) fn failed(verb: &'static str, path: &[u8]) -> impl FnOnce(Errno) -> Error {
    move |errno| match errno {
        Errno::NOENT => changed(path),
        // The very thing that is read or copied: the caller knows its name.
        _ if path.is_empty() => Error::io(verb)(errno),
        _ => Error::io(format!("{verb} {}", shown(path).display()))(errno),
    }
}
