//! The original layers of an image, carried behind the image archive that was made of them.
//!
//! A gzip file is a row of members, and readers give out their contents one after the other. Behind those that hold the
//! archive come empty ones with a note in their headers: readers see nothing of them, and the image's ID, which is that
//! of the contents, does not depend on them. Each note is a piece of a blob. Behind all blobs comes a table of them,
//! and at the very end a member of a fixed length says where that is.
//!
//! What is found here is not trusted: it is read by digest, from the manifest that the archive has in it.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

use serde::{Deserialize, Serialize};

use crate::oci::{Descriptor, Digest};
use crate::{Error, Result};

/// The note's name in the header: a piece of a blob, and where the table is.
const PIECE: [u8; 2] = *b"AP";
const TABLE: [u8; 2] = *b"AT";

/// The most a note can hold: its length and the whole extra field's have 16 bits.
const PIECE_MAX: usize = 65_535 - 4;

/// A header with an extra field, of no time and an unknown system, as [`crate::archive`] writes them.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255];
/// No content, its checksum and its length.
const NOTHING: [u8; 10] = [3, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// Around a note: the header, two lengths and the note's name; then nothing.
const BEFORE: usize = HEADER.len() + 6;
const AROUND: usize = BEFORE + NOTHING.len();

/// Where the table is and how long.
const TABLE_NOTE: usize = 16;

/// No table is longer: there are at most 1000 layers.
const TABLE_MAX: u64 = 1 << 20;

/// A blob in the tail.
#[derive(Debug, Serialize, Deserialize)]
struct Blob {
    digest: Digest,
    size: u64,
    /// Of the first piece.
    offset: u64,
}

/// Appends blobs to `out`, which is an image archive compressed with gzip.
pub(super) struct Writer {
    out: BufWriter<File>,
    at: u64,
    table: Vec<Blob>,
}

impl Writer {
    pub(super) fn new(mut out: File) -> Result<Writer> {
        let at = out.seek(SeekFrom::End(0)).map_err(write_error)?;
        Ok(Writer { out: BufWriter::with_capacity(256 << 10, out), at, table: Vec::new() })
    }

    /// Appends a blob, unless it is there.
    pub(super) fn put(&mut self, descriptor: &Descriptor, content: &mut dyn Read) -> Result<()> {
        self.put_blob(&descriptor.digest, descriptor.size, content)
    }

    fn put_blob(&mut self, digest: &Digest, size: u64, content: &mut dyn Read) -> Result<()> {
        if self.table.iter().any(|blob| blob.digest == *digest) {
            return Ok(());
        }
        let offset = self.at;
        self.pieces(content)?;
        self.table.push(Blob { digest: digest.clone(), size, offset });
        Ok(())
    }

    /// Appends the table. Returns the length of the file.
    pub(super) fn finish(mut self) -> Result<u64> {
        let table = serde_json::to_vec(&self.table).map_err(|e| write_error(e.into()))?;
        let offset = self.at;
        self.pieces(&mut &table[..])?;
        let mut note = [0; TABLE_NOTE];
        note[..8].copy_from_slice(&offset.to_le_bytes());
        note[8..].copy_from_slice(&(table.len() as u64).to_le_bytes());
        self.member(TABLE, &note)?;
        self.out.flush().map_err(write_error)?;
        Ok(self.at)
    }

    fn pieces(&mut self, content: &mut dyn Read) -> Result<()> {
        let mut piece = Vec::with_capacity(PIECE_MAX);
        loop {
            piece.clear();
            content.take(PIECE_MAX as u64).read_to_end(&mut piece).map_err(Error::io("read a layer"))?;
            if piece.is_empty() {
                return Ok(());
            }
            self.member(PIECE, &piece)?;
        }
    }

    fn member(&mut self, name: [u8; 2], note: &[u8]) -> Result<()> {
        let mut before = [0; BEFORE];
        before[..10].copy_from_slice(&HEADER);
        before[10..12].copy_from_slice(&(note.len() as u16 + 4).to_le_bytes());
        before[12..14].copy_from_slice(&name);
        before[14..].copy_from_slice(&(note.len() as u16).to_le_bytes());
        for bytes in [&before[..], note, &NOTHING] {
            self.out.write_all(bytes).map_err(write_error)?;
        }
        self.at += (AROUND + note.len()) as u64;
        Ok(())
    }
}

fn write_error(e: std::io::Error) -> Error {
    Error::io("write the archive")(e)
}

/// The blobs behind an image archive.
pub(super) struct Tail {
    file: File,
    table: Vec<Blob>,
}

impl Tail {
    /// Looks for a tail. Whatever is not one is none.
    pub(super) fn of(file: &File) -> Option<Tail> {
        let len = file.metadata().ok().filter(std::fs::Metadata::is_file)?.len();
        let mut last = [0; AROUND + TABLE_NOTE];
        let from = len.checked_sub(last.len() as u64)?;
        file.read_exact_at(&mut last, from).ok()?;
        let note = note(&last, TABLE)?;
        let number = |at: usize| Some(u64::from_le_bytes(note.get(at..at + 8)?.try_into().ok()?));
        let (offset, size) = (number(0)?, number(8).filter(|size| *size <= TABLE_MAX)?);
        let mut table = Vec::new();
        Pieces::new(file, offset, size).read_to_end(&mut table).ok()?;
        Some(Tail { file: file.try_clone().ok()?, table: serde_json::from_slice(&table).ok()? })
    }

    /// A blob's content, not verified.
    pub(super) fn open(&self, descriptor: &Descriptor) -> Option<impl Read + Send + '_> {
        let fits = |blob: &&Blob| blob.digest == descriptor.digest && blob.size == descriptor.size;
        let blob = self.table.iter().find(fits)?;
        Some(Pieces::new(&self.file, blob.offset, blob.size))
    }
}

