//! A runtime that is killed at any of its steps leaves what `delete --force` can remove, and harms no other container.
//!
//! `cargo test -p appc-container --features fault-injection --test faults`

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use appc_container::fault::POINTS;
use common::Bundle;
use common::criu::StandIn;
use serde_json::json;
use support::{HostState, needs};

/// A container that is only watched.
struct Neighbour {
    bundle: Bundle,
    pid: String,
}

impl Neighbour {
    fn new() -> Neighbour {
        let bundle = Bundle::new("sleep 1000");
        bundle.command(["run", "-d", "neighbour"]).ok();
        let pid = bundle.command(["state", "neighbour"]).ok().json()["pid"].to_string();
        Neighbour { bundle, pid }
    }

    #[track_caller]
    fn check(&self) {
        let state = self.bundle.command(["state", "neighbour"]).ok().json();
        assert_eq!((&state["status"], state["pid"].to_string()), (&json!("running"), self.pid.clone()));
    }
}

/// One that takes every step of the protocol: with mappings, hooks, a terminal, and an agent for its system calls.
fn everything() -> Bundle {
    let mut bundle = Bundle::new("sleep 1000");
    bundle.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    for name in ["uidMappings", "gidMappings"] {
        bundle.config["linux"][name] = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    }
    bundle.mount(json!({"destination": "/mnt", "source": "/etc", "options": ["bind", "ro"]}));
    bundle.config["hooks"] = json!({"createRuntime": [{"path": "/bin/true"}], "poststop": [{"path": "/bin/true"}]});
    bundle.config["process"]["terminal"] = json!(true);
    bundle.config["process"]["oomScoreAdj"] = json!(100);
    bundle.config["linux"]["resources"]["pids"] = json!({"limit": 100});
    let agent = bundle.scratch.path().join("agent");
    bundle.config["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": agent,
        "syscalls": [{"names": ["getsid"], "action": "SCMP_ACT_NOTIFY"}],
    });
    for socket in [agent, bundle.scratch.path().join("console")] {
        let listener = UnixListener::bind(socket).unwrap();
        // What it is sent stays unread, and goes when the test ends.
        std::thread::spawn(move || listener.incoming().flatten().collect::<Vec<_>>());
    }
    bundle
}

/// Takes every step with the fault; whether one of them was reached by it.
fn with_fault(bundle: &Bundle, criu: &StandIn, point: &str, steps: &[&[&str]]) -> bool {
    let mut reached = false;
    for step in steps {
        let command = criu.of(bundle.command([]).args(*step)).env("RKT_OCI_FAULT", point);
        let code = command.timeout(Duration::from_secs(30)).run().code();
        // A process that joins gives 255 for what it could not do, so that its program's codes are its own.
        assert!([0, 1, 137, 255].contains(&code), "{point}: {step:?} ended with {code}");
        reached |= code != 0;
        if !reached && !["create", "checkpoint", "delete"].contains(&step[0]) {
            // Init may die after the command has done its part.
            std::thread::sleep(Duration::from_millis(100));
            reached |= bundle.command(["state", "test"]).run().json()["status"] != "running";
        }
        if reached {
            break;
        }
    }
    reached
}

#[test]
fn what_is_killed_can_be_deleted() {
    needs!(root, "busybox", "cc");
    let criu = StandIn::new();
    let neighbour = Neighbour::new();
    let version_2_alone = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let mut missed = Vec::new();
    for point in POINTS {
        let full = everything();
        let console = full.scratch.path().join("console").display().to_string();
        let create: &[&str] = &["create", "--console-socket", &console, "test"];
        let plain = Bundle::new("sleep 1000");
        let saved = Bundle::new("sleep 1000");
        let scenarios: [(&Bundle, &[&[&str]]); 3] = [
            (&full, &[create, &["start", "test"], &["delete", "--force", "test"]]),
            (
                &plain,
                &[
                    &["run", "--detach", "--pid-file", "pid", "test"],
                    &["exec", "test", "true"],
                    &["delete", "--force", "test"],
                ],
            ),
            (
                &saved,
                &[
                    &["run", "--detach", "test"],
                    &["checkpoint", "--image-path", "images", "test"],
                    &["restore", "--detach", "--image-path", "images", "--pid-file", "pid", "test"],
                    &["delete", "--force", "test"],
                ],
            ),
        ];
        let mut reached = false;
        for (bundle, steps) in scenarios {
            let host = HostState::new().of(&bundle.scratch);
            reached |= with_fault(bundle, &criu, point, steps);
            bundle.command(["delete", "--force", "test"]).ok();
            bundle.nothing_left();
            host.check();
            assert_eq!(bundle.command(["list", "-q"]).ok().stdout, "", "{point}");
        }
        neighbour.check();
        // The second of a cgroup's directories is there only where there is version 1.
        let none = version_2_alone && *point == "cgroup made:2";
        if !(reached || none) {
            missed.push(*point);
        }
    }
    neighbour.bundle.command(["delete", "--force", "neighbour"]).ok();
    neighbour.bundle.nothing_left();
    assert!(missed.is_empty(), "these points were never reached: {missed:?}");
}
