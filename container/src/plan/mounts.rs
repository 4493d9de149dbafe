//! The mounts of a container, checked, with their sources open.

use std::path::{Path, PathBuf};

use oci_spec::runtime::Mount;
use rustix::fs::{FileType, PROC_SUPER_MAGIC};

use super::id_map::IdMaps;
use super::options::MountOptions;
use super::tree::HostTree;
use super::warnings::Warnings;
use crate::error::{Error, Result, errno_text};
use crate::namespaces::NamespacePlan;
use crate::sys::mount::Propagation;

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
    /// A part of the host. `directory` says onto what it goes.
    Tree { tree: HostTree, directory: bool },
    /// A new file system, made by init in the container's namespaces.
    FileSystem { kind: String, source: String },
    /// The container's cgroups, whatever this host has.
    Cgroup,
    /// What is mounted there already, with other options.
    Present,
}

impl MountPlan {
    /// The part of the host to copy, if its caller has to do that.
    pub(crate) fn found_tree(&self) -> Option<&HostTree> {
        match &self.source {
            Source::Tree { tree, .. } if tree.is_found() => Some(tree),
            _ => None,
        }
    }

    pub(crate) fn is_bind(&self) -> bool {
        matches!(self.source, Source::Tree { .. })
    }

    /// Whether it goes onto a directory rather than a file.
    pub(crate) fn is_directory(&self) -> bool {
        !matches!(self.source, Source::Tree { directory: false, .. })
    }

    /// Gives a new file system an SELinux label; those that tell of the kernel have their own.
    pub(crate) fn set_label(&mut self, label: &str) {
        match &self.source {
            Source::FileSystem { kind, .. } if !matches!(kind.as_str(), "proc" | "sysfs" | "mqueue") => {
                self.options.data.push(("context".to_owned(), Some(label.to_owned())));
            }
            _ => {}
        }
    }

    /// Whether this may cover something of a procfs.
    pub(crate) fn may_be_in_proc(&self) -> bool {
        REPLACEABLE_IN_PROC.iter().any(|path| self.destination == Path::new(path))
    }
}

/// What all mounts of a container are read with.
struct Reader<'a> {
    bundle: &'a Path,
    propagation: Propagation,
    namespaces: &'a NamespacePlan,
    id_maps: IdMaps<'a>,
    warnings: &'a mut Warnings,
}

/// Reads `mounts`.
pub(super) fn plan(
    mounts: &[Mount],
    bundle: &Path,
    propagation: Propagation,
    namespaces: &NamespacePlan,
    warnings: &mut Warnings,
) -> Result<Vec<MountPlan>> {
    let id_maps = IdMaps::new(namespaces);
    let mut reader = Reader { bundle, propagation, namespaces, id_maps, warnings };
    mounts.iter().enumerate().map(|(i, mount)| reader.one(i, mount)).collect()
}

impl Reader<'_> {
    fn one(&mut self, i: usize, mount: &Mount) -> Result<MountPlan> {
        let field = |name: &str| format!("mounts[{i}].{name}");
        // Relative destinations are relative to / since runtime-spec 1.2.
        let destination = appc_rooted::clean(mount.destination());
        if destination == Path::new("/") {
            return Err(Error::refused(
                field("destination"),
                "mounting on the top of rootfs is not possible: change root.path",
            ));
        }
        let mut options = MountOptions::parse(mount.options().as_deref().unwrap_or_default());
        let kind = mount.typ().as_deref().unwrap_or_default();
        let mut source = match (options.bind, kind) {
            _ if options.remount => Source::Present,
            (Some(_), _) | (None, "bind") => {
                self.without_file_system(i, &mut options);
                self.bind(i, mount, &options)?
            }
            (None, "" | "none") => {
                return Err(Error::refused(field("type"), "is missing, and no bind option is given"));
            }
            (None, "cgroup" | "cgroup2") => match options.data.first() {
                Some((key, _)) if kind == "cgroup" => {
                    return Err(Error::refused(field("options"), format!("{key:?} means nothing to a cgroup mount")));
                }
                _ => Source::Cgroup,
            },
            (None, kind) => {
                let source = mount.source().as_ref().map_or(kind.to_owned(), |s| s.to_string_lossy().into_owned());
                Source::FileSystem { kind: kind.to_owned(), source }
            }
        };
        if self.id_maps.asked(mount, &options) {
            match &mut source {
                Source::Tree { tree, .. } => self.id_maps.apply(&format!("mounts[{i}]"), mount, &options, tree)?,
                _ => {
                    let why = "id-mapped mounts are only supported for bind mounts";
                    return Err(Error::refused(field("options"), why));
                }
            }
        }
        if options.copy_up && kind != "tmpfs" {
            return Err(Error::refused(field("options"), "\"tmpcopyup\" is for mounts of type tmpfs"));
        }
        if kind == "devpts" {
            self.mapped_groups_only(i, &mut options);
        }
        let plan = MountPlan { destination, source, options };
        check_proc(&plan, kind).map_err(|why| Error::refused(field("destination"), why))?;
        Ok(plan)
    }

    fn bind(&mut self, i: usize, mount: &Mount, options: &MountOptions) -> Result<Source> {
        let field = format!("mounts[{i}].source");
        let source = mount.source().as_ref().filter(|s| !s.as_os_str().is_empty());
        let source = self.bundle.join(source.ok_or_else(|| Error::refused(&field, "a bind mount needs one"))?);
        let refused = |e: std::io::Error| Error::refused(&field, format!("{}: {}", source.display(), errno_text(&e)));
        let tree = HostTree::find(&source, options.bind.unwrap_or(false), self.propagation).map_err(refused)?;
        let status = tree.status().map_err(|e| refused(e.into()))?;
        Ok(Source::Tree { tree, directory: FileType::from_raw_mode(status.st_mode) == FileType::Directory })
    }

    /// Leaves away what is for file systems: a bind mount is one more view of one that has its own.
    fn without_file_system(&mut self, i: usize, options: &mut MountOptions) {
        for (key, _) in options.data.drain(..) {
            let why = "bind mounts cannot have any filesystem-specific options applied: ignored";
            self.warnings.lost.push(format!("mounts[{i}].options: {key:?}: {why}"));
        }
        for option in &options.flags {
            self.warnings.idle.push(format!("mounts[{i}].options: {option:?} has no effect on a bind mount"));
        }
    }

    /// The template gives terminals to group 5, which a user without a range of groups does not have.
    fn mapped_groups_only(&mut self, i: usize, options: &mut MountOptions) {
        let Some(mappings) = self.namespaces.mappings() else { return };
        options.data.retain(|(key, value)| {
            let id = value.as_deref().and_then(|v| v.parse().ok());
            let mapped = match (key.as_str(), id) {
                ("gid", Some(id)) => mappings.has_gid(id),
                ("uid", Some(id)) => mappings.has_uid(id),
                _ => true,
            };
            if !mapped {
                let option = format!("{key}={}", value.as_deref().unwrap_or_default());
                self.warnings.idle.push(format!("mounts[{i}].options: {option:?} is not mapped, so it is left away"));
            }
            mapped
        });
    }
}

/// Procfs is what the engine itself and security labels rely on: nothing else may pose as it.
fn check_proc(plan: &MountPlan, kind: &str) -> Result<(), String> {
    if matches!(plan.source, Source::Present) {
        return Ok(());
    }
    let shown = plan.destination.display();
    if plan.destination == Path::new("/proc") {
        let is_proc = match &plan.source {
            Source::Tree { tree, .. } => tree.file_system().is_ok_and(|s| s.f_type == PROC_SUPER_MAGIC),
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
