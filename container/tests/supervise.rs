//! Pausing containers and listing their processes.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::time::{Duration, Instant};

use common::Bundle;
use serde_json::{Value, json};
use support::{HostState, needs};

/// Until `what` holds, for ten seconds.
#[track_caller]
fn until(mut what: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !what() {
        assert!(Instant::now() < end, "it did not come to pass");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn status(bundle: &Bundle) -> Value {
    bundle.command(["state", "one"]).ok().json()["status"].clone()
}

#[test]
fn pause_and_resume() {
    needs!(root, "busybox");
    let host = HostState::new();
    let mut bundle = Bundle::new("while :; do echo >>/tmp/ticks; sleep 0.01; done");
    bundle.config["root"]["readonly"] = json!(false);
    bundle.command(["create", "one"]).ok();
    bundle.command(["resume", "one"]).refused(1, &["container not paused"]);
    // Before it is started, too.
    bundle.command(["pause", "one"]).ok();
    assert_eq!(status(&bundle), "paused");
    bundle.command(["start", "one"]).refused(1, &["paused"]);
    bundle.command(["resume", "one"]).ok();
    assert_eq!(status(&bundle), "created");
    bundle.command(["start", "one"]).ok();
    let ticks = || std::fs::metadata(bundle.rootfs("tmp/ticks")).map_or(0, |m| m.len());
    until(|| ticks() > 3);
    bundle.command(["pause", "one"]).ok();
    assert_eq!(status(&bundle), "paused");
    let counted = ticks();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(ticks(), counted);
    bundle.command(["pause", "one"]).refused(1, &["container not running"]);
    bundle.command(["delete", "one"]).refused(1, &["not stopped: paused"]);
    bundle.command(["resume", "one"]).ok();
    assert_eq!(status(&bundle), "running");
    until(|| ticks() > counted);
    bundle.command(["pause", "one"]).ok();
    bundle.command(["kill", "one", "KILL"]).ok();
    until(|| status(&bundle) == "stopped");
    bundle.command(["pause", "one"]).refused(1, &["container not running"]);
    bundle.command(["delete", "one"]).ok();
    bundle.command(["pause", "one"]).refused(1, &["does not exist"]);
    bundle.command(["run", "--detach", "one"]).ok();
    bundle.command(["pause", "one"]).ok();
    bundle.command(["delete", "--force", "one"]).ok();
    bundle.nothing_left();
    host.check();
}

#[test]
fn ps_shows_what_runs() {
    needs!(root, "busybox");
    let host = HostState::new();
    let bundle = Bundle::new("sleep 1001 & exec sleep 1002");
    bundle.command(["run", "--detach", "one"]).ok();
    let pids = || bundle.command(["ps", "--format", "json", "one"]).ok().json();
    until(|| pids().as_array().unwrap().len() == 2);
    let first = bundle.command(["state", "one"]).ok().json()["pid"].clone();
    assert!(pids().as_array().unwrap().contains(&first));
    let table = bundle.command(["ps", "one"]).ok().stdout;
    assert!(table.starts_with("UID"), "{table}");
    assert_eq!(table.lines().count(), 3, "{table}");
    let table = bundle.command(["ps", "one", "-o", "pid,args", "-e"]).ok().stdout;
    assert!(table.contains("sleep 1001") && table.contains(&first.to_string()), "{table}");
    // As a caller without any environment does.
    let line = bundle.command(["ps", "one", "-eo", "pid"]).under("env", ["-i"]).ok().stdout;
    assert_eq!(line.lines().count(), 3, "{line}");
    bundle.command(["ps", "one", "-eo", "args"]).refused(1, &["couldn't find PID field in ps output"]);
    bundle.command(["ps", "one", "--nonesuch"]).refused(1, &["ps: "]);
    bundle.command(["kill", "one", "KILL"]).ok();
    until(|| status(&bundle) == "stopped");
    assert_eq!(pids(), json!([]));
    bundle.command(["delete", "one"]).ok();
    bundle.command(["ps", "one"]).refused(1, &["does not exist"]);
    host.check();
}
