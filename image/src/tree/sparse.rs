//! Writing files so that stretches of zeros take no room.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;

use rustix::fs::{SeekFrom, Stat};
use rustix::io::Errno;

use crate::{Error, Result};

/// What zeros are looked for in: the block of most file systems.
const PIECE: u64 = 4096;

/// Shorter stretches of zeros are written: many small holes would cost more than they save.
const HOLE: u64 = 64 * 1024;

/// The largest page of any machine.
const PAGE_MAX: u64 = 64 * 1024;

/// Writes a file from its start to its end, leaving holes.
pub(crate) struct Writer<'f> {
    file: &'f File,
    what: &'f dyn Fn() -> String,
    at: u64,
    /// The end of what was really written; zeros from there to `at` may become a hole.
    written: u64,
}

impl<'f> Writer<'f> {
    pub(crate) fn new(file: &'f File, what: &'f dyn Fn() -> String) -> Writer<'f> {
        Writer { file, what, at: 0, written: 0 }
    }

    /// Goes on at `offset`, further on.
    pub(crate) fn seek(&mut self, offset: u64) {
        self.at = offset;
    }

    pub(crate) fn write(&mut self, mut data: &[u8]) -> Result<()> {
        while !data.is_empty() {
            let zeros = self.zeros(data);
            self.at += zeros as u64;
            let content = self.content(&data[zeros..]);
            if content > 0 {
                self.put(&data[zeros..zeros + content])?;
            }
            data = &data[zeros + content..];
        }
        Ok(())
    }

    /// How many of the bytes are zeros in whole pieces.
    fn zeros(&self, data: &[u8]) -> usize {
        let mut len = 0;
        while len < data.len() {
            let piece = self.piece(data, len);
            if !is_zero(piece) {
                break;
            }
            len += piece.len();
        }
        len
    }

    /// How many of the bytes come before the next zeros worth a hole. Zeros at the end may go on in what comes next.
    fn content(&self, data: &[u8]) -> usize {
        let (mut len, mut zeros) = (0, 0);
        while len < data.len() {
            let piece = self.piece(data, len);
            len += piece.len();
            zeros = if is_zero(piece) { zeros + piece.len() } else { 0 };
            if zeros as u64 >= HOLE {
                break;
            }
        }
        len - zeros
    }

    /// The bytes at `from` up to the next multiple of a piece in the file.
    fn piece<'d>(&self, data: &'d [u8], from: usize) -> &'d [u8] {
        let at = self.at + from as u64;
        &data[from..data.len().min(from + (PIECE - at % PIECE) as usize)]
    }

    fn put(&mut self, content: &[u8]) -> Result<()> {
        static ZEROS: [u8; HOLE as usize] = [0; HOLE as usize];
        let gap = self.at - self.written;
        if gap > 0 && gap < HOLE {
            self.file.write_all_at(&ZEROS[..gap as usize], self.written).map_err(|e| Error::io((self.what)())(e))?;
        }
        self.file.write_all_at(content, self.at).map_err(|e| Error::io((self.what)())(e))?;
        self.at += content.len() as u64;
        self.written = self.at;
        Ok(())
    }

    /// Gives the file its size.
    pub(crate) fn finish(self, size: u64) -> Result<()> {
        if self.written < size {
            self.file.set_len(size).map_err(|e| Error::io((self.what)())(e))?;
        }
        Ok(())
    }
}

/// Copies the content of a file that is as `stat` says: by sharing blocks where the file system can, else stretch by
/// stretch. Returns how many bytes that are.
pub(crate) fn copy_content(from: &File, to: &File, stat: &Stat, what: &dyn Fn() -> String) -> Result<u64> {
    let size = stat.st_size as u64;
    if is_made_when_read(stat) {
        let mut content = Vec::new();
        (&*from).read_to_end(&mut content).map_err(Error::io(what()))?;
        to.write_all_at(&content, 0).map_err(Error::io(what()))?;
        return Ok(content.len() as u64);
    }
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return Ok(size);
    }
    let mut at = 0;
    while at < size {
        // Without SEEK_DATA everything is data.
        let data = match rustix::fs::seek(from, SeekFrom::Data(at)) {
            Err(Errno::NXIO) => break,
            found => found.unwrap_or(at),
        };
        let end = rustix::fs::seek(from, SeekFrom::Hole(data)).unwrap_or(size).min(size);
        copy_range(from, to, data, end, what)?;
        at = end;
    }
    to.set_len(size).map_err(Error::io(what()))?;
    Ok(size)
}

/// Whether the size may say nothing of what is read, as in /proc, where it is 0, and in /sys, where it is that of a page.
fn is_made_when_read(stat: &Stat) -> bool {
    stat.st_blocks == 0 && stat.st_size as u64 <= PAGE_MAX
}

fn copy_range(from: &File, to: &File, mut at: u64, end: u64, what: &dyn Fn() -> String) -> Result<()> {
    let mut buffer = Vec::new();
    while at < end {
        let (mut source, mut target) = (at, at);
        let len = usize::try_from(end - at).unwrap_or(usize::MAX);
        let copied = match rustix::fs::copy_file_range(from, Some(&mut source), to, Some(&mut target), len) {
            // Not between these two file systems, or not from this one.
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                buffer.resize(len.min(256 * 1024), 0);
                let read = from.read_at(&mut buffer, at).map_err(Error::io(what()))?;
                to.write_all_at(&buffer[..read], at).map_err(Error::io(what()))?;
                read
            }
            copied => copied.map_err(Error::io(what()))?,
        };
        if copied == 0 {
            // Shorter than it was: the size is set at the end, as for a hole.
            break;
        }
        at += copied as u64;
    }
    Ok(())
}

fn is_zero(piece: &[u8]) -> bool {
    // Most pieces differ in the first bytes.
    piece.iter().take(16).all(|b| *b == 0) && piece.chunks(64).all(|chunk| chunk.iter().fold(0, |or, b| or | b) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn zeros_become_holes_and_nothing_else_does() {
        let mut content = vec![0u8; 20 * HOLE as usize + 77];
        content[10] = 1;
        content[13 * HOLE as usize] = 2;
        content[14 * HOLE as usize] = 3;
        for len in [300_000, 4096, 5000, 100] {
            check(&content, len);
        }
    }

    fn check(content: &[u8], len: usize) {
        let file = tempfile::tempfile().unwrap();
        let what = || "write".to_string();
        let mut writer = Writer::new(&file, &what);
        for piece in content.chunks(len) {
            writer.write(piece).unwrap();
        }
        writer.finish(content.len() as u64).unwrap();
        let mut back = vec![1; content.len()];
        file.read_exact_at(&mut back, 0).unwrap();
        assert!(back == content);
        assert!(file.metadata().unwrap().len() == content.len() as u64);
        assert!(file.metadata().unwrap().blocks() * 512 < 2 * HOLE);
    }
}
