//! Cgroups made by systemd; see [`common::bus`] for what stands in for it.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use common::Bundle;
use common::bus::Calls;
use serde_json::json;
use support::{HostState, needs};

#[test]
fn a_scope_of_systemds() {
    needs!(root, "busybox");
    let host = HostState::new();
    let mut bundle = Bundle::new("sleep 1000");
    let bus = bundle.scratch.path().join("bus");
    let calls = Calls::listen(&bus, false);
    let name = bundle.config["linux"]["cgroupsPath"].as_str().unwrap().to_lowercase().replace(['.', '-'], "");
    bundle.config["linux"]["cgroupsPath"] = json!(format!("rkttest-{name}.slice:pre:{name}"));
    bundle.config["linux"]["resources"]["pids"] = json!({"limit": 20});
    bundle.config["linux"]["resources"]["memory"] = json!({"limit": 64 << 20});
    bundle.config["annotations"] = json!({"org.systemd.property.TimeoutStopSec": "uint64 9"});
    let command = |arguments: &[&str]| {
        let address = format!("unix:path={}", bus.display());
        bundle.command(["--systemd-cgroup"]).args(arguments).env("DBUS_SYSTEM_BUS_ADDRESS", address)
    };
    command(&["create", "one"]).ok();
    let started = calls.of("StartTransientUnit");
    assert_eq!(started.len(), 1);
    for words in [
        &format!("pre-{name}.scope"),
        &format!("rkttest-{name}.slice"),
        "Delegate",
        "PIDs",
        "TasksMax",
        "DevicePolicy",
        "strict",
        "TimeoutStopUSec",
        "Memory",
    ] {
        assert!(started[0].contains(words), "{words}: {}", started[0]);
    }
    let pid = command(&["state", "one"]).ok().json()["pid"].clone();
    // The placeholder is gone.
    assert_eq!(command(&["ps", "-f", "json", "one"]).ok().json(), json!([pid]));
    let cgroups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let place = format!(":/rkttest.slice/rkttest-{name}.slice/pre-{name}.scope");
    assert!(cgroups.lines().all(|line| line.ends_with(&place)), "{cgroups}");
    command(&["update", "--pids-limit", "30", "one"]).ok();
    assert!(calls.of("SetUnitProperties")[0].contains("TasksMax"));
    command(&["start", "one"]).ok();
    command(&["delete", "--force", "one"]).ok();
    assert!(calls.of("StopUnit")[0].contains(&format!("pre-{name}.scope")));
    bundle.nothing_left();
    host.check();
}

#[test]
fn without_systemd_or_its_consent() {
    needs!(root, "busybox");
    let host = HostState::new();
    let mut bundle = Bundle::new("true");
    let bus = bundle.scratch.path().join("bus");
    let address = format!("unix:path={}", bus.display());
    let run = |bundle: &Bundle, words: &[&str]| {
        let run = bundle.command(["--systemd-cgroup", "run", "one"]);
        run.env("DBUS_SYSTEM_BUS_ADDRESS", &address).refused(1, words);
        bundle.nothing_left();
    };
    run(&bundle, &["expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups"]);
    bundle.config["linux"]["cgroupsPath"] = json!("rkttest.slice:pre:refused");
    run(
        &bundle,
        &["systemd: connect to its bus", "systemd not running on this host, cannot use systemd cgroups manager"],
    );
    Calls::listen(&bus, true);
    run(&bundle, &["systemd: start pre-refused.scope: no such thing"]);
    bundle.config["annotations"] = json!({"org.systemd.property.X1": "true"});
    run(&bundle, &["annotations[org.systemd.property.X1]"]);
    host.check();
}
