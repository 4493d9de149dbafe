//! Where a path leads to in trees of which no single directory could be opened to ask the kernel.

use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};

use appc_rooted::Root;
use rustix::io::Errno;

/// As many links as the kernel follows in one path, `MAXSYMLINKS`.
const LINKS_MAX: usize = 40;

/// What becomes of a link that is the last component of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Last {
    Followed,
    Meant,
}

/// Where `path` leads to, whether something is there or not: relative to the root and without links, but for the last
/// component when that is what is [meant](Last::Meant). `target` gives the target of the link at a path without links, and
/// nothing when there is none.
pub(crate) fn resolve(
    path: &Path,
    last: Last,
    target: impl Fn(&Path) -> io::Result<Option<OsString>>,
) -> io::Result<PathBuf> {
    let words = |path: &Path| path.components().rev().map(|c| c.as_os_str().to_owned()).collect::<Vec<OsString>>();
    let (mut rest, mut at, mut links) = (words(path), PathBuf::new(), 0);
    while let Some(word) = rest.pop() {
        match Path::new(&word).components().next() {
            Some(Component::RootDir) => at = PathBuf::new(),
            Some(Component::ParentDir) => drop(at.pop()),
            Some(Component::Normal(_)) => {
                let next = at.join(&word);
                match target(&next)? {
                    Some(_) if last == Last::Meant && rest.is_empty() => at = next,
                    Some(_) if links == LINKS_MAX => return Err(Errno::LOOP.into()),
                    Some(target) => {
                        links += 1;
                        rest.extend(words(Path::new(&target)));
                    }
                    None => at = next,
                }
            }
            _ => {}
        }
    }
    Ok(at)
}

/// The target of the link at `path`, a path without links, in one tree; nothing when there is no link, or nothing at all.
pub(crate) fn target(tree: &Root, path: &Path) -> io::Result<Option<OsString>> {
    match tree.readlink(path) {
        Ok(target) => Ok(Some(target)),
        Err(e) if matches!(Errno::from_io_error(&e), Some(Errno::NOENT | Errno::INVAL)) => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn paths_lead_through_links_and_never_above_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let etc = dir.path().join("etc");
        std::fs::create_dir(&etc).unwrap();
        symlink("../run/resolve/stub.conf", etc.join("resolv.conf")).unwrap();
        symlink("/../../up", etc.join("up")).unwrap();
        symlink("loop", etc.join("loop")).unwrap();
        let root = Root::open(dir.path()).unwrap();
        let lead = |path: &str, last| resolve(Path::new(path), last, |path| target(&root, path));
        for (path, followed, meant) in [
            ("/etc/resolv.conf", "run/resolve/stub.conf", "etc/resolv.conf"),
            ("/etc/up/../../../x", "x", "x"),
            ("/etc/up/y", "up/y", "up/y"),
            ("/etc/hosts", "etc/hosts", "etc/hosts"),
            ("/a/./b", "a/b", "a/b"),
            ("..", "", ""),
        ] {
            assert_eq!(lead(path, Last::Followed).unwrap(), Path::new(followed), "{path}");
            assert_eq!(lead(path, Last::Meant).unwrap(), Path::new(meant), "{path}");
        }
        assert!(lead("/etc/loop", Last::Followed).is_err() && lead("/etc/loop/x", Last::Meant).is_err());
        assert_eq!(lead("/etc/loop", Last::Meant).unwrap(), Path::new("etc/loop"));
    }
}
