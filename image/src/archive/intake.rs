//! The compressed end of reading: the source, its copy, its count, and a look ahead.

use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Compression;
use crate::error::Carried;
use crate::pour::start_early;
use crate::{Error, Progress, Result};

/// A source whose every byte is counted and, when wanted, copied.
pub(super) struct Intake<'p, R> {
    source: R,
    tee: Option<&'p File>,
    progress: &'p dyn Progress,
    buffer: Vec<u8>,
    /// What of the buffer is unread.
    from: usize,
    to: usize,
    /// Bytes taken from the source.
    taken: u64,
    /// The same, for whoever cannot ask.
    counter: Arc<AtomicU64>,
}

/// Read at a time.
const CHUNK: usize = 256 * 1024;

impl<'p, R: Read> Intake<'p, R> {
    pub(super) fn new(source: R, tee: Option<&'p File>, progress: &'p dyn Progress) -> Intake<'p, R> {
        Intake { source, tee, progress, buffer: vec![0; CHUNK], from: 0, to: 0, taken: 0, counter: Arc::default() }
    }

    /// How many bytes the source has given.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// What always says how many bytes that are.
    pub(super) fn counter(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.counter)
    }

    /// How many bytes have been read from here.
    pub(super) fn position(&self) -> u64 {
        self.taken - (self.to - self.from) as u64
    }

    /// The next bytes without taking them, `len` of them unless the source ends before.
    pub(super) fn peek(&mut self, len: usize) -> io::Result<&[u8]> {
        debug_assert!(len <= CHUNK / 2);
        if self.buffer.len() - self.from < len {
            self.buffer.copy_within(self.from..self.to, 0);
            (self.from, self.to) = (0, self.to - self.from);
        }
        while self.to - self.from < len {
            if self.read_more()? == 0 {
                break;
            }
        }
        Ok(&self.buffer[self.from..self.to.min(self.from + len)])
    }

    fn read_more(&mut self) -> io::Result<usize> {
        if self.from == self.to {
            (self.from, self.to) = (0, 0);
        }
        let len = loop {
            match self.source.read(&mut self.buffer[self.to..]) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(Error::io("read the archive")(e).into()),
                Ok(len) => break len,
            }
        };
        if let Some(mut tee) = self.tee {
            let copied = tee.write_all(&self.buffer[self.to..self.to + len]);
            copied.map_err(|e| Error::io("keep a copy of the archive")(e))?;
            start_early(tee, self.taken, len as u64);
        }
        self.to += len;
        self.taken += len as u64;
        self.counter.store(self.taken, Ordering::Relaxed);
        self.progress.advance(len as u64);
        Ok(len)
    }
}

impl<R: Read> BufRead for Intake<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.from == self.to {
            self.read_more()?;
        }
        Ok(&self.buffer[self.from..self.to])
    }

    fn consume(&mut self, len: usize) {
        self.from += len;
    }
}

impl<R: Read> Read for Intake<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let from = self.fill_buf()?;
        let len = from.len().min(into.len());
        into[..len].copy_from_slice(&from[..len]);
        self.consume(len);
        Ok(len)
    }
}

/// What a decompressor's error means, or one of ours that came through it.
pub(super) fn read_error(compression: Compression, offset: u64, error: io::Error) -> Error {
    match error.downcast::<Carried>() {
        Ok(Carried(error)) => error,
        Err(error) => {
            let rule = match error.kind() {
                io::ErrorKind::UnexpectedEof => "the archive is cut short, or has garbage behind it".to_owned(),
                _ => error.to_string(),
            };
            Error::Compressed { entry: String::new(), compression, offset, rule }
        }
    }
}

/// The compression of what begins with `start`, refused in words when it is nothing we read.
pub(super) fn detect(start: &[u8]) -> Result<Compression> {
    if let Some(compression) = Compression::detect(start) {
        return Ok(compression);
    }
    Err(Error::NotAnArchive(match start {
        [] => "it is empty".into(),
        _ if is_text(start) => "it is text, not a tar archive".into(),
        _ if start.len() < super::header::BLOCK => "it is shorter than one tar header".into(),
        _ => "it is neither tar nor gzip, bzip2, xz or zstd; pre-POSIX (v7) tar is not read".into(),
    }))
}

fn is_text(start: &[u8]) -> bool {
    // A character may be cut in two at the end.
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        Err(e) if e.error_len().is_none() => std::str::from_utf8(&start[..e.valid_up_to()]).unwrap_or("\0"),
        Err(_) => return false,
    };
    !text.chars().any(|c| c.is_control() && !c.is_whitespace() && c != '\x1b')
}
