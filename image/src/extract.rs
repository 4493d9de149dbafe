//! From the entries of an archive to files.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use crate::archive::entry::{Entry, Type, cleaned};
use crate::archive::reader::{Reader, Source};
use crate::archive::{Kind, Omission, Ownership};
use crate::error::printable;
use crate::tree::sparse::Writer;
use crate::tree::{Conflict, Failure, Tree};
use crate::tree::{device, overlay};
use crate::{Error, Result};

/// An image manifest of more bytes than this is an attack.
pub const MANIFEST_MAX: u64 = 4 << 20;

/// Where an entry belongs.
pub(crate) enum Place<'e> {
    /// The archive's own top directory, `./`.
    Top,
    Manifest,
    /// The path below the root file system.
    Rootfs(&'e [u8]),
}

/// Where the archive's rules put `entry`, or its refusal.
pub(crate) fn place(kind: Kind, entry: &Entry) -> Result<Place<'_>> {
    if kind == Kind::RootfsTar {
        return Ok(Place::Rootfs(&entry.path));
    }
    match (entry.path.as_slice(), entry.kind) {
        (b"", Type::Directory) => Ok(Place::Top),
        (b"manifest", Type::File) if entry.sparse.is_none() => Ok(Place::Manifest),
        (b"manifest", _) => Err(entry.refuse("the manifest must be a regular file")),
        (b"rootfs", Type::Directory) => Ok(Place::Rootfs(b"")),
        (b"rootfs", _) => Err(entry.refuse("rootfs must be a directory")),
        (path, _) => match path.strip_prefix(b"rootfs/") {
            Some(below) => Ok(Place::Rootfs(below)),
            None => Err(entry.refuse("an image holds `manifest` and `rootfs` and nothing else at its top")),
        },
    }
}

/// What has been read of an archive so far.
pub(crate) struct Extractor {
    kind: Kind,
    tree: Tree,
    manifest: Option<Vec<u8>>,
    rootfs: bool,
    tree_size: u64,
    layer: bool,
}

/// What came out of an archive.
pub(crate) struct Extracted {
    pub(crate) manifest: Vec<u8>,
    pub(crate) tree_size: u64,
    pub(crate) omitted: Vec<Omission>,
}

impl Extractor {
    /// Extracts into `top`, an empty directory; with `layer`, nothing that would act in an overlay mount.
    pub(crate) fn new(top: OwnedFd, kind: Kind, ownership: Ownership, layer: bool) -> Result<Extractor> {
        let conflict = match kind {
            // No specification says that it has each file once, and tars that were appended to have not.
            Kind::RootfsTar => Conflict::Later,
            Kind::Aci => Conflict::Refuse,
        };
        let tree = Tree::new(top, ownership, conflict)?;
        Ok(Extractor { kind, tree, manifest: None, rootfs: false, tree_size: 0, layer })
    }

    /// Extracts everything.
    pub(crate) fn run<S: Source>(mut self, reader: &mut Reader<S>) -> Result<Extracted> {
        while let Some(mut entry) = reader.next()? {
            self.entry(&mut entry, reader)?;
        }
        let incomplete =
            |rule: &str| Error::Archive { entry: String::new(), offset: reader.offset(), rule: rule.into() };
        if self.kind == Kind::Aci {
            if self.manifest.is_none() {
                return Err(incomplete("the archive ends without a manifest: it is no App Container image"));
            }
            if !self.rootfs {
                return Err(incomplete("the archive ends without a rootfs: it is no App Container image"));
            }
        }
        let omitted = self.tree.finish()?;
        Ok(Extracted { manifest: self.manifest.unwrap_or_default(), tree_size: self.tree_size, omitted })
    }

    fn entry<S: Source>(&mut self, entry: &mut Entry, reader: &mut Reader<S>) -> Result<()> {
        let acting = take_unsafe(entry, self.layer);
        let entry = &*entry;
        let path = match place(self.kind, entry)? {
            Place::Top => return Ok(()),
            Place::Manifest if self.manifest.is_some() => return Err(entry.refuse("it is in the archive twice")),
            Place::Manifest => {
                self.manifest = Some(reader.whole(MANIFEST_MAX)?);
                return Ok(());
            }
            Place::Rootfs(path) => path,
        };
        self.rootfs = true;
        self.make(path, entry, reader).map_err(|failure| explain(entry, failure))?;
        note_acting(&mut self.tree, path, entry, &acting);
        Ok(())
    }

