//! Copying trees of files, attributes and all.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use appc_rooted::{OFlags, Root};
use rustix::fs::{AtFlags, FileType, Mode, Stat};
use rustix::io::Errno;

use crate::archive::entry::{Attributes, Time, Type};
use crate::archive::{Omission, Ownership};
use crate::tree::apply::{xattrs, xattrs_at};
use crate::tree::excluded::Excluded;
use crate::tree::links::Links;
use crate::tree::overlay;
use crate::tree::sparse::copy_content;
use crate::tree::walk::{Visitor, changed, failed, shown, walk};
use crate::tree::{Conflict, Failure, Tree};
use crate::tree::{device, owner};
use crate::{Error, Progress, Quiet, Result};

/// How a tree is copied.
#[derive(Clone, Copy, Default)]
pub struct CopyOptions<'a> {
    /// Whose the copies become.
    pub ownership: Ownership,
    /// Directories that are there already are merged into, and anything else that is in the way is replaced; without
    /// this, either is an error.
    pub replace: bool,
    /// The source is a layer of overlay mounts: whiteouts remove what is there, opaque directories what is below them,
    /// and everything that is in the way is replaced. Whatever [`CopyOptions::replace`] says.
    pub layer: bool,
    /// The source is a folder of the host, not an image's: in an ordinary user's namespace, what belongs to others of the host
    /// becomes root's, without set-user-ID and set-group-ID bits. What would act in overlay mounts is left out, too.
    pub from_host: bool,
    /// A directory that is left out, with everything in it, wherever the copy comes across it. The one that it is in is copied
    /// with the time of 1970: its own tells when the other was made.
    pub exclude: Option<&'a Root>,
    /// Is told how many bytes of content were copied.
    pub progress: Option<&'a dyn Progress>,
}

/// What was copied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Copied {
    /// Bytes of file content.
    pub bytes: u64,
    /// Sockets, which are not copied. Paths below the source.
    pub sockets: Vec<PathBuf>,
    /// What was left out as [`Ownership`] and [`CopyOptions::from_host`] say. Paths below the source.
    pub omitted: Vec<Omission>,
}

