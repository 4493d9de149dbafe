//! Making a tree of files below a directory, attributes and all.
//!
//! The one place that creates files, for [`unpack`](crate::archive::unpack) and [`copy_tree`](crate::copy::copy_tree)
//! alike. Nothing here ever follows a symbolic link: each directory is opened by its single name below the handle of
//! the one above it (`O_NOFOLLOW`), and everything is created with "must not exist".

pub(crate) mod apply;
pub(crate) mod compare;
pub(crate) mod device;
mod difference;
mod dirs;
pub(crate) mod excluded;
mod hide;
pub(crate) mod links;
pub(crate) mod overlay;
pub(crate) mod owner;
pub(crate) mod part;
pub(crate) mod sparse;
pub(crate) mod walk;
mod way;

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, XattrFlags};
use rustix::io::Errno;

use crate::archive::entry::{Attributes, Type};
use crate::archive::{Omission, Ownership};
use crate::store::remove_tree;
use crate::{Error, Result};
use apply::Applier;
use dirs::{Dirs, TOP};

/// What to do when something stands where something is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Conflict {
    /// It is an error: whatever is there was made by ourselves.
    Refuse,
    /// Directories are merged, anything else but a directory is replaced.
    Replace,
    /// Directories are merged with directories, anything else is replaced, as in an overlay mount.
    Overlay,
    /// A plain archive's files: what came before was made by ourselves, too, and the last of two stays, as with tar; but
    /// nothing may be made through a link, and no directory be replaced.
    Later,
    /// An archive's layer in an overlay's form: what came before was made by ourselves, too, and the last of two stays;
    /// but nothing may be made through a link, and no directory be replaced.
    Layer,
}

/// Files from this size on start to be written to disk at once, so that little is left to do when the tree is synced.
/// Smaller ones are left to the kernel, which can put many of them into one request.
const EARLY: u64 = 256 * 1024;

/// A tree in the making.
pub(crate) struct Tree {
    dirs: Dirs,
    applier: Applier,
    conflict: Conflict,
    /// Paths that [`Ownership::Mine`] left out, for hard links to them.
    left_out: HashSet<Vec<u8>>,
    omitted: Vec<Omission>,
}

/// Why something was not made: a rule that it breaks, or the kernel.
pub(crate) enum Failure {
    Rule(String),
    /// Something on the way to it is no directory: there can be nothing below that, as links are not followed.
    NoDirectory(String),
    /// In a layer: the hard link's target is not in it.
    NoTarget,
    Errno(Errno),
    /// From the source of the content.
    Content(Error),
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Failure {
        Failure::Errno(errno)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Content(error)
    }
}

/// Made, or knowingly left out.
type Outcome = std::result::Result<(), Failure>;

impl Tree {
    /// A tree below `top`, an open directory.
    pub(crate) fn new(top: OwnedFd, ownership: Ownership, conflict: Conflict) -> Result<Tree> {
        let applier = Applier::new(ownership, &top).map_err(Error::io("look at the target directory"))?;
        Ok(Tree { dirs: Dirs::new(top), applier, conflict, left_out: HashSet::new(), omitted: Vec::new() })
    }

    /// Makes the directory `path`; its attributes are set when the tree is finished.
    ///
    /// It may have been made already as the parent of something, but not by this method.
    pub(crate) fn directory(&mut self, path: &[u8], attributes: Attributes) -> Outcome {
        let node = match self.dirs.find(path) {
            Some(node) => node,
            None => self.make_directory(path, true)?,
        };
        match self.dirs.set_attributes(node, attributes) {
            true => Ok(()),
            // The last one counts.
            false if self.conflict != Conflict::Refuse => Ok(()),
            false => Err(Failure::Rule("it is there already".into())),
        }
    }

    /// Makes a regular file of `size` bytes that `content` writes.
    pub(crate) fn file(
        &mut self,
        path: &[u8],
        attributes: &Attributes,
        size: u64,
        content: impl FnOnce(&File) -> Result<()>,
    ) -> Outcome {
        let (parent, name) = self.parent(path)?;
        let dir = self.dirs.fd(parent)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = self.applier.first_mode(attributes);
        let create = || rustix::fs::openat(dir, name, flags, mode);
        let file = File::from(on_conflict(self.conflict, dir, name, create)?);
        content(&file)?;
        let lost = self.applier.apply(file.as_fd(), attributes, mode)?;
        if size >= EARLY {
            // A hint: whatever becomes of it, syncing comes later.
            let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
        }
        self.omit(path, lost);
        Ok(())
    }

