//! Writing much to a file that is to be on the disk in the end.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::num::NonZeroU64;

use rustix::fs::Advice;

/// Read and written at a time.
const PIECE: usize = 256 * 1024;

/// How much is gathered before the disk is set to work on it.
const EARLY: u64 = 8 << 20;

/// Writes all of `content`, from where `file` stands; tells how much that was.
pub(crate) fn pour(content: &mut (impl Read + ?Sized), file: &mut File) -> io::Result<u64> {
    let begin = file.stream_position()?;
    let mut at = begin;
    let mut piece = vec![0; PIECE];
    loop {
        let len = match content.read(&mut piece) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            len => len?,
        };
        if len == 0 {
            return Ok(at - begin);
        }
        file.write_all(&piece[..len])?;
        start_early(file, at, len as u64);
        at += len as u64;
    }
}

/// A hint to write to disk now what has come to a file, `len` bytes at `at` last of all, so that little is left to do when it is
/// synced. What is being written stays in memory.
pub(crate) fn start_early(file: &File, at: u64, len: u64) {
    let (from, to) = (at - at % EARLY, at + len);
    if to - from >= EARLY {
        let _ = rustix::fs::fadvise(file, from, NonZeroU64::new(to - from), Advice::DontNeed);
    }
}
