//! Writing tars of plain files, one after another.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use super::entry::Attributes;
use super::header::{self, BLOCK, Header};
use super::record::{Record, extended_name};
use crate::pour::pour;
use crate::{Error, Result};

/// A tar of files that belong to root and are as old as can be: its bytes depend on names and contents only.
pub(crate) struct TarOut {
    file: File,
    /// The length so far.
    at: u64,
    written: HashMap<String, (u64, u64)>,
}

impl TarOut {
    /// Writes to `file`, which is empty.
    pub(crate) fn new(file: File) -> TarOut {
        TarOut { file, at: 0, written: HashMap::new() }
    }

    /// Adds a small file.
    pub(crate) fn add(&mut self, name: &str, content: &[u8]) -> Result<()> {
        self.stream(name, content.len() as u64, &mut &content[..])
    }

    /// Adds a file of `size` bytes. When `content` fails, the tar is as if nothing had been added.
    pub(crate) fn stream(&mut self, name: &str, size: u64, content: &mut dyn Read) -> Result<()> {
        let start = self.at;
        self.try_stream(name, size, content).inspect_err(|_| {
            self.at = start;
            // When this fails, so does the next write.
            let _ = self.file.set_len(start).and_then(|()| self.file.seek(SeekFrom::Start(start)));
        })
    }

    fn try_stream(&mut self, name: &str, size: u64, content: &mut dyn Read) -> Result<()> {
        let attributes = Attributes { mode: 0o644, ..Attributes::default() };
        let bytes = name.as_bytes();
        let record =
            Record { path: bytes, name: bytes, kind: b'0', attributes: &attributes, size, link: b"", device: (0, 0) };
        let (header, extended) = record.headers();
        if !extended.is_empty() {
            let mut before = Header::new(b'x');
            before.put(header::NAME, &extended_name(bytes));
            before.put_octal(header::MODE, 0o644);
            before.put_octal(header::SIZE, extended.len() as u64);
            self.put(&before.sealed())?;
            self.put(&extended)?;
            self.pad()?;
        }
        self.put(&header.sealed())?;
        let offset = self.at;
        let copied = pour(&mut content.take(size), &mut self.file).map_err(Error::io(format!("write {name}")))?;
        // A source that is checked has nothing more to give, and says so only when it is asked.
        let more = content.read(&mut [0]).map_err(Error::io(format!("write {name}")))?;
        if copied != size || more != 0 {
            let why = io::Error::other(format!("it does not have the {size} bytes that were announced"));
            return Err(Error::io(format!("write {name}"))(why));
        }
        self.at += size;
        self.pad()?;
        self.written.insert(name.to_owned(), (offset, size));
        Ok(())
    }

    /// Reads a file that was added.
    pub(crate) fn read_back(&mut self, name: &str, limit: u64) -> Result<Vec<u8>> {
        let what = || Error::io(format!("read {name} again"));
        let (offset, len) = *self.written.get(name).ok_or_else(|| what()(io::ErrorKind::NotFound.into()))?;
        let mut bytes = Vec::new();
        self.file.seek(SeekFrom::Start(offset)).map_err(what())?;
        (&self.file).take(len.min(limit)).read_to_end(&mut bytes).map_err(what())?;
        self.file.seek(SeekFrom::Start(self.at)).map_err(what())?;
        Ok(bytes)
    }

    /// Ends the tar and syncs it to disk.
    pub(crate) fn end(&mut self) -> Result<()> {
        self.put(&[0; 2 * BLOCK])?;
        self.file.sync_all().map_err(Error::io("write the archive"))
    }

    fn put(&mut self, data: &[u8]) -> Result<()> {
        self.file.write_all(data).map_err(Error::io("write the archive"))?;
        self.at += data.len() as u64;
        Ok(())
    }

    fn pad(&mut self) -> Result<()> {
        let over = (self.at % BLOCK as u64) as usize;
        if over == 0 { Ok(()) } else { self.put(&[0; BLOCK][over..]) }
    }
}
