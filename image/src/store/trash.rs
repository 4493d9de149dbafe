//! What is removed out of everyone's sight.

use std::fs;
use std::path::Path;

use super::work::{WorkDir, remove_abandoned};
use super::{IoContext, Store, remove_tree};
use crate::error::Result;

/// A directory that is to be removed, below `tmp/`. If this process is killed it is collected as all work is.
#[derive(Debug)]
pub struct Trash {
    store: Store,
    work: WorkDir,
}

impl Store {
    /// Moves the directory `path` out of sight: however much is in it, it has left its place at once.
    ///
    /// # Errors
    /// When the store cannot be written to, or is on another file system.
    pub fn discard(&self, path: &Path) -> Result<Trash> {
        let work = WorkDir::new(self)?;
        fs::rename(path, work.path().join("gone")).on("move", path)?;
        Ok(Trash { store: Store { dir: self.dir.clone(), ..*self }, work })
    }
}

impl Trash {
    /// Where it is now.
    pub fn path(&self) -> &Path {
        self.work.path()
    }

    /// Removes it, and what killed processes have left.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn remove(&self) -> Result<()> {
        remove_tree::remove(self.path()).on("remove", self.path())?;
        remove_abandoned(&self.store).map(drop)
    }

    /// Leaves it to a process that was made from this one and has its descriptors, with the lock.
    pub fn leave(self) {
        self.work.leave();
    }
}
