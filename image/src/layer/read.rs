//! From the tar of a layer to a tree in the form of overlay mounts.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use appc_rooted::{OFlags, Root};

use crate::archive::decode::{How, Stream};
use crate::archive::entries::WHITEOUT;
use crate::archive::entry::{Entry, Type, cleaned};
use crate::archive::reader::{Dialect, Reader, Source, relative};
use crate::archive::{Limit, Omission, Ownership};
use crate::extract::{explain, note_acting, take_unsafe, write_content};
use crate::oci::{Algorithm, Digest};
use crate::tree::{Conflict, Failure, Tree, overlay};
use crate::{Error, Progress, Result};

/// What hides everything in a directory that is in the layers below.
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Other names with this beginning are the business of aufs, which wrote layers once.
const AUFS: &[u8] = b".wh..wh.";

/// The most that the paths of all that is unsettled may take together: no layer that means well comes near.
const UNSETTLED_MAX: usize = 64 << 20;

/// How a layer is unpacked.
#[derive(Debug)]
pub struct LayerOptions {
    /// Gets a copy of every byte of the layer as it came, compressed.
    pub tee: Option<File>,
    /// Whose the files become, and for whose overlay mounts the tree is.
    pub ownership: Ownership,
    /// How the digest of the plain tar is computed.
    pub algorithm: Algorithm,
    /// How large it may be.
    pub limit: Limit,
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
    /// Everything below is hidden, which an overlay mount cannot be told of its top directory.
    pub hides_all: bool,
}

impl UnpackedLayer {
    /// Whether the tree is all there, and so the same whatever layers are below. Otherwise see
    /// [`settle_layer`](super::settle_layer).
    pub fn is_settled(&self) -> bool {
        self.implied.is_empty() && self.links.is_empty() && !self.hides_all
    }
}

/// Unpacks the layer `source`, a tar compressed in any way, into `rootfs`, an empty directory, in overlay form. One pass,
/// on several threads.
///
/// Nothing is synced to disk. After an error `rootfs` holds what was made until then. The digest of what `source` gives is
/// not looked at: see [`verified`](crate::oci::verified).
///
/// # Errors
/// [`Error::Archive`] with the entry, its offset and the rule that it breaks: the rules of images, but that an entry may
/// replace a file of the same name, that names may begin with a slash, and that marks for removed files must name one.
pub fn unpack_layer(
    source: impl io::Read + Send,
    rootfs: &Root,
    options: &LayerOptions,
    progress: &dyn Progress,
) -> Result<UnpackedLayer> {
    let top = rootfs.open_at("", OFlags::RDONLY | OFlags::DIRECTORY).map_err(Error::io("open the target directory"))?;
    let layer = Layer::new(top, options.ownership)?;
    std::thread::scope(|scope| {
        let how = How { algorithm: options.algorithm, dialect: Dialect::Layer, limit: options.limit };
        let stream = Stream::start(scope, source, options.tee.as_ref(), how, progress)?;
        let mut reader = Reader::of(Dialect::Layer, stream);
        let Made { tree_size, omitted, implied, links, hides_all } = layer.run(&mut reader)?;
        let (diff_id, size) = reader.into_source().finish()?;
        Ok(UnpackedLayer { diff_id, size, tree_size, omitted, implied, links, hides_all })
    })
}

/// The digest of the plain tar of the layer `source` and the layer's compressed size, without unpacking it; `tee` gets a
/// copy of every byte as it came.
pub fn digest_layer(
    source: impl io::Read + Send,
    tee: Option<&File>,
    algorithm: Algorithm,
    limit: Limit,
    progress: &dyn Progress,
) -> Result<(Digest, u64)> {
    std::thread::scope(|scope| {
        let mut stream =
            Stream::start(scope, source, tee, How { algorithm, dialect: Dialect::Layer, limit }, progress)?;
        loop {
            let len = stream.fill()?.len();
            if len == 0 {
                return stream.finish();
            }
            stream.consume(len);
        }
    })
}

/// A layer in the making.
struct Layer {
    tree: Tree,
    tree_size: u64,
    links: Vec<(PathBuf, PathBuf)>,
    /// How much room the links take.
    room: usize,
    hides_all: bool,
}

/// What has been made of a layer.
struct Made {
    tree_size: u64,
    omitted: Vec<Omission>,
    implied: Vec<PathBuf>,
    links: Vec<(PathBuf, PathBuf)>,
    hides_all: bool,
}

/// What the name of an entry says.
#[derive(Debug, PartialEq, Eq)]
enum Meaning<'p> {
    File,
    /// This path is hidden.
    Whiteout(Vec<u8>),
    /// Everything in this directory is hidden.
    Opaque(&'p [u8]),
    Nothing,
}

fn meaning(path: &[u8]) -> Result<Meaning<'_>, &'static str> {
    let (dir, name) = match path.iter().rposition(|b| *b == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&b""[..], path),
    };
    let mut above = dir.split(|b| *b == b'/').filter(|part| part.starts_with(WHITEOUT));
    if let Some(part) = above.next() {
        return match part.starts_with(AUFS) && above.next().is_none() {
            true => Ok(Meaning::Nothing),
            false => Err("it is below a mark for a removed file"),
        };
    }
    match name.strip_prefix(WHITEOUT) {
        None => Ok(Meaning::File),
        Some(_) if name == OPAQUE => Ok(Meaning::Opaque(dir)),
        Some(_) if name.starts_with(AUFS) => Ok(Meaning::Nothing),
        Some(b"" | b"." | b"..") => Err("it is a mark for a removed file that names none"),
        Some(hidden) if dir.is_empty() => Ok(Meaning::Whiteout(hidden.to_vec())),
        Some(hidden) => Ok(Meaning::Whiteout([dir, b"/", hidden].concat())),
    }
}

