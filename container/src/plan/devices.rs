//! The device nodes of a container.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};
use rustix::fs::{Dev, FileType, makedev};

use super::HostTree;
use crate::error::{Error, Result, errno_text};
use crate::namespaces::NamespacePlan;
use crate::sys::mount::Propagation;

/// The devices every container has (runtime-spec, "Default Devices"), with the kernel's numbers (devices.txt).
const DEFAULTS: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// One node to make.
#[derive(Debug)]
pub(crate) struct DevicePlan {
    /// Where, in the container.
    pub(crate) path: PathBuf,
    pub(crate) kind: FileType,
    pub(crate) device: Dev,
    /// Permission bits only.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// In a user namespace nodes cannot be made: the host's.
    pub(crate) host: Option<HostTree>,
}

/// Reads `linux.devices` and adds the defaults that it does not name.
pub(super) fn plan(asked: &[LinuxDevice], namespaces: &NamespacePlan) -> Result<Vec<DevicePlan>> {
    let mut plans = Vec::new();
    for (i, device) in asked.iter().enumerate() {
        plans.push(one(device, &format!("linux.devices[{i}]"))?);
    }
    for (path, major, minor) in DEFAULTS {
        let path = PathBuf::from(path);
        if !plans.iter().any(|p| p.path == path) {
            let device = makedev(major, minor);
            let kind = FileType::CharacterDevice;
            plans.push(DevicePlan { path, kind, device, mode: 0o666, uid: 0, gid: 0, host: None });
        }
    }
    for (i, device) in asked.iter().enumerate() {
        let path = device.path();
        if let Some(above) = plans.iter().find(|other| other.path != *path && path.starts_with(&other.path)) {
            let rule = format!("{} above it is a device, not a directory", above.path.display());
            return Err(Error::refused(format!("linux.devices[{i}].path"), rule));
        }
    }
    if namespaces.has_user() {
        for plan in plans.iter_mut().filter(|p| p.kind != FileType::Fifo) {
            plan.host = Some(plan.host_node()?);
        }
    }
    Ok(plans)
}

fn one(device: &LinuxDevice, field: &str) -> Result<DevicePlan> {
    let path = device.path();
    let clean = appc_rooted::clean(path);
    if !path.is_absolute() || clean != *path || clean == Path::new("/") {
        return Err(Error::refused(format!("{field}.path"), format!("{path:?} is not a plain absolute path")));
    }
    let kind = match device.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => FileType::CharacterDevice,
        LinuxDeviceType::B => FileType::BlockDevice,
        LinuxDeviceType::P => FileType::Fifo,
        LinuxDeviceType::A => return Err(Error::refused(format!("{field}.type"), "must be one of b, c, u, p")),
    };
    let number = |name: &str, value: i64| {
        u32::try_from(value).map_err(|_| Error::refused(format!("{field}.{name}"), "is not a device number"))
    };
    let device_number = match kind {
        FileType::Fifo => 0,
        _ => makedev(number("major", device.major())?, number("minor", device.minor())?),
    };
    Ok(DevicePlan {
        path: clean,
        kind,
        device: device_number,
        // Callers pass st_mode as it is: the type is already known, and set-id bits mean nothing on a device.
        mode: device.file_mode().unwrap_or(0o666) & 0o777,
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
        host: None,
    })
}

impl DevicePlan {
    /// The host's node of the same name, if it is the same device.
    pub(crate) fn host_node(&self) -> Result<HostTree> {
        let shown = self.path.display();
        let refused = |why: std::io::Error| {
            let why = errno_text(&why);
            Error::refused("linux.devices", format!("{shown} is needed from the host in a user namespace: {why}"))
        };
        let tree = HostTree::new(&self.path, false, Propagation::Private).map_err(refused)?;
        let status = tree.status().map_err(|e| refused(e.into()))?;
        if FileType::from_raw_mode(status.st_mode) != self.kind || status.st_rdev != self.device {
            return Err(Error::refused("linux.devices", format!("the host's {shown} is another device")));
        }
        Ok(tree)
    }
}
