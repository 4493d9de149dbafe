//! Namespaces of a container's own, and those of others that it joins.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::fs;

use common::Bundle;
use serde_json::{Value, json};
use support::{HostState, needs};

const OFFSETS: &str = "cat /proc/self/timens_offsets";

fn add_namespace(bundle: &mut Bundle, namespace: Value) {
    let namespaces = bundle.config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|n| n["type"] != namespace["type"]);
    namespaces.push(namespace);
}

fn add_user_namespace(bundle: &mut Bundle) {
    add_namespace(bundle, json!({"type": "user"}));
    for name in ["uidMappings", "gidMappings"] {
        bundle.config["linux"][name] = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    }
}

/// The words of each line.
fn offsets(text: &str) -> Vec<Vec<&str>> {
    text.lines().map(|line| line.split_ascii_whitespace().collect()).collect()
}

#[test]
fn clocks_of_its_own() {
    needs!(root, "busybox");
    let mut bundle = Bundle::new(OFFSETS);
    bundle.config["linux"]["timeOffsets"] =
        json!({"monotonic": {"secs": 7881, "nanosecs": 2_718_281}, "boottime": {"secs": 1337, "nanosecs": 3_141_519}});
    bundle.run().refused(1, &["linux.timeOffsets: offsets need a new time namespace"]);
    add_namespace(&mut bundle, json!({"type": "time"}));
    let set = [["monotonic", "7881", "2718281"], ["boottime", "1337", "3141519"]];
    assert_eq!(offsets(&bundle.run().ok().stdout), set);
    add_user_namespace(&mut bundle);
    assert_eq!(offsets(&bundle.run().ok().stdout), set);
    bundle.config["linux"]["timeOffsets"] = Value::Null;
    assert_eq!(offsets(&bundle.run().ok().stdout), [["monotonic", "0", "0"], ["boottime", "0", "0"]]);
    bundle.config["linux"]["timeOffsets"] = json!({"realtime": {"secs": 1}});
    bundle.run().refused(1, &["linux.timeOffsets.realtime", "only monotonic and boottime"]);
    bundle.config["linux"]["timeOffsets"] = json!({"boottime": {"secs": -1_000_000_000}});
    bundle.run().refused(1, &["set linux.timeOffsets", "out of range"]);
    bundle.nothing_left();
}

#[test]
fn the_clock_is_the_programs_too() {
    needs!(root, "busybox");
    // What a program reads without asking the kernel has to be moved as well.
    let mut bundle = Bundle::new("cut -d. -f1 /proc/uptime");
    add_namespace(&mut bundle, json!({"type": "time"}));
    bundle.config["linux"]["timeOffsets"] = json!({"boottime": {"secs": 1_000_000}});
    let uptime: u64 = bundle.run().ok().text().parse().unwrap();
    assert!(uptime >= 1_000_000, "{uptime}");
}

/// A container that runs, to be joined.
struct Host {
    bundle: Bundle,
    pid: String,
}

impl Host {
    fn new(change: impl FnOnce(&mut Bundle)) -> Host {
        let mut bundle = Bundle::new("sleep 1000");
        change(&mut bundle);
        bundle.command(["run", "--detach", "--pid-file", "pid", "host"]).ok();
        let pid = fs::read_to_string(bundle.scratch.work().join("pid")).unwrap();
        Host { bundle, pid }
    }

    fn path(&self, kind: &str) -> String {
        format!("/proc/{}/ns/{kind}", self.pid)
    }

    fn link(&self, kind: &str) -> String {
        fs::read_link(self.path(kind)).unwrap().to_string_lossy().into_owned()
    }

    fn end(self) {
        self.bundle.command(["delete", "--force", "host"]).ok();
        self.bundle.nothing_left();
    }
}

#[test]
fn a_time_namespace_is_joined() {
    needs!(root, "busybox");
    let host = Host::new(|bundle| {
        add_namespace(bundle, json!({"type": "time"}));
        bundle.config["linux"]["timeOffsets"] = json!({"boottime": {"secs": 99}});
    });
    let mut bundle = Bundle::new(OFFSETS);
    add_namespace(&mut bundle, json!({"type": "time", "path": host.path("time")}));
    assert_eq!(offsets(&bundle.run().ok().stdout)[1], ["boottime", "99", "0"]);
    bundle.config["linux"]["timeOffsets"] = json!({"boottime": {"secs": 1}});
    bundle.run().refused(1, &["linux.timeOffsets: the joined time namespace has its own"]);
    host.end();
}

