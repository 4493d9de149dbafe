//! What the validation programs of runtime-tools found out, each as a test of our own.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use common::Bundle;
use serde_json::json;
use support::needs;

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
