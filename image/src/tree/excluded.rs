//! A directory that copies of a tree leave out.

use appc_rooted::Root;
use rustix::fs::{AtFlags, Stat};
use rustix::io::Errno;

use crate::archive::entry::Time;

/// Devices and inodes of such a directory and of the one that it is in.
#[derive(Clone, Copy)]
pub(crate) struct Excluded {
    itself: (u64, u64),
    holder: (u64, u64),
}

impl Excluded {
    /// The directory `dir`.
    pub(crate) fn new(dir: &Root) -> Result<Excluded, Errno> {
        let id = |stat: Stat| (stat.st_dev, stat.st_ino);
        let holder = rustix::fs::statat(dir, "..", AtFlags::empty())?;
        Ok(Excluded { itself: id(rustix::fs::fstat(dir)?), holder: id(holder) })
    }

    /// Whether `stat` is of this directory.
    pub(crate) fn is(&self, stat: &Stat) -> bool {
        self.itself == (stat.st_dev, stat.st_ino)
    }

    /// The time that a copy has of the directory that `stat` is of. That of the one in which the other was made tells when
    /// that was, and nothing of what is copied: its copy has that of 1970.
    pub(crate) fn time(&self, stat: &Stat, time: Time) -> Time {
        if self.holder == (stat.st_dev, stat.st_ino) { Time { seconds: 0, nanoseconds: 0 } } else { time }
    }
}
