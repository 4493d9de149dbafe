//! What `events` prints.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use common::Bundle;
use serde_json::{Value, json};
use support::{HostState, needs};

#[test]
fn usage_is_one_line_of_json() {
    needs!(root, "busybox");
    let host = HostState::new();
    let mut bundle = Bundle::new("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; exec sleep 1000");
    bundle.config["linux"]["resources"]["memory"] = json!({"limit": 64 << 20});
    bundle.config["linux"]["resources"]["pids"] = json!({"limit": 20});
    bundle.command(["create", "one"]).ok();
    // Counted from its making on.
    bundle.command(["events", "--stats", "one"]).ok();
    bundle.command(["start", "one"]).ok();
    std::thread::sleep(std::time::Duration::from_millis(300));
    let text = bundle.command(["events", "--stats", "one"]).ok().stdout;
    assert!(text.starts_with(r#"{"type":"stats","id":"one","data":{"cpu":{"usage":{"#), "{text}");
    assert!(text.ends_with("}\n") && text.lines().count() == 1, "{text}");
    let data: Value = serde_json::from_str::<Value>(&text).unwrap()["data"].clone();
    assert!(data["cpu"]["usage"]["total"].as_u64().unwrap() > 0, "{text}");
    assert_eq!(data["memory"]["usage"]["limit"], json!(64 << 20));
    assert!(data["memory"]["usage"]["usage"].as_u64().unwrap() > 4096, "{text}");
    assert!(data["memory"]["raw"].as_object().unwrap().contains_key("pgfault"), "{text}");
    assert_eq!(data["pids"], json!({"current": 1, "limit": 20}));
    let keys: Vec<&String> = data.as_object().unwrap().keys().collect();
    let wanted = ["cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "intel_rdt", "network_interfaces"];
    assert_eq!(keys, wanted);
    bundle.command(["delete", "--force", "one"]).ok();
    bundle.command(["events", "--stats", "one"]).refused(1, &["does not exist"]);
    host.check();
}

#[test]
fn lines_come_until_the_end() {
    needs!(root, "busybox");
    let bundle = Bundle::new("sleep 1000");
    bundle.command(["run", "--detach", "one"]).ok();
    bundle.command(["events", "--interval", "0s", "one"]).refused(1, &["must be greater than 0"]);
    let mut events = bundle.command(["events", "--interval=20ms", "one"]).spawn();
    events.expect("}\n{\"type\":\"stats\"");
    bundle.command(["kill", "one", "KILL"]).ok();
    let outcome = events.wait();
    assert_eq!(outcome.code(), 0);
    for line in outcome.stdout.lines() {
        assert_eq!(serde_json::from_str::<Value>(line).unwrap()["type"], "stats");
    }
    bundle.command(["events", "one"]).refused(1, &["container with id one is not running"]);
}

#[test]
fn running_out_of_memory_is_told() {
    needs!(root, "busybox");
    let mut bundle = Bundle::new("tail /dev/zero; sleep 0.2; tail /dev/zero; sleep 1000");
    bundle.config["linux"]["resources"]["memory"] = json!({"limit": 16 << 20});
    bundle.command(["create", "one"]).ok();
    let mut events = bundle.command(["events", "--interval", "1h", "one"]).spawn();
    std::thread::sleep(std::time::Duration::from_millis(200));
    bundle.command(["start", "one"]).ok();
    events.expect("{\"type\":\"oom\",\"id\":\"one\"}\n{\"type\":\"oom\",\"id\":\"one\"}\n");
    bundle.command(["delete", "--force", "one"]).ok();
    assert_eq!(events.wait().code(), 0);
    bundle.nothing_left();
}
