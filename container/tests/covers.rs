//! Paths that are hidden, and paths that are made read-only.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::fs;

use common::Bundle;
use serde_json::json;
use support::{Cmd, HostState, needs};

/// With fewer descriptors than paths, in whatever order they are named, and with mounts below them.
#[test]
fn there_may_be_many() {
    needs!(root, "busybox");
    let host = HostState::new();
    let mut bundle = Bundle::new(
        "ulimit -n; cat /hidden/*; for i in /many/*/; do echo x 2>/dev/null >$i/new && echo $i; done; \
         echo x 2>/dev/null >/many/5/inner/new && echo inner; echo x >/open/new && cat /open/new",
    );
    bundle.config["root"]["readonly"] = json!(false);
    for folder in ["many", "hidden", "open", "many/5/inner"] {
        fs::create_dir_all(bundle.rootfs(folder)).unwrap();
    }
    for i in 0..1000 {
        fs::create_dir_all(bundle.rootfs(&format!("many/{i}"))).unwrap();
        fs::write(bundle.rootfs(&format!("hidden/{i}")), "hidden\n").unwrap();
    }
    bundle.mount(json!({"destination": "/many/5/inner", "type": "tmpfs"}));
    let mut read_only: Vec<_> = (0..1000).map(|i| format!("/many/{i}")).collect();
    read_only.insert(3, "/many/5/inner".to_owned());
    read_only.extend(["/many", "/none", "/many/7"].map(str::to_owned));
    bundle.config["linux"]["readonlyPaths"] = json!(read_only);
    bundle.config["linux"]["maskedPaths"] = json!((0..1000).map(|i| format!("/hidden/{i}")).collect::<Vec<_>>());
    let few = |command: Cmd| command.under("/bin/sh", ["-c", "ulimit -n 300; exec \"$@\"", "sh"]);
    bundle.config["process"]["rlimits"] = json!([]);
    let outcome = few(bundle.run()).ok();
    outcome.require(outcome.stdout == "300\nx\n", "only /open to be writable, and nothing hidden to be seen");
    bundle.nothing_left();
    host.check();
}
