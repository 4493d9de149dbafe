//! One digest over everything that a copy of a tree would have.
//!
//! Two trees of the same fingerprint give the same copy, and a tree and its copy have the same one. Names, types, owners as
//! they will be, modes, times of modification, extended attributes, contents, link targets, device numbers, and which names
//! are the same file: whatever [`copy_tree`](crate::copy::copy_tree) keeps is in it, and what it skips is not.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use appc_rooted::{OFlags, Root};
use rustix::fs::{AtFlags, FileType, Mode, Stat};

use crate::archive::Ownership;
use crate::archive::entry::{Attributes, Time, Type};
use crate::oci::{Algorithm, Digest, Hasher};
use crate::tree::apply::{xattrs, xattrs_at};
use crate::tree::excluded::Excluded;
use crate::tree::links::Links;
use crate::tree::walk::{Visitor, changed, failed, walk};
use crate::tree::{device, overlay, owner};
use crate::{Error, Result};

/// How much of a file is read at once.
const PIECE: usize = 128 * 1024;

/// Digests of contents that were computed before.
pub trait Memory {
    /// The digest of the content of the file that `stat` is about, if it is known and still true.
    fn recall(&self, stat: &Stat) -> Option<Digest>;
    /// The content of the file that `stat` was about before and after it was read has this digest.
    fn remember(&self, stat: &Stat, digest: &Digest);
}

/// What a fingerprint is taken of.
#[derive(Clone, Copy)]
pub struct FingerprintOptions<'a> {
    /// Whose the copies would become.
    pub ownership: Ownership,
    /// As of [`CopyOptions`](crate::copy::CopyOptions).
    pub from_host: bool,
    /// As of [`CopyOptions`](crate::copy::CopyOptions).
    pub exclude: Option<&'a Root>,
    /// Is asked before a file is read.
    pub memory: Option<&'a dyn Memory>,
}

/// The fingerprint of `path` below `root`, a directory or anything else; with an empty path, of the root itself.
///
/// # Errors
/// When something cannot be read, or changes meanwhile.
pub fn fingerprint(root: &Root, path: &Path, options: &FingerprintOptions<'_>) -> Result<Digest> {
    let exclude = options.exclude.map(Excluded::new).transpose().map_err(Error::io("look at the directory"))?;
    let mut reader =
        Reader { hasher: Hasher::new(Algorithm::Sha256), options: *options, exclude, links: Links::default() };
    let what = || format!("read {}", path.display());
    let top = match path.as_os_str().is_empty() {
        true => root.open_at("", OFlags::RDONLY | OFlags::DIRECTORY).map_err(Error::io(what()))?,
        false => {
            let (dir, name) = root.parent(path).map_err(Error::io(what()))?;
            let stat = rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(Error::io(what()))?;
            let kind = FileType::from_raw_mode(stat.st_mode);
            if kind != FileType::Directory {
                reader.other(b"", dir.as_fd(), name.as_bytes(), kind)?;
                return Ok(reader.hasher.finish());
            }
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(&dir, name, flags, Mode::empty()).map_err(Error::io(what()))?
        }
    };
    walk(top, &mut reader)?;
    Ok(reader.hasher.finish())
}

/// The digest of an open file's content, from its beginning.
///
/// # Errors
/// When it cannot be read, or changes meanwhile.
pub fn content(file: &File, memory: Option<&dyn Memory>) -> Result<Digest> {
    digest_of(b"", file, memory)
}

struct Reader<'o> {
    hasher: Hasher,
    options: FingerprintOptions<'o>,
    exclude: Option<Excluded>,
    links: Links,
}

impl Visitor for Reader<'_> {
    fn directory(&mut self, path: &[u8], fd: BorrowedFd<'_>, stat: &Stat) -> Result<bool> {
        if self.exclude.is_some_and(|excluded| excluded.is(stat)) {
            return Ok(false);
        }
        let mut attributes = self.attributes(stat, Some(fd));
        attributes.xattrs = xattrs(fd).map_err(failed("read the attributes of", path))?;
        self.neutralize(&mut attributes);
        if let Some(excluded) = self.exclude {
            attributes.mtime = excluded.time(stat, attributes.mtime);
        }
        self.entry(path, b"directory", &attributes, b"");
        Ok(true)
    }

    fn other(&mut self, path: &[u8], dir: BorrowedFd<'_>, name: &[u8], kind: FileType) -> Result<()> {
        match kind {
            // Nobody copies them.
            FileType::Socket => Ok(()),
            FileType::RegularFile => self.file(path, dir, name),
            _ => self.special(path, dir, name),
        }
    }
}

