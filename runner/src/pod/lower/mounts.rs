//! File systems and devices: those every app has (OS-SPEC), and its volumes.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType, Mount};

use super::{Error, HostVolume, Inputs};

/// Paths that show or change the host: covered.
pub(super) const MASKED: [&str; 17] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/config.gz",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/mem",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
    "/sys/fs",
    "/sys/hypervisor",
    "/sys/module",
    "/sys/power",
];

/// Paths that may be read. `/sys` is read-only as a whole.
pub(super) const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Every mount of the app, in order.
pub(super) fn mounts(inputs: &Inputs<'_>) -> Result<Vec<Mount>, Error> {
    let mut mounts = vec![
        file_system("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        file_system("/dev", "tmpfs", &["nosuid", "noexec", "strictatime", "mode=755", "size=65536k"]),
        file_system("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        match inputs.shared_memory {
            Some(path) => bind(path, "/dev/shm", &["bind", "nosuid", "noexec", "nodev"]),
            None => file_system("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        },
        file_system("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
    ];
    for mount in &inputs.app.mounts {
        let (volume, read_only) = volume(inputs, mount)?;
        let kind = if recursive(inputs, mount) { "rbind" } else { "bind" };
        let options: &[&str] = if read_only { &[kind, "ro"] } else { &[kind, "rw"] };
        mounts.push(bind(&volume.path, &mount.path, options));
    }
    Ok(mounts)
}

/// `/dev/console`, which programs want to exist: a node of the app's own that swallows everything, as `/dev/null` does
/// (1:3 in devices.txt). With a terminal that is mounted over it. The host's node would be the app's to give away.
pub(super) fn console(inputs: &Inputs<'_>) -> Option<LinuxDevice> {
    let path = Path::new("/dev/console");
    if inputs.app.mounts.iter().any(|mount| appc_rooted::clean(Path::new(&mount.path)) == path) {
        return None;
    }
    let mut node = LinuxDevice::default();
    node.set_path(path.into())
        .set_typ(LinuxDeviceType::C)
        .set_major(1)
        .set_minor(3)
        .set_file_mode(Some(0o666))
        .set_uid(Some(0))
        .set_gid(Some(0));
    Some(node)
}

/// Which devices the app may use besides those every container has: the volumes that are devices. Making nodes is not
/// among it.
pub(super) fn device_rules(inputs: &Inputs<'_>) -> Vec<LinuxDeviceCgroup> {
    let mut none = LinuxDeviceCgroup::default();
    none.set_allow(false).set_access(Some("rwm".into()));
    let allow = |mount: &appc_spec::Mount| {
        let (volume, read_only) = volume(inputs, mount).ok()?;
        let (kind, major, minor) = volume.device?;
        let mut rule = LinuxDeviceCgroup::default();
        rule.set_allow(true)
            .set_typ(Some(kind))
            .set_major(Some(major))
            .set_minor(Some(minor))
            .set_access(Some(if read_only { "r" } else { "rw" }.into()));
        Some(rule)
    };
    std::iter::once(none).chain(inputs.app.mounts.iter().filter_map(allow)).collect()
}

/// A mount's volume, and whether it is read-only: as the volume says, else as the app's mount point there says.
fn volume<'i>(inputs: &'i Inputs<'_>, mount: &appc_spec::Mount) -> Result<(&'i HostVolume, bool), Error> {
    let dangling = || Error::Dangling { path: mount.path.clone(), volume: mount.volume.to_string() };
    let host = inputs.volumes.get(mount.volume.as_str()).ok_or_else(dangling)?;
    let path = appc_rooted::clean(Path::new(&mount.path));
    let point = inputs.app.app.iter().flat_map(|app| &app.mount_points);
    let by_point = point.filter(|p| appc_rooted::clean(Path::new(&p.path)) == path).any(|p| p.read_only);
    let by_volume = inputs.pod.volumes.iter().find(|v| v.name == mount.volume).and_then(|v| v.read_only);
    Ok((host, by_volume.unwrap_or(by_point)))
}

fn recursive(inputs: &Inputs<'_>, mount: &appc_spec::Mount) -> bool {
    let volume = inputs.pod.volumes.iter().find(|v| v.name == mount.volume);
    !volume.is_some_and(|v| matches!(v.source, appc_spec::VolumeSource::Host { recursive: Some(false), .. }))
}

fn file_system(target: &str, kind: &str, options: &[&str]) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_destination(target.into())
        .set_typ(Some(kind.into()))
        .set_source(Some(kind.into()))
        .set_options(Some(options.iter().map(ToString::to_string).collect()));
    mount
}

fn bind(source: &Path, target: &str, options: &[&str]) -> Mount {
    let mut mount = file_system(target, "bind", options);
    mount.set_source(Some(PathBuf::from(source)));
    mount
}
