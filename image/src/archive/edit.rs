//! Another manifest for an archive, the rest of which stays as it lies in the file.
//!
//! Whatever the compression, an archive that was written here is a row of pieces that are decompressed independently
//! (`encode.rs`), and its manifest comes first:
//!
//! ```text
//! old   [manifest][files…][files…]      the first piece is decompressed
//! new   [manifest]                      and compressed with the new manifest,
//!                 [files…][files…]      what follows is copied as it is
//! ```
//!
//! Where the manifest stands elsewhere, or everything is one piece, all of it is decompressed and compressed again, with
//! the manifest first from then on.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::thread;

use super::Finished;
use super::decode::{Direct, plain, single};
use super::gzip;
use super::header::{self, BLOCK, Header};
use super::intake::{detect, read_error};
use super::reader::{Reader, Source};
use super::record::manifest_entry;
use super::stream::TarWriter;
use super::{Compression, Kind, Limit, WriteOptions, validate};
use crate::extract::{MANIFEST_MAX, Place, place};
use crate::oci::Algorithm;
use crate::{Error, Progress, Result};

/// What became of everything but the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// It lies in the new file as it did in the old one.
    Kept,
    /// It was decompressed and compressed again.
    Recompressed,
}

/// No piece that was written here is longer, plain: those of xz have 8 MiB.
const PIECE_MAX: u64 = 16 << 20;

/// What a manifest with all its headers can take.
const ENTRY_MAX: u64 = MANIFEST_MAX + (16 << 20);

/// The compression of the archive in a file.
///
/// # Errors
/// When it is no archive.
pub fn compression_of(archive: &File) -> Result<Compression> {
    let mut start = Vec::new();
    from_start(archive)?.take(BLOCK as u64).read_to_end(&mut start).map_err(Error::io("read the archive"))?;
    detect(&start)
}

/// Writes to `out` the image archive `archive` with `manifest`, verbatim, in place of its own. The rest is kept as it is
/// when the compression is to stay the same and the manifest comes first.
///
/// # Errors
/// The first rule that `archive` breaks; it is read to its end before anything is written.
pub fn replace_manifest(
    archive: &File,
    manifest: &[u8],
    out: &File,
    options: &WriteOptions,
    progress: &dyn Progress,
) -> Result<Rest> {
    let entry = manifest_entry(manifest, options.source_date_epoch)?;
    let compression = compression_of(archive)?;
    validate::whole(from_start(archive)?)?;
    progress.start(None, "write");
    let head = if compression == options.compression { Head::of(archive, compression)? } else { None };
    let rest = match head {
        Some(head) => {
            write(out, options, progress, |tar| head.write(&entry, tar))?;
            copy(archive, head.end..end_of_pieces(archive, head.end)?, out)?;
            Rest::Kept
        }
        None => {
            let old = find(&mut Reader::new(Direct::new(from_start(archive)?, Limit::Usual)?))?.within;
            write(out, options, progress, |tar| recompress(archive, &entry, old, tar))?;
            Rest::Recompressed
        }
    };
    if options.compression == Compression::Gzip {
        crate::convert::carry_originals(archive, out)?;
    }
    progress.finish();
    Ok(rest)
}

/// The pieces up to the one in which the manifest ends.
struct Head {
    plain: Vec<u8>,
    /// Where the manifest is in there, headers and padding included.
    manifest: Range<usize>,
    /// Where the next piece begins in the file.
    end: u64,
}

impl Head {
    /// None when the manifest does not come first, or there are no pieces.
    fn of(archive: &File, compression: Compression) -> Result<Option<Head>> {
        let input = Counted { source: BufReader::new(from_start(archive)?), position: 0 };
        let mut reader = Reader::new(Pieces { compression, input, plain: Vec::new(), from: 0, too_long: false });
        let found = find(&mut reader);
        let mut pieces = reader.into_source();
        if pieces.too_long {
            return Ok(None);
        }
        let Manifest { within, first } = found?;
        let (Ok(start), Ok(end)) = (usize::try_from(within.start), usize::try_from(within.end)) else {
            return Ok(None);
        };
        while first && pieces.plain.len() < end && pieces.more()? {}
        let whole = first && pieces.plain.len() >= end;
        Ok(whole.then_some(Head { manifest: start..end, end: pieces.input.position, plain: pieces.plain }))
    }

    /// Writes its content with another manifest.
    fn write(&self, entry: &[u8], tar: &mut TarWriter) -> Result<()> {
        let Range { start, end } = self.manifest;
        [&self.plain[..start], globals(&self.plain[start..end]), entry].iter().try_for_each(|part| tar.raw(part))?;
        tar.cut()?;
        tar.raw(&self.plain[end..])
    }
}

/// A file that counts what has been read of it.
struct Counted {
    source: BufReader<File>,
    position: u64,
}

impl Read for Counted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(into)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl BufRead for Counted {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.source.fill_buf()
    }

    fn consume(&mut self, len: usize) {
        self.source.consume(len);
        self.position += len as u64;
    }
}

/// The plain bytes, a piece at a time; all of them are kept.
struct Pieces {
    compression: Compression,
    input: Counted,
    plain: Vec<u8>,
    from: usize,
    /// There was a piece that was not written here.
    too_long: bool,
}