impl Reader<'_> {
    fn file(&mut self, path: &[u8], dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file: OwnedFd = rustix::fs::openat(dir, name, flags, Mode::empty()).map_err(failed("open", path))?;
        let stat = rustix::fs::fstat(&file).map_err(failed("look at", path))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(changed(path));
        }
        if self.hard_link(path, &stat) {
            return Ok(());
        }
        let mut attributes = self.attributes(&stat, Some(file.as_fd()));
        attributes.xattrs = xattrs(file.as_fd()).map_err(failed("read the attributes of", path))?;
        self.neutralize(&mut attributes);
        if let Some(device) = device::take(&mut attributes.xattrs, stat.st_size as u64) {
            self.device(path, device, &attributes);
            return Ok(());
        }
        let digest = digest_of(path, &File::from(file), self.options.memory)?;
        self.entry(path, b"file", &attributes, digest.hex().as_bytes());
        Ok(())
    }

    fn special(&mut self, path: &[u8], dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
        let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed("look at", path))?;
        if self.options.from_host && overlay::is_whiteout_file(&stat) || self.hard_link(path, &stat) {
            return Ok(());
        }
        let mut attributes = self.attributes(&stat, None);
        attributes.xattrs = xattrs_at(dir, name).map_err(failed("read the attributes of", path))?;
        let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(dir, name, Vec::new()).map_err(failed("read the link", path))?;
                self.entry(path, b"link", &attributes, target.as_bytes());
            }
            FileType::CharacterDevice => self.device(path, Type::CharDevice { major, minor }, &attributes),
            FileType::BlockDevice => self.device(path, Type::BlockDevice { major, minor }, &attributes),
            FileType::Fifo => self.entry(path, b"fifo", &attributes, b""),
            _ => return Err(changed(path)),
        }
        Ok(())
    }

    fn device(&mut self, path: &[u8], device: Type, attributes: &Attributes) {
        match device {
            // An ordinary user makes none.
            _ if self.options.ownership == Ownership::Mine => {}
            Type::BlockDevice { major, minor } => {
                self.entry(path, b"block device", attributes, format!("{major} {minor}").as_bytes());
            }
            Type::CharDevice { major, minor } => {
                self.entry(path, b"character device", attributes, format!("{major} {minor}").as_bytes());
            }
            _ => {}
        }
    }

    /// Whether the file has been met under another name.
    fn hard_link(&mut self, path: &[u8], stat: &Stat) -> bool {
        let Some(first) = self.links.earlier(stat, || path.to_vec()) else { return false };
        self.entry(path, b"same as", &Attributes::default(), &first);
        true
    }

    /// The attributes that a copy would have.
    fn attributes(&self, stat: &Stat, open: Option<BorrowedFd<'_>>) -> Attributes {
        let mut attributes = Attributes {
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: Time { seconds: stat.st_mtime, nanoseconds: stat.st_mtime_nsec as u32 },
            atime: None,
            xattrs: Vec::new(),
        };
        match self.options.ownership {
            Ownership::Mine => {
                (attributes.uid, attributes.gid) = (0, 0);
                attributes.mode &= 0o1777;
            }
            Ownership::Mapped if self.options.from_host => drop(owner::adopt(&mut attributes, open)),
            _ => {}
        }
        attributes
    }

    /// What would act in overlay mounts does not come from the host.
    fn neutralize(&self, attributes: &mut Attributes) {
        if self.options.from_host {
            attributes.xattrs.retain(|(name, _)| !overlay::is_attribute(name));
        }
    }

    fn entry(&mut self, path: &[u8], kind: &[u8], attributes: &Attributes, what: &[u8]) {
        let Attributes { mode, uid, gid, mtime, xattrs, .. } = attributes;
        let numbers = format!("{mode:o} {uid} {gid} {} {} {}", mtime.seconds, mtime.nanoseconds, xattrs.len());
        let fields = [path, kind, numbers.as_bytes(), what].into_iter();
        let xattrs = xattrs.iter().flat_map(|(name, value)| [name.as_slice(), value.as_slice()]);
        for field in fields.chain(xattrs) {
            // With its length before it, a field cannot pass for two.
            self.hasher.update(&(field.len() as u64).to_le_bytes());
            self.hasher.update(field);
        }
    }
}