impl Layer {
    fn new(top: OwnedFd, ownership: Ownership) -> Result<Layer> {
        let tree = Tree::new(top, ownership, Conflict::Layer)?;
        Ok(Layer { tree, tree_size: 0, links: Vec::new(), room: 0, hides_all: false })
    }

    fn run<S: Source>(mut self, reader: &mut Reader<S>) -> Result<Made> {
        while let Some(mut entry) = reader.next()? {
            let acting = take_unsafe(&mut entry, true);
            self.entry(&entry, reader).map_err(|failure| explain(&entry, failure))?;
            note_acting(&mut self.tree, &entry.path, &entry, &acting);
        }
        let implied = self.tree.implied(UNSETTLED_MAX).map_err(|_| too_many(reader.offset()))?;
        let implied = implied.iter().map(|path| path_of(path)).collect();
        let Layer { tree, tree_size, links, hides_all, .. } = self;
        Ok(Made { tree_size, omitted: tree.finish()?, implied, links, hides_all })
    }

    fn entry<S: Source>(&mut self, entry: &Entry, reader: &mut Reader<S>) -> Result<(), Failure> {
        let meaning = meaning(&entry.path).map_err(|rule| Failure::Rule(rule.into()))?;
        // aufs made its whiteouts hard links of one empty file.
        let marks = matches!(entry.kind, Type::File | Type::HardLink);
        match meaning {
            Meaning::File => self.make(entry, reader),
            Meaning::Nothing => Ok(()),
            _ if !marks => Err(Failure::Rule("a mark for removed files must be an empty file".into())),
            Meaning::Whiteout(path) => self.tree.whiteout(&path),
            Meaning::Opaque(b"") => {
                self.hides_all = true;
                // Overlay mounts ignore it, but whoever copies the layer does not.
                self.tree.opaque(b"")
            }
            Meaning::Opaque(dir) => self.tree.opaque(dir),
        }
    }

    fn make<S: Source>(&mut self, entry: &Entry, reader: &mut Reader<S>) -> Result<(), Failure> {
        let Entry { path, attributes, .. } = entry;
        match entry.kind {
            Type::Directory => self.tree.directory(path, attributes.clone()),
            Type::File => {
                self.tree_size = self.tree_size.saturating_add(entry.size);
                self.tree.file(path, attributes, entry.size, |file| write_content(entry, reader, file))
            }
            Type::Symlink => self.tree.symlink(path, &entry.link, attributes),
            Type::HardLink => self.hard_link(entry),
            kind if overlay::is_whiteout(kind) => self.tree.skip(path, overlay::WHITEOUT),
            kind => self.tree.node(path, kind, attributes),
        }
    }

    fn hard_link(&mut self, entry: &Entry) -> Result<(), Failure> {
        let bad = |rule: String| Failure::Rule(format!("as a hard link's target, {rule}"));
        let target = cleaned(relative(Dialect::Layer, &entry.link)).map_err(bad)?;
        if target.is_empty() {
            return Err(Failure::Rule("it is a hard link to the root".into()));
        }
        if target.split(|b| *b == b'/').any(|part| part.starts_with(WHITEOUT)) {
            return Err(Failure::Rule("it is a hard link to a mark for removed files".into()));
        }
        match self.tree.hard_link(&entry.path, &target) {
            Err(Failure::NoTarget) => {
                // What is not in this layer must be in one below; what has the name until then is replaced.
                self.room += entry.path.len() + target.len();
                if self.room > UNSETTLED_MAX {
                    return Err(Failure::Rule("too many hard links lead to the layers below".into()));
                }
                self.links.push((path_of(&entry.path), path_of(&target)));
                self.tree.directory_of(&entry.path)
            }
            done => done,
        }
    }
}

fn path_of(path: &[u8]) -> PathBuf {
    OsStr::from_bytes(path).into()
}

fn too_many(offset: u64) -> Error {
    let rule = "too many of its directories are not described".into();
    Error::Archive { entry: String::new(), offset, rule }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_mean_something() {
        let whiteout = |path: &str| Ok(Meaning::Whiteout(path.as_bytes().to_vec()));
        for (path, expected) in [
            ("a/b", Ok(Meaning::File)),
            ("a/.whx", Ok(Meaning::File)),
            ("a/x.wh.y", Ok(Meaning::File)),
            ("", Ok(Meaning::File)),
            (".wh.a", whiteout("a")),
            ("a/.wh.b", whiteout("a/b")),
            ("a/.wh...b", whiteout("a/..b")),
            (".wh..wh..opq", Ok(Meaning::Opaque(b""))),
            ("a/b/.wh..wh..opq", Ok(Meaning::Opaque(b"a/b"))),
            (".wh..wh.plnk", Ok(Meaning::Nothing)),
            (".wh..wh.plnk/12.34", Ok(Meaning::Nothing)),
            ("a/.wh..wh.aufs", Ok(Meaning::Nothing)),
        ] {
            assert_eq!(meaning(path.as_bytes()), expected, "{path}");
        }
        for bad in [".wh.", ".wh..", ".wh...", "a/.wh...", "a/.wh.b/c", ".wh..wh.x/.wh.y/z", ".wh./x"] {
            assert!(meaning(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
