//! What lies where in a tar, so that its files can be read in any order.

use std::cell::Cell;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::section::Section;
use crate::archive::decode::plain;
use crate::archive::entry::{Type, cleaned};
use crate::archive::reader::{Dialect, Reader, Source};
use crate::archive::{Compression, first_name};
use crate::error::printable;
use crate::{Error, Result};

/// An archive with more files than this, or with longer names, holds no images.
const ENTRIES_MAX: usize = 100_000;
const NAMES_MAX: usize = 16 << 20;

/// A compressed archive may be unpacked to so much, and to so many times its own length. The layers in it are mostly
/// compressed already; what is made to fill the disk reaches a thousand times.
const SPOOL_FREE: u64 = 256 << 20;
const SPOOL_RATIO: u64 = 128;
const PIECE: u64 = 1 << 20;

/// Links from one name to another, in a row. `docker save` makes one for a layer that images share.
const LINKS_MAX: usize = 8;

/// What an archive holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveKind {
    /// An OCI layout.
    Oci,
    /// What `docker save` writes.
    Docker,
    /// Something else, such as a root file system.
    Other,
}

/// What the archive `file` holds, by the names in it.
///
/// # Errors
/// When it cannot be read. What is no archive, or has more in it than an image, is something else.
pub fn archive_kind(file: &Path) -> Result<ArchiveKind> {
    // A root file system is known by its first name: it may be large, and compressed.
    let opened = File::open(file).map_err(Error::io(format!("open {}", file.display())))?;
    let first = first_name(opened).unwrap_or_default();
    if TOP_OF_SYSTEMS.contains(&&*first) {
        return Ok(ArchiveKind::Other);
    }
    let tar = match Tar::open(file) {
        Ok(tar) => tar,
        Err(error @ Error::Io { .. }) => return Err(error),
        // Meant as an image it is refused with what is wrong in it.
        Err(_) if matches!(&*first, b"oci-layout" | b"blobs" | b"index.json") => return Ok(ArchiveKind::Oci),
        Err(_) if first == b"manifest.json" => return Ok(ArchiveKind::Docker),
        Err(_) => return Ok(ArchiveKind::Other),
    };
    let has = |name: &str| tar.entries.contains_key(name.as_bytes());
    Ok(match () {
        () if has(super::LAYOUT_FILE) && has(super::INDEX_FILE) => ArchiveKind::Oci,
        () if has("manifest.json") => ArchiveKind::Docker,
        () => ArchiveKind::Other,
    })
}

/// What root file systems have at their top, and images have not.
const TOP_OF_SYSTEMS: [&[u8]; 21] = [
    b"bin", b"boot", b"dev", b"etc", b"home", b"lib", b"lib32", b"lib64", b"libx32", b"media", b"mnt", b"opt", b"proc",
    b"root", b"run", b"sbin", b"srv", b"sys", b"tmp", b"usr", b"var",
];

/// A tar, open, with its contents page.
pub(super) struct Tar {
    file: File,
    entries: HashMap<Vec<u8>, Lies>,
}

/// Where the content of an entry is.
enum Lies {
    At {
        offset: u64,
        len: u64,
    },
    /// Under this name.
    As(Vec<u8>),
}

impl Tar {
    /// Reads the headers. What is compressed, or no file, is first copied to a temporary file.
    pub(super) fn open(path: &Path) -> Result<Tar> {
        let opened = || format!("open {}", path.display());
        let mut file = File::open(path).map_err(Error::io(opened()))?;
        let mut start = [0; Compression::MAGIC_LEN];
        let regular = file.metadata().map_err(Error::io(opened()))?.is_file();
        let len = read_some(&mut file, &mut start)?;
        if !regular || Compression::detect(&start[..len]) != Some(Compression::None) {
            file = spool(start[..len].chain(file))?;
        }
        let end = file.metadata().map_err(Error::io(opened()))?.len();
        let entries = list(&file, end)?;
        Ok(Tar { file, entries })
    }

    /// The content of the file `path` and its length, if there is one.
    pub(super) fn read(&self, path: &str) -> Result<Option<(Section<'_>, u64)>> {
        let mut path = path.as_bytes();
        for _ in 0..LINKS_MAX {
            match self.entries.get(path) {
                None => return Ok(None),
                Some(Lies::At { offset, len }) => return Ok(Some((Section::new(&self.file, *offset, *len), *len))),
                Some(Lies::As(other)) => path = other,
            }
        }
        let rule = "it is a link in a circle".into();
        Err(Error::Archive { entry: printable(path), offset: 0, rule })
    }
}

fn read_some(file: &mut File, into: &mut [u8]) -> Result<usize> {
    let mut have = 0;
    while have < into.len() {
        match file.read(&mut into[have..]).map_err(Error::io("read the archive"))? {
            0 => break,
            len => have += len,
        }
    }
    Ok(have)
}

