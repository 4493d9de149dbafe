//! Paths of the container that are hidden or made read-only.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use appc_rooted::{OFlags, Root};
use rustix::fs::{FileType, fstat, makedev};

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
    for path in read_only {
        if let Some(target) = open(root, path).context(|| format!("open readonly path {}", path.display()))? {
            make_read_only(&target).context(|| format!("make {} read-only", path.display()))?;
        }
    }
    Ok(())
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

fn make_read_only(target: &OwnedFd) -> std::io::Result<()> {
    let copy = clone_at(target, true)?;
    set_read_only(&copy, true)?;
    Ok(attach(&copy, target)?)
}

/// Makes a mount read-only.
pub(super) fn set_read_only(tree: &OwnedFd, recursive: bool) -> std::io::Result<()> {
    mount_setattr(tree, recursive, MountAttributes { set: READ_ONLY, ..MountAttributes::default() })
}
