//! The entries of an archive that is written: one for everything in a tree.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use appc_rooted::OFlags;
use rustix::fs::{AtFlags, Dir, FileType, Mode, Stat};
use rustix::io::Errno;

use super::encode::{Finished, Sink};
use super::entry::{Attributes, PATH_MAX, Time, Type, Xattrs};
use super::header::{self, BLOCK, Header};
use super::pipeline::Closed;
use super::reader::MAX_EXTENDED;
use super::record::{Record, extended_name, manifest_entry};
use super::writer::{Told, What};
use super::{Omission, Owners, WriteOptions};
use crate::tree::apply::{xattrs, xattrs_at};
use crate::tree::device;
use crate::tree::links::Links;
use crate::tree::overlay;
use crate::tree::owner;
use crate::tree::walk::{Visitor, changed, failed, shown};
use crate::{Error, Result};

/// What the names of entries begin with that hide files of the layers below.
pub(crate) const WHITEOUT: &[u8] = b".wh.";

/// Makes an entry of everything that a walk comes to.
pub(super) struct Entries<'scope, 'p> {
    sink: Sink<'scope, 'p>,
    what: What<'p>,
    epoch: Option<i64>,
    owners: Owners,
    links: Links,
    told: Told,
    /// The output has failed.
    closed: bool,
}

impl<'scope, 'p> Entries<'scope, 'p> {
    pub(super) fn new(sink: Sink<'scope, 'p>, what: What<'p>, options: &WriteOptions) -> Entries<'scope, 'p> {
        let (epoch, owners) = (options.source_date_epoch, options.owners);
        Entries { sink, what, epoch, owners, links: Links::default(), told: Told::default(), closed: false }
    }

    /// Waits for the output, of which everything has been put that there is, or as much as `walked` says.
    pub(super) fn finish(self, walked: Result<()>) -> Result<(Finished, Told)> {
        let finished = self.sink.finish(walked.is_err());
        // When the output failed, the walk only knows that it did.
        let finished = if self.closed { finished? } else { walked.and(finished)? };
        Ok((finished, self.told))
    }
}

impl Visitor for Entries<'_, '_> {
    fn directory(&mut self, path: &[u8], fd: BorrowedFd<'_>, stat: &Stat) -> Result<bool> {
        if let What::Changes(changes) = self.what
            && !changes.has_directory(path)
        {
            return Ok(false);
        }
        let mut attributes = self.attributes(path, stat, Some(fd));
        attributes.xattrs = self.kept(path, xattrs(fd).map_err(failed("read the attributes of", path))?)?;
        self.entry(Record {
            path,
            name: &self.archived(path)?,
            kind: b'5',
            attributes: &attributes,
            size: 0,
            link: b"",
            device: (0, 0),
        })?;
        match self.what {
            What::Layer => {
                if overlay::is_opaque(fd).map_err(failed("read the attributes of", path))? {
                    self.whiteout(path, b".wh..opq", attributes.mtime)?;
                }
                for name in whiteouts(fd).map_err(failed("list", path))? {
                    self.whiteout(path, &name, Time::default())?;
                }
            }
            What::Changes(changes) => {
                for name in changes.removed_in(path) {
                    self.whiteout(path, name, Time::default())?;
                }
            }
            _ => {}
        }
        Ok(true)
    }

    fn other(&mut self, path: &[u8], dir: BorrowedFd<'_>, name: &[u8], kind: FileType) -> Result<()> {
        if let What::Changes(changes) = self.what
            && !changes.has_file(path)
        {
            return Ok(());
        }
        match kind {
            FileType::RegularFile => self.file(path, dir, name),
            FileType::Socket => {
                self.told.sockets.push(OsStr::from_bytes(path).into());
                Ok(())
            }
            _ => self.special(path, dir, name),
        }
    }
}

impl Entries<'_, '_> {
    fn is_layer(&self) -> bool {
        !matches!(self.what, What::Image(_))
    }

    /// The entry of the manifest.
    pub(super) fn manifest(&mut self, content: &[u8]) -> Result<()> {
        self.put(&manifest_entry(content, self.epoch)?)?;
        let cut = self.sink.cut();
        self.open(cut)
    }

    /// The end mark.
    pub(super) fn end(&mut self) -> Result<()> {
        self.put(&[0; 2 * BLOCK])
    }

