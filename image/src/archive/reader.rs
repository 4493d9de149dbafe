//! A strict streaming tar reader.
//!
//! Reads what GNU tar, POSIX `pax`, libarchive, Go and star write, and refuses everything that two readers could
//! understand differently. Holds one entry's metadata at a time.

use super::entry::{Entry, PATH_MAX, Segment, Type, cleaned};
use super::fields::{attributes, header_name, kind};
use super::header::{self, BLOCK, Header};
use super::pax::Pax;
use super::sparse;
use crate::error::printable;
use crate::{Error, Result};

/// Bytes in order, lent in pieces.
pub(crate) trait Source {
    /// The next bytes, as many as there are at hand; empty at the end.
    fn fill(&mut self) -> Result<&[u8]>;

    /// Takes the first `len` of the bytes that [`Source::fill`] lent.
    fn consume(&mut self, len: usize);

    /// Passes over up to `len` bytes that have not been read yet, and tells how many those were: none, unless the source can
    /// jump.
    fn skip(&mut self, len: u64) -> u64 {
        let _ = len;
        0
    }
}

/// Extended headers larger than this are an attack: a name is at most 4 KiB, an attribute 64 KiB.
pub(super) const MAX_EXTENDED: u64 = 1 << 20;

/// How strict a tar is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// An App Container image.
    Image,
    /// A layer of an OCI image, as others write and read them: names may begin with a slash, and the end mark may be
    /// missing, with what fills the last block up (umoci). The layer's digest tells whether it is all there.
    Layer,
}

/// Reads the entries of a tar one by one.
pub(crate) struct Reader<S> {
    source: S,
    dialect: Dialect,
    offset: u64,
    /// What is left of the current entry's stored content, and the padding after it.
    left: u64,
    padding: u64,
    global: Pax,
    /// Name and offset of the current entry, for errors in its content.
    current: (Vec<u8>, u64),
}

/// What extended headers said about the entry to come.
struct Extended {
    pax: Pax,
    has_pax: bool,
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl<S: Source> Reader<S> {
    pub(crate) fn new(source: S) -> Reader<S> {
        Reader::of(Dialect::Image, source)
    }

    /// Reads a tar of this kind.
    pub(crate) fn of(dialect: Dialect, source: S) -> Reader<S> {
        Reader { source, dialect, offset: 0, left: 0, padding: 0, global: Pax::default(), current: (Vec::new(), 0) }
    }

    /// The next entry; `None` once, after the end mark and nothing but zeros behind it.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>> {
        self.skip_content()?;
        self.current = (Vec::new(), self.offset);
        let mut extended = Extended { pax: self.global.clone(), has_pax: false, name: None, link: None };
        loop {
            let Some(header) = self.header()? else {
                if extended.is_some() {
                    return Err(self.refuse("an extended header stands before no entry"));
                }
                self.only_zeros()?;
                return Ok(None);
            };
            if !self.extended_header(&header, &mut extended)? {
                return self.entry(&header, extended).map(Some);
            }
        }
    }

    /// The next piece of the current entry's stored content; empty at its end.
    pub(crate) fn content(&mut self) -> Result<&[u8]> {
        if self.left == 0 {
            return Ok(&[]);
        }
        let piece = self.source.fill().map_err(|e| e.in_entry(&self.current.0))?;
        if piece.is_empty() {
            return Err(cut_short(&self.current));
        }
        let len = piece.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        Ok(&piece[..len])
    }

    /// Takes `len` bytes of what [`Reader::content`] lent.
    pub(crate) fn consume(&mut self, len: usize) {
        self.source.consume(len);
        self.left -= len as u64;
        self.offset += len as u64;
    }

    /// The current entry's whole content, which must not be longer than `limit`.
    pub(crate) fn whole(&mut self, limit: u64) -> Result<Vec<u8>> {
        if self.left > limit {
            return Err(self.refuse(format!("it is longer than {limit} bytes")));
        }
        let mut whole = Vec::new();
        loop {
            let piece = self.content()?;
            if piece.is_empty() {
                return Ok(whole);
            }
            whole.extend_from_slice(piece);
            let len = piece.len();
            self.consume(len);
        }
    }

