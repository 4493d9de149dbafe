//! Trees stacked as an overlay mount stacks them: what is seen of them, and what an upper layer says of those below it.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use appc_rooted::Root;
use rustix::fs::Stat;

use crate::error::Result;
use crate::render::merge::{self, Found, look_up};
use crate::tree::apply::{remove_xattrs, remove_xattrs_at};
use crate::tree::{compare, overlay};

/// Every path that the stack (the lowest first) shows, absolute, and whether it is a directory.
///
/// # Errors
/// When a directory cannot be read.
pub fn paths(stack: &[Root]) -> Result<BTreeMap<PathBuf, bool>> {
    compare::paths(stack)
}

/// Whether the stack (the lowest first) shows something at `path`, a path without links.
///
/// # Errors
/// What the system says.
pub fn shows(stack: &[Root], path: &Path) -> io::Result<bool> {
    let path = path.strip_prefix("/").unwrap_or(path);
    Ok(matches!(look_up(stack, path)?, Found::In(..)))
}

/// Gives the directory `path` below `to` the owner, mode, times and attributes of the one below `from`.
///
/// # Errors
/// What the system says.
pub fn make_like(from: &Root, path: &Path, to: &Root) -> io::Result<()> {
    merge::like(Some(from), path, to, path)
}

/// Whether a file of an upper layer says that there is nothing of its name.
pub fn is_whiteout(stat: &Stat) -> bool {
    overlay::is_whiteout_file(stat)
}

/// Whether a directory of an upper layer hides what is in it in the layers below.
///
/// # Errors
/// What the system says.
pub fn is_opaque(directory: impl AsFd) -> io::Result<bool> {
    Ok(overlay::is_opaque(directory.as_fd())?)
}

/// Takes from a file of an upper layer, `name` in an open directory, what overlay mounts note in its attributes.
///
/// # Errors
/// What the system says.
pub fn strip(directory: impl AsFd, name: &[u8]) -> io::Result<()> {
    Ok(remove_xattrs_at(directory.as_fd(), name, overlay::is_attribute)?)
}

/// The same for an open directory.
///
/// # Errors
/// What the system says.
pub fn strip_directory(directory: impl AsFd) -> io::Result<()> {
    Ok(remove_xattrs(directory.as_fd(), overlay::is_attribute)?)
}
