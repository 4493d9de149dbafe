//! Which volume an app sees where.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use appc_spec::{AcName, App, Mount, PodManifest, Volume, VolumeSource};
use oci_spec::runtime::LinuxDeviceType;

use super::Error;
use crate::pod::dir::Pod;
use crate::pod::lower::HostVolume;

/// The mounts of an app: what was asked for (the first for a path counts), then its mount points, each with the volume of its name.
/// A mount point without a volume gets an empty one, which is added to `volumes` and told in `warnings`.
pub(super) fn mounts<'m>(
    name: &AcName,
    app: &App,
    asked: impl Iterator<Item = &'m Mount>,
    volumes: &mut Vec<Volume>,
    warnings: &mut Vec<String>,
) -> Result<Vec<Mount>, Error> {
    let mut mounts: Vec<Mount> = Vec::new();
    let taken = |mounts: &[Mount], path: &str| mounts.iter().any(|m| same_path(&m.path, path));
    for mount in asked {
        if !volumes.iter().any(|v| v.name == mount.volume) {
            return Err(Error::Dangling { path: mount.path.clone(), volume: mount.volume.clone() });
        }
        if !taken(&mounts, &mount.path) {
            mounts.push(mount.clone());
        }
    }
    for point in &app.mount_points {
        if taken(&mounts, &point.path) {
            continue;
        }
        if volumes.iter().any(|v| v.name == point.name) {
            mounts.push(Mount::new(point.name.clone(), &point.path));
            continue;
        }
        let volume = AcName::sanitize(&format!("{name}-{}", point.name))
            .map_err(|source| Error::Rule { app: name.clone(), source })?;
        warnings.push(format!(
            "no volume specified for mount point {:?} of app {name}: using an empty one (--volume={},kind=host,source=… gives one)",
            point.name.as_str(),
            point.name,
        ));
        if !volumes.iter().any(|v| v.name == volume) {
            volumes.push(Volume::empty(volume.clone()));
        }
        mounts.push(Mount::new(volume, &point.path));
    }
    // A mount hides what was mounted below its target before, so outer ones come first.
    mounts.sort_by_key(|m| appc_rooted::clean(Path::new(&m.path)).components().count());
    Ok(mounts)
}

fn same_path(a: &str, b: &str) -> bool {
    appc_rooted::clean(Path::new(a)) == appc_rooted::clean(Path::new(b))
}

/// Checks the pod's host volumes and makes its empty ones; gives where each is.
pub fn on_host(pod: &Pod, manifest: &PodManifest) -> io::Result<BTreeMap<String, HostVolume>> {
    let place = |volume: &Volume| {
        let name = volume.name.to_string();
        let place = match &volume.source {
            VolumeSource::Host { source, .. } => host(Path::new(source)),
            VolumeSource::Empty { mode, uid, gid } => empty(&pod.path(), &name, (*mode, *uid, *gid)),
        };
        let context = |e: io::Error| io::Error::new(e.kind(), format!("volume {name:?}: {e}"));
        place.map_err(context).map(|place| (name.clone(), place))
    };
    manifest.volumes.iter().map(place).collect()
}

fn host(path: &Path) -> io::Result<HostVolume> {
    let metadata =
        fs::metadata(path).map_err(|e| io::Error::new(e.kind(), format!("host path {}: {e}", path.display())))?;
    let kind = if metadata.file_type().is_block_device() {
        Some(LinuxDeviceType::B)
    } else {
        metadata.file_type().is_char_device().then_some(LinuxDeviceType::C)
    };
    let number = |n: u32| i64::from(n);
    let device = kind.map(|kind| {
        let device = metadata.rdev();
        (kind, number(rustix::fs::major(device)), number(rustix::fs::minor(device)))
    });
    Ok(HostVolume { path: path.into(), device })
}

fn empty(pod: &Path, name: &str, (mode, uid, gid): (u32, u32, u32)) -> io::Result<HostVolume> {
    let path: PathBuf = pod.join("volumes").join(name);
    DirBuilder::new().recursive(true).mode(0o755).create(&path)?;
    if (uid, gid) != (0, 0) {
        std::os::unix::fs::chown(&path, Some(uid), Some(gid))?;
    }
    // Last, and whatever the umask: chown clears set-id bits.
    fs::set_permissions(&path, Permissions::from_mode(mode))?;
    Ok(HostVolume { path, device: None })
}
