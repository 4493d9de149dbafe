//! What the kernel is told about a container's process besides who it is.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use common::Bundle;
use serde_json::json;
use support::needs;

/// The process's `stat` field of that number (proc(5) counts from 1); none of its fields before has a space in it here.
const SCHEDULER: &str = "read -r _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ nice _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ \
                         rt policy _ </proc/self/stat; echo $nice $rt $policy";

#[test]
fn schedulers() {
    needs!(root, "busybox");
    let mut bundle = Bundle::new(SCHEDULER);
    for (scheduler, shown) in [
        (json!({"policy": "SCHED_BATCH", "nice": 19}), "19 0 3"),
        (json!({"policy": "SCHED_OTHER", "nice": -5}), "-5 0 0"),
        (json!({"policy": "SCHED_FIFO", "priority": 7}), "0 7 1"),
        (json!({"policy": "SCHED_RR", "priority": 1, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}), "0 1 2"),
        (json!({"policy": "SCHED_IDLE"}), "0 0 5"),
    ] {
        // Where realtime processes are grouped they run only in groups that have time for them.
        let realtime = matches!(scheduler["policy"].as_str().unwrap(), "SCHED_FIFO" | "SCHED_RR");
        let grouped = std::path::Path::new("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists();
        bundle.config["process"]["scheduler"] = scheduler;
        if realtime && grouped {
            bundle.run().refused(1, &["set process.scheduler: operation not permitted", "realtimeRuntime"]);
            bundle.config["linux"]["resources"]["cpu"] = json!({"realtimeRuntime": 1000, "realtimePeriod": 1_000_000});
        }
        bundle.run().ok().prints(&[shown]);
        bundle.config["linux"]["resources"].as_object_mut().unwrap().remove("cpu");
    }
    // Its own word for itself: without the flag it could not even start `chrt`.
    bundle.config["process"]["scheduler"] = json!({"policy": "SCHED_DEADLINE", "flags": ["SCHED_FLAG_RESET_ON_FORK"],
        "runtime": 1_000_000, "deadline": 10_000_000, "period": 10_000_000});
    bundle.run().ok().prints(&[" 6"]);
    bundle.config["process"]["scheduler"] = json!({"policy": "SCHED_DEADLINE", "runtime": 2, "deadline": 1});
    bundle.run().refused(1, &["set process.scheduler: invalid argument"]);
    bundle.nothing_left();
}

#[test]
fn deadlines_need_all_processors() {
    needs!(root, "busybox");
    let mut bundle = Bundle::new("true");
    bundle.config["linux"]["resources"]["cpu"] = json!({"cpus": "0"});
    bundle.config["process"]["scheduler"] =
        json!({"policy": "SCHED_DEADLINE", "runtime": 42000, "deadline": 1_000_000, "period": 1_000_000});
    bundle.run().refused(1, &["process scheduler can't be used together with AllowedCPUs"]);
    bundle.nothing_left();
}

#[test]
fn priority_of_input_and_output() {
    needs!(root, "busybox");
    let mut bundle = Bundle::new("ionice");
    for (class, level, shown) in [
        ("IOPRIO_CLASS_BE", 4, "best-effort: prio 4"),
        ("IOPRIO_CLASS_IDLE", 0, "idle"),
        ("IOPRIO_CLASS_RT", 1, "realtime: prio 1"),
    ] {
        bundle.config["process"]["ioPriority"] = json!({"class": class, "priority": level});
        bundle.run().ok().prints(&[shown]);
    }
    bundle.config["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 8});
    bundle.run().refused(1, &["process.ioPriority.priority: 8 is not between 0 and 7"]);
}

#[test]
fn personality_of_32_bits() {
    needs!(root, "busybox");
    let mut bundle = Bundle::new("uname -m");
    bundle.config["linux"]["personality"] = json!({"domain": "LINUX32"});
    bundle.run().ok().prints(&["i686"]);
    bundle.config["linux"]["personality"] = json!({"domain": "LINUX"});
    bundle.run().ok().prints(&["x86_64"]);
}

#[test]
fn memory_policies() {
    needs!(root, "busybox");
    let mut bundle = Bundle::new("head -n 1 /proc/self/numa_maps | cut -d ' ' -f 2");
    for (policy, shown) in [
        (json!({"mode": "MPOL_INTERLEAVE", "nodes": "0"}), "interleave:0"),
        (json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}), "bind=static:0"),
        (json!({"mode": "MPOL_PREFERRED", "nodes": "0", "flags": ["MPOL_F_RELATIVE_NODES"]}), "prefer=relative:0"),
        (json!({"mode": "MPOL_DEFAULT"}), "default"),
        (json!({"mode": "MPOL_LOCAL"}), "local"),
    ] {
        bundle.config["linux"]["memoryPolicy"] = policy;
        bundle.run().ok().prints(&[shown]);
    }
    for (policy, why) in [
        (json!({}), "invalid memory policy mode"),
        (json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["badflag"]}), "invalid memory policy flag"),
        (json!({"mode": "MPOL_BIND", "nodes": "0-9876543210"}), "invalid memory policy node"),
        (json!({"mode": "MPOL_DEFAULT", "nodes": "0-7"}), "mode requires 0 nodes but got 8"),
        (json!({"mode": "MPOL_BIND", "nodes": "4000"}), "set linux.memoryPolicy: invalid argument"),
    ] {
        bundle.config["linux"]["memoryPolicy"] = policy;
        bundle.run().refused(1, &[why]);
    }
    bundle.nothing_left();
}

#[test]
fn the_callers_processors_are_not_the_containers() {
    needs!(root, "busybox", "taskset");
    let mut bundle = Bundle::new("grep Cpus_allowed_list /proc/self/status");
    let all = bundle.run().ok().stdout;
    // The description of a process that joins says nothing about the first one.
    bundle.config["process"]["execCPUAffinity"] = json!({"initial": "0", "final": "0"});
    assert_eq!(bundle.run().under("taskset", ["-c", "0"]).ok().stdout, all);
}
