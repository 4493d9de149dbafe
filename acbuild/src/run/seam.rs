//! The two layers that are there only while a command runs.
//!
//! One, between the dependencies and the build's own files, hides what is deleted of the dependencies. The other, over
//! all, has the places that something is mounted on and that the image does not have: so they are there for the command,
//! and never in the image.

use std::io;
use std::path::{Path, PathBuf};

use appc_image::stack;
use appc_rooted::{Mode, Root};
use rustix::fs::FileType;
use rustix::io::Errno;

use super::deleted::Deleted;
use crate::links::{Last, resolve, target};

/// Something that will be mounted on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MountPoint {
    /// Absolute; links in it count.
    pub(crate) path: PathBuf,
    pub(crate) directory: bool,
}

/// Hides in the empty directory `seam` what is deleted.
pub(crate) fn hide(seam: &Root, deleted: &Deleted) -> io::Result<()> {
    for path in deleted.iter() {
        let above = path.parent().unwrap_or(Path::new(""));
        let parent = seam.mkdir_all(above, Mode::from(0o755))?;
        rustix::fs::mknodat(&parent, name(path)?, FileType::CharacterDevice, Mode::empty(), 0)?;
    }
    Ok(())
}

/// Makes in the empty directory `places` the mount points that `view`, all that is below it, has not.
pub(crate) fn make_places(places: &Root, view: &Root, points: &[MountPoint]) -> io::Result<()> {
    let mut directories = Vec::new();
    for point in points {
        if view.stat(&point.path).is_ok() {
            continue;
        }
        let path = resolve(&point.path, Last::Followed, |path| target(view, path))?;
        for above in path.ancestors().skip(1).collect::<Vec<_>>().into_iter().rev() {
            if !above.as_os_str().is_empty() && make(places, above, FileType::Directory)? {
                directories.push(above.to_owned());
            }
        }
        make(places, &path, if point.directory { FileType::Directory } else { FileType::RegularFile })?;
    }
    // Last, and the deepest first: making something in a directory changes its time.
    for path in directories.iter().rev() {
        if view.lstat(path).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory) {
            stack::make_like(view, path, places)?;
        }
    }
    Ok(())
}

/// Whether it was made: it may be there from before.
fn make(places: &Root, path: &Path, kind: FileType) -> io::Result<bool> {
    let (parent, name) = places.parent(path)?;
    let made = match kind {
        FileType::Directory => rustix::fs::mkdirat(&parent, name, Mode::from(0o755)),
        _ => rustix::fs::mknodat(&parent, name, kind, Mode::from(0o644), 0),
    };
    match made {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

fn name(path: &Path) -> io::Result<&std::ffi::OsStr> {
    path.file_name().ok_or_else(|| Errno::INVAL.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_made_and_what_is_deleted_hidden() {
        let dir = tempfile::tempdir().unwrap();
        let sub = |name: &str| {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
            Root::open(dir.path().join(name)).unwrap()
        };
        let is_directory =
            |root: &Root, path: &str| dir.path().join("places").join(path).is_dir() && root.lstat(path).is_ok();
        let (places, view) = (sub("places"), sub("view"));
        sub("view/proc");
        let points = [("/proc", true), ("/sys", true), ("/etc/hosts", false), ("/etc/ssl/certs", true)];
        let points = points.map(|(path, directory)| MountPoint { path: path.into(), directory });
        make_places(&places, &view, &points).unwrap();
        assert!(places.lstat("proc").is_err());
        assert!(is_directory(&places, "sys") && is_directory(&places, "etc/ssl/certs"));
        assert!(places.lstat("etc/hosts").is_ok() && !is_directory(&places, "etc/hosts"));
        if rustix::process::geteuid().is_root() {
            let seam = sub("seam");
            let mut deleted = Deleted::default();
            deleted.insert(Path::new("etc"));
            deleted.insert(Path::new("usr/share/doc"));
            hide(&seam, &deleted).unwrap();
            for path in ["etc", "usr/share/doc"] {
                assert!(stack::is_whiteout(&seam.lstat(path).unwrap()), "{path}");
            }
        }
    }
}
