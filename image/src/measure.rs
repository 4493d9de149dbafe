//! How much there is in a tree.

use std::os::fd::BorrowedFd;

use appc_rooted::{OFlags, Root};
use rustix::fs::{AtFlags, FileType, Stat};
use serde::{Deserialize, Serialize};

use crate::tree::links::Links;
use crate::tree::walk::{Visitor, failed, walk};
use crate::{Error, Result};

/// What is in a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Measure {
    /// Bytes of file content; a file with several names counts once.
    pub bytes: u64,
    /// Names below the top: files, directories and everything else.
    pub entries: u64,
}

/// Measures the tree `root`.
///
/// # Errors
/// When a directory in it cannot be read.
pub fn measure(root: &Root) -> Result<Measure> {
    let top = root.open_at("", OFlags::RDONLY | OFlags::DIRECTORY).map_err(Error::io("open the root file system"))?;
    let mut measuring = Measuring { found: Measure::default(), links: Links::default() };
    walk(top, &mut measuring)?;
    Ok(measuring.found)
}

struct Measuring {
    found: Measure,
    links: Links,
}

impl Visitor for Measuring {
    fn directory(&mut self, path: &[u8], _: BorrowedFd<'_>, _: &Stat) -> Result<bool> {
        self.found.entries += u64::from(!path.is_empty());
        Ok(true)
    }

    fn other(&mut self, path: &[u8], dir: BorrowedFd<'_>, name: &[u8], kind: FileType) -> Result<()> {
        self.found.entries += 1;
        if kind == FileType::RegularFile {
            let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed("look at", path))?;
            if self.links.earlier(&stat, Vec::new).is_none() {
                self.found.bytes += stat.st_size as u64;
            }
        }
        Ok(())
    }
}
