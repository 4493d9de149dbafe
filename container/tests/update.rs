//! Changing the limits of a container that runs.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::path::{Path, PathBuf};

use common::Bundle;
use serde_json::json;
use support::{HostState, needs};

/// A running container, and where its limits are.
struct Limited {
    bundle: Bundle,
    pid: String,
}

impl Limited {
    fn new() -> Limited {
        let mut bundle = Bundle::new("sleep 1000");
        bundle.config["linux"]["resources"]["memory"] = json!({"limit": 64 << 20, "reservation": 32 << 20});
        bundle.config["linux"]["resources"]["cpu"] =
            json!({"shares": 100, "quota": 500_000, "period": 1_000_000, "cpus": "0"});
        bundle.config["linux"]["resources"]["pids"] = json!({"limit": 20});
        bundle.command(["run", "--detach", "--pid-file", "pid", "one"]).ok();
        let pid = std::fs::read_to_string(bundle.scratch.work().join("pid")).unwrap();
        Limited { bundle, pid }
    }

    /// Its cgroup with `controller`, and whether that is one of version 2.
    fn cgroup(&self, controller: &str) -> (PathBuf, bool) {
        let text = std::fs::read_to_string(format!("/proc/{}/cgroup", self.pid)).unwrap();
        let mut lines = text.lines().map(|line| line.splitn(3, ':').collect::<Vec<_>>());
        let line = lines.find(|l| l[1].is_empty() || l[1].split(',').any(|c| c == controller)).unwrap();
        let root = Path::new("/sys/fs/cgroup");
        let mount = if line[1].is_empty() { root.to_owned() } else { root.join(line[1]) };
        (mount.join(line[2].trim_start_matches('/')), line[1].is_empty())
    }

    /// The values of these files, of version 1 or of version 2.
    #[track_caller]
    fn has(&self, controller: &str, v1: &[(&str, &str)], v2: &[(&str, &str)]) {
        let (cgroup, unified) = self.cgroup(controller);
        for (file, value) in if unified { v2 } else { v1 } {
            let found = std::fs::read_to_string(cgroup.join(file)).unwrap();
            assert_eq!(found.trim(), *value, "{file}");
        }
    }

    #[track_caller]
    fn update<const N: usize>(&self, arguments: [&str; N]) {
        self.bundle.command(["update"]).args(arguments).arg("one").ok();
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        self.bundle.command(["delete", "--force", "one"]).run();
    }
}

#[test]
fn limits_by_options() {
    needs!(root, "busybox");
    let host = HostState::new();
    let limited = Limited::new();
    limited.has("memory", &[("memory.limit_in_bytes", "67108864")], &[("memory.max", "67108864")]);
    limited.update(["--memory", "128m", "--memory-reservation", "48M"]);
    limited.has(
        "memory",
        &[("memory.limit_in_bytes", "134217728"), ("memory.soft_limit_in_bytes", "50331648")],
        &[("memory.max", "134217728"), ("memory.low", "50331648")],
    );
    limited.update(["--memory=-1"]);
    limited.has("memory", &[("memory.limit_in_bytes", "9223372036854771712")], &[("memory.max", "max")]);
    limited.update(["--pids-limit", "10"]);
    limited.has("pids", &[("pids.max", "10")], &[("pids.max", "10")]);
    limited.update(["--pids-limit", "-1"]);
    limited.has("pids", &[("pids.max", "max")], &[("pids.max", "max")]);
    // One of the two leaves the other.
    limited.update(["--cpu-quota", "600000"]);
    let both = ("cpu.max", "600000 1000000");
    limited.has("cpu", &[("cpu.cfs_quota_us", "600000"), ("cpu.cfs_period_us", "1000000")], &[both]);
    limited.update(["--cpu-period", "900000", "--cpu-share", "200"]);
    limited.has(
        "cpu",
        &[("cpu.cfs_quota_us", "600000"), ("cpu.cfs_period_us", "900000"), ("cpu.shares", "200")],
        &[("cpu.max", "600000 900000"), ("cpu.weight", "29")],
    );
    limited.update(["--cpu-burst", "500000"]);
    limited.has("cpu", &[("cpu.cfs_burst_us", "500000")], &[("cpu.max.burst", "500000")]);
    limited.update(["--cpu-burst", "0", "--cpu-quota", "-1"]);
    limited.has("cpu", &[("cpu.cfs_quota_us", "-1")], &[("cpu.max", "max 900000")]);
    limited.update(["--cpu-idle", "1"]);
    limited.has("cpu", &[("cpu.idle", "1")], &[("cpu.idle", "1")]);
    limited.update(["--cpu-idle", "0"]);
    limited.update(["--cpuset-cpus", "0-1", "--cpuset-mems", "0"]);
    limited.has("cpuset", &[("cpuset.cpus", "0-1")], &[("cpuset.cpus", "0-1")]);
    drop(limited);
    host.check();
}

