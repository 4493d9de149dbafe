//! The files of a layout, in a directory or in an archive.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use appc_rooted::{OFlags, Root};

use super::archive::Tar;
use crate::{Error, Result};

/// Where the files are.
pub(super) enum Files {
    Directory(Root),
    Archive(Tar),
}

/// A file's content and its length.
pub(super) type Content<'f> = (Box<dyn Read + Send + 'f>, u64);

impl Files {
    pub(super) fn directory(dir: &Path) -> Result<Files> {
        Root::open(dir).map(Files::Directory).map_err(Error::io(format!("open {}", dir.display())))
    }

    pub(super) fn archive(file: &Path) -> Result<Files> {
        Tar::open(file).map(Files::Archive)
    }

    /// The regular file `path`, if there is one. Links lead nowhere out of the layout.
    pub(super) fn open(&self, path: &str) -> Result<Option<Content<'_>>> {
        match self {
            Files::Archive(tar) => Ok(tar.read(path)?.map(|(content, len)| (Box::new(content) as _, len))),
            Files::Directory(root) => {
                let what = || Error::io(format!("open {path}"));
                // A fifo must not make us wait.
                let file = match root.open_at(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY) {
                    Ok(fd) => File::from(fd),
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                    Err(e) => return Err(what()(e)),
                };
                let meta = file.metadata().map_err(what())?;
                if !meta.is_file() {
                    return Err(what()(std::io::Error::other("it is no regular file")));
                }
                Ok(Some((Box::new(file), meta.len())))
            }
        }
    }

    /// The whole content of a document, at most `limit` bytes.
    pub(super) fn whole(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let Some((content, len)) = self.open(path)? else { return Ok(None) };
        let mut whole = Vec::new();
        content.take(limit + 1).read_to_end(&mut whole).map_err(Error::io(format!("read {path}")))?;
        if len > limit || whole.len() as u64 > limit {
            return Err(Error::Oci { what: path.to_owned(), rule: format!("it is longer than {limit} bytes") });
        }
        Ok(Some(whole))
    }
}
