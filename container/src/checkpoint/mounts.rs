//! The mounts of a container that come from outside: criu leaves them out and is told what to put in their place.

use std::path::{Path, PathBuf};

use appc_rooted::{OFlags, Root};
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use rustix::fs::{AtFlags, FileType, StatxFlags, statx};

use crate::cgroup::{Cgroup, Version};
use crate::plan::MountOptions;

/// A mount from outside; its destination is the name by which images refer to it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct External {
    pub(super) destination: PathBuf,
    pub(super) source: PathBuf,
}

/// Everything of the configuration that is not a file system of the container's own.
pub(super) fn external(spec: &Spec, bundle: &Path, cgroup: Option<&Cgroup>) -> Vec<External> {
    let mut external = Vec::new();
    for mount in spec.mounts().iter().flatten() {
        let destination = appc_rooted::clean(mount.destination());
        let options = mount.options().as_deref().unwrap_or_default();
        let is_bind = MountOptions::parse(options).bind.is_some();
        match (mount.typ().as_deref(), mount.source()) {
            (Some("cgroup" | "cgroup2"), _) => {
                external.extend(cgroup.iter().flat_map(|c| cgroups(spec, &destination, c)))
            }
            (kind, Some(source)) if is_bind || kind == Some("bind") => {
                external.push(External { destination, source: bundle.join(source) });
            }
            _ => {}
        }
    }
    external
}

/// What `rootfs::cgroup` mounts, as far as it shows directories of the host.
fn cgroups(spec: &Spec, destination: &Path, cgroup: &Cgroup) -> Vec<External> {
    let own_namespace = spec.linux().iter().flat_map(|l| l.namespaces().iter().flatten());
    let own_namespace = own_namespace.into_iter().any(|n| n.typ() == LinuxNamespaceType::Cgroup);
    if cgroup.version() == Version::V2 {
        let shown = cgroup.directories().filter(|_| !own_namespace);
        return shown.map(|(_, source)| External { destination: destination.to_owned(), source }).collect();
    }
    let hierarchy = |(controllers, source): (&[String], PathBuf)| {
        let names: Vec<&str> = controllers.iter().map(|c| c.strip_prefix("name=").unwrap_or(c)).collect();
        let name = if names.is_empty() { "unified".to_owned() } else { names.join(",") };
        External { destination: destination.join(name), source }
    };
    cgroup.directories().map(hierarchy).collect()
}

/// The masked paths that are files: each shows `/dev/null`.
pub(super) fn masked_files(spec: &Spec, pid: i32) -> Vec<PathBuf> {
    let masked = spec.linux().as_ref().and_then(|l| l.masked_paths().as_ref()).into_iter().flatten();
    let Ok(root) = Root::open(format!("/proc/{pid}/root")) else { return Vec::new() };
    let is_file = |path: &PathBuf| {
        let kind = root.lstat(path).map(|status| FileType::from_raw_mode(status.st_mode));
        kind.is_ok_and(|kind| !matches!(kind, FileType::Directory | FileType::Symlink))
    };
    masked.map(|path| appc_rooted::clean(Path::new(path))).filter(is_file).collect()
}

/// Where the mount at `destination` really is: there may be links on the way.
pub(super) fn place(pid: i32, destination: &Path) -> PathBuf {
    let found = || -> Option<PathBuf> {
        let root = Root::open(format!("/proc/{pid}/root")).ok()?;
        let mounted = root.open_at(destination, OFlags::PATH).ok()?;
        let id = statx(&mounted, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok()?.stx_mnt_id;
        let table = std::fs::read_to_string(format!("/proc/{pid}/mountinfo")).ok()?;
        place_of(&table, id)
    };
    found().unwrap_or_else(|| destination.to_owned())
}

/// The fifth field of the line that begins with the number; octal escapes stand for white space.
fn place_of(table: &str, id: u64) -> Option<PathBuf> {
    let line = table.lines().find(|line| line.split(' ').next() == Some(id.to_string().as_str()))?;
    let mut place = line.split(' ').nth(4)?.to_owned();
    for (escape, character) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        place = place.replace(escape, character);
    }
    Some(place.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_binds_come_from_outside() {
        let spec: Spec = serde_json::from_value(json!({
            "ociVersion": "1.0.2",
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "data/../data", "source": "volume", "options": ["rbind", "ro"]},
                {"destination": "/etc/hosts", "type": "bind", "source": "/run/hosts"},
            ],
        }))
        .unwrap();
        let found = external(&spec, Path::new("/bundle"), None);
        let wanted = [("/data", "/bundle/volume"), ("/etc/hosts", "/run/hosts")];
        let wanted = wanted.map(|(d, s)| External { destination: d.into(), source: s.into() });
        assert_eq!(found, wanted);
    }

    #[test]
    fn places_are_read_from_the_mount_table() {
        let table = "1 2 0:1 / / rw - tmpfs x rw\n23 1 0:2 /a /b\\040c rw shared:1 - ext4 y rw\n";
        assert_eq!(place_of(table, 23), Some("/b c".into()));
        assert_eq!(place_of(table, 3), None);
    }
}
