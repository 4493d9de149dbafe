//! What the validation programs of runtime-tools found out, each as a test of our own.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use common::Bundle;
use serde_json::json;
use support::{HostState, needs};

#[test]
fn an_init_without_privileges_waits_to_be_started() {
    needs!(root, "busybox");
    let mut bundle = Bundle::new("id -u >/dev/null; sleep 1000");
    bundle.config["process"]["user"] = json!({"uid": 1000, "gid": 2000});
    bundle.config["process"]["capabilities"] = json!({});
    bundle.command(["create", "one"]).ok();
    assert_eq!(bundle.command(["state", "one"]).ok().json()["status"], "created");
    bundle.command(["start", "one"]).ok();
    assert_eq!(bundle.command(["state", "one"]).ok().json()["status"], "running");
    bundle.command(["delete", "--force", "one"]).ok();
    bundle.nothing_left();
}

#[test]
fn without_a_mount_namespace_nothing_appears_on_the_host() {
    needs!(root, "busybox");
    let host = HostState::new();
    let mut bundle = Bundle::new("echo >/dev/shm/in-there; cat /proc/sys/kernel/ostype; ls /; sleep 1000");
    bundle.config["linux"]["namespaces"] = json!([{"type": "pid"}]);
    bundle.config.as_object_mut().unwrap().remove("hostname");
    bundle.command(["run", "--detach", "one"]).ok();
    let pid = bundle.command(["state", "one"]).ok().json()["pid"].to_string();
    let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/mnt")).unwrap();
    assert_eq!(namespace(&pid), namespace("self"));
    let exec =
        bundle.command(["exec", "one", "sh", "-c", "ls /dev/shm; cat /proc/self/comm; ls /; cd ../..; pwd"]).ok();
    assert_eq!(exec.stdout, "in-there\ncat\nbin\ndev\netc\nproc\nroot\nsys\ntmp\nvar\n/\n");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(bundle.scratch.path().to_str().unwrap()), "{mounts}");
    bundle.command(["delete", "--force", "one"]).ok();
    bundle.nothing_left();
    host.check();
}
