//! From a layer's tar to a tree in overlay form.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use appc_rooted::{OFlags, Root};

use crate::archive::decode::Stream;
use crate::archive::entry::{Entry, Type, cleaned};
use crate::archive::reader::{Reader, Source};
use crate::archive::{Omission, Ownership};
use crate::extract::{explain, note_acting, take_acting, write_content};
use crate::oci::{Algorithm, Digest};
use crate::tree::{Conflict, Failure, Tree, overlay};
use crate::{Error, Progress, Result};

/// What stands before the name of a file that a layer removes.
const WHITEOUT: &[u8] = b".wh.";
/// The name that makes the directory it is in opaque.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Names that aufs used for itself begin so; they mean nothing anywhere else.
const AUFS: &[u8] = b".wh..wh.";

/// How a layer is unpacked.
#[derive(Debug)]
pub struct LayerOptions {
    /// Gets a copy of every byte of the layer as it came, compressed.
    pub tee: Option<File>,
    /// Whose the files become.
    pub ownership: Ownership,
    /// How the digest of the plain tar is computed.
    pub algorithm: Algorithm,
}

/// A layer that was unpacked.
#[derive(Debug, Clone)]
pub struct UnpackedLayer {
    /// The digest of the plain tar.
    pub diff_id: Digest,
    /// The layer's size in bytes as it came, compressed.
    pub size: u64,
    /// Bytes of file content in the tree.
    pub tree_size: u64,
    /// What was left out of the tree.
    pub omitted: Vec<Omission>,
    /// Directories that no entry describes, parents first: they have to be like those of the layers below, if those have
    /// them. Not the root.
    pub implied: Vec<PathBuf>,
    /// Hard links to files that are in no entry before them, hence in a layer below: the name and its target.
    pub links: Vec<(PathBuf, PathBuf)>,
}

/// Unpacks the layer `source`, a tar compressed in any way, into `rootfs`, an empty directory, in overlay form.
///
/// Nothing is synced to disk. After an error `rootfs` holds what was made until then.
///
/// # Errors
/// [`Error::Archive`] with the entry, its offset and the rule that it breaks: the rules of images, but that an entry may
/// replace a file of the same name, and that marks for removed files must name one.
pub fn unpack_layer(
    source: impl Read + Send,
    rootfs: &Root,
    options: &LayerOptions,
    progress: &dyn Progress,
) -> Result<UnpackedLayer> {
    let top = rootfs.open_at("", OFlags::RDONLY | OFlags::DIRECTORY).map_err(Error::io("open the target directory"))?;
    let tree = Tree::new(top, options.ownership, Conflict::Replace)?;
    let mut layer = Layer { tree, removed: BTreeSet::new(), opaque: BTreeSet::new(), links: Vec::new(), tree_size: 0 };
    std::thread::scope(|scope| {
        let stream = Stream::start(scope, source, options.tee.as_ref(), progress, options.algorithm)?;
        let mut reader = Reader::new(stream);
        while let Some(mut entry) = reader.next()? {
            layer.entry(&mut entry, &mut reader)?;
        }
        let (diff_id, size) = reader.into_source().finish()?;
        layer.finish(diff_id, size)
    })
}

/// The digest of the plain tar of the layer `source` and the layer's compressed size, without unpacking it; `tee` gets a
/// copy of every byte as it came.
pub fn digest_layer(
    source: impl Read + Send,
    tee: Option<&File>,
    algorithm: Algorithm,
    progress: &dyn Progress,
) -> Result<(Digest, u64)> {
    std::thread::scope(|scope| {
        let mut stream = Stream::start(scope, source, tee, progress, algorithm)?;
        loop {
            let len = stream.fill()?.len();
            if len == 0 {
                return stream.finish();
            }
            stream.consume(len);
        }
    })
}

/// A layer's tree in the making.
struct Layer {
    tree: Tree,
    /// Paths that are removed from the layers below. Kept to the end: they say nothing about this layer's own files,
    /// whichever comes first.
    removed: BTreeSet<Vec<u8>>,
    /// Directories of whose content in the layers below nothing is left.
    opaque: BTreeSet<Vec<u8>>,
    links: Vec<(PathBuf, PathBuf)>,
    tree_size: u64,
}

impl Layer {
    fn entry<S: Source>(&mut self, entry: &mut Entry, reader: &mut Reader<S>) -> Result<()> {
        match mark(&entry.path) {
            Mark::None => {}
            Mark::Ignored => return Ok(()),
            Mark::Opaque(dir) => return drop_ok(self.opaque.insert(dir.to_vec())),
            Mark::Removed(path) => return drop_ok(self.removed.insert(path)),
            Mark::Bad(rule) => return Err(entry.refuse(rule)),
        }
        let acting = take_acting(entry);
        let entry = &*entry;
        self.make(entry, reader).map_err(|failure| explain(entry, failure))?;
        note_acting(&mut self.tree, &entry.path, entry, &acting);
        Ok(())
    }

