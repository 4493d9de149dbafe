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
    let mut measuring = Measuring { found: Measure::default(), links: Links::default(), most: None };
    walk(top, &mut measuring)?;
    Ok(measuring.found)
}

/// Whether there is more in the tree `root` than that, in bytes or in entries; no longer than it takes to see it.
///
/// # Errors
/// When a directory in it cannot be read.
pub fn is_more(root: &Root, most: Measure) -> Result<bool> {
    let top = root.open_at("", OFlags::RDONLY | OFlags::DIRECTORY).map_err(Error::io("open the tree"))?;
    let mut measuring = Measuring { found: Measure::default(), links: Links::default(), most: Some(most) };
    walk(top, &mut measuring)?;
    Ok(measuring.has_seen_enough())
}

struct Measuring {
    found: Measure,
    links: Links,
    /// What is more than this need not be known.
    most: Option<Measure>,
}

impl Measuring {
    fn has_seen_enough(&self) -> bool {
        self.most.is_some_and(|most| self.found.bytes > most.bytes || self.found.entries > most.entries)
    }
}

impl Visitor for Measuring {
    fn directory(&mut self, path: &[u8], _: BorrowedFd<'_>, _: &Stat) -> Result<bool> {
        self.found.entries += u64::from(!path.is_empty());
        Ok(!self.has_seen_enough())
    }

    fn other(&mut self, path: &[u8], dir: BorrowedFd<'_>, name: &[u8], kind: FileType) -> Result<()> {
        self.found.entries += 1;
        if kind == FileType::RegularFile && !self.has_seen_enough() {
            let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed("look at", path))?;
            if self.links.earlier(&stat, Vec::new).is_none() {
                self.found.bytes += stat.st_size as u64;
            }
        }
        Ok(())
    }
}
