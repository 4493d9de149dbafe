//! Removing a tree that was made from an archive: as deep, and as closed to its owner, as its author liked.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Directories are open at once down to this depth, which hardly any tree has.
const DEPTH: usize = 64;

/// Removes the directory `path` and everything below; links are removed, not followed. A missing one is removed already.
///
/// Directories deeper than [`DEPTH`] are first moved up into `path` itself, so that neither open files nor the length of
/// a path nor the stack grow with the depth.
pub fn remove(path: &Path) -> io::Result<()> {
    Ok(remove_at(CWD, path)?)
}

/// The same for a name in an open directory.
pub(crate) fn remove_at<P: rustix::path::Arg + Copy>(at: BorrowedFd, path: P) -> Result<(), Errno> {
    match open_dir(at, path) {
        Ok(top) => {
            empty(top.as_fd())?;
            rustix::fs::unlinkat(at, path, AtFlags::REMOVEDIR)
        }
        Err(Errno::NOENT) => Ok(()),
        // Anything else, a link included: nothing to descend into.
        Err(Errno::NOTDIR | Errno::LOOP) => rustix::fs::unlinkat(at, path, AtFlags::empty()),
        Err(e) => Err(e),
    }
}

/// Removes everything in an open directory.
pub(crate) fn empty(top: BorrowedFd) -> Result<(), Errno> {
    let mut removal = Removal { top, pending: Vec::new(), serial: 0 };
    removal.empty(top, DEPTH)?;
    while let Some(name) = removal.pending.pop() {
        let dir = match open_dir(top, name.as_c_str()) {
            // `top` was still being read when it was moved there.
            Err(Errno::NOENT) => continue,
            dir => dir?,
        };
        removal.empty(dir.as_fd(), DEPTH)?;
        rustix::fs::unlinkat(top, &name, AtFlags::REMOVEDIR)?;
    }
    Ok(())
}

struct Removal<'t> {
    top: BorrowedFd<'t>,
    /// Directories that have been moved into `top`.
    pending: Vec<CString>,
    serial: u64,
}

impl Removal<'_> {
    /// Unlinks what is in `dir`, down to `depth` levels below, and moves what is deeper into `top`.
    fn empty(&mut self, dir: BorrowedFd, depth: usize) -> Result<(), Errno> {
        for entry in Dir::read_from(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            if kind(dir, name, entry.file_type())? != FileType::Directory {
                rustix::fs::unlinkat(dir, name, AtFlags::empty())?;
            } else if depth > 0 {
                let below = open_below(dir, name)?;
                self.empty(below.as_fd(), depth - 1)?;
                rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)?;
            } else {
                self.move_up(dir, name)?;
            }
        }
        Ok(())
    }

    fn move_up(&mut self, dir: BorrowedFd, name: &CStr) -> Result<(), Errno> {
        let mut opened = false;
        loop {
            self.serial += 1;
            let free = CString::new(format!(".removed-{}", self.serial)).map_err(|_| Errno::INVAL)?;
            match rustix::fs::renameat(dir, name, self.top, &free) {
                Ok(()) => {
                    self.pending.push(free);
                    return Ok(());
                }
                // The tree has something of that name.
                Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
                // Moving a directory changes its `..`, which its mode may forbid to its owner.
                Err(Errno::ACCESS) if !opened => {
                    rustix::fs::chmodat(dir, name, Mode::RWXU, AtFlags::empty())?;
                    opened = true;
                }
                Err(e) => return Err(e),
            }
        }
    }
}

fn kind(dir: BorrowedFd, name: &CStr, listed: FileType) -> Result<FileType, Errno> {
    match listed {
        FileType::Unknown => {
            let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
            Ok(FileType::from_raw_mode(stat.st_mode))
        }
        known => Ok(known),
    }
}

/// The same for a directory in another, unless something else is mounted there, which may be anybody's: then it is what
/// rmdir(2) calls busy.
fn open_below(dir: BorrowedFd, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat2(dir, name, flags, Mode::empty(), ResolveFlags::NO_XDEV) {
        Err(Errno::XDEV) => Err(Errno::BUSY),
        Err(e) => Err(e),
        Ok(_) => open_dir(dir, name),
    }
}

/// Opens a directory so that it can be emptied, whatever its mode.
fn open_dir<P: rustix::path::Arg + Copy>(at: BorrowedFd, path: P) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = || rustix::fs::openat(at, path, flags, Mode::empty());
    let fd = match open() {
        Err(Errno::ACCESS) => {
            rustix::fs::chmodat(at, path, Mode::RWXU, AtFlags::empty())?;
            open()?
        }
        fd => fd?,
    };
    if !rustix::process::geteuid().is_root() {
        rustix::fs::fchmod(&fd, Mode::RWXU)?;
    }
    Ok(fd)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn what_links_lead_to_stays() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("outside/kept")).unwrap();
        fs::create_dir_all(dir.path().join("tree/a/b")).unwrap();
        fs::write(dir.path().join("tree/.removed-0"), "in the way").unwrap();
        symlink(dir.path().join("outside"), dir.path().join("tree/a/b/link")).unwrap();
        fs::set_permissions(dir.path().join("tree/a/b"), Permissions::from_mode(0o000)).unwrap();
        fs::set_permissions(dir.path().join("tree/a"), Permissions::from_mode(0o500)).unwrap();
        remove(&dir.path().join("tree")).unwrap();
        assert!(!dir.path().join("tree").exists());
        assert!(dir.path().join("outside/kept").exists());
        remove(&dir.path().join("tree")).unwrap();
    }

    #[test]
    fn depth_does_not_matter() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir(&tree).unwrap();
        let mut at = open_dir(CWD, &tree).unwrap();
        for level in 0..500 {
            rustix::fs::mkdirat(&at, "directory", Mode::RWXU).unwrap();
            if level % 100 == 0 {
                rustix::fs::mkdirat(&at, "empty", Mode::RWXU).unwrap();
            }
            at = open_dir(at.as_fd(), "directory").unwrap();
        }
        remove(&tree).unwrap();
        assert!(!tree.exists());
    }
}
