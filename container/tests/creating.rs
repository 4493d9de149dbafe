//! Containers that are being made, and those of which the record is lost.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use common::Bundle;
use rustix::process::Signal;
use serde_json::json;
use support::{HostState, Running, needs};

/// A container whose hook sleeps, and the command that makes it.
fn hanging(command: &str) -> (Bundle, Running) {
    let mut bundle = Bundle::new("sleep 1000");
    let mark = bundle.scratch.path().join("hook");
    let script = format!("echo $$ >{}; exec sleep 1000", mark.display());
    bundle.config["hooks"]["createRuntime"] = json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}]);
    let making = bundle.command([command, "one"]).spawn();
    while fs::read_to_string(&mark).unwrap_or_default().is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
    (bundle, making)
}

fn hook_lives(bundle: &Bundle) -> bool {
    lives(hook(bundle))
}

fn hook(bundle: &Bundle) -> i32 {
    fs::read_to_string(bundle.scratch.path().join("hook")).unwrap().trim().parse().unwrap()
}

fn lives(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn while_a_hook_runs_it_is_being_created() {
    needs!(root, "busybox");
    let host = HostState::new();
    for command in ["create", "run"] {
        let (bundle, making) = hanging(command);
        let state = bundle.command(["state", "one"]).ok().json();
        assert_eq!((&state["status"], &state["pid"]), (&json!("creating"), &json!(0)));
        assert_eq!(bundle.command(["list", "--format", "json"]).ok().json()[0]["status"], "creating");
        bundle.command(["delete", "one"]).refused(1, &["not stopped: creating"]);
        bundle.command(["start", "one"]).refused(1, &["still being created"]);
        bundle.command(["kill", "one", "KILL"]).refused(1, &["container not running"]);
        bundle.command(["exec", "one", "true"]).refused(255, &["still being created"]);
        assert!(hook_lives(&bundle));
        bundle.command(["delete", "--force", "one"]).ok();
        making.wait().says(&["stopped by SIGTERM"]);
        assert!(!hook_lives(&bundle));
        bundle.nothing_left();
    }
    host.check();
}

/// As the program of `run` starts without being waited for, its number is written down before it may.
#[test]
fn run_writes_its_process_down_before_that_starts() {
    needs!(root, "busybox");
    let host = HostState::new();
    let (bundle, making) = hanging("run");
    let record = fs::read_to_string(bundle.state().join("one/state.json")).unwrap();
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    let pid = record["pid"].as_i64().unwrap() as i32;
    assert!(fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "rkt-oci:init"), "{pid}");
    making.signal(Signal::KILL);
    making.wait();
    bundle.command(["delete", "--force", "one"]).ok();
    assert!(!lives(pid));
    rustix::process::kill_process(rustix::process::Pid::from_raw(hook(&bundle)).unwrap(), Signal::KILL).unwrap();
    while hook_lives(&bundle) {
        std::thread::sleep(Duration::from_millis(5));
    }
    bundle.nothing_left();
    host.check();
}

#[test]
fn a_signal_undoes_what_is_being_created() {
    needs!(root, "busybox");
    let host = HostState::new();
    for (command, signal, name) in [("create", Signal::TERM, "SIGTERM"), ("run", Signal::INT, "SIGINT")] {
        let (bundle, making) = hanging(command);
        making.signal(signal);
        let outcome = making.wait();
        assert_eq!(outcome.code(), 1);
        outcome.says(&[&format!("rkt-oci {command} failed: error running createRuntime hook #0: stopped by {name}")]);
        assert_eq!(outcome.stderr.trim().lines().count(), 1, "{}", outcome.stderr);
        assert!(!hook_lives(&bundle));
        bundle.nothing_left();
    }
    host.check();
}

#[test]
fn without_its_record_it_is_found_by_its_configuration() {
    needs!(root, "busybox");
    let host = HostState::new();
    for damage in ["", "{}", "{\"pid\": "] {
        let bundle = Bundle::new("sleep 1000");
        bundle.command(["run", "--detach", "one"]).ok();
        for name in ["state.json", "state.json.spare"] {
            let path = bundle.state().join("one").join(name);
            if damage.is_empty() { fs::remove_file(path).unwrap() } else { fs::write(path, damage).unwrap() }
        }
        bundle.command(["delete", "one"]).refused(1, &["1 processes are in its cgroup; use --force"]);
        let outcome = bundle.command(["delete", "--force", "one"]).ok();
        assert_eq!(outcome.stderr, "");
        bundle.nothing_left();
    }
    // What was in it alone cannot be done, and is said.
    let mut bundle = Bundle::new("sleep 1000");
    let name = bundle.config["linux"]["cgroupsPath"].as_str().unwrap().to_owned();
    bundle.config["hooks"] = json!({"poststop": [{"path": "/bin/true"}]});
    for path in [name.clone(), format!("/{name}")] {
        bundle.config["linux"]["cgroupsPath"] = json!(path);
        bundle.command(["run", "--detach", "one"]).ok();
        for name in ["state.json", "state.json.spare"] {
            fs::remove_file(bundle.state().join("one").join(name)).unwrap();
        }
        let outcome = bundle.command(["delete", "--force", "one"]).ok();
        outcome.says(&["container \"one\": its poststop hooks were not run"]);
        assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
        bundle.nothing_left();
        fs::create_dir_all(bundle.state().join("one")).unwrap();
        fs::write(bundle.state().join("one/config.json"), bundle.config.to_string()).unwrap();
        let outcome = bundle.command(["delete", "--force", "one"]).ok();
        outcome.says(&["there is no cgroup", &name, "only its directory was removed"]);
        assert_eq!(outcome.stderr.contains("below another"), !path.starts_with('/'), "{}", outcome.stderr);
    }
    // Nothing can be known: that is said, too.
    let bundle = Bundle::new("true");
    fs::create_dir_all(bundle.state().join("one")).unwrap();
    bundle.command(["delete", "--force", "one"]).ok().says(&["only its directory was removed"]);
    bundle.nothing_left();
    host.check();
}

#[test]
fn a_directory_of_somebody_else_is_not_believed() {
    needs!(root, "busybox");
    let host = HostState::new();
    let bundle = Bundle::new("sleep 1000");
    bundle.command(["run", "--detach", "one"]).ok();
    fs::set_permissions(bundle.state(), PermissionsExt::from_mode(0o1777)).unwrap();
    let directory = bundle.state().join("one");
    std::os::unix::fs::chown(&directory, Some(4321), None).unwrap();
    for command in [["kill", "one"], ["delete", "one"], ["state", "one"]] {
        bundle.command(command).refused(1, &["belongs to user 4321"]);
    }
    bundle.command(["delete", "--force", "one"]).refused(1, &["belongs to user 4321"]);
    bundle.command(["list"]).ok().prints(&["#4321"]);
    std::os::unix::fs::symlink(&directory, bundle.state().join("two")).unwrap();
    std::os::unix::fs::chown(&directory, Some(0), None).unwrap();
    bundle.command(["kill", "two"]).refused(1, &["container does not exist"]);
    fs::remove_file(bundle.state().join("two")).unwrap();
    bundle.command(["kill", "one", "0"]).ok();
    bundle.command(["delete", "--force", "one"]).ok();
    bundle.nothing_left();
    host.check();
}
