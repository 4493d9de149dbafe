//! Which names of a walk are the same file.

use std::collections::HashMap;

use rustix::fs::Stat;

/// Files with several names, by device and inode: where the first one went, and how many are still to come.
///
/// A file is forgotten with its last name, so that only open sets take memory.
#[derive(Default)]
pub(crate) struct Links(HashMap<Id, Seen>);

type Id = (u64, u64);
type Seen = (Box<[u8]>, u64);

impl Links {
    /// Where the file that `stat` is about went under an earlier name; otherwise it goes to `here`.
    pub(crate) fn earlier(&mut self, stat: &Stat, here: impl FnOnce() -> Vec<u8>) -> Option<Box<[u8]>> {
        if stat.st_nlink <= 1 {
            return None;
        }
        let id = (stat.st_dev, stat.st_ino);
        let Some((first, to_come)) = self.0.get_mut(&id) else {
            self.0.insert(id, (here().into(), stat.st_nlink - 1));
            return None;
        };
        *to_come -= 1;
        match *to_come {
            0 => self.0.remove(&id).map(|(first, _)| first),
            _ => Some(first.clone()),
        }
    }
}