    fn make<S: Source>(&mut self, path: &[u8], entry: &Entry, reader: &mut Reader<S>) -> Result<(), Failure> {
        let attributes = &entry.attributes;
        match entry.kind {
            Type::Directory => self.tree.directory(path, attributes.clone()),
            Type::File => {
                self.tree_size = self.tree_size.saturating_add(entry.size);
                self.tree.file(path, attributes, entry.size, |file| write_content(entry, reader, file))
            }
            Type::Symlink => self.tree.symlink(path, &entry.link, attributes),
            Type::HardLink => {
                let target =
                    cleaned(&entry.link).map_err(|rule| Failure::Rule(format!("as a hard link's target, {rule}")))?;
                let below = match self.kind {
                    Kind::RootfsTar => Some(target.as_slice()),
                    Kind::Aci => target.strip_prefix(b"rootfs/"),
                };
                match below.filter(|below| !below.is_empty()) {
                    Some(below) => self.tree.hard_link(path, below),
                    None => Err(Failure::Rule("it is a hard link to something outside rootfs".into())),
                }
            }
            kind if self.layer && overlay::is_whiteout(kind) => self.tree.skip(path, overlay::WHITEOUT),
            kind => self.tree.node(path, kind, attributes),
        }
    }
}

/// Notes what of the attributes of `entry`, which has become `path`, was not kept.
pub(crate) fn note_acting(tree: &mut Tree, path: &[u8], entry: &Entry, acting: &[Vec<u8>]) {
    if entry.acl {
        tree.leave_out(path, "access control list in the format of star");
    }
    for name in acting {
        let what = match overlay::is_attribute(name) {
            true => overlay::would_act(name),
            false => format!("attribute {}, which would stand for a device", printable(name)),
        };
        tree.leave_out(path, &what);
    }
}

/// Takes the attributes of overlay mounts off an entry.
pub(crate) fn take_acting(entry: &mut Entry) -> Vec<Vec<u8>> {
    take(entry, overlay::is_attribute)
}

/// Takes the attributes off an entry that its file must not get: the one that would make a device of it, and in a layer
/// those of overlay mounts.
pub(crate) fn take_unsafe(entry: &mut Entry, layer: bool) -> Vec<Vec<u8>> {
    take(entry, |name| device::is_placeholder(name) || layer && overlay::is_attribute(name))
}

fn take(entry: &mut Entry, which: impl Fn(&[u8]) -> bool) -> Vec<Vec<u8>> {
    entry.attributes.xattrs.extract_if(.., |(name, _)| which(name)).map(|(name, _)| name).collect()
}

pub(crate) fn write_content<S: Source>(entry: &Entry, reader: &mut Reader<S>, file: &File) -> Result<()> {
    let what = || doing(entry);
    let mut writer = Writer::new(file, &what);
    let mut segments = entry.sparse.iter().flatten();
    // Content that is left to write in the current segment.
    let mut left = if entry.sparse.is_some() { 0 } else { entry.size };
    loop {
        let piece = reader.content()?;
        if piece.is_empty() {
            return writer.finish(entry.size);
        }
        if left == 0 {
            // The map has been checked: it speaks of exactly what is stored.
            let Some(segment) = segments.next() else { return Err(entry.refuse("its sparse map is too short")) };
            writer.seek(segment.offset);
            left = segment.len;
        }
        let len = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        writer.write(&piece[..len])?;
        left -= len as u64;
        reader.consume(len);
    }
}

fn doing(entry: &Entry) -> String {
    format!("unpack {}", printable(&entry.name))
}

/// A failure to make an entry's file as an error.
pub(crate) fn explain(entry: &Entry, failure: Failure) -> Error {
    use rustix::io::Errno;
    match failure {
        Failure::Content(error) => error,
        Failure::Rule(rule) | Failure::NoDirectory(rule) => entry.refuse(rule),
        Failure::NoTarget => entry.refuse("it is a hard link to something that is not in the layer before it"),
        Failure::Errno(Errno::EXIST) => entry.refuse("it is in the archive twice"),
        Failure::Errno(Errno::NAMETOOLONG) => entry.refuse("its name is longer than the file system here allows"),
        Failure::Errno(Errno::PERM | Errno::ACCESS) => {
            let why = "permission denied: keeping owners, devices and attributes needs root";
            Error::Io { what: doing(entry), cause: std::io::Error::new(std::io::ErrorKind::PermissionDenied, why) }
        }
        Failure::Errno(errno) => Error::io(doing(entry))(errno),
    }
}

/// The first component of a path.
pub(crate) fn first_component(path: &[u8]) -> &OsStr {
    OsStr::from_bytes(path.split(|b| *b == b'/').next().unwrap_or_default())
}
