//! One tree of hard links out of several trees and a path whitelist.
//!
//! Nothing is walked: every listed path is looked up in the trees from the top down, as an overlay mount would, and what is found first
//! is linked. Links on the way to a path are never followed: `/lib/x` is not in a tree where `/lib` is a link. Links
//! are safe since trees are never written to.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use appc_rooted::Root;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use crate::archive::Ownership;
use crate::copy::{CopyOptions, copy_tree};
use crate::error::{Error, Result};
use crate::tree::apply::{remove_xattrs, xattrs};
use crate::tree::overlay;

const EPOCH: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// Fills the empty directory `out` with what `whitelist` lists of `layers` (bottom first), and the directories on the way.
pub(super) fn merge(layers: &[Root], whitelist: &[String], out: &Root) -> Result<()> {
    // Directories of the result, and the layer that each is like; none for one that the list alone asks for.
    let mut directories: BTreeMap<PathBuf, Option<usize>> = BTreeMap::new();
    directories.insert(PathBuf::new(), layers.len().checked_sub(1));
    let mut listed: Vec<(PathBuf, bool)> = whitelist.iter().map(|path| parse(path)).collect();
    listed.sort();
    // With and without a slash it is the same path.
    listed.dedup_by(|later, first| {
        let same = later.0 == first.0;
        first.1 |= same && later.1;
        same
    });
    for (path, directory) in &listed {
        let fail = |e: Errno| Error::io(format!("cannot render /{}", path.display()))(e);
        match look_up(layers, path).map_err(fail)? {
            Found::In(layer, stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                make_directories(layers, path, out, &mut directories).map_err(fail)?;
                directories.insert(path.clone(), Some(layer));
            }
            Found::In(layer, _) => {
                make_directories(layers, parent(path), out, &mut directories).map_err(fail)?;
                link(&layers[layer], path, out)?;
            }
            _ if *directory && !is_blocked(layers, path).map_err(fail)? => {
                make_directories(layers, path, out, &mut directories).map_err(fail)?;
            }
            Found::Nowhere | Found::Hidden => {}
        }
    }
    // Last, and the deepest first: making something in a directory changes its time.
    for (path, layer) in directories.iter().rev() {
        let from = layer.map(|layer| &layers[layer]);
        like(from, path, out, path).map_err(|e| Error::io(format!("cannot render /{}", path.display()))(e))?;
    }
    Ok(())
}

/// A listed path relative to the root, and whether it ends in a slash: then the directory is there in any case.
fn parse(path: &str) -> (PathBuf, bool) {
    let clean = appc_rooted::clean(path.as_ref());
    (clean.strip_prefix("/").unwrap_or(&clean).to_owned(), path.ends_with('/'))
}

/// Where a path is in a stack of layers.
pub(crate) enum Found {
    /// In this one, the topmost that has it.
    In(usize, Stat),
    /// A layer has something else than a directory on the way to it.
    Hidden,
    Nowhere,
}

pub(crate) fn look_up(layers: &[Root], path: &Path) -> Result<Found, Errno> {
    for (index, layer) in layers.iter().enumerate().rev() {
        match open(layer, path, OFlags::PATH | OFlags::NOFOLLOW) {
            Ok(fd) => {
                let stat = rustix::fs::fstat(fd)?;
                return Ok(if overlay::is_whiteout_file(&stat) { Found::Hidden } else { Found::In(index, stat) });
            }
            Err(Errno::NOENT) if below_opaque(layer, path)? => return Ok(Found::Hidden),
            Err(Errno::NOENT) => {}
            Err(Errno::LOOP | Errno::NOTDIR) => return Ok(Found::Hidden),
            Err(e) => return Err(e),
        }
    }
    Ok(Found::Nowhere)
}

