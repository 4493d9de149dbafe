//! The files of the directory `.acbuild`.
//!
//! It may have come with a checkout, so what stands in the place of a file may be a link out of it, a pipe that nobody
//! writes to, or a device without an end. None of these is followed, waited for or written through.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use appc_rooted::{Mode, OFlags, Root};

use crate::error::{Error, Result};

/// More than any manifest has.
const LONGEST: u64 = 16 << 20;

/// The content of the regular file `name`.
pub(super) fn read(dir: &Path, name: &str) -> io::Result<Vec<u8>> {
    Root::open(dir)?.read(name, LONGEST)
}

/// Writes a whole file that others may read, in the place of what is there. Half of one is not left behind.
pub(super) fn write(dir: &Path, name: &str, content: &[u8]) -> Result<()> {
    let replace = || {
        let root = Root::open(dir)?;
        remove(&root, name)?;
        let file = root.create(name, OFlags::WRONLY | OFlags::EXCL, Mode::from(0o644))?;
        File::from(file).write_all(content).inspect_err(|_| {
            let _ = root.unlink(name); // The first error is the one to tell.
        })
    };
    replace().map_err(Error::io("write", dir.join(name)))
}

/// Opens the file `name` to add to its end, if there is one.
pub(super) fn append(dir: &Path, name: &str) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::from(Root::open(dir)?.open_at(name, flags)?);
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("not a regular file")) }
}

fn remove(root: &Root, name: &str) -> io::Result<()> {
    match root.unlink(name) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Renames `from` to `to`.
pub(super) fn rename(dir: &Path, from: &str, to: &str) -> io::Result<()> {
    let root = Root::open(dir)?;
    let (parent, name) = root.parent(Path::new(to))?;
    Ok(rustix::fs::renameat(&root, from, parent, name)?)
}

/// Opens the file that is locked. `options` say for what.
pub(super) fn open_lock(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let lock = options.custom_flags(flags.bits().cast_signed()).open(path)?;
    if lock.metadata()?.is_file() { Ok(lock) } else { Err(io::Error::other("not a regular file")) }
}
