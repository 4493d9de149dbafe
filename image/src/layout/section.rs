//! Stretches of a file that can be read at the same time.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

/// A stretch of a file, read without moving the file's own position.
pub(super) struct Section<'f> {
    file: &'f File,
    at: u64,
    left: u64,
}

impl<'f> Section<'f> {
    pub(super) fn new(file: &'f File, at: u64, len: u64) -> Section<'f> {
        Section { file, at, left: len }
    }
}

impl Read for Section<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = into.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        let len = self.file.read_at(&mut into[..most], self.at)?;
        self.at += len as u64;
        self.left -= len as u64;
        Ok(len)
    }
}
