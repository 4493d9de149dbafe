//! Network devices of the host that a container takes over.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use common::Bundle;
use serde_json::json;
use support::{Cmd, needs};

/// A network namespace and, in the host's, one end of a pair of devices; both are gone in the end.
struct Network {
    name: String,
    device: String,
}

fn ip(args: &str) -> Cmd {
    Cmd::new(support::need::find_program("ip").unwrap()).args(args.split(' '))
}

impl Network {
    fn new(letter: char) -> Network {
        let name = format!("rkt{letter}{}", std::process::id());
        let network = Network { device: format!("{name}a"), name };
        ip(&format!("netns add {}", network.name)).ok();
        ip(&format!("link add {0}a mtu 1789 type veth peer name {0}b", network.name)).ok();
        network
    }

    fn inside(&self, args: &str) -> Cmd {
        ip(&format!("-n {} {args}", self.name))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        ip(&format!("link del {}b", self.name)).run();
        ip(&format!("netns del {}", self.name)).run();
    }
}

#[test]
fn a_device_is_moved_with_what_it_has() {
    needs!(root, "busybox", "ip");
    let network = Network::new('m');
    let device = &network.device;
    ip(&format!("link set {device} address 00:11:22:33:44:55")).ok();
    ip(&format!("address add 169.254.169.77/32 dev {device}")).ok();
    ip(&format!("address add fd00::77/64 dev {device}")).ok();
    ip(&format!("address add 127.0.0.33/8 scope host dev {device}")).ok();
    let mut bundle = Bundle::new("ip address show dev ctr_net0");
    bundle.config["linux"]["netDevices"] = json!({ device: {"name": "ctr_net0"} });
    for namespace in bundle.config["linux"]["namespaces"].as_array_mut().unwrap() {
        if namespace["type"] == "network" {
            namespace["path"] = json!(format!("/var/run/netns/{}", network.name));
        }
    }
    let seen = bundle.run().ok();
    seen.prints(&["mtu 1789", "00:11:22:33:44:55", "169.254.169.77/32", "fd00::77/64", ",UP"]);
    assert!(!seen.stdout.contains("127.0.0.33"), "{}", seen.stdout);
    // Whose the namespace is decides what becomes of it: the container's end is not the device's.
    network.inside("address show dev ctr_net0").ok().prints(&["169.254.169.77/32"]);
    bundle.run().refused(1, &["find the network device", "no such device"]);
    bundle.nothing_left();
}

#[test]
fn a_device_is_moved_into_a_new_namespace() {
    needs!(root, "busybox", "ip");
    let network = Network::new('n');
    let mut bundle = Bundle::new("cat /sys/class/net/*/mtu /proc/sys/net/ipv4/conf/*a/forwarding; echo $?");
    bundle.config["linux"]["netDevices"] = json!({ &network.device: {} });
    bundle.config["linux"]["sysctl"] = json!({ format!("net.ipv4.conf.{}.forwarding", network.device): "1" });
    bundle.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    for name in ["uidMappings", "gidMappings"] {
        bundle.config["linux"][name] = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    }
    bundle.run().ok().prints(&["1789", "\n1\n0\n"]);
    bundle.nothing_left();
}

#[test]
fn devices_that_cannot_be_had() {
    needs!(root, "busybox", "ip");
    let mut bundle = Bundle::new("true");
    bundle.config["linux"]["netDevices"] = json!({"nosuchdevice": {}});
    bundle.run().refused(1, &["find the network device \"nosuchdevice\": no such device"]);
    bundle.config["linux"]["netDevices"] = json!({"lo": {"name": "too-long-for-a-device"}});
    bundle.run().refused(1, &["linux.netDevices[\"lo\"]: invalid network device name"]);
    bundle.config["linux"]["netDevices"] = json!({"eth0": {}});
    bundle.config["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "network");
    bundle.run().refused(1, &["unable to move network devices without a private network namespace"]);
    bundle.nothing_left();
}

#[test]
fn a_device_that_stays_goes_on_working() {
    needs!(root, "busybox", "ip", "unshare");
    let mut bundle = Bundle::new("true");
    bundle.config["linux"]["netDevices"] = json!({"lo": {}});
    let script = format!("ip link set lo up; {}; ip -br link show lo", bundle.run().line());
    let outcome = Cmd::new("unshare").args(["--net", "sh", "-c", &script]).cwd(bundle.scratch.work()).run();
    outcome.says(&["linux.netDevices[\"lo\"]: move the network device \"lo\""]);
    outcome.prints(&["UNKNOWN"]);
    bundle.nothing_left();
}
