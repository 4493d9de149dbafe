//! What of a layer depends on the layers below it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use appc_rooted::{OFlags, Root};
use rustix::fs::{AtFlags, Dir, FileType, Mode, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;

use super::UnpackedLayer;
use crate::archive::Ownership;
use crate::copy::{CopyOptions, copy_tree};
use crate::render::merge::{Found, like, look_up};
use crate::tree::overlay;
use crate::{Error, Result};

/// Makes what [`unpack_layer`](super::unpack_layer) could not, in the layer's `tree`, now that the layers below are there:
/// `lower`, the lowest first, in overlay form.
///
/// # Errors
/// [`Error::Tree`] names a hard link to a file that no layer has.
pub fn settle_layer(tree: &Root, layer: &UnpackedLayer, lower: &[Root], ownership: Ownership) -> Result<()> {
    // Two links to one file below stay one file.
    let mut copies: HashMap<(usize, u64), &Path> = HashMap::new();
    for (path, target) in &layer.links {
        link(tree, path, target, lower, ownership, &mut copies)?;
    }
    if layer.hides_all {
        hide_everything(tree, lower, ownership).map_err(Error::io("hide the layers below"))?;
    }
    // The deepest first: those above may close the way, and change with what is made in them.
    for path in layer.implied.iter().rev() {
        let verb = "set the attributes of";
        match look_up(lower, path).map_err(failed(verb, path))? {
            Found::In(layer, stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                like(Some(&lower[layer]), path, tree, path).map_err(failed(verb, path))?;
            }
            _ => remove_marks(tree, path).map_err(failed("remove", path))?,
        }
    }
    Ok(())
}

/// Where the file that a link leads to is.
enum Target<'u> {
    /// In this layer, under this name.
    Here(&'u Path),
    /// In that of the layers below, with this inode.
    Below(usize, u64),
}

fn link<'u>(
    tree: &Root,
    path: &'u Path,
    target: &'u Path,
    lower: &[Root],
    ownership: Ownership,
    copies: &mut HashMap<(usize, u64), &'u Path>,
) -> Result<()> {
    let (parent, name) = tree.parent(path).map_err(failed("link", path))?;
    let times = times(parent.as_fd()).map_err(failed("link", path))?;
    let found = match find(tree, path, target, lower)? {
        Target::Below(layer, inode) => {
            copies.get(&(layer, inode)).map_or(Target::Below(layer, inode), |p| Target::Here(p))
        }
        here => here,
    };
    match found {
        Target::Here(earlier) => {
            let (dir, from) = tree.parent(earlier).map_err(failed("link", path))?;
            match rustix::fs::unlinkat(&parent, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(failed("link", path)(errno)),
            }
            rustix::fs::linkat(&dir, from, &parent, name, AtFlags::empty()).map_err(failed("link", path))?;
        }
        Target::Below(layer, inode) => {
            let options = CopyOptions { ownership, replace: true, ..CopyOptions::default() };
            copy_tree(&lower[layer], target, tree, path, &options)?;
            copies.insert((layer, inode), path);
        }
    }
    rustix::fs::utimensat(&parent, ".", &times, AtFlags::empty()).map_err(failed("link", path))
}

fn find<'u>(tree: &Root, path: &Path, target: &'u Path, lower: &[Root]) -> Result<Target<'u>> {
    // An earlier link of this layer may be what this one leads to.
    if path != target
        && let Ok((dir, name)) = tree.parent(target)
        && let Ok(stat) = rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)
        && !overlay::is_whiteout_file(&stat)
    {
        return Ok(Target::Here(target));
    }
    let no_target = |what: &str| {
        let rule = format!("it is a hard link to {}, which is {what}", target.display());
        Err(Error::Tree { path: path.to_owned(), rule })
    };
    match look_up(lower, target).map_err(failed("link", path))? {
        Found::In(_, stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => no_target("a directory"),
        Found::In(layer, stat) => Ok(Target::Below(layer, stat.st_ino)),
        Found::Hidden | Found::Nowhere => no_target("in no layer"),
    }
}

/// Removes the directory `path` if it was made for nothing but marks: without a directory below they hide nothing.
fn remove_marks(tree: &Root, path: &Path) -> Result<(), std::io::Error> {
    let dir = tree.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
    let names = names(&dir)?;
    for name in &names {
        if !overlay::is_whiteout_file(&rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)?) {
            return Ok(());
        }
    }
    for name in &names {
        rustix::fs::unlinkat(&dir, name, AtFlags::empty())?;
    }
    let (parent, name) = tree.parent(path)?;
    let times = times(parent.as_fd())?;
    rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR)?;
    Ok(rustix::fs::utimensat(&parent, ".", &times, AtFlags::empty())?)
}

/// What is in a directory.
fn names(dir: impl AsFd) -> Result<Vec<PathBuf>, Errno> {
    let names = Dir::read_from(dir)?.map(|entry| Ok(PathBuf::from(OsStr::from_bytes(entry?.file_name().to_bytes()))));
    let names: Vec<PathBuf> = names.collect::<Result<_, Errno>>()?;
    Ok(names.into_iter().filter(|name| name.as_os_str() != "." && name.as_os_str() != "..").collect())
}

fn failed<E: Into<std::io::Error>>(verb: &str, path: &Path) -> impl FnOnce(E) -> Error {
    Error::io(format!("{verb} {}", path.display()))
}

/// A directory's times, which change with what is made in it.
fn times(dir: BorrowedFd<'_>) -> Result<Timestamps, Errno> {
    let stat = rustix::fs::fstat(dir)?;
    Ok(Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime, tv_nsec: stat.st_atime_nsec as _ },
        last_modification: Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ },
    })
}

/// Hides every name at the top of the layers below one by one.
fn hide_everything(tree: &Root, lower: &[Root], ownership: Ownership) -> Result<(), std::io::Error> {
    let top = tree.open_at("", OFlags::RDONLY | OFlags::DIRECTORY)?;
    let times = times(top.as_fd())?;
    for layer in lower {
        let below = layer.open_at("", OFlags::RDONLY | OFlags::DIRECTORY)?;
        for name in names(below)? {
            match rustix::fs::mknodat(&top, &name, FileType::CharacterDevice, Mode::empty(), 0) {
                Ok(()) => {}
                Err(Errno::EXIST) => make_opaque(&top, &name, ownership)?,
                Err(errno) => return Err(errno.into()),
            }
        }
    }
    Ok(rustix::fs::futimens(&top, &times)?)
}

/// Makes `name` hide what is in it below, if it is a directory.
fn make_opaque(top: impl AsFd, name: &Path, ownership: Ownership) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(top, name, flags, Mode::empty()) {
        Ok(dir) => {
            let name = overlay::opaque_name(ownership);
            rustix::fs::fsetxattr(dir, name, b"y", XattrFlags::empty())
        }
        Err(Errno::NOTDIR | Errno::LOOP) => Ok(()),
        Err(errno) => Err(errno),
    }
}