#[test]
fn a_user_namespace_is_joined() {
    needs!(root, "busybox");
    let state = HostState::new();
    let host = Host::new(add_user_namespace);
    let mut bundle =
        Bundle::new("id -u; cat /proc/self/uid_map; readlink /proc/self/ns/user; readlink /proc/self/ns/pid; echo $$");
    add_namespace(&mut bundle, json!({"type": "user", "path": host.path("user")}));
    let seen = bundle.run().ok().stdout;
    let lines: Vec<&str> = seen.lines().map(str::trim).collect();
    assert_eq!(lines[0], "0");
    assert_eq!(lines[1].split_ascii_whitespace().collect::<Vec<_>>(), ["0", "100000", "65536"]);
    assert_eq!(lines[2], host.link("user"));
    assert_ne!(lines[3], host.link("pid"));
    assert_eq!(lines[4], "1");
    // Engines give the mappings again.
    add_user_namespace(&mut bundle);
    add_namespace(&mut bundle, json!({"type": "user", "path": host.path("user")}));
    assert_eq!(bundle.run().ok().stdout.lines().nth(2), Some(lines[2]));
    bundle.config["linux"]["uidMappings"][0]["hostID"] = json!(200_000);
    bundle.run().refused(1, &["linux.uidMappings: the joined user namespace has other mappings"]);
    bundle.nothing_left();
    host.end();
    state.check();
}

#[test]
fn a_container_in_a_user_namespace_waits_to_be_started() {
    needs!(root, "busybox");
    let mut bundle = Bundle::new("sleep 1000");
    add_user_namespace(&mut bundle);
    // Whatever the caller's umask.
    let create = bundle.command(["create", "test"]).under("/bin/sh", ["-c", "umask 077; exec \"$@\"", "sh"]);
    create.ok();
    bundle.command(["start", "test"]).ok();
    bundle.command(["delete", "--force", "test"]).ok();
    bundle.nothing_left();
}

#[test]
fn everything_of_a_pod_is_joined() {
    needs!(root, "busybox");
    let host = Host::new(add_user_namespace);
    let mut bundle = Bundle::new("for kind in user pid net ipc uts; do readlink /proc/self/ns/$kind; done; exit 3");
    for (kind, name) in [("user", "user"), ("pid", "pid"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts")] {
        add_namespace(&mut bundle, json!({"type": kind, "path": host.path(name)}));
    }
    bundle.config.as_object_mut().unwrap().remove("hostname");
    let seen = bundle.run().exits(3).stdout;
    let wanted: Vec<String> = ["user", "pid", "net", "ipc", "uts"].map(|kind| host.link(kind)).into();
    assert_eq!(seen.lines().collect::<Vec<_>>(), wanted);
    bundle.command(["create", "test"]).ok();
    bundle.command(["start", "test"]).ok();
    bundle.command(["delete", "--force", "test"]).ok();
    bundle.nothing_left();
    host.end();
}

#[test]
fn a_mount_namespace_is_joined() {
    needs!(root, "busybox", "unshare");
    let state = HostState::new();
    // A namespace without a container in it: joining one turns its root into the new container's.
    let holder =
        support::Cmd::new("/usr/bin/unshare").args(["--mount", "--propagation", "private", "sleep", "1000"]).spawn();
    let path = format!("/proc/{}/ns/mnt", holder.pid());
    let own = fs::read_link("/proc/self/ns/mnt").unwrap();
    while fs::read_link(&path).unwrap() == own {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let joined = fs::read_link(&path).unwrap().to_string_lossy().into_owned();
    let mut bundle = Bundle::new("readlink /proc/self/ns/mnt; ls /");
    add_namespace(&mut bundle, json!({"type": "mount", "path": path}));
    let seen = bundle.run().ok().stdout;
    assert_eq!(seen.lines().next(), Some(&*joined));
    assert!(seen.contains("bin") && !seen.contains("boot"), "{seen}");
    drop(holder);
    bundle.nothing_left();
    state.check();
}