#[test]
fn limits_from_a_file() {
    needs!(root, "busybox");
    let limited = Limited::new();
    // As docker sends it, with a device rule that has no effect.
    let resources = json!({
        "devices": [{"allow": true, "access": "rwm"}],
        "memory": {"limit": 80 << 20, "reservation": 0},
        "cpu": {"shares": 0, "quota": 300_000, "period": 0, "cpus": ""},
        "pids": {"limit": 15}, "blockIO": {},
    });
    limited.bundle.command(["update", "--resources", "-", "one"]).input(resources.to_string()).ok();
    limited.has("memory", &[("memory.limit_in_bytes", "83886080")], &[("memory.max", "83886080")]);
    let both = ("cpu.max", "300000 1000000");
    limited.has("cpu", &[("cpu.cfs_quota_us", "300000"), ("cpu.cfs_period_us", "1000000")], &[both]);
    limited.has("pids", &[("pids.max", "15")], &[("pids.max", "15")]);
    limited.bundle.scratch.file("limits", r#"{"pids": {"limit": 16}}"#);
    limited.update(["-r", "limits"]);
    limited.has("pids", &[("pids.max", "16")], &[("pids.max", "16")]);
}

#[test]
fn what_is_ignored_is_said() {
    needs!(root, "busybox");
    let limited = Limited::new();
    let update = |args: &[&str]| limited.bundle.command(["update"]).args(args).arg("one").ok();
    update(&["--kernel-memory", "10m"]).says(&["rkt-oci: memory.kernel: limits of kernel memory are ignored"]);
    update(&["--kernel-memory-tcp", "10m"]).says(&["rkt-oci: memory.kernelTCP: limits of kernel memory are ignored"]);
    for quiet in [&["--kernel-memory", "0"][..], &["--pids-limit", "30"]] {
        assert_eq!(update(quiet).stderr, "", "{quiet:?}");
    }
}

#[test]
fn what_is_refused_changes_nothing() {
    needs!(root, "busybox");
    let limited = Limited::new();
    let before = || {
        limited.has("memory", &[("memory.limit_in_bytes", "67108864")], &[("memory.max", "67108864")]);
        limited.has("cpu", &[("cpu.shares", "100")], &[("cpu.weight", "17")]);
    };
    before();
    let refused = |resources: &str, words: &[&str]| {
        limited.bundle.command(["update", "-r", "-", "one"]).input(resources).refused(1, words);
        before();
    };
    refused(
        r#"{"memory": {"limit": 99614720}, "cpu": {"shares": 300, "cpus": "4000"}}"#,
        &["linux.resources.cpu.cpus"],
    );
    refused(r#"{"memory": {"limit": 1024, "checkBeforeUpdate": true}}"#, &["rejecting memory limit 1024 <= usage"]);
    refused(
        r#"{"memory": {"limit": 4096, "swap": 8192, "checkBeforeUpdate": true}}"#,
        &["linux.resources.memory.", "rejecting memory", " <= usage"],
    );
    // The kernel refuses these: field, value and its reason are said, and where it was written.
    refused(r#"{"cpu": {"period": 5}}"#, &["linux.resources.cpu.", "invalid argument"]);
    refused(r#"{"memory": {"limit": 70000000}, "cpu": {"mems": "900"}}"#, &["linux.resources.cpu.mems", "900"]);
    refused(r#"{"memory": {"swappiness": 200}}"#, &["linux.resources.memory.swappiness"]);
    refused(r#"{"cpu": {"shares": "many"}}"#, &["linux.resources.cpu.shares: invalid type"]);
    refused("nonsense", &["--resources -: "]);
    assert_ne!(limited.bundle.command(["update", "--memory", "some", "one"]).run().code(), 0);
    limited.bundle.command(["update", "--l3-cache-schema", "L3:0=f", "one"]).refused(1, &["is not enabled"]);
    limited.bundle.command(["update", "-r", "nonesuch", "one"]).refused(1, &["--resources nonesuch"]);
    limited.bundle.command(["update", "--pids-limit", "5", "two"]).refused(1, &["does not exist"]);
    limited.bundle.command(["kill", "one", "KILL"]).ok();
    while limited.bundle.command(["state", "one"]).ok().json()["status"] != "stopped" {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    limited.bundle.command(["update", "--pids-limit", "5", "one"]).refused(1, &["container not running"]);
}

#[test]
fn a_container_without_limits_can_be_given_some() {
    needs!(root, "busybox");
    let mut bundle = Bundle::new("sleep 1000");
    bundle.config["linux"]["resources"] = json!({});
    bundle.command(["run", "--detach", "one"]).ok();
    let all = ["update", "--memory", "52428800", "--pids-limit", "50", "--cpu-quota", "50000", "one"];
    bundle.command(all).ok();
    let stats = bundle.command(["events", "--stats", "one"]).ok().json();
    assert_eq!(stats["data"]["memory"]["usage"]["limit"], 52_428_800, "{stats}");
    bundle.command(["delete", "--force", "one"]).ok();
    bundle.nothing_left();
}
