//! Attaching the mounts of the configuration.

use std::os::fd::OwnedFd;
use std::path::Path;

use appc_rooted::{Mode, OFlags, Root};
use rustix::fs::{CWD, FileType, PROC_SUPER_MAGIC, fstat, fstatfs};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount,
};

use super::{attach, cgroup, parent_made};
use crate::cgroup::Cgroup;
use crate::error::{Context, Error, Result, errno_text};
use crate::plan::{MountOptions, MountPlan, Source};
use crate::sys::mount::{MountAttributes, mount_setattr};

/// Puts the container's root on top of the host's, ready to be pivoted to.
pub(crate) fn attach_root(tree: &OwnedFd) -> Result<Root> {
    // From here on nothing that happens in this mount namespace reaches the host.
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .context(|| "keep mounts from reaching the host")?;
    move_mount(tree, "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).context(|| "attach the root")?;
    Ok(Root::from_fd(tree.try_clone().context(|| "keep the root open")?))
}

/// Attaches everything in its order.
pub(crate) fn mount_all(root: &Root, mounts: &[MountPlan], cgroup: Option<&Cgroup>, own_view: bool) -> Result<()> {
    for mount in mounts {
        let (name, destination) = (describe(mount), mount.destination.display());
        one(root, mount, cgroup, own_view)
            .map_err(|why| Error::Other(format!("error mounting {name:?} to rootfs at \"{destination}\": {why}")))?;
    }
    Ok(())
}

fn describe(mount: &MountPlan) -> String {
    match &mount.source {
        Source::Tree { .. } => "bind".to_owned(),
        Source::FileSystem { kind, .. } => kind.clone(),
        Source::Cgroup => "cgroup".to_owned(),
    }
}

fn one(root: &Root, mount: &MountPlan, cgroup: Option<&Cgroup>, own_view: bool) -> Result<(), String> {
    match &mount.source {
        Source::Tree { tree, directory } => {
            let target = target(root, mount, *directory)?;
            adjust(tree, &mount.options).map_err(|e| format!("set options: {}", errno_text(&e)))?;
            attach(tree, &target).map_err(text)
        }
        Source::FileSystem { kind, source } => {
            let target = match kind.as_str() {
                "proc" | "sysfs" => ordinary_directory(root, &mount.destination, kind)?,
                _ => target(root, mount, true)?,
            };
            let attributes = mount.options.attributes.set;
            let tree = new_file_system(kind, source, &mount.options.data, attributes)?;
            let late = MountOptions { attributes: MountAttributes::default(), ..mount.options.clone() };
            adjust(&tree, &late).map_err(|e| format!("set options: {}", errno_text(&e)))?;
            attach(&tree, &target).map_err(text)
        }
        Source::Cgroup => {
            let target = target(root, mount, true)?;
            cgroup::mount(&target, &mount.options, cgroup, own_view)
        }
    }
}

/// Makes a file system with these mount attributes.
pub(super) fn new_file_system(
    kind: &str,
    source: &str,
    data: &[(String, Option<String>)],
    attributes: u64,
) -> Result<OwnedFd, String> {
    let fs = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).map_err(|e| match e {
        Errno::NODEV => format!("the kernel has no file system {kind:?}"),
        e => text(e),
    })?;
    fsconfig_set_string(&fs, "source", source).map_err(text)?;
    for (key, value) in data {
        let set = match value {
            Some(value) => fsconfig_set_string(&fs, key, value.as_str()),
            None => fsconfig_set_flag(&fs, key),
        };
        set.map_err(|e| format!("option {key:?}: {}", text(e)))?;
    }
    fsconfig_create(&fs).map_err(text)?;
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::from_bits_retain(attributes as u32)).map_err(text)
}

/// Applies options to a mount that is not attached yet.
pub(super) fn adjust(tree: &OwnedFd, options: &MountOptions) -> std::io::Result<()> {
    for (attributes, recursive) in [(options.attributes, false), (options.recursive, true)] {
        if attributes.set != 0 || attributes.clear != 0 {
            mount_setattr(tree, recursive, attributes)?;
        }
    }
    for &(propagation, recursive) in &options.propagation {
        let change = MountAttributes { propagation: Some(propagation), ..MountAttributes::default() };
        mount_setattr(tree, recursive, change)?;
    }
    Ok(())
}

/// What the mount goes onto, made when missing.
fn target(root: &Root, mount: &MountPlan, directory: bool) -> Result<OwnedFd, String> {
    let path = &mount.destination;
    let target = if directory { root.mkdir_all(path, Mode::from(0o755)) } else { file(root, path) };
    let target = target.map_err(|e| errno_text(&e))?;
    if fstatfs(&target).is_ok_and(|s| s.f_type == PROC_SUPER_MAGIC) && !mount.may_be_in_proc() {
        return Err("the way there leads into /proc".to_owned());
    }
    Ok(target)
}

fn file(root: &Root, path: &Path) -> std::io::Result<OwnedFd> {
    match root.open_at(path, OFlags::PATH) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        found => return found,
    }
    let (parent, name) = parent_made(root, path)?;
    make_file(&parent, name)?;
    Ok(rustix::fs::openat(&parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?)
}

/// Makes an empty file unless something has that name; never opens what is there.
pub(super) fn make_file(parent: &OwnedFd, name: &std::ffi::OsStr) -> rustix::io::Result<()> {
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