impl Pieces {
    /// Decompresses the next piece that is not empty, and tells whether there was one.
    fn more(&mut self) -> Result<bool> {
        let Pieces { compression, input, plain, too_long, .. } = self;
        let before = plain.len();
        while plain.len() == before {
            let offset = input.position;
            let failed = |e| read_error(*compression, offset, e);
            if input.fill_buf().map_err(failed)?.is_empty() {
                return Ok(false);
            }
            let piece = single(*compression, &mut *input).map_err(failed)?;
            let read = piece.take(PIECE_MAX + 1).read_to_end(plain).map_err(failed)?;
            if read as u64 > PIECE_MAX {
                *too_long = true;
                plain.truncate(before);
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Source for Pieces {
    fn fill(&mut self) -> Result<&[u8]> {
        if self.from == self.plain.len() {
            self.more()?;
        }
        Ok(&self.plain[self.from..])
    }

    fn consume(&mut self, len: usize) {
        self.from += len;
    }
}

/// Where the manifest is in the plain archive.
struct Manifest {
    within: Range<u64>,
    /// No file comes before it.
    first: bool,
}

/// Reads on to the end of the manifest.
fn find<S: Source>(reader: &mut Reader<S>) -> Result<Manifest> {
    let mut first = true;
    while let Some(entry) = reader.next()? {
        match place(Kind::Aci, &entry)? {
            Place::Top => {}
            Place::Rootfs(_) => first = false,
            Place::Manifest => {
                reader.whole(MANIFEST_MAX)?;
                let end = reader.offset().next_multiple_of(BLOCK as u64);
                return Ok(Manifest { within: entry.offset..end, first });
            }
        }
    }
    let rule = "the archive ends without a manifest: it is no App Container image".into();
    Err(Error::Archive { entry: String::new(), offset: reader.offset(), rule })
}

/// The headers in front of an entry that are about all that follow it, too.
fn globals(entry: &[u8]) -> &[u8] {
    let mut at = 0;
    while let Some(block) = entry.get(at..at + BLOCK).and_then(|block| block.try_into().ok()) {
        let header = Header(block);
        let size = header.number(header::SIZE, "size").ok().and_then(|size| usize::try_from(size).ok());
        match (header.kind(), size) {
            (b'g', Some(size)) => at = at.saturating_add(BLOCK).saturating_add(size).next_multiple_of(BLOCK),
            _ => break,
        }
    }
    entry.get(..at).unwrap_or_default()
}

/// Writes all of the archive but the manifest at `old`, behind the new one.
fn recompress(archive: &File, entry: &[u8], old: Range<u64>, tar: &mut TarWriter) -> Result<()> {
    if old.end - old.start > ENTRY_MAX {
        return Err(Error::Option(format!("the headers of the manifest are longer than {ENTRY_MAX} bytes together")));
    }
    let mut source = plain(from_start(archive)?)?;
    tar.raw(entry)?;
    pass(&mut (&mut source).take(old.start), tar)?;
    let mut entry = Vec::new();
    (&mut source).take(old.end - old.start).read_to_end(&mut entry).map_err(Error::io("read the archive"))?;
    tar.raw(globals(&entry))?;
    tar.cut()?;
    pass(&mut source, tar)
}

pub(super) fn pass(source: &mut impl Read, tar: &mut TarWriter) -> Result<()> {
    let mut buffer = vec![0; 256 << 10];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => tar.raw(&buffer[..read])?,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Error::io("read the archive")(e)),
        }
    }
}

/// Compresses what `fill` writes.
pub(super) fn write(
    out: &File,
    options: &WriteOptions,
    progress: &dyn Progress,
    fill: impl FnOnce(&mut TarWriter) -> Result<()>,
) -> Result<Finished> {
    let out = out.try_clone().map_err(Error::io("write the archive"))?;
    thread::scope(|scope| {
        let mut tar = TarWriter::start(scope, out, options, (Algorithm::Sha512, false), progress)?;
        let filled = fill(&mut tar);
        tar.finish(filled)
    })
}

/// Where the pieces from `at` on end: at the end of the file, unless they are gzip members of ours that are followed by
/// the layers that the image was once made of (`convert/tail.rs`). Those say where they lie in the file, and are written
/// anew.
fn end_of_pieces(archive: &File, mut at: u64) -> Result<u64> {
    let len = archive.metadata().map_err(Error::io("read the archive"))?.len();
    loop {
        let mut start = [0; gzip::HEADER_LEN];
        let wanted = usize::try_from(len.saturating_sub(at)).unwrap_or(usize::MAX).min(start.len());
        archive.read_exact_at(&mut start[..wanted], at).map_err(Error::io("read the archive"))?;
        match gzip::member(&start) {
            Some((member, _)) => at += member as u64,
            None if crate::convert::is_tail(&start) => return Ok(at),
            None => return Ok(len),
        }
    }
}

fn copy(archive: &File, part: Range<u64>, mut out: &File) -> Result<()> {
    let mut source = from_start(archive)?;
    source.seek(SeekFrom::Start(part.start)).map_err(Error::io("read the archive"))?;
    let len = part.end.saturating_sub(part.start);
    let copied = io::copy(&mut source.take(len), &mut out).map_err(Error::io("write the archive"))?;
    match copied == len {
        true => Ok(()),
        false => Err(Error::NotAnArchive("it became shorter while it was read".into())),
    }
}

pub(super) fn from_start(archive: &File) -> Result<File> {
    let mut file = archive.try_clone().map_err(Error::io("read the archive"))?;
    file.rewind().map_err(Error::io("read the archive"))?;
    Ok(file)
}