/// Copies `from_path` below `from`, a directory or anything else, to be `to_path` below `to`.
///
/// Types, modes, owners, times to the nanosecond, extended attributes, hard links and holes are kept. Links are copied,
/// never followed; only in the directory parts of the two paths do they count, and lead nowhere out of their roots.
/// The directory that `to_path` is in must be there. Empty paths mean the roots themselves.
///
/// # Errors
/// [`Error::Tree`] names a file that is in the way or cannot be copied. What has been copied until then stays.
pub fn copy_tree(
    from: &Root,
    from_path: impl AsRef<Path>,
    to: &Root,
    to_path: impl AsRef<Path>,
    options: &CopyOptions<'_>,
) -> Result<Copied> {
    let (from_path, to_path) = (relative(from_path.as_ref()), relative(to_path.as_ref()));
    let what = || format!("copy {}", shown(from_path.as_os_str().as_bytes()).display());
    let progress = options.progress.unwrap_or(&Quiet);
    progress.start(None, "copy");

    let (parent, prefix) = match is_top(&to_path) {
        true => (to.open_at("", OFlags::PATH), &b""[..]),
        false => match to.parent(&to_path) {
            Ok((parent, name)) => (Ok(parent), name.as_bytes()),
            Err(e) => (Err(e), &b""[..]),
        },
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent =
        parent.map_err(Error::io(format!("open the directory of {}", Path::new("/").join(&to_path).display())))?;
    let parent = rustix::fs::openat(parent, ".", flags, Mode::empty()).map_err(Error::io(what()))?;
    let target = rustix::fs::fstat(&parent).map_err(Error::io(what()))?;

    let conflict = match options {
        CopyOptions { layer: true, .. } => Conflict::Overlay,
        CopyOptions { replace: true, .. } => Conflict::Replace,
        _ => Conflict::Refuse,
    };
    let mut tree = Tree::new(parent, options.ownership, conflict)?;
    if !prefix.is_empty() {
        tree.keep_top();
    }
    let exclude = options.exclude.map(Excluded::new).transpose().map_err(Error::io(what()))?;
    let copied = Copied::default();
    let links = Links::default();
    let id = (target.st_dev, target.st_ino);
    let CopyOptions { layer, from_host, .. } = *options;
    let adopt = from_host && options.ownership == Ownership::Mapped;
    let mut copier =
        Copier { tree, prefix: prefix.to_vec(), layer, from_host, adopt, exclude, target: id, links, copied, progress };

    if is_top(&from_path) {
        let top = from.open_at("", OFlags::RDONLY | OFlags::DIRECTORY).map_err(Error::io(what()))?;
        walk(top, &mut copier)?;
    } else {
        let (dir, name) = from.parent(&from_path).map_err(Error::io(what()))?;
        copier.start(dir.as_fd(), name.as_bytes(), &what())?;
    }
    let Copier { tree, mut copied, prefix, .. } = copier;
    let prefix = Path::new(OsStr::from_bytes(&prefix));
    copied.omitted.extend(tree.finish()?.into_iter().map(|Omission { path, what }| {
        let path = path.strip_prefix(prefix).map(Path::to_owned).unwrap_or(path);
        Omission { path, what }
    }));
    progress.finish();
    Ok(copied)
}

/// A path as it is below a root, without what `.` and slashes add to it.
fn relative(path: &Path) -> PathBuf {
    path.components().filter(|c| !matches!(c, std::path::Component::RootDir | std::path::Component::CurDir)).collect()
}

fn is_top(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

struct Copier<'p> {
    tree: Tree,
    /// The name of the copy in the directory it is made in; empty when it is that directory.
    prefix: Vec<u8>,
    layer: bool,
    from_host: bool,
    /// Owners are those of the host.
    adopt: bool,
    exclude: Option<Excluded>,
    /// The directory that the copy is made in.
    target: (u64, u64),
    links: Links,
    copied: Copied,
    progress: &'p dyn Progress,
}

impl Visitor for Copier<'_> {
    fn directory(&mut self, path: &[u8], fd: BorrowedFd<'_>, stat: &Stat) -> Result<bool> {
        if self.exclude.is_some_and(|excluded| excluded.is(stat)) {
            return Ok(false);
        }
        if self.target == (stat.st_dev, stat.st_ino) {
            let rule = "a directory cannot be copied into itself";
            return Err(Error::Tree { path: shown(path), rule: rule.into() });
        }
        let mut attributes = self.attributes(path, stat, Some(fd));
        attributes.xattrs = xattrs(fd).map_err(failed("read the attributes of", path))?;
        if let Some(excluded) = self.exclude {
            attributes.mtime = excluded.time(stat, attributes.mtime);
        }
        if self.layer && overlay::is_opaque(fd).map_err(failed("read the attributes of", path))? {
            self.tree.empty(&self.to(path)).map_err(|failure| explain(path, failure))?;
        }
        self.neutralize(path, &mut attributes);
        let made = self.tree.directory(&self.to(path), attributes);
        made.map_err(|failure| explain(path, failure))?;
        Ok(true)
    }

    fn other(&mut self, path: &[u8], dir: BorrowedFd<'_>, name: &[u8], kind: FileType) -> Result<()> {
        match kind {
            FileType::Socket => {
                self.copied.sockets.push(OsStr::from_bytes(path).into());
                Ok(())
            }
            FileType::RegularFile => self.file(path, dir, name),
            _ => self.special(path, dir, name),
        }
    }
}

