//! The times of directories that something is moved into.

use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use appc_rooted::{OFlags, Root};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

/// What directories have that are made on the way, and nobody said anything of.
const NEVER: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// Directories, and the times that they are to have.
#[derive(Debug)]
pub(super) struct Times(Vec<(PathBuf, Timestamps)>);

/// The times of the directory `path`, or of the one above it that is there; those that are missing will have none to speak of.
pub(super) fn of_directories(rootfs: &Root, path: &Path) -> io::Result<Times> {
    let mut times = Vec::new();
    for above in path.ancestors() {
        match rootfs.stat(above) {
            Ok(stat) => {
                let last_access = Timespec { tv_sec: stat.st_atime as _, tv_nsec: stat.st_atime_nsec as _ };
                let last_modification = Timespec { tv_sec: stat.st_mtime as _, tv_nsec: stat.st_mtime_nsec as _ };
                times.push((above.to_owned(), Timestamps { last_access, last_modification }));
                break;
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                times.push((above.to_owned(), Timestamps { last_access: NEVER, last_modification: NEVER }));
            }
            Err(e) => return Err(e),
        }
    }
    Ok(Times(times))
}

impl Times {
    /// Gives them back.
    pub(super) fn put_back(&self, rootfs: &Root) -> io::Result<()> {
        for (path, times) in &self.0 {
            let directory = rootfs.open_at(path, OFlags::PATH | OFlags::DIRECTORY)?;
            // utimensat(2) takes no O_PATH handle by itself.
            utimensat(CWD, format!("/proc/self/fd/{}", directory.as_raw_fd()), times, AtFlags::empty())?;
        }
        Ok(())
    }
}