    fn file(&mut self, path: &[u8], dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
        // If it is a fifo or a device by now, opening it must neither wait nor take a terminal.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(dir, name, flags, Mode::empty()).map_err(|errno| match errno {
            Errno::LOOP => changed(path),
            Errno::ACCESS | Errno::PERM => {
                Error::Tree { path: shown(path), rule: "permission denied: writing this tree needs root".into() }
            }
            errno => failed("open", path)(errno),
        })?;
        let stat = rustix::fs::fstat(&fd).map_err(failed("look at", path))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(changed(path));
        }
        let mut attributes = self.attributes(path, &stat, Some(fd.as_fd()));
        if self.hard_link(path, &stat, &attributes)? {
            return Ok(());
        }
        attributes.xattrs = self.kept(path, xattrs(fd.as_fd()).map_err(failed("read the attributes of", path))?)?;
        let size = stat.st_size as u64;
        let (kind, device) = match device::take(&mut attributes.xattrs, size) {
            Some(Type::CharDevice { major, minor }) => (b'3', (major, minor)),
            Some(Type::BlockDevice { major, minor }) => (b'4', (major, minor)),
            _ => (b'0', (0, 0)),
        };
        let name = &self.archived(path)?;
        self.entry(Record { path, name, kind, attributes: &attributes, size, link: b"", device })?;
        let mut file = File::from(fd);
        let read =
            self.sink.read_from(&mut file, size).map_err(Error::io(format!("read {}", shown(path).display())))?;
        if self.open(read)? != size || !same(&stat, &rustix::fs::fstat(&file).map_err(failed("look at", path))?) {
            return Err(changed(path));
        }
        self.pad(size)
    }

    /// Links, devices and fifos: nothing is opened.
    fn special(&mut self, path: &[u8], dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
        let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed("look at", path))?;
        let mut link = Vec::new();
        let (kind, device) = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(dir, name, Vec::new()).map_err(failed("read the link", path))?;
                link = target.into_bytes();
                (b'2', 0)
            }
            FileType::CharacterDevice => (b'3', stat.st_rdev),
            FileType::BlockDevice => (b'4', stat.st_rdev),
            FileType::Fifo => (b'6', 0),
            _ => return Err(changed(path)),
        };
        let mut attributes = self.attributes(path, &stat, None);
        if self.is_layer() && overlay::is_whiteout_file(&stat) {
            // It stands right behind its directory.
            return Ok(());
        }
        if self.hard_link(path, &stat, &attributes)? {
            return Ok(());
        }
        if kind == b'2' {
            // A link has no mode of its own, whatever a file system says.
            attributes.mode = 0o777;
        }
        attributes.xattrs = self.kept(path, xattrs_at(dir, name).map_err(failed("read the attributes of", path))?)?;
        let device = (rustix::fs::major(device), rustix::fs::minor(device));
        self.entry(Record {
            path,
            name: &self.archived(path)?,
            kind,
            attributes: &attributes,
            size: 0,
            link: &link,
            device,
        })
    }

    /// Writes a hard link when the file is in the archive already, and tells whether it was.
    fn hard_link(&mut self, path: &[u8], stat: &Stat, attributes: &Attributes) -> Result<bool> {
        let here = self.archived(path)?;
        let Some(first) = self.links.earlier(stat, || here.clone()) else { return Ok(false) };
        let record = Record { path, name: &here, kind: b'1', attributes, size: 0, link: &first, device: (0, 0) };
        self.entry(record).map(|()| true)
    }

    /// The entry that hides what is called `name` in `dir` in the layers below, or with `.wh..opq` all that is in there.
    /// When a whiteout was made says nothing about the layer.
    fn whiteout(&mut self, dir: &[u8], name: &[u8], mtime: Time) -> Result<()> {
        let slash: &[u8] = if dir.is_empty() { b"" } else { b"/" };
        let name = [dir, slash, WHITEOUT, name].concat();
        let attributes = Attributes { mode: 0o600, mtime, ..Attributes::default() };
        let device = (0, 0);
        self.entry(Record { path: &name, name: &name, kind: b'0', attributes: &attributes, size: 0, link: b"", device })
    }

    /// The attributes that are part of a file, without those that say how layers lie over each other.
    fn kept(&self, path: &[u8], mut xattrs: Xattrs) -> Result<Xattrs> {
        if self.is_layer() {
            if let Some(name) = xattrs.iter().find_map(|(name, _)| overlay::elsewhere(name)) {
                let rule = format!(
                    "its attribute {name} says that its content is in another layer: such a tree cannot be written as a layer"
                );
                return Err(Error::Tree { path: shown(path), rule });
            }
            xattrs.retain(|(name, _)| !overlay::is_attribute(name));
        }
        Ok(xattrs)
    }

    /// The name that `path` has in the archive.
    fn archived(&self, path: &[u8]) -> Result<Vec<u8>> {
        let name = path.rsplit(|b| *b == b'/').next().unwrap_or_default();
        match (self.is_layer(), path) {
            (false, b"") => Ok(b"rootfs".to_vec()),
            (false, path) => Ok([b"rootfs/", path].concat()),
            (true, b"") => Ok(b"./".to_vec()),
            (true, _) if name.starts_with(WHITEOUT) => {
                let rule = "in a layer, a name that begins with `.wh.` would hide another file";
                Err(Error::Tree { path: shown(path), rule: rule.into() })
            }
            (true, path) => Ok(path.to_vec()),
        }
    }

    /// `open` is a descriptor of a regular file or directory.
    fn attributes(&mut self, path: &[u8], stat: &Stat, open: Option<BorrowedFd<'_>>) -> Attributes {
        let mut mtime = Time { seconds: stat.st_mtime, nanoseconds: stat.st_mtime_nsec as u32 };
        if let Some(epoch) = self.epoch {
            mtime = mtime.min(Time { seconds: epoch, nanoseconds: 0 });
        }
        let mode = stat.st_mode & 0o7777;
        let (uid, gid) = if self.owners == Owners::Root { (0, 0) } else { (stat.st_uid, stat.st_gid) };
        let mut attributes = Attributes { mode, uid, gid, mtime, atime: None, xattrs: Vec::new() };
        if self.owners == Owners::Adopted && owner::adopt(&mut attributes, open) {
            self.told.omitted.push(Omission { path: OsStr::from_bytes(path).into(), what: owner::LOST.into() });
        }
        attributes
    }

    /// Writes a header, with an extended one before it for what does not fit.
    fn entry(&mut self, record: Record<'_>) -> Result<()> {
        if record.name.len() > PATH_MAX {
            let rule = format!("its name in the archive would be longer than {PATH_MAX} bytes");
            return Err(Error::Tree { path: shown(record.path), rule });
        }
        self.told.newest = self.told.newest.max(record.attributes.mtime.seconds);
        let (header, extended) = record.headers();
        if extended.len() as u64 > MAX_EXTENDED {
            let rule = format!("its extended attributes are longer than {MAX_EXTENDED} bytes together");
            return Err(Error::Tree { path: shown(record.path), rule });
        }
        if !extended.is_empty() {
            let mut before = Header::new(b'x');
            before.put(header::NAME, &extended_name(record.name));
            before.put_octal(header::MODE, 0o644);
            before.put_octal(header::SIZE, extended.len() as u64);
            self.put(&before.sealed())?;
            self.put(&extended)?;
            self.pad(extended.len() as u64)?;
        }
        self.put(&header.sealed())
    }

    fn put(&mut self, data: &[u8]) -> Result<()> {
        let put = self.sink.put(data);
        self.open(put)
    }

    fn pad(&mut self, len: u64) -> Result<()> {
        let over = (len % BLOCK as u64) as usize;
        if over == 0 { Ok(()) } else { self.put(&[0; BLOCK][over..]) }
    }

    /// Remembers when the output has failed.
    fn open<T>(&mut self, put: std::result::Result<T, Closed>) -> Result<T> {
        put.map_err(|Closed| {
            self.closed = true;
            Error::io("write the archive")(std::io::Error::from(std::io::ErrorKind::BrokenPipe))
        })
    }
}

/// The names that are hidden in a directory in overlay form, in the order of their bytes.
fn whiteouts(directory: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        if matches!(entry.file_type(), FileType::CharacterDevice | FileType::Unknown)
            && overlay::is_whiteout_file(&rustix::fs::statat(directory, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)?)
        {
            names.push(entry.file_name().to_bytes().to_vec());
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn same(before: &Stat, after: &Stat) -> bool {
    let facts = |s: &Stat| (s.st_size, s.st_mtime, s.st_mtime_nsec, s.st_ctime, s.st_ctime_nsec);
    facts(before) == facts(after)
}