fn digest_of(path: &[u8], file: &File, memory: Option<&dyn Memory>) -> Result<Digest> {
    let look = || rustix::fs::fstat(file).map_err(failed("look at", path));
    let before = look()?;
    if let Some(digest) = memory.and_then(|memory| memory.recall(&before)) {
        return Ok(digest);
    }
    let (mut hasher, mut piece) = (Hasher::new(Algorithm::Sha256), vec![0; PIECE]);
    loop {
        match (&mut &*file).read(&mut piece) {
            Ok(0) => break,
            Ok(len) => hasher.update(&piece[..len]),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Error::io(format!("read {}", crate::tree::walk::shown(path).display()))(e)),
        }
    }
    let after = look()?;
    let seen = |s: &Stat| (s.st_size, s.st_mtime, s.st_mtime_nsec, s.st_ctime, s.st_ctime_nsec);
    if seen(&before) != seen(&after) {
        return Err(changed(path));
    }
    let digest = hasher.finish();
    if let Some(memory) = memory {
        memory.remember(&before, &digest);
    }
    Ok(digest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy::{CopyOptions, copy_tree};
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::time::{Duration, UNIX_EPOCH};

    const OPTIONS: FingerprintOptions<'static> =
        FingerprintOptions { ownership: Ownership::AsRecorded, from_host: false, exclude: None, memory: None };

    fn of(dir: &Path) -> String {
        fingerprint(&Root::open(dir).unwrap(), Path::new(""), &OPTIONS).unwrap().hex().to_owned()
    }

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        fs::create_dir(path("d")).unwrap();
        fs::write(path("d/a"), "a").unwrap();
        fs::write(path("b"), "bb").unwrap();
        fs::hard_link(path("b"), path("c")).unwrap();
        symlink("b", path("link")).unwrap();
        for name in ["d/a", "b", "d", ""] {
            fs::File::open(path(name)).unwrap().set_modified(UNIX_EPOCH + Duration::from_nanos(5)).unwrap();
        }
        dir
    }

    #[test]
    fn a_copy_has_the_fingerprint_of_what_it_was_made_of() {
        let (from, to) = (tree(), tempfile::tempdir().unwrap());
        let root = |dir: &tempfile::TempDir| Root::open(dir.path()).unwrap();
        let options = CopyOptions::default();
        copy_tree(&root(&from), "", &root(&to), "", &options).unwrap();
        // The owner is that of the caller, who has made both.
        assert_eq!(of(from.path()), of(to.path()));
    }

    #[test]
    fn whatever_changes_changes_it() {
        type Edit = fn(&Path);
        let edits: [(&str, Edit); 9] = [
            ("content", |dir| fs::write(dir.join("d/a"), "x").unwrap()),
            ("mode", |dir| fs::set_permissions(dir.join("d/a"), Permissions::from_mode(0o600)).unwrap()),
            ("the mode of a directory", |dir| {
                fs::set_permissions(dir.join("d"), Permissions::from_mode(0o700)).unwrap()
            }),
            ("a link's target", |dir| {
                fs::remove_file(dir.join("link")).unwrap();
                symlink("c", dir.join("link")).unwrap();
            }),
            ("a new name", |dir| fs::write(dir.join("d/new"), "").unwrap()),
            ("a name that is gone", |dir| fs::remove_file(dir.join("d/a")).unwrap()),
            ("two files instead of one", |dir| {
                fs::remove_file(dir.join("c")).unwrap();
                fs::copy(dir.join("b"), dir.join("c")).unwrap();
            }),
            ("a file that was moved", |dir| fs::rename(dir.join("d/a"), dir.join("d/b")).unwrap()),
            ("a time", |dir| {
                fs::File::open(dir.join("b")).unwrap().set_modified(UNIX_EPOCH + Duration::from_nanos(6)).unwrap();
            }),
        ];
        for (what, edit) in edits {
            let dir = tree();
            let times: Vec<_> =
                ["", "d"].map(|name| fs::metadata(dir.path().join(name)).unwrap().modified().unwrap()).into();
            let (link_before, before) = (of(dir.path()), of(dir.path()));
            assert_eq!(link_before, before);
            edit(dir.path());
            // Not by way of the directories' times.
            for (name, time) in ["", "d"].iter().zip(times) {
                fs::File::open(dir.path().join(name)).unwrap().set_modified(time).unwrap();
            }
            assert_ne!(of(dir.path()), before, "{what}");
        }
    }
}
