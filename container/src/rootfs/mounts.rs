//! Attaching the mounts of the configuration.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use appc_rooted::{Mode, OFlags, Root};
use rustix::fs::{CWD, FileType, PROC_SUPER_MAGIC, fstat, fstatfs};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, MoveMountFlags, mount_change, move_mount};

use super::file_system::is_directory;
use super::{attach, cgroup, file_system, parent_made};
use crate::cgroup::Cgroup;
use crate::error::{Context, Error, Result, errno_text};
use crate::plan::{MountOptions, MountPlan, Source};
use crate::sys::mount::{MountAttributes, mount_setattr};

/// The kernel's limit for the links in one path (`MAXSYMLINKS`).
const LINKS_MAX: u32 = 40;
/// `MOUNT_ATTR_RDONLY`.
const READ_ONLY: u64 = 0x1;

/// Puts the container's root on top of the host's, ready to be pivoted to.
pub(crate) fn attach_root(tree: &OwnedFd) -> Result<Root> {
    // From here on nothing that happens in this mount namespace reaches the host.
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .context(|| "keep mounts from reaching the host")?;
    move_mount(tree, "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).context(|| "attach the root")?;
    Ok(Root::from_fd(tree.try_clone().context(|| "keep the root open")?))
}

/// What mounts see of the container they are for.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    /// The container's cgroup.
    pub(crate) cgroup: Option<&'a Cgroup>,
    /// What it is in without one: directories and the controllers of version 1 there.
    pub(crate) callers_cgroups: &'a [(Vec<String>, PathBuf)],
    /// Whether it has a cgroup namespace of its own.
    pub(crate) own_cgroups: bool,
    /// Gets a copy of what this bind mount takes over, and asks for those of all that follow if it is the first.
    pub(crate) copy: &'a dyn Fn(usize, bool) -> Result<OwnedFd>,
}

/// Attaches everything in its order. What is returned is to be made read-only when nothing more is put into it.
pub(crate) fn mount_all(root: &Root, mounts: &[MountPlan], view: View<'_>) -> Result<Vec<OwnedFd>> {
    let mut later = Vec::new();
    let found = |mount: &MountPlan| mount.found_tree().is_some();
    for (i, mount) in mounts.iter().enumerate() {
        let (name, destination) = (describe(mount), mount.destination.display());
        let first = i == 0 || !found(&mounts[i - 1]);
        let copy = found(mount).then(|| (view.copy)(i, first)).transpose()?;
        let late = one(root, mount, view, copy).map_err(|why| {
            Error::Other(format!("error mounting {name:?} to rootfs at \"{destination}\": {why} (mounts[{i}])"))
        })?;
        later.extend(late);
    }
    Ok(later)
}

/// What is mounted, as the configuration says it.
fn describe(mount: &MountPlan) -> Cow<'_, str> {
    match &mount.source {
        Source::Tree { tree, .. } => tree.path().to_string_lossy(),
        Source::FileSystem { kind, .. } => kind.into(),
        Source::Cgroup => "cgroup".into(),
        Source::Present => "remount".into(),
    }
}

fn one(root: &Root, mount: &MountPlan, view: View<'_>, copy: Option<OwnedFd>) -> Result<Option<OwnedFd>, String> {
    let (options, late) = postpone_read_only(mount);
    let attached = match &mount.source {
        Source::Tree { tree, directory } => {
            let tree = match &copy {
                Some(copy) => copy,
                None => tree.get().map_err(|e| format!("open its source: {}", errno_text(&e)))?,
            };
            let target = target(root, mount, *directory)?.place;
            adjust(tree, &options)?;
            attach(tree, &target).map_err(text)?;
            // Seldom needed, and a system call.
            return late.then(|| tree.try_clone().map_err(|e| errno_text(&e))).transpose();
        }
        Source::FileSystem { kind, source } => {
            let (place, existed) = match kind.as_str() {
                "proc" | "sysfs" => (ordinary_directory(root, &mount.destination, kind)?, true),
                _ => target(root, mount, true).map(|target| (target.place, target.existed))?,
            };
            let tree = file_system::new(kind, source, &options, existed.then_some(&place))?;
            attach(&tree, &place).map_err(text)?;
            tree
        }
        Source::Cgroup => {
            let place = target(root, mount, true)?.place;
            cgroup::mount(&place, &options, view)?;
            return Ok(None);
        }
        Source::Present => {
            let place = root.open_at(&mount.destination, OFlags::PATH).map_err(|e| errno_text(&e))?;
            file_system::remount(&place, &options)?;
            return Ok(None);
        }
    };
    Ok(late.then_some(attached))
}

