//! The root file system.

use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;

use super::{DevicePlan, HostTree, MountPlan, RootSource, Warnings, devices, labels, mounts, refuse};
use crate::error::{Error, Result, errno_text};
use crate::namespaces::NamespacePlan;
use crate::sys::mount::Propagation;

/// The root file system to build.
#[derive(Debug)]
pub(crate) struct RootPlan {
    /// The tree that all others are mounted in.
    pub(crate) tree: HostTree,
    pub(crate) read_only: bool,
    /// Shared in the end. A shared mount cannot be pivoted to, so not before.
    pub(crate) shared: bool,
    pub(crate) mounts: Vec<MountPlan>,
    /// None when the configuration brings a `/dev` of the host.
    pub(crate) devices: Option<Vec<DevicePlan>>,
    pub(crate) masked: Vec<PathBuf>,
    /// SELinux's label of what is made for the container.
    pub(crate) mount_label: Option<String>,
    pub(crate) read_only_paths: Vec<PathBuf>,
    pub(crate) no_pivot: bool,
}

/// Reads `root`, `mounts` and what of `linux` acts on them.
pub(super) fn plan(
    spec: &Spec,
    bundle: &Path,
    source: Option<RootSource>,
    no_pivot: bool,
    namespaces: &NamespacePlan,
    warnings: &mut Warnings,
) -> Result<RootPlan> {
    let linux = spec.linux().as_ref();
    let propagation = propagation(linux.and_then(|l| l.rootfs_propagation().as_deref()).unwrap_or_default())?;
    let tree = match source {
        Some(RootSource::Mount(tree)) => HostTree::made(tree),
        Some(RootSource::Path(path)) => root_tree(&path, propagation)?,
        None => {
            let root = spec.root().as_ref().ok_or_else(|| Error::refused("root", "is missing"))?;
            // Joined to the bundle's path it would be the bundle itself.
            if root.path().as_os_str().is_empty() {
                return Err(Error::refused("root.path", "is empty: name the directory of the root file system"));
            }
            root_tree(&bundle.join(root.path()), propagation)?
        }
    };
    let asked = spec.mounts().as_deref().unwrap_or_default();
    let mount_label = labels::mount_label(linux)?;
    let mut mounts = mounts::plan(asked, bundle, propagation, namespaces, warnings)?;
    if let Some(label) = &mount_label {
        mounts.iter_mut().for_each(|mount| mount.set_label(label));
    }
    let brings_dev = mounts.iter().any(|m| m.destination == Path::new("/dev") && m.is_bind());
    let asked = linux.and_then(|l| l.devices().as_deref()).unwrap_or_default();
    let paths = |field: &str, list: Option<&Vec<String>>| refuse::container_paths(field, list);
    Ok(RootPlan {
        tree,
        shared: propagation == Propagation::Shared,
        read_only: spec.root().as_ref().and_then(|r| r.readonly()).unwrap_or(false),
        mounts,
        devices: if brings_dev { None } else { Some(devices::plan(asked, namespaces)?) },
        masked: paths("linux.maskedPaths", linux.and_then(|l| l.masked_paths().as_ref()))?,
        read_only_paths: paths("linux.readonlyPaths", linux.and_then(|l| l.readonly_paths().as_ref()))?,
        mount_label,
        no_pivot,
    })
}

fn root_tree(path: &Path, propagation: Propagation) -> Result<HostTree> {
    let refused = |e: std::io::Error| Error::refused("root.path", format!("{}: {}", path.display(), errno_text(&e)));
    if !std::fs::metadata(path).map_err(refused)?.is_dir() {
        return Err(Error::refused("root.path", format!("{} is not a directory", path.display())));
    }
    let first = if propagation == Propagation::Shared { Propagation::Slave } else { propagation };
    HostTree::new(path, true, first).map_err(refused)
}

/// `rootfsPropagation`; by default mounts of the host arrive, and nothing leaves.
fn propagation(value: &str) -> Result<Propagation> {
    Ok(match value {
        "" | "slave" | "rslave" => Propagation::Slave,
        "private" | "rprivate" => Propagation::Private,
        "shared" | "rshared" => Propagation::Shared,
        "unbindable" | "runbindable" => Propagation::Unbindable,
        other => {
            return Err(Error::refused(
                "linux.rootfsPropagation",
                format!("{other:?} is none of private, slave, shared, unbindable"),
            ));
        }
    })
}
