//! Containers that take all they can get: items 16 and 17.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;
use support::needs;

use crate::attack::{Attack, wait_until};

/// The files of that name in every cgroup of the container.
fn limits(attack: &Attack, file: &str) -> Vec<String> {
    let name = attack.config["linux"]["cgroupsPath"].as_str().unwrap().trim_start_matches('/').to_owned();
    let mut hierarchies: Vec<PathBuf> = vec!["/sys/fs/cgroup".into()];
    hierarchies.extend(fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path()));
    hierarchies.iter().filter_map(|h| fs::read_to_string(h.join(&name).join(file)).ok()).collect()
}

/// A bundle in a cgroup whose place is known: a bomb is only started when its limit is there to see.
fn limited(script: &str) -> Attack {
    let mut attack = Attack::new(script);
    let name = attack.scratch.path().file_name().unwrap().to_str().unwrap().to_owned();
    attack.config["linux"]["cgroupsPath"] = json!(format!("/{name}"));
    attack
}

/// Ends a container within the time that everybody has.
fn end_quickly(attack: &Attack, commands: &[&[&str]]) {
    let began = Instant::now();
    for command in commands {
        let outcome = attack.command([]).args(*command).run();
        outcome.require(outcome.code() <= 1, "an end without a signal");
    }
    assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
    attack.nothing_left();
}

#[test]
fn item_16_a_fork_bomb() {
    needs!(root, "busybox");
    for own_pids in [true, false] {
        // A shell that cannot fork ends: the first process must not be one, and what fills the limit must stay.
        let mut attack = limited("(while :; do (trap '' TERM; exec sleep 1000) & done) & exec sleep 1000");
        attack.config["linux"]["resources"]["pids"] = json!({"limit": 50});
        if !own_pids {
            attack.config["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "pid");
        }
        attack.command(["create", "test"]).ok();
        assert_eq!(limits(&attack, "pids.max"), ["50\n"]);
        attack.command(["start", "test"]).ok();
        wait_until("the bomb is at its limit", || {
            limits(&attack, "pids.current").iter().any(|n| n.trim().parse::<u32>().unwrap() > 40)
        });
        end_quickly(&attack, &[&["kill", "test", "KILL"], &["delete", "-f", "test"]]);
    }
}

#[test]
fn item_16_processes_that_outlive_the_first() {
    needs!(root, "busybox");
    for end in [&["kill", "test", "KILL"][..], &["delete", "-f", "test"]] {
        let mut attack =
            Attack::new("(setsid sh -c 'sleep 1000 & sleep 1000' &) & (trap '' TERM; sleep 1000) & sleep 0.1");
        attack.config["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "pid");
        attack.command(["create", "test"]).ok();
        attack.command(["start", "test"]).ok();
        wait_until("the first process has ended", || {
            attack.command(["state", "test"]).ok().json()["status"] == "stopped"
        });
        assert!(!attack.scratch.processes().is_empty(), "its children live on");
        end_quickly(&attack, &[end, &["delete", "-f", "test"]]);
    }
}

#[test]
fn item_16_a_first_process_that_stands_still_or_does_not_listen() {
    needs!(root, "busybox");
    let attack = Attack::new("trap '' TERM INT HUP; while :; do sleep 1; done");
    for signals in [&["STOP"][..], &["TERM", "INT"], &["TERM", "STOP"]] {
        attack.command(["run", "-d", "test"]).ok();
        for signal in signals {
            attack.command(["kill", "test", signal]).ok();
        }
        assert_eq!(attack.command(["state", "test"]).ok().json()["status"], "running");
        attack.command(["delete", "test"]).refused(1, &["that is not stopped: running"]);
        end_quickly(&attack, &[&["delete", "-f", "test"]]);
    }
}

#[test]
fn item_17_memory_bombs() {
    needs!(root, "busybox");
    for script in
        ["tail /dev/zero", "dd if=/dev/zero of=/dev/shm/x bs=1M count=60; dd if=/dev/zero of=/tmp/x bs=1M count=60"]
    {
        let mut attack = limited(&format!("{script}; echo survived"));
        attack.config["linux"]["resources"]["memory"] = json!({"limit": 16 << 20, "swap": 16 << 20});
        // Should the limit be missing, this one is there.
        attack.config["process"]["rlimits"] = json!([{"type": "RLIMIT_AS", "hard": 512 << 20, "soft": 512 << 20}]);
        attack.mount(json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["size=64m"]}));
        attack.command(["create", "test"]).ok();
        let found = [limits(&attack, "memory.limit_in_bytes"), limits(&attack, "memory.max")].concat();
        assert_eq!(found, [format!("{}\n", 16 << 20)]);
        attack.command(["delete", "-f", "test"]).ok();
        let outcome = attack.run().run();
        outcome.says(&["out of memory"]);
        outcome.require(outcome.code() == 137 || outcome.stdout.contains("survived"), "a process was killed");
    }
}

#[test]
fn item_17_too_little_memory_to_begin() {
    needs!(root, "busybox");
    let mut attack = Attack::new("true");
    attack.config["linux"]["resources"]["memory"] = json!({"limit": 64 << 10, "swap": 64 << 10});
    let outcome = attack.run().run();
    outcome.require(outcome.code() == 1, "the exit code 1");
    outcome.says(&["memory limit"]);
}

#[test]
fn item_17_long_environments_and_arguments() {
    needs!(root, "busybox");
    // MAX_ARG_STRLEN: 32 pages for one string.
    let attack = |change: &dyn Fn(&mut Attack)| {
        let mut attack = Attack::new("env | wc -l");
        change(&mut attack);
        attack
    };
    let long = "x".repeat(200_000);
    attack(&|a| a.config["process"]["env"] = json!(["PATH=/bin", format!("A={long}")]))
        .run()
        .refused(1, &["exec", "argument list too long"]);
    attack(&|a| a.config["process"]["args"] = json!(["/bin/true", long]))
        .run()
        .refused(1, &["exec", "argument list too long"]);
    let many: Vec<String> = (0..10_000).map(|n| format!("V{n}=1")).collect();
    let many = [&["PATH=/bin".to_owned()], &many[..]].concat();
    let outcome = attack(&|a| a.config["process"]["env"] = json!(many)).run().ok();
    assert!(outcome.text().parse::<u32>().unwrap() > 10_000);
    // A megabyte that means nothing.
    attack(&|a| a.config["annotations"] = json!({"note": "x".repeat(1 << 20)})).run().ok();
}

#[test]
fn item_17_very_many_mounts() {
    needs!(root, "busybox");
    let mut attack = Attack::new("wc -l </proc/self/mountinfo");
    let source = attack.scratch.file("source", "");
    for n in 0..10_000 {
        let destination = format!("/mnt/{}/{n}", n % 100);
        attack.mount(json!({"destination": destination, "source": source, "options": ["bind"]}));
    }
    let outcome = attack.run().timeout(Duration::from_secs(120)).run();
    // Each opens a descriptor first, and the host says how many there may be.
    match outcome.code() {
        0 => assert!(outcome.text().parse::<u32>().unwrap() > 10_000),
        _ => outcome.says(&["too many open files"]),
    }
}