/// Mount points, devices and the console are still to be made in these; see [`mount_all`].
fn postpone_read_only(mount: &MountPlan) -> (Cow<'_, MountOptions>, bool) {
    let filled = matches!(&mount.source, Source::FileSystem { kind, .. } if kind == "tmpfs");
    let filled = filled || mount.destination == Path::new("/dev") && !matches!(mount.source, Source::Present);
    if !filled || mount.options.attributes.set & READ_ONLY == 0 {
        return (Cow::Borrowed(&mount.options), false);
    }
    let mut options = mount.options.clone();
    options.attributes.set &= !READ_ONLY;
    (Cow::Owned(options), true)
}

/// Applies options to a mount.
pub(super) fn adjust(tree: &OwnedFd, options: &MountOptions) -> Result<(), String> {
    for (attributes, recursive) in [(options.attributes, false), (options.recursive, true)] {
        if attributes.set != 0 || attributes.clear != 0 {
            mount_setattr(tree, recursive, attributes).map_err(|e| match e.raw_os_error() {
                // A user namespace cannot take back what its parent has set.
                Some(libc::EPERM) if attributes.clear & !attributes.set != 0 => {
                    format!("cannot clear locked flags: {}", errno_text(&e))
                }
                _ => format!("set options: {}", errno_text(&e)),
            })?;
        }
    }
    for &(propagation, recursive) in &options.propagation {
        let change = MountAttributes { propagation: Some(propagation), ..MountAttributes::default() };
        mount_setattr(tree, recursive, change).map_err(|e| format!("set the propagation: {}", errno_text(&e)))?;
    }
    Ok(())
}

/// Where a mount goes.
struct Target {
    place: OwnedFd,
    /// Whether it was there before.
    existed: bool,
}

/// What the mount goes onto, made when missing.
fn target(root: &Root, mount: &MountPlan, directory: bool) -> Result<Target, String> {
    let path = &mount.destination;
    let found = root.open_at(path, OFlags::PATH);
    let existed = found.is_ok();
    let place = match found {
        Ok(found) if directory && !is_directory(&found) => Err(Errno::NOTDIR.into()),
        Ok(found) if !directory && is_directory(&found) => {
            return Err("its source is not a directory, and its destination is one".to_owned());
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => match directory {
            true => root.make_way(path, Mode::from(0o755)),
            false => new_file(root, path),
        },
        found => found,
    };
    let place = place.map_err(|e| errno_text(&e))?;
    if fstatfs(&place).is_ok_and(|s| s.f_type == PROC_SUPER_MAGIC) && !mount.may_be_in_proc() {
        return Err("the way there leads into /proc".to_owned());
    }
    Ok(Target { place, existed })
}

/// Like [`Root::make_way`]: where `path` is a link that leads to nothing, what it leads to is made.
fn new_file(root: &Root, path: &Path) -> std::io::Result<OwnedFd> {
    let mut path = Cow::Borrowed(path);
    for _ in 0..=LINKS_MAX {
        let (parent, name) = parent_made(root, &path)?;
        make_file(&parent, name)?;
        match rustix::fs::readlinkat(&parent, name, Vec::new()) {
            Ok(target) => path = Cow::Owned(path.with_file_name(OsStr::from_bytes(target.to_bytes()))),
            // No link.
            Err(Errno::INVAL) => {
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                return Ok(rustix::fs::openat(&parent, name, flags, Mode::empty())?);
            }
            Err(e) => return Err(e.into()),
        }
    }
    Err(Errno::LOOP.into())
}

/// Makes an empty file unless something has that name; never opens what is there.
pub(super) fn make_file(parent: &OwnedFd, name: &OsStr) -> rustix::io::Result<()> {
    match rustix::fs::mknodat(parent, name, FileType::RegularFile, Mode::from(0o644), 0) {
        Err(Errno::EXIST) => Ok(()),
        made => made,
    }
}

/// `/proc` and `/sys` decide what the rest of the system believes: no link may move them.
fn ordinary_directory(root: &Root, path: &Path, kind: &str) -> Result<OwnedFd, String> {
    let refused = || format!("filesystem {kind:?} must be mounted on ordinary directory");
    let (parent, name) = parent_made(root, path).map_err(|e| match e.raw_os_error() {
        Some(libc::ENOTDIR | libc::ELOOP) => refused(),
        _ => errno_text(&e),
    })?;
    match rustix::fs::mkdirat(&parent, name, Mode::from(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(text(e)),
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = rustix::fs::openat(&parent, name, flags, Mode::empty()).map_err(text)?;
    let status = fstat(&target).map_err(text)?;
    if FileType::from_raw_mode(status.st_mode) == FileType::Directory { Ok(target) } else { Err(refused()) }
}

pub(super) fn text(error: Errno) -> String {
    errno_text(&error.into())
}