impl Copier<'_> {
    /// Copies a single name in `dir` and what is below it.
    fn start(&mut self, dir: BorrowedFd<'_>, name: &[u8], what: &str) -> Result<()> {
        let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(Error::io(what))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind != FileType::Directory {
            return self.other(b"", dir, name, kind);
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let top = rustix::fs::openat(dir, name, flags, Mode::empty()).map_err(Error::io(what))?;
        walk(top, self)
    }

    fn to(&self, path: &[u8]) -> Vec<u8> {
        match (self.prefix.as_slice(), path) {
            (prefix, b"") => prefix.to_vec(),
            (b"", path) => path.to_vec(),
            (prefix, path) => [prefix, b"/", path].concat(),
        }
    }

    fn file(&mut self, path: &[u8], dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let source = rustix::fs::openat(dir, name, flags, Mode::empty()).map_err(failed("open", path))?;
        let stat = rustix::fs::fstat(&source).map_err(failed("look at", path))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(changed(path));
        }
        if self.hard_link(path, &stat)? {
            return Ok(());
        }
        let mut attributes = self.attributes(path, &stat, Some(source.as_fd()));
        attributes.xattrs = xattrs(source.as_fd()).map_err(failed("read the attributes of", path))?;
        self.neutralize(path, &mut attributes);
        let source = File::from(source);
        let size = stat.st_size as u64;
        if let Some(device) = device::take(&mut attributes.xattrs, size) {
            return self.tree.node(&self.to(path), device, &attributes).map_err(|failure| explain(path, failure));
        }
        let mut bytes = 0;
        let content = |copy: &File| {
            bytes = copy_content(&source, copy, &stat, &|| doing(path))?;
            Ok(())
        };
        let made = self.tree.file(&self.to(path), &attributes, size, content);
        made.map_err(|failure| explain(path, failure))?;
        self.copied.bytes += bytes;
        self.progress.advance(bytes);
        Ok(())
    }

    fn special(&mut self, path: &[u8], dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
        let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed("look at", path))?;
        if self.layer && overlay::is_whiteout_file(&stat) {
            return self.tree.remove(&self.to(path)).map_err(|failure| explain(path, failure));
        }
        if self.from_host && overlay::is_whiteout_file(&stat) {
            self.leave_out(path, overlay::WHITEOUT.to_owned());
            return Ok(());
        }
        if self.hard_link(path, &stat)? {
            return Ok(());
        }
        let mut attributes = self.attributes(path, &stat, None);
        attributes.xattrs = xattrs_at(dir, name).map_err(failed("read the attributes of", path))?;
        let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        let to = self.to(path);
        let made = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(dir, name, Vec::new()).map_err(failed("read the link", path))?;
                self.tree.symlink(&to, target.as_bytes(), &attributes)
            }
            FileType::CharacterDevice => self.tree.node(&to, Type::CharDevice { major, minor }, &attributes),
            FileType::BlockDevice => self.tree.node(&to, Type::BlockDevice { major, minor }, &attributes),
            FileType::Fifo => self.tree.node(&to, Type::Fifo, &attributes),
            _ => return Err(changed(path)),
        };
        made.map_err(|failure| explain(path, failure))
    }

    fn attributes(&mut self, path: &[u8], stat: &Stat, open: Option<BorrowedFd<'_>>) -> Attributes {
        let mut attributes = attributes(stat);
        if self.adopt && owner::adopt(&mut attributes, open) {
            self.leave_out(path, owner::LOST.to_owned());
        }
        attributes
    }

    /// What acts in a layer does not in a copy of it, and what would act in one does not come from the host.
    fn neutralize(&mut self, path: &[u8], attributes: &mut Attributes) {
        if self.layer {
            attributes.xattrs.retain(|(name, _)| !overlay::is_attribute(name));
        } else if self.from_host {
            for name in overlay::take_attributes(&mut attributes.xattrs) {
                self.leave_out(path, overlay::would_act(&name));
            }
        }
    }

    fn leave_out(&mut self, path: &[u8], what: String) {
        self.copied.omitted.push(Omission { path: OsStr::from_bytes(path).into(), what });
    }

    /// Links to the copy of a file that has been copied under another name, and tells whether it had been.
    fn hard_link(&mut self, path: &[u8], stat: &Stat) -> Result<bool> {
        let to = self.to(path);
        let Some(first) = self.links.earlier(stat, || to.clone()) else { return Ok(false) };
        self.tree.hard_link(&to, &first).map_err(|failure| explain(path, failure))?;
        Ok(true)
    }
}

fn attributes(stat: &Stat) -> Attributes {
    let time = |seconds, nanoseconds: u64| Time { seconds, nanoseconds: nanoseconds as u32 };
    Attributes {
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: time(stat.st_mtime, stat.st_mtime_nsec),
        atime: Some(time(stat.st_atime, stat.st_atime_nsec)),
        xattrs: Vec::new(),
    }
}

fn doing(path: &[u8]) -> String {
    format!("copy {}", shown(path).display())
}

fn explain(path: &[u8], failure: Failure) -> Error {
    let tree = |rule: &str| Error::Tree { path: shown(path), rule: rule.into() };
    match failure {
        Failure::Content(error) => error,
        Failure::Rule(rule) | Failure::NoDirectory(rule) => tree(&format!("cannot be copied: {rule}")),
        Failure::NoTarget => tree("cannot be copied: it is a hard link to something that was not"),
        Failure::Errno(Errno::EXIST) => tree("cannot be copied: something is there already"),
        Failure::Errno(Errno::PERM | Errno::ACCESS) => {
            tree("permission denied: keeping owners, devices and attributes needs root")
        }
        Failure::Errno(errno) => Error::io(doing(path))(errno),
    }
}