    /// Where the next unread byte lies in the uncompressed archive.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Gives the source back.
    pub(crate) fn into_source(self) -> S {
        self.source
    }

    fn refuse(&self, rule: impl Into<String>) -> Error {
        Error::Archive { entry: printable(&self.current.0), offset: self.current.1, rule: rule.into() }
    }

    fn skip_content(&mut self) -> Result<()> {
        if self.dialect == Dialect::Layer {
            self.skip_left()?;
            if self.may_end_here()? {
                self.padding = 0;
            }
        }
        self.left += std::mem::take(&mut self.padding);
        self.skip_left()
    }

    fn skip_left(&mut self) -> Result<()> {
        loop {
            let skipped = self.source.skip(self.left);
            self.left -= skipped;
            self.offset += skipped;
            let len = self.content()?.len();
            if len == 0 {
                return Ok(());
            }
            self.consume(len);
        }
    }

    /// The next block; `None` for the end mark of two zero blocks.
    fn header(&mut self) -> Result<Option<Header>> {
        if self.may_end_here()? {
            return Ok(None);
        }
        let first = self.block()?;
        if first.is_zero() {
            if self.may_end_here()? || self.block()?.is_zero() {
                return Ok(None);
            }
            return Err(self.refuse("a lone zero block stands before an entry"));
        }
        first.verify().map_err(|rule| self.refuse(rule))?;
        Ok(Some(first))
    }

    fn may_end_here(&mut self) -> Result<bool> {
        Ok(self.dialect == Dialect::Layer && self.source.fill()?.is_empty())
    }

    fn block(&mut self) -> Result<Header> {
        let mut block = [0; BLOCK];
        let mut have = 0;
        while have < BLOCK {
            let piece = self.source.fill().map_err(|e| e.in_entry(&self.current.0))?;
            if piece.is_empty() {
                return Err(cut_short(&self.current));
            }
            let len = piece.len().min(BLOCK - have);
            block[have..have + len].copy_from_slice(&piece[..len]);
            self.source.consume(len);
            self.offset += len as u64;
            have += len;
        }
        Ok(Header(block))
    }

    fn only_zeros(&mut self) -> Result<()> {
        loop {
            let piece = self.source.fill().map_err(|e| e.in_entry(&self.current.0))?;
            if piece.is_empty() {
                return Ok(());
            }
            if let Some(at) = piece.iter().position(|b| *b != 0) {
                let offset = self.offset + at as u64;
                return Err(Error::Archive {
                    entry: String::new(),
                    offset,
                    rule: "there is garbage after the end of the archive".into(),
                });
            }
            let len = piece.len();
            self.source.consume(len);
            self.offset += len as u64;
        }
    }

    /// Sets the content that follows a header up for reading.
    fn begin_content(&mut self, size: u64) -> Result<()> {
        let end = self.offset.checked_add(size).and_then(|end| end.checked_next_multiple_of(BLOCK as u64));
        // i64: no file and no archive can be longer.
        let end =
            end.filter(|end| *end <= i64::MAX as u64).ok_or_else(|| self.refuse("its size is impossibly large"))?;
        self.left = size;
        self.padding = end - self.offset - size;
        Ok(())
    }

    /// Takes a header that is about the next entry, and tells whether it was one.
    fn extended_header(&mut self, header: &Header, extended: &mut Extended) -> Result<bool> {
        let kind = header.kind();
        if !matches!(kind, b'x' | b'g' | b'L' | b'K') {
            return Ok(false);
        }
        let size = header.number(header::SIZE, "size").map_err(|rule| self.refuse(rule))?;
        self.begin_content(size)?;
        let data = self.whole(MAX_EXTENDED)?;
        self.skip_content()?;
        let twice = match kind {
            b'g' => {
                self.global.read(&data).map_err(|rule| self.refuse(rule))?;
                if self.global.is_about_one_entry() || extended.is_some() {
                    return Err(self.refuse("a global PAX header speaks of a single entry"));
                }
                extended.pax = self.global.clone();
                false
            }
            b'x' => {
                extended.pax.read(&data).map_err(|rule| {
                    self.current.0 = extended.pax.path.clone().unwrap_or_else(|| header_name(header));
                    self.refuse(rule)
                })?;
                std::mem::replace(&mut extended.has_pax, true)
            }
            b'L' => extended.name.replace(header::until_nul(&data).to_vec()).is_some(),
            _ => extended.link.replace(header::until_nul(&data).to_vec()).is_some(),
        };
        match twice {
            true => Err(self.refuse("two extended headers of the same kind stand before one entry")),
            false => Ok(true),
        }
    }

