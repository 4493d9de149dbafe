//! Reading files that may be anything.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Reads a file of at most `longest` MiB: a fifo in its place must not make anybody wait, nor an endless device fill the
/// memory.
///
/// # Errors
/// When it cannot be read, is longer, or is no regular file.
pub fn read_regular(path: &Path, longest: u64) -> io::Result<Vec<u8>> {
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    let status = file.metadata()?;
    if !status.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    read(file, status.len(), longest)
}

/// Reads what the caller names, at most `longest` MiB: also a pipe, as shells make them of `<(…)`, to its end.
///
/// # Errors
/// When it cannot be read, or is longer.
pub fn read_given(path: &Path, longest: u64) -> io::Result<Vec<u8>> {
    read(File::open(path)?, 0, longest)
}

/// Reads a file of /proc or of a cgroup. They do not tell their sizes: without room for all of it most would be read a few
/// bytes at a time.
///
/// # Errors
/// When it cannot be read, or is no text.
pub(crate) fn read_kernels(file: File) -> io::Result<String> {
    let mut text = String::with_capacity(4096);
    file.take(u64::MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// `expected` is its size, if that is known.
fn read(file: File, expected: u64, longest: u64) -> io::Result<Vec<u8>> {
    let longest_bytes = longest << 20;
    // One byte more than there are: the end is seen without growing.
    let mut text = Vec::with_capacity(expected.min(longest_bytes) as usize + 1);
    file.take(longest_bytes + 1).read_to_end(&mut text)?;
    match text.len() as u64 > longest_bytes {
        true => Err(io::Error::other(format!("it is longer than {longest} MiB"))),
        false => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::{read_given, read_regular};

    #[test]
    fn only_files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "text").unwrap();
        assert_eq!(read_regular(&path, 1).unwrap(), b"text");
        std::fs::File::create(&path).unwrap().set_len((1 << 20) + 1).unwrap();
        assert!(read_regular(&path, 1).unwrap_err().to_string().contains("longer than 1 MiB"));
        assert!(read_given("/dev/zero".as_ref(), 1).unwrap_err().to_string().contains("longer than 1 MiB"));
        for path in [folder.path(), "/dev/zero".as_ref()] {
            assert!(read_regular(path, 1).unwrap_err().to_string().contains("not a regular file"), "{path:?}");
        }
    }
}