    /// Makes a symbolic link.
    pub(crate) fn symlink(&mut self, path: &[u8], target: &[u8], attributes: &Attributes) -> Outcome {
        let (parent, name) = self.parent(path)?;
        let dir = self.dirs.fd(parent)?;
        on_conflict(self.conflict, dir, name, || rustix::fs::symlinkat(target, dir, name))?;
        let lost = self.applier.apply_at(dir, name, attributes, FileType::Symlink)?;
        self.omit(path, lost);
        Ok(())
    }

    /// Makes `path` another name of `target`, which this tree has made before.
    pub(crate) fn hard_link(&mut self, path: &[u8], target: &[u8]) -> Outcome {
        if self.left_out.contains(target) {
            self.leave_out(path, "hard link to what was left out");
            return Ok(());
        }
        let missing = || Failure::Rule("it is a hard link to something that is not in the archive before it".into());
        let (target_parent, target_name) = match target.iter().rposition(|b| *b == b'/') {
            Some(slash) => (&target[..slash], &target[slash + 1..]),
            None => (&b""[..], target),
        };
        if target == path || self.dirs.find(target).is_some() {
            return Err(Failure::Rule("it is a hard link to a directory or to itself".into()));
        }
        // Directories that are not ours are links or files: nothing leads through those.
        let target_node = match self.dirs.find(target_parent) {
            Some(node) => node,
            None if self.conflict == Conflict::Layer => return Err(Failure::NoTarget),
            None if matches!(self.conflict, Conflict::Refuse | Conflict::Later) => return Err(missing()),
            None => return Err(Failure::Errno(Errno::NOENT)),
        };
        let (parent, name) = self.parent(path)?;
        // Two handles at once: the second may push the first out of the cache.
        let target_dir = rustix::io::fcntl_dupfd_cloexec(self.dirs.fd(target_node)?, 0)?;
        if self.conflict == Conflict::Layer {
            match rustix::fs::statat(&target_dir, target_name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if !overlay::is_whiteout_file(&stat) => {}
                Ok(_) | Err(Errno::NOENT) => return Err(Failure::NoTarget),
                Err(errno) => return Err(errno.into()),
            }
        }
        let dir = self.dirs.fd(parent)?;
        let link = || rustix::fs::linkat(&target_dir, target_name, dir, name, AtFlags::empty());
        on_conflict(self.conflict, dir, name, link).map_err(|failure| match failure {
            Failure::Errno(Errno::NOENT) => missing(),
            other => other,
        })
    }

    /// Makes the directory that `path` is in.
    pub(crate) fn directory_of(&mut self, path: &[u8]) -> Outcome {
        self.parent(path).map(drop)
    }

    /// Makes a device node or a fifo.
    pub(crate) fn node(&mut self, path: &[u8], kind: Type, attributes: &Attributes) -> Outcome {
        let (file_type, device) = match kind {
            Type::CharDevice { major, minor } => (FileType::CharacterDevice, rustix::fs::makedev(major, minor)),
            Type::BlockDevice { major, minor } => (FileType::BlockDevice, rustix::fs::makedev(major, minor)),
            _ => (FileType::Fifo, 0),
        };
        let (parent, name) = self.parent(path)?;
        if self.applier.ownership == Ownership::Mine && file_type != FileType::Fifo {
            return self.skip(path, "device node, which takes root");
        }
        let dir = self.dirs.fd(parent)?;
        let mknod = || rustix::fs::mknodat(dir, name, file_type, Mode::from(0o600), device);
        let lost = match on_conflict(self.conflict, dir, name, mknod) {
            Err(Failure::Errno(Errno::PERM)) if self.applier.ownership == Ownership::Mapped => {
                self.placeholder(parent, name, kind, attributes)?
            }
            made => {
                made?;
                self.applier.apply_at(dir, name, attributes, file_type)?
            }
        };
        self.omit(path, lost);
        Ok(())
    }

