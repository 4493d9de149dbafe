//! What a layer takes away: in a merged tree it is removed, in the tree of a layer it is hidden in those below.

use rustix::fs::{FileType, Mode};
use rustix::io::Errno;

use super::{Failure, Outcome, Tree};
use crate::store::remove_tree;

impl Tree {
    /// Removes `path` and everything below, when it is there.
    pub(crate) fn remove(&mut self, path: &[u8]) -> Outcome {
        let (parent, name) = self.parent(path)?;
        Ok(remove_tree::remove_at(self.dirs.fd(parent)?, name)?)
    }

    /// Removes everything below the directory `path`, when it is there.
    pub(crate) fn empty(&mut self, path: &[u8]) -> Outcome {
        let node = match self.dirs.find(path) {
            Some(node) => node,
            None => self.make_directory(path, true)?,
        };
        Ok(remove_tree::empty(self.dirs.fd(node)?)?)
    }

    /// Hides what is called `path` in the layers below. What this layer itself has there is not hidden.
    pub(crate) fn whiteout(&mut self, path: &[u8]) -> Outcome {
        if let Some(node) = self.dirs.find(path) {
            self.dirs.set_opaque(node);
            return Ok(());
        }
        let (parent, name) = match self.parent(path) {
            // umoci marks what was in a directory that has become a file or a link.
            Err(Failure::NoDirectory(_)) => return Ok(()),
            found => found?,
        };
        let dir = self.dirs.fd(parent)?;
        match rustix::fs::mknodat(dir, name, FileType::CharacterDevice, Mode::empty(), 0) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Hides what is in the directory `path` in the layers below.
    pub(crate) fn opaque(&mut self, path: &[u8]) -> Outcome {
        let node = match self.dirs.find(path).map_or_else(|| self.make_directory(path, false), Ok) {
            Err(Failure::NoDirectory(_)) => return Ok(()),
            node => node?,
        };
        self.dirs.set_opaque(node);
        Ok(())
    }
}
