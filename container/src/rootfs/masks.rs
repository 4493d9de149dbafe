//! Paths of the container that are hidden or made read-only.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use appc_rooted::{OFlags, Root};
use rustix::fs::{FileType, fstat, makedev};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::file_system::new_file_system;
use super::{attach, clone_at};
use crate::error::{Context, Error, Result};
use crate::sys::mount::{MountAttributes, mount_setattr};

/// `MOUNT_ATTR_RDONLY`, and with it the three flags for what nothing should be done with.
const READ_ONLY: u64 = 0x1;
const INERT: u64 = 0x1 | 0x2 | 0x4 | 0x8;

/// Covers `masked` and then makes `read_only` what it says. Paths that do not exist are fine.
///
/// With `label` the covers have that SELinux label.
pub(crate) fn cover(root: &Root, masked: &[PathBuf], read_only: &[PathBuf], label: Option<&str>) -> Result<()> {
    let mut masks = Masks { label, ..Masks::default() };
    for path in masked {
        if let Some(target) = open(root, path).context(|| format!("mask path {}", path.display()))? {
            masks.cover(root, &target, path)?;
        }
    }
    make_read_only(root, read_only)
}

/// Covers each path with a read-only copy of what is there.
///
/// For a copy the kernel goes through everything that is mounted beside it. So no copy is attached before all are made,
/// or as many as there can be descriptors.
fn make_read_only(root: &Root, paths: &[PathBuf]) -> Result<()> {
    let _more = MoreDescriptors::allow(paths.len());
    let mut copies = Vec::new();
    for path in paths {
        let copy = match read_only_copy(root, path) {
            // There is one left for attaching: what the path led to was open.
            Err(e) if matches!(e.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) && !copies.is_empty() => {
                attach_all(root, &mut copies)?;
                read_only_copy(root, path)
            }
            copy => copy,
        };
        let copy = copy.context(|| format!("make {} read-only", path.display()))?;
        copies.extend(copy.map(|copy| (path, copy)));
    }
    attach_all(root, &mut copies)
}

/// A read-only copy of what the path leads to.
fn read_only_copy(root: &Root, path: &Path) -> std::io::Result<Option<OwnedFd>> {
    let Some(target) = open(root, path)? else { return Ok(None) };
    let copy = clone_at(&target, true)?;
    set_read_only(&copy, true)?;
    Ok(Some(copy))
}

fn attach_all(root: &Root, copies: &mut Vec<(&PathBuf, OwnedFd)>) -> Result<()> {
    copies.drain(..).try_for_each(|(path, copy)| {
        let attached = root.open_at(path, OFlags::PATH).and_then(|target| Ok(attach(copy, target)?));
        attached.context(|| format!("make {} read-only", path.display()))
    })
}

/// The process may have more descriptors; dropping this takes it back to what it had.
struct MoreDescriptors(Rlimit);

impl MoreDescriptors {
    /// For so many paths; none when the process has enough, or may not have more.
    fn allow(paths: usize) -> Option<MoreDescriptors> {
        let had = getrlimit(Resource::Nofile);
        // One for each, and what is open anyway.
        let needed = Some(paths as u64 + 256);
        if had.current.is_none() || had.current >= needed {
            return None;
        }
        let all = Rlimit {
            current: needed,
            maximum: had.maximum.and_then(|maximum| needed.map(|needed| needed.max(maximum))),
        };
        let some = Rlimit { current: had.maximum, maximum: had.maximum };
        // Without them it only takes longer.
        let raised = [all, some].into_iter().any(|limit| setrlimit(Resource::Nofile, limit).is_ok());
        raised.then_some(MoreDescriptors(had))
    }
}

impl Drop for MoreDescriptors {
    fn drop(&mut self) {
        // A lower limit is never refused.
        let _lowered = setrlimit(Resource::Nofile, self.0);
    }
}

/// What the path leads to inside the root: a link that the image put there must not take the protection away.
fn open(root: &Root, path: &Path) -> std::io::Result<Option<OwnedFd>> {
    match root.open_at(path, OFlags::PATH) {
        Ok(target) => Ok(Some(target)),
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => Ok(None),
        Err(e) => Err(e),
    }
}

/// The covers attached so far. Further ones are copies of them: much cheaper than new file systems.
#[derive(Default)]
struct Masks<'a> {
    label: Option<&'a str>,
    /// An empty read-only directory.
    directory: Option<OwnedFd>,
    /// The container's `/dev/null`, read-only.
    file: Option<OwnedFd>,
}

impl Masks<'_> {
    fn cover(&mut self, root: &Root, target: &OwnedFd, path: &Path) -> Result<()> {
        let (shown, label) = (path.display(), self.label);
        let status = fstat(target).context(|| format!("mask path {shown}"))?;
        match FileType::from_raw_mode(status.st_mode) {
            FileType::Directory => cover(&mut self.directory, || empty_directory(label), target),
            _ => cover(&mut self.file, || null(root), target),
        }
        .map_err(|e| Error::Other(format!("can't mask path \"{shown}\": {e}")))?;

        fn cover(
            attached: &mut Option<OwnedFd>,
            new: impl FnOnce() -> Result<OwnedFd>,
            target: &OwnedFd,
        ) -> Result<()> {
            let mask = match attached {
                Some(mask) => clone_at(mask, false).context(|| "copy the mask")?,
                None => new()?,
            };
            attach(&mask, target).context(|| "attach the mask")?;
            attached.get_or_insert(mask);
            Ok(())
        }
        Ok(())
    }
}

fn empty_directory(label: Option<&str>) -> Result<OwnedFd> {
    let data = [("nr_blocks", "1"), ("nr_inodes", "1"), ("mode", "755")];
    let data = data.into_iter().chain(label.map(|label| ("context", label)));
    let data: Vec<_> = data.map(|(key, value)| (key.to_owned(), Some(value.to_owned()))).collect();
    new_file_system("tmpfs", "tmpfs", &data, INERT).map_err(Error::Other)
}

/// A copy of the container's `/dev/null`, which may be anything until it is looked at.
fn null(root: &Root) -> Result<OwnedFd> {
    let invalid = |why: String| Error::Other(format!("container's /dev/null is invalid: {why}"));
    let null = root.open_at("/dev/null", OFlags::PATH | OFlags::NOFOLLOW).map_err(|e| invalid(e.to_string()))?;
    let status = fstat(&null).context(|| "look at /dev/null")?;
    // Character device 1:3, see devices.txt of the kernel.
    if FileType::from_raw_mode(status.st_mode) != FileType::CharacterDevice || status.st_rdev != makedev(1, 3) {
        return Err(invalid("it is not character device 1:3".to_owned()));
    }
    let copy = clone_at(&null, false).context(|| "copy /dev/null")?;
    // Nobody should change the owner or the mode of the node through a mask.
    set_read_only(&copy, false).context(|| "make the mask read-only")?;
    Ok(copy)
}

/// Makes a mount read-only.
pub(super) fn set_read_only(tree: &OwnedFd, recursive: bool) -> std::io::Result<()> {
    mount_setattr(tree, recursive, MountAttributes { set: READ_ONLY, ..MountAttributes::default() })
}