    fn make<S: Source>(&mut self, entry: &Entry, reader: &mut Reader<S>) -> Result<(), Failure> {
        let (path, attributes) = (entry.path.as_slice(), &entry.attributes);
        match entry.kind {
            Type::Directory => self.tree.directory(path, attributes.clone()),
            Type::File => {
                self.tree_size = self.tree_size.saturating_add(entry.size);
                self.tree.file(path, attributes, entry.size, |file| write_content(entry, reader, file))
            }
            Type::Symlink => self.tree.symlink(path, &entry.link, attributes),
            Type::HardLink => self.hard_link(path, entry),
            kind if overlay::is_whiteout(kind) => self.tree.skip(path, "device 0:0, which would hide other files"),
            kind => self.tree.node(path, kind, attributes),
        }
    }

    fn hard_link(&mut self, path: &[u8], entry: &Entry) -> Result<(), Failure> {
        // Some writers make the targets of links absolute, all of them mean the root of the image.
        let link = entry.link.strip_prefix(b"/").unwrap_or(&entry.link);
        let target = cleaned(link).map_err(|rule| Failure::Rule(format!("as a hard link's target, {rule}")))?;
        if !matches!(mark(&target), Mark::None) || target.is_empty() {
            return Err(Failure::Rule("it is a hard link to a mark for removed files, or to the root".into()));
        }
        if self.tree.has(&target)? {
            return self.tree.hard_link(path, &target);
        }
        // A file of a layer below, or nothing: who knows the layers below finds out.
        const MOST: usize = 100_000;
        if self.links.len() == MOST {
            return Err(Failure::Rule(format!("more than {MOST} hard links lead to other layers")));
        }
        let path = |path: &[u8]| PathBuf::from(OsStr::from_bytes(path));
        self.links.push((path(&entry.path), path(&target)));
        Ok(())
    }

    fn finish(mut self, diff_id: Digest, size: u64) -> Result<UnpackedLayer> {
        let fail = |path: &[u8], failure| {
            let shown = crate::error::printable(path);
            match failure {
                Failure::Errno(errno) => Error::io(format!("mark {shown} as removed"))(errno),
                Failure::Content(error) => error,
                Failure::Rule(rule) => Error::Archive { entry: shown, offset: 0, rule },
            }
        };
        for path in std::mem::take(&mut self.removed) {
            self.tree.whiteout(&path).map_err(|failure| fail(&path, failure))?;
        }
        for path in std::mem::take(&mut self.opaque) {
            self.tree.opaque(&path).map_err(|failure| fail(&path, failure))?;
        }
        let implied = self.tree.implied();
        let omitted = self.tree.finish()?;
        Ok(UnpackedLayer { diff_id, size, tree_size: self.tree_size, omitted, implied, links: self.links })
    }
}

fn drop_ok(_: bool) -> Result<()> {
    Ok(())
}

/// What the name of an entry means in a layer.
#[derive(Debug, PartialEq)]
enum Mark<'p> {
    /// A file like another.
    None,
    /// Nothing that concerns us.
    Ignored,
    /// This directory hides what is below it.
    Opaque(&'p [u8]),
    /// There is nothing of this name in the layers below.
    Removed(Vec<u8>),
    Bad(&'static str),
}

fn mark(path: &[u8]) -> Mark<'_> {
    let (dir, name) = match path.iter().rposition(|b| *b == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&b""[..], path),
    };
    if path.split(|b| *b == b'/').any(|name| name.starts_with(AUFS) && name != OPAQUE) {
        return Mark::Ignored;
    }
    if dir.split(|b| *b == b'/').any(|name| name.starts_with(WHITEOUT)) {
        return Mark::Bad("it is below a mark for a removed file");
    }
    match name.strip_prefix(WHITEOUT) {
        None => Mark::None,
        Some(_) if name == OPAQUE => Mark::Opaque(dir),
        Some(b"" | b"." | b"..") => Mark::Bad("it is a mark for a removed file that names none"),
        Some(removed) if dir.is_empty() => Mark::Removed(removed.to_vec()),
        Some(removed) => Mark::Removed([dir, b"/", removed].concat()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks() {
        for name in ["", "a", "a/b", ".whatever", "a/.w", "wh.x"] {
            assert_eq!(mark(name.as_bytes()), Mark::None, "{name}");
        }
        assert_eq!(mark(b".wh.a"), Mark::Removed(b"a".to_vec()));
        assert_eq!(mark(b"a/b/.wh..c"), Mark::Removed(b"a/b/.c".to_vec()));
        assert_eq!(mark(b"a/b/.wh..wh..opq"), Mark::Opaque(b"a/b"));
        assert_eq!(mark(b".wh..wh..opq"), Mark::Opaque(b""));
        for name in [".wh..wh.plnk", ".wh..wh.plnk/1.2", ".wh..wh.aufs", "a/.wh..wh.orph"] {
            assert_eq!(mark(name.as_bytes()), Mark::Ignored, "{name}");
        }
        for name in [".wh.", ".wh..", ".wh...", "a/.wh...", ".wh.a/b", "x/.wh.a/.wh.b", ".wh..wh..opq/x"] {
            assert!(matches!(mark(name.as_bytes()), Mark::Bad(_)), "{name}");
        }
    }
}
