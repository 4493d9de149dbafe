//! Filters that leave the decision to an agent.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use common::Bundle;
use serde_json::{Value, json};
use support::{Cmd, HostState, Running, needs};

struct Agent {
    bundle: Bundle,
    socket: PathBuf,
    states: PathBuf,
    program: PathBuf,
}

impl Agent {
    /// A bundle whose filter notifies of `names`, with an agent that is not started yet.
    fn new(script: &str, names: &[&str], no_new_privileges: bool) -> Agent {
        let mut bundle = Bundle::new(script);
        let place = |name: &str| bundle.scratch.path().join(name);
        let (socket, states, program) = (place("agent.sock"), place("states"), place("agent"));
        bundle.config["root"]["readonly"] = json!(false);
        bundle.config["process"]["noNewPrivileges"] = json!(no_new_privileges);
        bundle.config["annotations"] = json!({"a": "b"});
        bundle.config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
            "listenerPath": socket,
            "listenerMetadata": "opaque",
            "syscalls": [{"names": names, "action": "SCMP_ACT_NOTIFY"}],
        });
        Agent { bundle, socket, states, program }
    }

    fn start(&self, more: &[&str]) -> Running {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/seccomp/agent.c");
        Cmd::new("cc").args(["-Wall", "-O1", "-o"]).arg(&self.program).arg(source).ok();
        let agent = Cmd::new(&self.program).arg(&self.socket).arg(&self.states).args(more).spawn();
        while !self.socket.exists() {
            std::thread::sleep(Duration::from_millis(5));
        }
        agent
    }

    fn states(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.states).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

const BOTH: [bool; 2] = [false, true];

#[test]
fn an_agent_decides_and_is_told_about_whom() {
    needs!(root, "busybox", "cc");
    let host = HostState::new();
    for no_new_privileges in BOTH {
        let agent = Agent::new("exec 2>&1; mkdir /tmp/x; echo $?", &["mkdir", "mkdirat"], no_new_privileges);
        let running = agent.start(&[]);
        let said = agent.bundle.run().ok().stdout;
        assert_eq!(said, "mkdir: can't create directory '/tmp/x': No medium found\n1\n");
        let states = agent.states();
        assert_eq!(states.len(), 1);
        let state = &states[0];
        assert_eq!(state["fds"], json!(["seccompFd"]));
        assert_eq!((&state["metadata"], &state["ociVersion"]), (&json!("opaque"), &agent.bundle.config["ociVersion"]));
        assert!(state["pid"].as_i64().unwrap() > 1);
        let inner = &state["state"];
        assert_eq!((&inner["id"], &inner["status"]), (&json!("test"), &json!("creating")));
        assert_eq!((&inner["pid"], &inner["annotations"]), (&state["pid"], &json!({"a": "b"})));
        assert_eq!(inner["bundle"], json!(agent.bundle.scratch.work()));
        drop(running);
        agent.bundle.nothing_left();
    }
    host.check();
}

#[test]
fn calls_that_the_runtime_itself_needs_can_be_notified_of() {
    needs!(root, "busybox", "cc");
    let host = HostState::new();
    let names = [
        "sendmsg",
        "recvmsg",
        "read",
        "close",
        "openat",
        "openat2",
        "futex",
        "execve",
        "capset",
        "prctl",
        "close_range",
        "nanosleep",
        "clock_nanosleep",
        "sched_yield",
        "munmap",
        "mmap",
        "exit_group",
        "rt_sigprocmask",
        "dup3",
        "mkdir",
    ];
    for no_new_privileges in BOTH {
        let agent = Agent::new("exec 2>&1; mkdir /tmp/x; echo $?", &names, no_new_privileges);
        let running = agent.start(&[]);
        assert!(agent.bundle.run().ok().stdout.contains("No medium found"));
        agent.bundle.command(["create", "two"]).ok();
        agent.bundle.command(["start", "two"]).ok();
        agent.bundle.command(["delete", "--force", "two"]).ok();
        assert_eq!(agent.states().len(), 2);
        drop(running);
        agent.bundle.nothing_left();
    }
    host.check();
}

#[test]
fn an_agent_that_is_not_there_or_dies_hangs_nobody() {
    needs!(root, "busybox", "cc");
    let host = HostState::new();
    let words = "failed to connect with seccomp agent specified in the seccomp profile: ";
    for no_new_privileges in BOTH {
        let mut agent = Agent::new("exec 2>&1; echo began; mkdir /tmp/x", &["mkdir"], no_new_privileges);
        for command in [["run", "test"], ["create", "test"]] {
            agent.bundle.command(command).refused(1, &[words, "agent.sock: no such file or directory"]);
        }
        fs::write(&agent.socket, "").unwrap();
        agent.bundle.run().refused(1, &[words, "connection refused"]);
        agent.bundle.config["linux"]["seccomp"]["listenerPath"] = json!("@no/such/agent");
        agent.bundle.run().refused(1, &[words, "@no/such/agent: connection refused"]);
        agent.bundle.config["linux"]["seccomp"]["listenerPath"] = json!("x".repeat(200));
        agent.bundle.run().refused(1, &[words, "name too long"]);
        agent.bundle.nothing_left();
        fs::remove_file(&agent.socket).unwrap();
        agent.bundle.config["linux"]["seccomp"]["listenerPath"] = json!(agent.socket);
        let _running = agent.start(&["die"]);
        let outcome = agent.bundle.run().exits(1);
        assert!(outcome.stdout.contains("Function not implemented"), "{}", outcome.stdout);
        agent.bundle.nothing_left();
    }
    host.check();
}

#[test]
fn without_its_agent_nothing_begins_in_a_container_either() {
    needs!(root, "busybox", "cc");
    for no_new_privileges in BOTH {
        let agent = Agent::new("sleep 1000", &["mkdir"], no_new_privileges);
        let running = agent.start(&[]);
        agent.bundle.command(["run", "--detach", "test"]).ok();
        drop(running);
        for _ in 0..5 {
            let began = agent.bundle.command(["exec", "test", "echo", "began"]);
            began.refused(255, &["failed to connect with seccomp agent", "agent.sock: connection refused"]);
        }
        agent.bundle.command(["delete", "--force", "test"]).ok();
        agent.bundle.nothing_left();
    }
}

#[test]
fn an_agent_is_needed_exactly_where_somebody_asks_for_it() {
    needs!(root, "busybox");
    let mut agent = Agent::new("true", &["mkdir"], true);
    agent.bundle.config["linux"]["seccomp"]["listenerPath"] = json!("");
    agent.bundle.run().refused(1, &["linux.seccomp.listenerPath", "seccomp listenerPath is not set"]);
    agent.bundle.config["linux"]["seccomp"]["syscalls"] = json!([]);
    agent.bundle.config["linux"]["seccomp"]["listenerPath"] = json!("/no/such/agent");
    agent.bundle.run().ok();
}

#[test]
fn hooks_in_the_container_are_asked_about_too() {
    needs!(root, "busybox", "cc");
    for no_new_privileges in BOTH {
        let mut agent = Agent::new("true", &["mkdir"], no_new_privileges);
        agent.bundle.config["hooks"]["startContainer"] = json!([{"path": "/bin/busybox", "args": ["mkdir", "/tmp/x"]}]);
        agent.bundle.config["linux"]["seccomp"]["flags"] = json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]);
        let running = agent.start(&[]);
        agent.bundle.run().refused(1, &["error running startContainer hook #0", "No medium found"]);
        drop(running);
        agent.bundle.nothing_left();
    }
}