/// Appends the tail of the archive `from`, if it has one, to the archive `to`: another one of the same files.
pub(crate) fn carry(from: &File, to: &File) -> Result<()> {
    let Some(tail) = Tail::of(from) else { return Ok(()) };
    let mut writer = Writer::new(to.try_clone().map_err(write_error)?)?;
    for blob in &tail.table {
        writer.put_blob(&blob.digest, blob.size, &mut Pieces::new(&tail.file, blob.offset, blob.size))?;
    }
    writer.finish().map(drop)
}

/// Whether a member that begins so is the first of a tail.
pub(crate) fn is_tail(start: &[u8]) -> bool {
    start.get(..10) == Some(&HEADER[..]) && matches!(start.get(12..14), Some(name) if name == PIECE || name == TABLE)
}

/// The note in a member, if it has one of that name and nothing else.
fn note(member: &[u8], name: [u8; 2]) -> Option<&[u8]> {
    let (before, rest) = member.split_at_checked(BEFORE)?;
    let len = u16::from_le_bytes([before[14], before[15]]);
    let whole =
        before[..10] == HEADER && before[10..12] == (len.checked_add(4)?).to_le_bytes() && before[12..14] == name;
    let (note, after) = rest.split_at_checked(usize::from(len))?;
    (whole && after == NOTHING).then_some(note)
}

/// Reads the pieces of a blob.
struct Pieces<'f> {
    file: &'f File,
    at: u64,
    left: u64,
    piece: Vec<u8>,
    from: usize,
}

impl<'f> Pieces<'f> {
    fn new(file: &'f File, at: u64, left: u64) -> Pieces<'f> {
        Pieces { file, at, left, piece: Vec::new(), from: 0 }
    }

    fn next(&mut self) -> std::io::Result<()> {
        let len = self.left.min(PIECE_MAX as u64) as usize;
        let mut member = vec![0; AROUND + len];
        self.file.read_exact_at(&mut member, self.at)?;
        let found = note(&member, PIECE).ok_or(std::io::ErrorKind::InvalidData)?;
        self.piece.clear();
        self.piece.extend_from_slice(found);
        (self.from, self.at, self.left) = (0, self.at + member.len() as u64, self.left - len as u64);
        Ok(())
    }
}

impl Read for Pieces<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.from == self.piece.len() && self.left > 0 {
            self.next()?;
        }
        let len = (self.piece.len() - self.from).min(into.len());
        into[..len].copy_from_slice(&self.piece[self.from..self.from + len]);
        self.from += len;
        Ok(len)
    }
}