/// Whether the layers, one over the other, have something else than a directory on the way to `path`. What hides it in one
/// of them may itself lie below a directory of another.
fn is_blocked(layers: &[Root], path: &Path) -> Result<bool, Errno> {
    for above in path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
        if let Found::In(_, stat) = look_up(layers, above)? {
            return Ok(FileType::from_raw_mode(stat.st_mode) != FileType::Directory);
        }
    }
    Ok(false)
}

/// Whether a directory on the way to `path` hides what other layers have in it.
fn below_opaque(layer: &Root, path: &Path) -> Result<bool, Errno> {
    for above in path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
        match open(layer, above, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(dir) if overlay::is_opaque(dir.as_fd())? => return Ok(true),
            Ok(_) | Err(Errno::NOENT) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(false)
}

/// Opens `path` below `root` without following any link.
pub(crate) fn open(root: &Root, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    loop {
        match rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => continue,
            done => return done,
        }
    }
}

fn make_directories(
    layers: &[Root],
    path: &Path,
    out: &Root,
    made: &mut BTreeMap<PathBuf, Option<usize>>,
) -> Result<(), Errno> {
    if made.contains_key(path) {
        return Ok(());
    }
    make_directories(layers, parent(path), out, made)?;
    let (above, name) = open_parent(out, path)?;
    rustix::fs::mkdirat(&above, name, Mode::from_raw_mode(0o755))?;
    let layer = match look_up(layers, path)? {
        Found::In(layer, _) => Some(layer),
        Found::Hidden | Found::Nowhere => None,
    };
    made.insert(path.to_owned(), layer);
    Ok(())
}

fn link(layer: &Root, path: &Path, out: &Root) -> Result<()> {
    link_as(layer, path, out, path)
}

/// Makes `path` below `layer` be `new` below `out`, too.
pub(crate) fn link_as(layer: &Root, path: &Path, out: &Root, new: &Path) -> Result<()> {
    let linked = open_parent(layer, path).and_then(|(from, name)| {
        let (to, new) = open_parent(out, new)?;
        rustix::fs::linkat(&from, name, &to, new, AtFlags::empty())
    });
    match linked {
        // Too many links to one file, or a file system (or its rules) without them.
        Err(Errno::MLINK | Errno::PERM | Errno::XDEV | Errno::OPNOTSUPP) => {
            let options = CopyOptions { ownership: Ownership::of_this_process(), ..CopyOptions::default() };
            copy_tree(layer, path, out, new, &options).map(drop)
        }
        linked => linked.map_err(Error::io(format!("cannot render /{}", path.display()))),
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

pub(crate) fn open_parent<'p>(root: &Root, path: &'p Path) -> Result<(OwnedFd, &'p OsStr), Errno> {
    let name = path.file_name().ok_or(Errno::INVAL)?;
    Ok((open(root, parent(path), OFlags::PATH | OFlags::DIRECTORY)?, name))
}

/// Makes the directory `to` of the result like `path` in `layer`; without one, as old as can be, so that it is the same
/// each time.
pub(crate) fn like(layer: Option<&Root>, path: &Path, out: &Root, to: &Path) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let to = open(out, to, flags)?;
    let mut times = Timestamps { last_access: EPOCH, last_modification: EPOCH };
    if let Some(layer) = layer {
        let from = open(layer, path, flags)?;
        let stat = rustix::fs::fstat(&from)?;
        let (user, group) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        rustix::fs::fchown(&to, Some(user), Some(group))?;
        let kept = |name: &[u8]| !overlay::is_attribute(name);
        let wanted: Vec<_> = xattrs(from.as_fd())?.into_iter().filter(|(name, _)| kept(name)).collect();
        remove_xattrs(to.as_fd(), |name| kept(name) && !wanted.iter().any(|(other, _)| other == name))?;
        for (name, value) in &wanted {
            rustix::fs::fsetxattr(&to, name.as_slice(), value, XattrFlags::empty())?;
        }
        rustix::fs::fchmod(&to, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
        let modified = Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ };
        times = Timestamps { last_access: modified, last_modification: modified };
    }
    Ok(rustix::fs::futimens(&to, &times)?)
}
