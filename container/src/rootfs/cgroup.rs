//! The `cgroup` mount: what a container sees of its own cgroup.
//!
//! | host | with a cgroup namespace | without |
//! |---|---|---|
//! | v2 | a new cgroup2 mount, whose root is the container's | the container's directory |
//! | v2, in its caller's cgroup | that directory, read-only | the same |
//! | v1, hybrid | a tmpfs with one directory for each hierarchy the container is in, showing the container's | the same |
//! | v1, hybrid, in its caller's cgroups | the same with its caller's, read-only | the same |

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use appc_rooted::{Mode, OFlags};
use rustix::fs::CWD;
use rustix::mount::{OpenTreeFlags, open_tree};

use super::attach;
use super::file_system::{self, new_file_system};
use super::masks::set_read_only;
use super::mounts::{View, adjust, text};
use crate::cgroup::{Cgroup, Version};
use crate::error::errno_text;
use crate::plan::MountOptions;

/// `MOUNT_ATTR_RDONLY`.
const READ_ONLY: u64 = 0x1;

/// Mounts it on `target`.
pub(super) fn mount(target: &OwnedFd, options: &MountOptions, view: View<'_>) -> Result<(), String> {
    match view.cgroup {
        Some(cgroup) if cgroup.version() == Version::V2 && view.own_cgroups => {
            match file_system::new("cgroup2", "cgroup", options, None) {
                Ok(tree) => attach(&tree, target).map_err(text),
                // Not in every user namespace: the same in another way.
                Err(_) if options.data.is_empty() => show_all(target, options, cgroup),
                Err(why) => Err(why),
            }
        }
        Some(cgroup) if cgroup.version() == Version::V2 => show_all(target, options, cgroup),
        Some(cgroup) => hierarchies(target, options, cgroup.directories()),
        None => callers(target, options, view.callers_cgroups),
    }
}

fn show_all(target: &OwnedFd, options: &MountOptions, cgroup: &Cgroup) -> Result<(), String> {
    cgroup.directories().try_for_each(|(_, path)| show(&path, target, options))
}

/// A container without any cgroup is in its caller's: it may look there, and never write (CVE-2023-25809).
fn callers(target: &OwnedFd, options: &MountOptions, cgroups: &[(Vec<String>, PathBuf)]) -> Result<(), String> {
    let mut options = options.clone();
    options.attributes.set |= READ_ONLY;
    options.attributes.clear &= !READ_ONLY;
    options.recursive.clear &= !READ_ONLY;
    match cgroups {
        [(controllers, path)] if controllers.is_empty() => show(path, target, &options),
        all => {
            let directories = all.iter().map(|(controllers, path)| (controllers.as_slice(), path.clone()));
            hierarchies(target, &options, directories)
        }
    }
}

/// A directory of directories. Hierarchies that are not among them would show its neighbours, so are left out.
fn hierarchies<'c>(
    target: &OwnedFd,
    options: &MountOptions,
    directories: impl Iterator<Item = (&'c [String], PathBuf)>,
) -> Result<(), String> {
    let data = [("mode".to_owned(), Some("755".to_owned()))];
    let tree = new_file_system("tmpfs", "tmpfs", &data, options.attributes.set & !READ_ONLY)?;
    attach(&tree, target).map_err(text)?;
    for (controllers, path) in directories {
        let names: Vec<&str> = controllers.iter().map(|c| c.strip_prefix("name=").unwrap_or(c)).collect();
        let name = if names.is_empty() { "unified".to_owned() } else { names.join(",") };
        rustix::fs::mkdirat(&tree, &name, Mode::from(0o755)).map_err(text)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let place = rustix::fs::openat(&tree, &name, flags, Mode::empty()).map_err(text)?;
        show(&path, &place, options)?;
        for alias in names.iter().filter(|alias| names.len() > 1 && OsStr::new(*alias) != OsStr::new(&name)) {
            rustix::fs::symlinkat(&name, &tree, *alias).map_err(text)?;
        }
    }
    if options.attributes.set & READ_ONLY != 0 {
        set_read_only(&tree, false).map_err(|e| errno_text(&e))?;
    }
    Ok(())
}

fn show(cgroup: &Path, place: &OwnedFd, options: &MountOptions) -> Result<(), String> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, cgroup, flags).map_err(|e| format!("open {}: {}", cgroup.display(), text(e)))?;
    adjust(&tree, options)?;
    attach(&tree, place).map_err(text)
}
