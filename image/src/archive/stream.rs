//! Tars written entry by entry, by whoever makes one archive of another.

use std::fs::File;
use std::io::Read;
use std::thread::Scope;

use super::WriteOptions;
use super::decode::Direct;
use super::encode::{Finished, Sink};
use super::entry::Entry;
use super::header::BLOCK;
use super::pipeline::Closed;
use super::reader::{Dialect, Reader};
use super::record::Record;
use crate::oci::Algorithm;
use crate::{Error, Progress, Result};

/// Calls `take` with each entry of the image archive or the layer `source`.
pub(crate) fn each_entry(dialect: Dialect, source: impl Read, mut take: impl FnMut(&Entry)) -> Result<()> {
    let mut reader = Reader::of(dialect, Direct::new(source, super::Limit::NONE)?);
    while let Some(entry) = reader.next()? {
        take(&entry);
    }
    Ok(())
}

/// A tar on its way into a file, compressed and hashed on other threads.
pub(crate) struct TarWriter<'scope, 'p> {
    sink: Sink<'scope, 'p>,
    /// How much of the current content has been written.
    content: u64,
    /// How much of all contents was holes.
    zeros: u64,
    /// The output has failed.
    closed: bool,
}

/// A header of a few bytes can ask for any number of zeros.
const ZEROS_MAX: u64 = 64 << 30;

impl<'scope, 'p> TarWriter<'scope, 'p> {
    pub(crate) fn start(
        scope: &'scope Scope<'scope, '_>,
        out: File,
        options: &WriteOptions,
        digests: (Algorithm, bool),
        progress: &'p dyn Progress,
    ) -> Result<TarWriter<'scope, 'p>> {
        let sink = Sink::start(scope, out, options, digests, progress)?;
        Ok(TarWriter { sink, content: 0, zeros: 0, closed: false })
    }

    /// Begins an entry. What was missing in the last block of the one before is filled up.
    pub(crate) fn entry(&mut self, record: &Record<'_>) -> Result<()> {
        self.pad()?;
        self.raw(&record.bytes()?)
    }

    /// More of the current entry's content.
    pub(crate) fn content(&mut self, bytes: &[u8]) -> Result<()> {
        self.content += bytes.len() as u64;
        self.raw(bytes)
    }

    /// `len` zeros of content.
    pub(crate) fn zeros(&mut self, mut len: u64) -> Result<()> {
        self.zeros = self.zeros.saturating_add(len);
        if self.zeros > ZEROS_MAX {
            let rule = format!("its files have more than {ZEROS_MAX} bytes of holes, which would be written as zeros");
            return Err(Error::NotAnArchive(rule));
        }
        static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
        while len > 0 {
            let piece = len.min(ZEROS.len() as u64);
            self.content(&ZEROS[..piece as usize])?;
            len -= piece;
        }
        Ok(())
    }

    /// Bytes as they are.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        let put = self.sink.put(bytes);
        self.open(put)
    }

    /// Has what comes next be compressed by itself.
    pub(crate) fn cut(&mut self) -> Result<()> {
        let cut = self.sink.cut();
        self.open(cut)
    }

    fn open(&mut self, put: std::result::Result<(), Closed>) -> Result<()> {
        put.map_err(|Closed| {
            self.closed = true;
            Error::io("write the archive")(std::io::Error::from(std::io::ErrorKind::BrokenPipe))
        })
    }

    fn pad(&mut self) -> Result<()> {
        let len = padding(std::mem::take(&mut self.content));
        self.raw(&[0; BLOCK][..len])
    }

    /// The end mark.
    pub(crate) fn end(&mut self) -> Result<()> {
        self.pad()?;
        self.raw(&[0; 2 * BLOCK])
    }

    /// What was written, or the error that stopped it: the output's own before what followed from it.
    pub(crate) fn finish(self, written: Result<()>) -> Result<Finished> {
        let finished = self.sink.finish(written.is_err());
        if self.closed { finished } else { written.and(finished) }
    }
}

/// How much is missing from the last block of so much content.
pub(crate) fn padding(content: u64) -> usize {
    (content.next_multiple_of(BLOCK as u64) - content) as usize
}
