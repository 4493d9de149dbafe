//! Paths below a root directory that nothing inside it can lead out of.
//!
//! A root file system is hostile: any component of a path in it may be a symbolic link that points to the host.
//! Everything in this project that touches such a path goes through [`Root`], which lets the kernel resolve it with
//! `openat2(2)` and `RESOLVE_IN_ROOT` (Linux 5.6): `..` stops at the root, absolute links start there, and magic
//! links such as `/proc/self/fd/3` are refused.
//!
//! ```
//! # fn main() -> std::io::Result<()> {
//! # let dir = std::env::temp_dir();
//! use appc_rooted::{OFlags, Root};
//! let root = Root::open(&dir)?;
//! // Stays below `dir` whatever the links on the way say.
//! let missing = root.open_at("../../no/such/file", OFlags::RDONLY);
//! assert!(missing.is_err());
//! # Ok(()) }
//! ```

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, ResolveFlags, Stat};
pub use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// As many links as the kernel follows in one path, `MAXSYMLINKS`.
const LINKS_MAX: u32 = 40;

/// A directory that paths are resolved below, held open by descriptor.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
}

impl Root {
    /// Opens `path`, a trusted path of the host, as a root. Links in `path` itself are followed.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Root> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path.as_ref(), flags, Mode::empty())?;
        Ok(Root { fd })
    }

    /// Takes an open directory (also `O_PATH`) as a root.
    pub fn from_fd(fd: OwnedFd) -> Root {
        Root { fd }
    }

    /// Opens `path` below the root. `O_CLOEXEC` is added; links are followed inside the root unless `flags` has `O_NOFOLLOW`.
    ///
    /// # Errors
    /// What `openat2(2)` says; `ELOOP` for a magic link.
    pub fn open_at(&self, path: impl AsRef<Path>, flags: OFlags) -> io::Result<OwnedFd> {
        self.open2(path.as_ref(), flags, Mode::empty())
    }

    /// Opens the regular file `path` below the root for writing, made with `mode` when missing.
    ///
    /// A link as the last component is refused (`ELOOP`): what is written lands at `path` and nowhere else.
    pub fn create(&self, path: impl AsRef<Path>, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let (parent, name) = self.parent(path.as_ref())?;
        let flags = flags | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&parent, name, flags, mode)?)
    }

    /// Makes `path` and every missing directory on the way with `mode`, and opens it (`O_PATH`).
    ///
    /// # Errors
    /// `ENOTDIR` when something else is in the way, `ELOOP` for a dangling link.
    pub fn mkdir_all(&self, path: impl AsRef<Path>, mode: Mode) -> io::Result<OwnedFd> {
        let path = path.as_ref();
        let directory = OFlags::PATH | OFlags::DIRECTORY;
        match self.open2(path, directory, Mode::empty()) {
            Err(e) if e.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => {}
            done => return done,
        }
        if path.components().next_back() == Some(Component::ParentDir) {
            // What a directory is in is there when the directory is.
            self.mkdir_all(path.parent().unwrap_or(Path::new("")), mode)?;
            return self.open2(path, directory, Mode::empty());
        }
        let (above, name) = split(path)?;
        let parent = self.mkdir_all(above, mode)?;
        match rustix::fs::mkdirat(&parent, name, mode) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(e.into()),
        }
        // O_NOFOLLOW: what stands here now may have been put there by somebody else.
        let flags = directory | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&parent, name, flags, Mode::empty())?)
    }

    /// Like [`Root::mkdir_all`], but where a link on the way leads to nothing, what it leads to is made: below
    /// `/var/run/lock`, say, of an image whose `/var/run` is a link to a `/run` that is not there.
    ///
    /// # Errors
    /// `ENOTDIR` when something else is in the way, `ELOOP` for a loop of links.
    pub fn make_way(&self, path: impl AsRef<Path>, mode: Mode) -> io::Result<OwnedFd> {
        self.make_way_within(path.as_ref(), mode, LINKS_MAX)
    }

    fn make_way_within(&self, path: &Path, mode: Mode, links: u32) -> io::Result<OwnedFd> {
        let directory = OFlags::PATH | OFlags::DIRECTORY;
        match self.open2(path, directory, Mode::empty()) {
            Err(e) if e.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => {}
            done => return done,
        }
        let (above, name) = split(path)?;
        let parent = self.make_way_within(above, mode, links)?;
        match rustix::fs::mkdirat(&parent, name, mode) {
            Ok(()) => {}
            Err(Errno::EXIST) => match rustix::fs::readlinkat(&parent, name, Vec::new()) {
                Ok(_) if links == 0 => return Err(Errno::LOOP.into()),
                Ok(target) => {
                    let target = above.join(OsStr::from_bytes(target.to_bytes()));
                    return self.make_way_within(&target, mode, links - 1);
                }
                // Somebody else has made it.
                Err(Errno::INVAL) => {}
                Err(e) => return Err(e.into()),
            },
            Err(e) => return Err(e.into()),
        }
        let flags = directory | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&parent, name, flags, Mode::empty())?)
    }

    /// The directory (`O_PATH`) that holds the last component of `path`, and that component's name.
    ///
    /// # Errors
    /// `EINVAL` when `path` names the root itself or ends in `..`.
    pub fn parent<'p>(&self, path: &'p Path) -> io::Result<(OwnedFd, &'p OsStr)> {
        let (above, name) = split(path)?;
        let parent = self.open2(above, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?;
        Ok((parent, name))
    }

    /// The status of `path` below the root; a link as the last component is not followed.
    pub fn lstat(&self, path: impl AsRef<Path>) -> io::Result<Stat> {
        let fd = self.open2(path.as_ref(), OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())?;
        Ok(rustix::fs::fstat(&fd)?)
    }

    /// The status of what `path` leads to below the root.
    pub fn stat(&self, path: impl AsRef<Path>) -> io::Result<Stat> {
        let fd = self.open2(path.as_ref(), OFlags::PATH, Mode::empty())?;
        Ok(rustix::fs::fstat(&fd)?)
    }

    /// The target of the link `path`, as it is written in the link.
    pub fn readlink(&self, path: impl AsRef<Path>) -> io::Result<OsString> {
        let (parent, name) = self.parent(path.as_ref())?;
        let target = rustix::fs::readlinkat(&parent, name, Vec::new())?;
        Ok(OsStr::from_bytes(target.to_bytes()).to_owned())
    }

    /// The content of the regular file `path`, refused with `EFBIG` when it is longer than `limit` bytes.
    pub fn read(&self, path: impl AsRef<Path>, limit: u64) -> io::Result<Vec<u8>> {
        // O_NONBLOCK: opening a fifo must not wait for a writer.
        let file = File::from(self.open_at(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let mut content = Vec::new();
        file.take(limit.saturating_add(1)).read_to_end(&mut content)?;
        if content.len() as u64 > limit {
            return Err(Errno::FBIG.into());
        }
        Ok(content)
    }

    /// Removes the file or link `path`; a directory is refused (`EISDIR`).
    pub fn unlink(&self, path: impl AsRef<Path>) -> io::Result<()> {
        let (parent, name) = self.parent(path.as_ref())?;
        Ok(rustix::fs::unlinkat(&parent, name, AtFlags::empty())?)
    }

    fn open2(&self, path: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        loop {
            match rustix::fs::openat2(&self.fd, path, flags | OFlags::CLOEXEC, mode, resolve) {
                // openat2(2): "the caller may choose to retry" when a rename anywhere raced with a `..`.
                Err(Errno::AGAIN | Errno::INTR) => continue,
                done => return Ok(done?),
            }
        }
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Splits off the last component, which must be a plain name.
fn split(path: &Path) -> io::Result<(&Path, &OsStr)> {
    match path.components().next_back() {
        Some(Component::Normal(name)) => Ok((path.parent().unwrap_or(Path::new("")), name)),
        _ => Err(Errno::INVAL.into()),
    }
}

/// `path` as it reads below a root: absolute, without `.`, doubled slashes or `..`.
///
/// For comparing and printing only: it does not look at links, [`Root`] does.
///
/// ```
/// assert_eq!(appc_rooted::clean("a/./b/../../../c/".as_ref()).to_str(), Some("/c"));
/// ```
pub fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn fixture() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        let rootfs = dir.path().join("rootfs");
        std::fs::create_dir(&rootfs).unwrap();
        std::fs::write(dir.path().join("secret"), "host").unwrap();
        symlink(dir.path(), rootfs.join("absolute")).unwrap();
        symlink("../..", rootfs.join("upwards")).unwrap();
        symlink("../secret", rootfs.join("file")).unwrap();
        symlink("nowhere", rootfs.join("dangling")).unwrap();
        let root = Root::open(&rootfs).unwrap();
        (dir, root)
    }

    #[test]
    fn links_do_not_lead_out() {
        let (_dir, root) = fixture();
        for path in ["absolute/secret", "upwards/secret", "file", "../secret", "/../secret"] {
            let error = root.read(path, 100).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotFound, "{path}");
        }
    }

    #[test]
    fn directories_are_made_inside_only() {
        let (dir, root) = fixture();
        root.mkdir_all("../a/b/c", Mode::from(0o755)).unwrap();
        assert!(dir.path().join("rootfs/a/b/c").is_dir());
        assert!(root.mkdir_all("dangling/x", Mode::from(0o755)).is_err());
        assert!(!dir.path().join("rootfs/nowhere").exists());
        root.mkdir_all("", Mode::from(0o755)).unwrap();
    }

    #[test]
    fn a_file_is_not_made_through_a_link() {
        let (dir, root) = fixture();
        let flags = OFlags::WRONLY | OFlags::TRUNC;
        assert!(root.create("file", flags, Mode::from(0o644)).is_err());
        assert!(root.create("..", flags, Mode::from(0o644)).is_err());
        root.create("plain", flags, Mode::from(0o644)).unwrap();
        assert_eq!(std::fs::read(dir.path().join("secret")).unwrap(), b"host");
        assert!(dir.path().join("rootfs/plain").exists());
    }

    #[test]
    fn reading_is_limited_and_never_waits() {
        let (dir, root) = fixture();
        std::fs::write(dir.path().join("rootfs/long"), "12345").unwrap();
        assert_eq!(root.read("long", 5).unwrap(), b"12345");
        assert!(root.read("long", 4).is_err());
        let fifo = dir.path().join("rootfs/fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, Mode::from(0o600), 0).unwrap();
        assert!(root.read("fifo", 5).is_err());
    }
}
