//! Devices of the host that a container takes over (`linux.netDevices`).
//!
//! The parent moves them while init waits: it is the one with power over both network namespaces.

mod netlink;

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};

use oci_spec::runtime::{LinuxNamespaceType, LinuxNetDevice};
use rustix::fs::{Mode, OFlags};

use crate::error::{Context, Error, Result};
use crate::namespaces::NamespacePlan;
use crate::sys::namespace::setns;
use netlink::Netlink;

/// `IFNAMSIZ` of linux/if.h without the zero byte.
const NAME_MAX: usize = 15;

/// A device to move.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NetDevice {
    /// Its name in the caller's network namespace.
    name: String,
    /// Its name in the container's.
    inside: String,
}

/// Reads `linux.netDevices`.
pub(crate) fn plan(
    devices: Option<&HashMap<String, LinuxNetDevice>>,
    namespaces: &NamespacePlan,
) -> Result<Vec<NetDevice>> {
    let Some(devices) = devices.filter(|devices| !devices.is_empty()) else { return Ok(Vec::new()) };
    let refused = |rule: &str| Err(Error::refused("linux.netDevices", rule));
    if !namespaces.has(LinuxNamespaceType::Network) {
        return refused("unable to move network devices without a private network namespace");
    }
    if namespaces.ordinary_caller {
        return refused("only root can move network devices");
    }
    read(devices)
}

/// The devices in the order of their names.
fn read(devices: &HashMap<String, LinuxNetDevice>) -> Result<Vec<NetDevice>> {
    let mut planned = Vec::with_capacity(devices.len());
    for (key, device) in devices {
        let inside = device.name().clone().filter(|n| !n.is_empty()).unwrap_or_else(|| key.clone());
        for name in [key, &inside] {
            if !is_name(name) {
                let field = format!("linux.netDevices[{key:?}]");
                return Err(Error::refused(field, format!("invalid network device name {name:?}")));
            }
        }
        planned.push(NetDevice { name: key.clone(), inside });
    }
    planned.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(planned)
}

/// The kernel's rule (`dev_valid_name`), and no pattern for it to fill in.
fn is_name(name: &str) -> bool {
    let forbidden = |c: char| matches!(c, '/' | ':' | '%' | '\0') || c.is_ascii_whitespace();
    !matches!(name, "" | "." | "..") && name.len() <= NAME_MAX && !name.contains(forbidden)
}

/// Moves the devices, with their lasting addresses, and switches them on.
///
/// The calling process must have a single thread: it is in the other namespace for an instant.
pub(crate) fn move_all(devices: &[NetDevice], namespace: &OwnedFd) -> Result<()> {
    let here = Netlink::open().context(|| "open a netlink socket")?;
    let there = inside(namespace)?;
    devices.iter().try_for_each(|device| {
        move_one(device, &here, &there, namespace)
            .map_err(|e| Error::refused(format!("linux.netDevices[{:?}]", device.name), e))
    })
}

fn move_one(device: &NetDevice, here: &Netlink, there: &Netlink, namespace: &OwnedFd) -> Result<()> {
    let NetDevice { name, inside } = device;
    let index = here.index(name).context(|| format!("find the network device {name:?}"))?;
    // First: with the device off those of IPv6 are gone.
    let addresses = here.addresses(index).context(|| format!("read the addresses of {name:?}"))?;
    let was_up = here.is_up(index).context(|| format!("look at the network device {name:?}"))?;
    here.set_up(index, false).context(|| format!("switch the network device {name:?} off"))?;
    let given = here.give_away(index, inside, namespace.as_fd());
    if given.is_err() && was_up {
        // It stays, as `lo` does, and so must its work. The first error is the one to tell.
        let _still_off = here.set_up(index, true);
    }
    given.context(|| format!("move the network device {name:?} into the container as {inside:?}"))?;
    let index = there.index(inside).context(|| format!("find the network device {inside:?} in the container"))?;
    for address in &addresses {
        there.add(index, address).context(|| format!("give {inside:?} the addresses of {name:?}"))?;
    }
    there.set_up(index, true).context(|| format!("switch the network device {inside:?} on"))
}

/// A socket of another network namespace.
fn inside(namespace: &OwnedFd) -> Result<Netlink> {
    let own = rustix::fs::open("/proc/self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .context(|| "open /proc/self/ns/net")?;
    setns(namespace.as_fd(), libc::CLONE_NEWNET).context(|| "enter the container's network")?;
    let there = Netlink::open();
    setns(own.as_fd(), libc::CLONE_NEWNET).context(|| "return from the container's network")?;
    there.context(|| "open a netlink socket")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(json: &str) -> Result<Vec<NetDevice>> {
        read(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn devices_keep_their_names_unless_told() {
        let device = |name: &str, inside: &str| NetDevice { name: name.to_owned(), inside: inside.to_owned() };
        let devices = planned(r#"{"eth1": {"name": "net0"}, "eth0": {}, "eth2": {"name": ""}}"#).unwrap();
        assert_eq!(devices, [device("eth0", "eth0"), device("eth1", "net0"), device("eth2", "eth2")]);
    }

    #[test]
    fn names_are_names() {
        for name in ["", ".", "..", "a/b", "a:b", "a b", "eth%d", "sixteencharsname"] {
            let json = serde_json::json!({ name: {} }).to_string();
            assert!(planned(&json).is_err(), "{name:?}");
            if !name.is_empty() {
                assert!(planned(&serde_json::json!({"eth0": {"name": name}}).to_string()).is_err(), "{name:?}");
            }
        }
    }
}
