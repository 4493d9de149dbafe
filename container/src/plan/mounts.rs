//! The mounts of a container, checked, with their sources open.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Mount;
use rustix::fs::{FileType, PROC_SUPER_MAGIC, fstat, fstatfs};

use super::clone_tree;
use super::options::MountOptions;
use crate::error::{Error, Result, errno_text};
use crate::sys::mount::{MountAttributes, Propagation, mount_setattr};

/// Files below `/proc` that lxcfs and its like may stand in for; anything else there could lie to the runtime.
/// The list is runc's.
const REPLACEABLE_IN_PROC: [&str; 12] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/net/dev",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
    "/proc/sys/kernel/cap_last_cap",
];

/// One mount to attach.
#[derive(Debug)]
pub(crate) struct MountPlan {
    /// Where, in the container: absolute and without `..`.
    pub(crate) destination: PathBuf,
    /// What.
    pub(crate) source: Source,
    /// The options that act on mounts. For a file system also what `fsmount` is told.
    pub(crate) options: MountOptions,
}

/// What is mounted.
#[derive(Debug)]
pub(crate) enum Source {
    /// A part of the host: a detached mount, ready to be attached. `directory` says onto what.
    Tree { tree: OwnedFd, directory: bool },
    /// A new file system, made by init in the container's namespaces.
    FileSystem { kind: String, source: String },
    /// The container's cgroups, whatever this host has.
    Cgroup,
}

impl MountPlan {
    pub(crate) fn is_bind(&self) -> bool {
        matches!(self.source, Source::Tree { .. })
    }

    /// Whether this may cover something of a procfs.
    pub(crate) fn may_be_in_proc(&self) -> bool {
        REPLACEABLE_IN_PROC.iter().any(|path| self.destination == Path::new(path))
    }
}

/// Reads `mounts`.
pub(super) fn plan(mounts: &[Mount], bundle: &Path, propagation: Propagation) -> Result<Vec<MountPlan>> {
    mounts.iter().enumerate().map(|(i, mount)| one(i, mount, bundle, propagation)).collect()
}

fn one(i: usize, mount: &Mount, bundle: &Path, propagation: Propagation) -> Result<MountPlan> {
    let field = |name: &str| format!("mounts[{i}].{name}");
    // Relative destinations are relative to / since runtime-spec 1.2.
    let destination = appc_rooted::clean(mount.destination());
    if destination == Path::new("/") {
        return Err(Error::refused(
            field("destination"),
            "mounting on the top of rootfs is not possible: change root.path",
        ));
    }
    for (name, mappings) in [("uidMappings", mount.uid_mappings()), ("gidMappings", mount.gid_mappings())] {
        if mappings.as_ref().is_some_and(|m| !m.is_empty()) {
            return Err(Error::refused(field(name), "id-mapped mounts are not supported yet: remove it"));
        }
    }
    let options = mount.options().as_deref().unwrap_or_default();
    let options = MountOptions::parse(options).map_err(|why| Error::refused(field("options"), why))?;
    let kind = mount.typ().as_deref().unwrap_or_default();
    let source = match (options.bind, kind) {
        (Some(_), _) | (None, "bind") => bind(i, mount, bundle, &options, propagation)?,
        (None, "" | "none") => return Err(Error::refused(field("type"), "is missing, and no bind option is given")),
        (None, "cgroup" | "cgroup2") => match options.data.first() {
            Some((key, _)) => {
                return Err(Error::refused(field("options"), format!("{key:?} means nothing to a cgroup mount")));
            }
            None => Source::Cgroup,
        },
        (None, kind) => {
            let source = mount.source().as_ref().map_or(kind.to_owned(), |s| s.to_string_lossy().into_owned());
            Source::FileSystem { kind: kind.to_owned(), source }
        }
    };
    let plan = MountPlan { destination, source, options };
    check_proc(&plan, kind).map_err(|why| Error::refused(field("destination"), why))?;
    Ok(plan)
}

fn bind(i: usize, mount: &Mount, bundle: &Path, options: &MountOptions, host: Propagation) -> Result<Source> {
    let field = format!("mounts[{i}].source");
    if let Some((key, _)) = options.data.first() {
        return Err(Error::refused(format!("mounts[{i}].options"), format!("{key:?} means nothing to a bind mount")));
    }
    let source = mount.source().as_ref().filter(|s| !s.as_os_str().is_empty());
    let source = bundle.join(source.ok_or_else(|| Error::refused(&field, "a bind mount needs one"))?);
    let refused = |e: std::io::Error| Error::refused(&field, format!("{}: {}", source.display(), errno_text(&e)));
    let tree = clone_tree(&source, options.bind.unwrap_or(false)).map_err(|e| refused(e.into()))?;
    // What is mounted in the container must not appear on the host, so the copy never is the host's peer by default.
    let change = MountAttributes { propagation: Some(host), ..MountAttributes::default() };
    mount_setattr(&tree, true, change).map_err(refused)?;
    let status = fstat(&tree).map_err(|e| refused(e.into()))?;
    Ok(Source::Tree { tree, directory: FileType::from_raw_mode(status.st_mode) == FileType::Directory })
}

/// Procfs is what the engine itself and security labels rely on: nothing else may pose as it.
fn check_proc(plan: &MountPlan, kind: &str) -> Result<(), String> {
    let shown = plan.destination.display();
    if plan.destination == Path::new("/proc") {
        let is_proc = match &plan.source {
            Source::Tree { tree, .. } => fstatfs(tree).is_ok_and(|s| s.f_type == PROC_SUPER_MAGIC),
            _ => kind == "proc",
        };
        return if is_proc {
            Ok(())
        } else {
            Err(format!("{shown:?} cannot be mounted because it is not of type proc"))
        };
    }
    if plan.destination.starts_with("/proc") && !plan.may_be_in_proc() {
        return Err(format!("{shown:?} cannot be mounted because it is inside /proc"));
    }
    Ok(())
}
