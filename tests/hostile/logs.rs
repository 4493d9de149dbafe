//! What containers choose must not pass for what the runtime says: item 28.

use std::fs;

use serde_json::{Value, json};
use support::needs;

use crate::attack::Attack;

const EVIL: &str =
    "x\n{\"level\":\"error\",\"msg\":\"forged\",\"time\":\"2026-01-01T00:00:00Z\"}\n\u{1b}[31m\u{202e}\u{7}\r";

#[test]
fn item_28_words_of_the_container_are_escaped() {
    needs!(root, "busybox");
    for format in ["json", "text"] {
        let mut attack = Attack::new("true");
        attack.config["process"]["args"] = json!([EVIL]);
        let outcome = attack.command([]).args(["--log", "log", "--log-format", format, "run", "test"]).exits(1);
        outcome.require(outcome.stderr.lines().count() == 1, "one line");
        let raw = |text: &str| text.trim_end_matches('\n').chars().any(char::is_control);
        outcome.require(!raw(&outcome.stderr), "no control characters");
        let log = fs::read_to_string(attack.scratch.work().join("log")).unwrap();
        assert!(log.lines().count() == 1 && !raw(&log), "{log:?}");
        if format == "json" {
            let entry: Value = serde_json::from_str(&log).unwrap();
            assert_eq!(entry["level"], "error");
            assert!(entry["msg"].as_str().unwrap().contains("forged"));
        }
    }
}

#[test]
fn item_28_a_script_of_the_container_names_its_interpreter() {
    needs!(root, "busybox");
    let mut attack = Attack::new("true");
    let name = "evil\n\u{1b}[2J";
    fs::create_dir(attack.rootfs(name)).unwrap();
    attack.config["process"]["args"] = json!([format!("/{name}")]);
    attack.config["process"]["cwd"] = json!(format!("/{name}/x\ny"));
    let outcome = attack.run().exits(1);
    outcome.require(outcome.stderr.lines().count() == 1 && !outcome.stderr.contains('\u{1b}'), "one plain line");
}

#[test]
fn item_28_the_log_is_not_the_containers() {
    needs!(root, "busybox");
    let attack =
        Attack::new("ls -l /proc/self/fd /proc/1/fd; (echo harm >&3) 2>/dev/null; (echo harm >&4) 2>/dev/null; true");
    let outcome = attack.command([]).args(["--debug", "--log", "log", "run", "test"]).ok();
    outcome.require(!outcome.stdout.contains("/log"), "no descriptor of the log");
    assert!(!fs::read_to_string(attack.scratch.work().join("log")).unwrap().contains("harm"));
}