/// The plain tar in a file without a name.
fn spool(source: impl Read) -> Result<File> {
    let what = "unpack the archive to a temporary file";
    let mut copy = tempfile::tempfile().map_err(Error::io("make a temporary file"))?;
    let taken = Cell::new(0);
    let mut source = plain(Counted { source, taken: &taken })?;
    let mut made = 0;
    loop {
        let len = io::copy(&mut source.by_ref().take(PIECE), &mut copy).map_err(Error::io(what))?;
        made += len;
        if len == 0 {
            return Ok(copy);
        }
        if made > SPOOL_FREE + taken.get().saturating_mul(SPOOL_RATIO) {
            let rule =
                format!("unpacked it is more than {SPOOL_RATIO} times as long, which images are not: unpack it first");
            return Err(Error::NotAnArchive(rule));
        }
    }
}

/// Counts what is read.
struct Counted<'c, R> {
    source: R,
    taken: &'c Cell<u64>,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let len = self.source.read(into)?;
        self.taken.set(self.taken.get() + len as u64);
        Ok(len)
    }
}

fn list(file: &File, end: u64) -> Result<HashMap<Vec<u8>, Lies>> {
    let mut reader = Reader::of(Dialect::Layer, Seeking { file, at: 0, end, buffer: vec![0; 4096], from: 0, to: 0 });
    let (mut entries, mut names) = (HashMap::new(), 0);
    while let Some(entry) = reader.next()? {
        let lies = match entry.kind {
            Type::File if entry.sparse.is_some() => return Err(entry.refuse("it is sparse")),
            Type::File => Lies::At { offset: reader.offset(), len: entry.size },
            Type::HardLink => Lies::As(cleaned(&entry.link).map_err(|rule| entry.refuse(rule))?),
            Type::Symlink => match resolved(&entry.path, &entry.link) {
                Some(target) => Lies::As(target),
                None => return Err(entry.refuse("it is a link that leads out of the archive")),
            },
            Type::Directory => continue,
            _ => return Err(entry.refuse("it is no file")),
        };
        names += entry.path.len() + if let Lies::As(other) = &lies { other.len() } else { 0 };
        if entries.len() >= ENTRIES_MAX || names > NAMES_MAX {
            return Err(entry.refuse("there are more files in the archive than images have"));
        }
        if entries.contains_key(&entry.path) {
            return Err(entry.refuse("it is in the archive twice"));
        }
        entries.insert(entry.path.clone(), lies);
    }
    Ok(entries)
}

/// The name that a relative link leads to, which must be in the archive.
fn resolved(path: &[u8], link: &[u8]) -> Option<Vec<u8>> {
    let mut parts: Vec<&[u8]> = path.split(|b| *b == b'/').collect();
    parts.pop();
    if link.starts_with(b"/") {
        return None;
    }
    for part in link.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join(&b'/'))
}

/// A file whose contents are jumped over.
struct Seeking<'f> {
    file: &'f File,
    at: u64,
    end: u64,
    buffer: Vec<u8>,
    from: usize,
    to: usize,
}

impl Source for Seeking<'_> {
    fn fill(&mut self) -> Result<&[u8]> {
        if self.from == self.to {
            let mut file = self.file;
            let sought = file.seek(SeekFrom::Start(self.at)).and_then(|_| file.read(&mut self.buffer));
            (self.from, self.to) = (0, sought.map_err(Error::io("read the archive"))?);
            self.at += self.to as u64;
        }
        Ok(&self.buffer[self.from..self.to])
    }

    fn consume(&mut self, len: usize) {
        self.from += len;
    }

    fn skip(&mut self, len: u64) -> u64 {
        if self.from != self.to {
            return 0;
        }
        let len = len.min(self.end.saturating_sub(self.at));
        self.at += len;
        len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bomb_is_not_unpacked() {
        let zeros = io::repeat(0).take(SPOOL_FREE + (64 << 20));
        // What is no end mark comes first.
        let mut header = crate::archive::header::Header::new(b'0');
        assert!(header.put(crate::archive::header::NAME, b"zeros"));
        let header = header.sealed();
        let plain = header.chain(zeros);
        let bomb = zstd::stream::encode_all(plain, 1).unwrap();
        let error = spool(&bomb[..]).unwrap_err().to_string();
        assert!(error.contains("128 times"), "{error}");
    }

    #[test]
    fn links_stay_in_the_archive() {
        let at = |path: &str, link: &str| resolved(path.as_bytes(), link.as_bytes());
        assert_eq!(at("a/layer.tar", "../b/layer.tar").unwrap(), b"b/layer.tar");
        assert_eq!(at("a", "./b").unwrap(), b"b");
        for bad in ["/etc/passwd", "../../etc/passwd", "../../../x"] {
            assert_eq!(at("a/layer.tar", bad), None, "{bad}");
        }
    }
}