    /// Makes the file that stands for a device, where the kernel refuses the device itself. What was in the way is gone.
    fn placeholder(
        &mut self,
        parent: u32,
        name: &[u8],
        kind: Type,
        attributes: &Attributes,
    ) -> std::result::Result<Vec<String>, Failure> {
        let value = device::value(kind).ok_or(Errno::PERM)?;
        let dir = self.dirs.fd(parent)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = on_conflict(self.conflict, dir, name, || rustix::fs::openat(dir, name, flags, Mode::from(0o600)))?;
        let set = rustix::fs::fsetxattr(&file, device::PLACEHOLDER, value.as_bytes(), XattrFlags::empty());
        set.map_err(|errno| match errno {
            Errno::NOTSUP => Failure::Rule("a device takes root, or a file system with extended attributes".into()),
            errno => Failure::Errno(errno),
        })?;
        self.applier.apply(file.as_fd(), attributes, Mode::empty())
    }

    /// Leaves out what would be `path`, and hard links to it.
    pub(crate) fn skip(&mut self, path: &[u8], what: &str) -> Outcome {
        if !self.left_out.insert(path.to_vec()) {
            return Err(Failure::Errno(Errno::EXIST));
        }
        self.leave_out(path, what);
        Ok(())
    }

    /// Directories that nothing has described and that the layers below may have, the top aside.
    ///
    /// # Errors
    /// There are more than `most` bytes of their names.
    pub(crate) fn implied(&self, most: usize) -> std::result::Result<Vec<Vec<u8>>, Failure> {
        self.dirs.implied(most).ok_or_else(|| Failure::Rule("too many directories are not described".into()))
    }

    /// Notes that an attribute of `path` could not be kept.
    pub(crate) fn leave_out(&mut self, path: &[u8], what: &str) {
        self.omit(path, vec![what.to_owned()]);
    }

    /// Sets the directories' attributes; nothing can be made after it.
    ///
    /// Directories that no call has described become root's (or the caller's), 0755, and as old as can be.
    pub(crate) fn finish(mut self) -> Result<Vec<Omission>> {
        while let Some((node, attributes)) = self.dirs.pop_attributes() {
            let path = self.dirs.path(node);
            let what = || format!("set the attributes of {}", PathBuf::from(OsStr::from_bytes(&path)).display());
            let opaque = self.dirs.is_opaque(node);
            let fd = self.dirs.fd(node).map_err(|errno| Error::io(what())(errno))?;
            let mut applied = self.applier.apply(fd, &attributes, Mode::empty());
            if opaque && applied.is_ok() {
                applied = applied.and_then(|lost| self.applier.make_opaque(fd).map(|()| lost));
            }
            let lost = applied.map_err(|failure| match failure {
                Failure::Errno(errno) => Error::io(what())(errno),
                Failure::Rule(rule) | Failure::NoDirectory(rule) => {
                    Error::Tree { path: OsStr::from_bytes(&path).into(), rule }
                }
                Failure::NoTarget => Error::io(what())(Errno::NOENT),
                Failure::Content(error) => error,
            })?;
            self.omit(&path, lost);
        }
        Ok(self.omitted)
    }

    /// Leaves the attributes of the top as they are.
    pub(crate) fn keep_top(&mut self) {
        self.dirs.keep(TOP);
    }

    fn omit(&mut self, path: &[u8], lost: Vec<String>) {
        // A hostile archive must not fill the memory with them.
        const MOST: usize = 100_000;
        for what in lost {
            if self.omitted.len() < MOST {
                self.omitted.push(Omission { path: OsStr::from_bytes(path).into(), what });
            }
        }
    }
}

/// Creates with `create`; what stands in the way is removed first when that is the rule.
fn on_conflict<T>(
    conflict: Conflict,
    dir: impl AsFd,
    name: &[u8],
    create: impl Fn() -> std::result::Result<T, Errno>,
) -> std::result::Result<T, Failure> {
    match create() {
        Err(Errno::EXIST) if conflict != Conflict::Refuse => {
            match rustix::fs::unlinkat(&dir, name, AtFlags::empty()) {
                Err(Errno::ISDIR) if conflict == Conflict::Overlay => remove_tree::remove_at(dir.as_fd(), name)?,
                Err(Errno::ISDIR) => return Err(Failure::Rule("a directory is there already".into())),
                done => done?,
            }
            Ok(create()?)
        }
        done => Ok(done?),
    }
}
