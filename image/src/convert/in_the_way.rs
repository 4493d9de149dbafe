//! What lies in the way of directories that an archive has no entries for.
//!
//! An image replaces what lies in its way in those it depends on, and never follows a link there. Who unpacks layers
//! does follow it, unless the layer says that there is a directory.

use std::collections::HashSet;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::index::parents;
use super::to_oci::again;
use crate::Result;
use crate::archive::each_entry;
use crate::archive::entry::{Entry, Type};
use crate::archive::reader::Dialect;

/// Everything that is no directory in a stack of layers.
///
/// By a hash of its path, as there may be millions. Two paths of one hash would do no harm: a directory would be
/// written out that is there in any case. So may what is gone with a directory that it was in.
#[derive(Default)]
pub(super) struct InTheWay(HashSet<u64>);

impl InTheWay {
    /// Takes the next layer of the stack, one without marks for removed files.
    pub(super) fn add(&mut self, layer: &File) -> Result<()> {
        each_entry(Dialect::Layer, again(layer)?, |entry| self.entry(entry))
    }

    fn entry(&mut self, entry: &Entry) {
        self.replaced_by(entry, &entry.path);
        if entry.kind != Type::Directory {
            self.0.insert(hash(&entry.path));
        }
    }

    /// The directories above `path` in whose way something lay until this `entry` was made there, the highest first.
    pub(super) fn replaced_by<'p>(&mut self, entry: &Entry, path: &'p [u8]) -> Vec<&'p [u8]> {
        if entry.kind == Type::Directory {
            self.0.remove(&hash(path));
        }
        parents(path).filter(|parent| self.0.remove(&hash(parent))).collect()
    }
}

fn hash(path: &[u8]) -> u64 {
    // The same in every process.
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    hasher.finish()
}
