//! Image files are regular files: what else has a name may have nothing to say for ever, or no end.

use std::fs::{self, File, FileType, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

/// Opens the regular file `path`, without waiting for anybody.
///
/// # Errors
/// What the kernel says, and what `path` is instead.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags((OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed());
    let opened = options.open(path);
    let found = match &opened {
        Ok(file) => file.metadata()?.file_type(),
        // Sockets cannot be opened, and devices need not be there.
        Err(e) => match fs::metadata(path).map(|found| found.file_type()) {
            Ok(found) if special(found).is_some() && e.kind() != io::ErrorKind::PermissionDenied => found,
            _ => return opened,
        },
    };
    match special(found) {
        Some(what) => {
            let text = format!("it is a {what}, not a regular file: write what comes from it to a file first");
            Err(io::Error::new(io::ErrorKind::InvalidInput, text))
        }
        None if found.is_dir() => Err(Errno::ISDIR.into()),
        None => opened,
    }
}

fn special(found: FileType) -> Option<&'static str> {
    match () {
        () if found.is_fifo() => Some("pipe"),
        () if found.is_socket() => Some("socket"),
        () if found.is_char_device() || found.is_block_device() => Some("device"),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn only_regular_files_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        fs::write(at("file"), "x").unwrap();
        std::os::unix::fs::symlink("file", at("link")).unwrap();
        for (path, what) in
            [(at("fifo"), "it is a pipe"), (at("socket"), "it is a socket"), ("/dev/zero".into(), "it is a device")]
        {
            let error = open_regular(&path).unwrap_err();
            assert!(error.to_string().starts_with(what), "{error}");
        }
        assert_eq!(open_regular(dir.path()).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        assert_eq!(open_regular(&at("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
        for name in ["file", "link"] {
            assert_eq!(io::read_to_string(open_regular(&at(name)).unwrap()).unwrap(), "x");
        }
    }
}
