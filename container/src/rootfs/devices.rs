//! Device nodes, and the links every `/dev` has.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::Path;

use appc_rooted::{Mode, OFlags, Root};
use rustix::fs::{AtFlags, FileType, fstat};
use rustix::io::Errno;

use super::mounts::make_file;
use super::{attach, parent_made};
use crate::error::{Context, Error, Result, errno_text};
use crate::plan::{DevicePlan, HostTree};

/// The links of `/dev` that runtime-spec asks for, and `ptmx` of the container's own terminals.
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Makes the nodes and links.
pub(crate) fn make_devices(root: &Root, devices: &[DevicePlan]) -> Result<()> {
    let dev = root.mkdir_all("/dev", Mode::from(0o755)).context(|| "make /dev")?;
    for device in devices {
        let shown = device.path.display();
        // Nearly all are right below /dev, whose descriptor is at hand.
        let made = match device.path.parent() {
            Some(parent) if parent == Path::new("/dev") => {
                let name = device.path.file_name().unwrap_or_default();
                one(&dev, name, device)
            }
            _ => parent_made(root, &device.path)
                .map_err(|e| Failure::Said(Error::Other(format!("its directory cannot be made: {}", errno_text(&e)))))
                .and_then(|(parent, name)| one(&parent, name, device)),
        };
        match made {
            Ok(()) => {}
            Err(Failure::Kernel(Errno::EXIST)) => {
                return Err(Error::Other(format!("linux.devices: {shown} exists and is not the device it should be")));
            }
            Err(Failure::Kernel(errno)) => return Err(errno).context(|| format!("linux.devices: make device {shown}")),
            Err(Failure::Said(why)) => return Err(Error::Other(format!("linux.devices: make device {shown}: {why}"))),
        }
    }
    links(&dev)
}

fn one(parent: &OwnedFd, name: &OsStr, device: &DevicePlan) -> Result<(), Failure> {
    if let Some(host) = &device.host {
        return bind(parent, name, device, host);
    }
    let mut was_there = false;
    match rustix::fs::mknodat(parent, name, device.kind, Mode::from(device.mode), device.device) {
        Ok(()) => {}
        Err(Errno::EXIST) => was_there = true,
        // In somebody's user namespace: its root may not make devices, but has those of its own /dev.
        Err(Errno::PERM) if device.kind != FileType::Fifo => {
            return bind(parent, name, device, &device.host_node()?);
        }
        Err(e) => return Err(e.into()),
    }
    // Whoever shares this directory may have put something else there meanwhile.
    let made = open_made(parent, name)?;
    let status = fstat(&made)?;
    if FileType::from_raw_mode(status.st_mode) != device.kind || status.st_rdev != device.device {
        return Err(Errno::EXIST.into());
    }
    // What was there may be the host's, bound by the configuration, and the host's it stays.
    if !was_there && (status.st_uid, status.st_gid) != (device.uid, device.gid) {
        let (uid, gid) = (rustix::fs::Uid::from_raw(device.uid), rustix::fs::Gid::from_raw(device.gid));
        rustix::fs::chownat(&made, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
    }
    Ok(())
}

/// Shows the host's node; its owner and mode are the host's, too.
fn bind(parent: &OwnedFd, name: &OsStr, device: &DevicePlan, host: &HostTree) -> Result<(), Failure> {
    let node = host.get().map_err(errno)?;
    // Looked at now when init has opened it.
    let status = fstat(node)?;
    if FileType::from_raw_mode(status.st_mode) != device.kind || status.st_rdev != device.device {
        return Err(Error::Other("the host's node is another device".to_owned()).into());
    }
    make_file(parent, name)?;
    let target = open_made(parent, name)?;
    match FileType::from_raw_mode(fstat(&target)?.st_mode) {
        FileType::RegularFile => Ok(attach(node, target)?),
        _ => Err(Errno::EXIST.into()),
    }
}

/// Why there is no device.
enum Failure {
    Kernel(Errno),
    Said(Error),
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Failure {
        Failure::Kernel(errno)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Said(error)
    }
}

fn open_made(parent: &OwnedFd, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

fn links(dev: &OwnedFd) -> Result<()> {
    for (name, target) in LINKS {
        match rustix::fs::symlinkat(target, dev, name) {
            Ok(()) => {}
            Err(Errno::EXIST) if name == "ptmx" => replace_ptmx(dev).context(|| "make /dev/ptmx")?,
            // An image may bring its own; it leads nowhere but inside.
            Err(Errno::EXIST) => {}
            Err(e) => return Err(e).context(|| format!("make /dev/{name}")),
        }
    }
    Ok(())
}

/// A `ptmx` that is not the link would open terminals of another instance, so it goes. As runc does.
fn replace_ptmx(dev: &OwnedFd) -> rustix::io::Result<()> {
    match rustix::fs::readlinkat(dev, "ptmx", Vec::new()) {
        Ok(target) if target.as_bytes() == b"pts/ptmx" => Ok(()),
        _ => {
            rustix::fs::unlinkat(dev, "ptmx", AtFlags::empty())?;
            rustix::fs::symlinkat("pts/ptmx", dev, "ptmx")
        }
    }
}

fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}
