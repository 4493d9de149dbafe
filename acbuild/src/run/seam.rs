//! The layer between the dependencies and the build's own files while a command runs.
//!
//! It hides what is deleted of the dependencies, and has the places that something is mounted on and that the image does
//! not have: so they are there for the command, and never in the image.

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::path::{Component, Path, PathBuf};

use appc_image::stack;
use appc_rooted::{Mode, OFlags, Root};
use rustix::fs::{AtFlags, FileType, Stat};
use rustix::io::Errno;

use super::deleted::Deleted;

/// As many links as the kernel follows in one path, `MAXSYMLINKS`.
const LINKS_MAX: usize = 40;

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

/// Makes in `seam` the mount points that `view`, the whole stack, has not. `user`: the stack is mounted with the
/// attributes of an ordinary user.
pub(crate) fn make_places(seam: &Root, view: &Root, points: &[MountPoint], user: bool) -> io::Result<()> {
    let mut directories = Vec::new();
    for point in points {
        if view.stat(&point.path).is_ok() {
            continue;
        }
        let path = resolve(view, &point.path)?;
        for above in path.ancestors().skip(1).collect::<Vec<_>>().into_iter().rev() {
            if make_directory(seam, above, user)? {
                directories.push(above.to_owned());
            }
        }
        match point.directory {
            true => drop(make_directory(seam, &path, user)?),
            false => make_file(seam, &path)?,
        }
    }
    // Last, and the deepest first: making something in a directory changes its time.
    for path in directories.iter().rev() {
        if view.lstat(path).is_ok_and(|stat| is_directory(&stat)) {
            stack::make_like(view, path, seam)?;
        }
    }
    Ok(())
}

/// Whether it was made: it may be there from before.
fn make_directory(seam: &Root, path: &Path, user: bool) -> io::Result<bool> {
    if path.as_os_str().is_empty() {
        return Ok(false);
    }
    let (parent, name) = seam.parent(path)?;
    match rustix::fs::mkdirat(&parent, name, Mode::from(0o755)) {
        Ok(()) => return Ok(true),
        Err(Errno::EXIST) => {}
        Err(e) => return Err(e.into()),
    }
    let stat = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if !stack::is_whiteout(&stat) {
        return Ok(false);
    }
    // What the dependencies have there stays hidden.
    rustix::fs::unlinkat(&parent, name, AtFlags::empty())?;
    rustix::fs::mkdirat(&parent, name, Mode::from(0o755))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(&parent, name, flags, Mode::empty())?;
    stack::make_opaque(directory.as_fd(), user)?;
    Ok(true)
}

fn make_file(seam: &Root, path: &Path) -> io::Result<()> {
    let (parent, name) = seam.parent(path)?;
    match rustix::fs::unlinkat(&parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(e) => return Err(e.into()),
    }
    Ok(rustix::fs::mknodat(&parent, name, FileType::RegularFile, Mode::from(0o644), 0)?)
}

/// Where `path` leads to in `root`, though there is nothing: without links, relative to the root.
fn resolve(root: &Root, path: &Path) -> io::Result<PathBuf> {
    let words = |path: &Path| path.components().rev().map(|c| c.as_os_str().to_owned()).collect::<Vec<OsString>>();
    let (mut rest, mut at, mut links) = (words(path), PathBuf::new(), 0);
    while let Some(word) = rest.pop() {
        match Path::new(&word).components().next() {
            Some(Component::RootDir) => at = PathBuf::new(),
            Some(Component::ParentDir) => drop(at.pop()),
            Some(Component::Normal(_)) => {
                let next = at.join(&word);
                match root.readlink(&next) {
                    Ok(_) if links == LINKS_MAX => return Err(Errno::LOOP.into()),
                    Ok(target) => {
                        links += 1;
                        rest.extend(words(Path::new(&target)));
                    }
                    // Nothing there, or no link.
                    Err(e) if matches!(Errno::from_io_error(&e), Some(Errno::NOENT | Errno::INVAL)) => at = next,
                    Err(e) => return Err(e),
                }
            }
            _ => {}
        }
    }
    Ok(at)
}

fn name(path: &Path) -> io::Result<&std::ffi::OsStr> {
    path.file_name().ok_or_else(|| Errno::INVAL.into())
}

fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn places_are_found_through_links_and_never_above_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let etc = dir.path().join("etc");
        std::fs::create_dir(&etc).unwrap();
        symlink("../run/resolve/stub.conf", etc.join("resolv.conf")).unwrap();
        symlink("/../../up", etc.join("up")).unwrap();
        symlink("loop", etc.join("loop")).unwrap();
        let root = Root::open(dir.path()).unwrap();
        let cases = [
            ("/etc/resolv.conf", "run/resolve/stub.conf"),
            ("/etc/up/../../../x", "x"),
            ("/etc/hosts", "etc/hosts"),
            ("/a/./b", "a/b"),
        ];
        for (path, place) in cases {
            assert_eq!(resolve(&root, Path::new(path)).unwrap(), Path::new(place), "{path}");
        }
        assert!(resolve(&root, Path::new("/etc/loop")).is_err());
    }

    #[test]
    fn what_is_missing_is_made_and_what_is_hidden_stays_so() {
        let dir = tempfile::tempdir().unwrap();
        let sub = |name: &str| {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
            Root::open(dir.path().join(name)).unwrap()
        };
        let (seam, view) = (sub("seam"), sub("view"));
        sub("view/proc");
        let points = [("/proc", true), ("/sys", true), ("/etc/hosts", false), ("/etc/ssl/certs", true)];
        let points = points.map(|(path, directory)| MountPoint { path: path.into(), directory });
        make_places(&seam, &view, &points, false).unwrap();
        assert!(seam.lstat("proc").is_err());
        assert!(is_directory(&seam.lstat("sys").unwrap()) && is_directory(&seam.lstat("etc/ssl/certs").unwrap()));
        assert!(!is_directory(&seam.lstat("etc/hosts").unwrap()));
        if rustix::process::geteuid().is_root() {
            let hidden = sub("hidden");
            let mut deleted = Deleted::default();
            deleted.insert(Path::new("etc"));
            deleted.insert(Path::new("usr/share/doc"));
            hide(&hidden, &deleted).unwrap();
            make_places(&hidden, &view, &points, false).unwrap();
            assert!(stack::is_whiteout(&hidden.lstat("usr/share/doc").unwrap()));
            let etc = hidden.open_at("etc", OFlags::RDONLY | OFlags::DIRECTORY).unwrap();
            assert!(stack::is_opaque(&etc).unwrap());
            assert!(hidden.lstat("etc/hosts").is_ok());
        }
    }
}