    fn entry(&mut self, header: &Header, extended: Extended) -> Result<Entry> {
        let Extended { pax, name, link, .. } = extended;
        if name.is_some() && pax.path.is_some() || link.is_some() && pax.link.is_some() {
            return Err(self.refuse("it has both a GNU and a PAX long name"));
        }
        let name = pax.sparse.name.clone().or(name).or_else(|| pax.path.clone()).unwrap_or_else(|| header_name(header));
        self.current.0 = name;
        let link = link.or_else(|| pax.link.clone()).unwrap_or_else(|| header.text(header::LINK).to_vec());
        let (kind, stored) = self.checked(header, &pax, &link).map_err(|rule| self.refuse(rule))?;
        self.begin_content(stored)?;

        let map = sparse::read(self, header, &pax)?;
        let size = map.as_ref().map_or(stored, |(_, size)| *size);
        let path = cleaned(relative(self.dialect, &self.current.0)).map_err(|rule| self.refuse(rule))?;
        if kind == Type::File && self.current.0.ends_with(b"/") {
            return Err(self.refuse("it is a file, but its name ends in a slash"));
        }
        Ok(Entry {
            name: self.current.0.clone(),
            path,
            kind,
            attributes: attributes(header, &pax).map_err(|rule| self.refuse(rule))?,
            size,
            link,
            sparse: map.map(|(map, _)| map),
            acl: pax.acl,
            offset: self.current.1,
        })
    }

    /// The type and the stored size, after the rules that need nothing else.
    fn checked(&self, header: &Header, pax: &Pax, link: &[u8]) -> Result<(Type, u64), String> {
        let kind = kind(header)?;
        let stored = pax.size.map_or_else(|| header.number(header::SIZE, "size"), Ok)?;
        if kind != Type::File && stored != 0 {
            return Err(format!("it is no regular file, but {stored} bytes of content are recorded"));
        }
        if matches!(kind, Type::HardLink | Type::Symlink) {
            match link {
                b"" => return Err("it is a link without a target".into()),
                _ if link.len() > PATH_MAX => return Err(format!("its target is longer than {PATH_MAX} bytes")),
                _ if link.contains(&0) => return Err("its target has a NUL byte in it".into()),
                _ => {}
            }
        }
        Ok((kind, stored))
    }

    /// For sparse maps: reads the extension block that follows an old GNU header.
    pub(super) fn extension_block(&mut self) -> Result<Header> {
        // The extension is not part of the recorded size.
        self.block()
    }

    /// For sparse maps: reads a block of the map that precedes the content.
    pub(super) fn map_block(&mut self) -> Result<[u8; BLOCK]> {
        self.left = self.left.checked_sub(BLOCK as u64).ok_or_else(|| self.refuse("its sparse map is cut short"))?;
        Ok(self.block()?.0)
    }

    /// For sparse maps: checks that the map fits the size and what is stored.
    pub(super) fn checked_map(&self, map: Vec<Segment>, size: u64) -> Result<(Vec<Segment>, u64)> {
        sparse::check(map, size, self.left).map(|map| (map, size)).map_err(|rule| self.refuse(rule))
    }

    pub(super) fn refuse_map(&self, rule: &str) -> Error {
        self.refuse(rule)
    }
}

impl Extended {
    fn is_some(&self) -> bool {
        self.has_pax || self.name.is_some() || self.link.is_some()
    }
}

/// The name without the slashes that other readers of layers ignore.
pub(crate) fn relative(dialect: Dialect, name: &[u8]) -> &[u8] {
    match (dialect, name.iter().position(|b| *b != b'/')) {
        (Dialect::Layer, Some(start)) => &name[start..],
        (Dialect::Layer, None) if !name.is_empty() => b".",
        _ => name,
    }
}

fn cut_short((name, offset): &(Vec<u8>, u64)) -> Error {
    let rule = "the archive is cut short".into();
    Error::Archive { entry: printable(name), offset: *offset, rule }
}
