//! Containers saved and brought back. criu follows new kernels with some delay: what needs it to work runs where it does.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;

use common::Bundle;
use common::criu::StandIn;
use serde_json::json;
use support::{Cmd, HostState, need, needs};

/// Whether criu itself says that it works here.
fn criu_works() -> bool {
    need::find_program("criu").is_some_and(|criu| Cmd::new(criu).arg("check").run().code() == 0)
}

/// A bundle whose container counts into a file.
fn counter() -> Bundle {
    let mut bundle = Bundle::new("n=0; while :; do n=$((n + 1)); echo $n >/tmp/count; sleep 0.05; done");
    bundle.config["root"]["readonly"] = json!(false);
    // A new network namespace takes more kernel modules and programs than a container.
    bundle.config["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "network");
    fs::create_dir(bundle.scratch.path().join("volume")).unwrap();
    bundle.mount(json!({"destination": "/volume", "type": "bind", "source": bundle.scratch.path().join("volume"),
        "options": ["bind", "rw"]}));
    bundle
}

fn count(bundle: &Bundle) -> u32 {
    let text = || fs::read_to_string(bundle.rootfs("tmp/count")).ok()?.trim().parse().ok();
    for _ in 0..600 {
        if let Some(number) = text() {
            return number;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the container does not count");
}

#[test]
fn a_container_goes_on_where_it_was() {
    needs!(root, "busybox", "criu");
    if !criu_works() {
        // Not `eprintln!`, which the harness hides for tests that pass.
        let _unsaid = writeln!(std::io::stderr(), "\n*** criu does not work on this kernel: see its `check` ***");
        return;
    }
    let host = HostState::new();
    let bundle = counter();
    let images = bundle.scratch.path().join("images").display().to_string();
    bundle.command(["run", "--detach", "test"]).ok();
    let first = count(&bundle);
    // What criu has to say is for its log.
    let before = bundle.scratch.path().join("before");
    let saved = bundle.command(["checkpoint", "--pre-dump", "--image-path"]).arg(&before).arg("test").ok();
    saved.require(saved.stdout.is_empty() && saved.stderr.is_empty(), "no word");
    assert!(fs::read_to_string(before.join("dump.log")).unwrap().contains("Pre-dumping"));
    bundle.command(["checkpoint", "--leave-running", "--image-path", &images, "test"]).ok();
    assert_eq!(bundle.command(["state", "test"]).ok().json()["status"], "running");
    bundle.command(["checkpoint", "--image-path", &images, "test"]).ok();
    bundle.command(["state", "test"]).refused(1, &["does not exist"]);
    let saved = count(&bundle);
    assert!(saved >= first);
    for _ in 0..2 {
        bundle.command(["restore", "--detach", "--pid-file", "pid", "--image-path", &images, "test"]).ok();
        let pid = fs::read_to_string(bundle.scratch.work().join("pid")).unwrap();
        let state = bundle.command(["state", "test"]).ok().json();
        assert_eq!((&state["status"], state["pid"].to_string()), (&json!("running"), pid));
        std::thread::sleep(Duration::from_millis(500));
        // It does not begin again from one.
        assert!(count(&bundle) > saved, "{} is not above {saved}", count(&bundle));
        bundle.command(["delete", "--force", "test"]).ok();
    }
    bundle.nothing_left();
    host.check();
}

#[test]
fn what_is_around_the_work_of_criu() {
    needs!(root, "busybox", "cc");
    let host = HostState::new();
    let criu = StandIn::new();
    let bundle = Bundle::new("sleep 1000");
    bundle.command(["run", "--detach", "test"]).ok();
    criu.of(bundle.command(["checkpoint", "--image-path", "images", "test"])).ok();
    bundle.command(["state", "test"]).refused(1, &["does not exist"]);
    let restore = ["restore", "--detach", "--pid-file", "pid", "--image-path", "images"];
    criu.of(bundle.command(restore).arg("test")).ok();
    let pid = fs::read_to_string(bundle.scratch.work().join("pid")).unwrap();
    let state = bundle.command(["state", "test"]).ok().json();
    assert_eq!((&state["status"], state["pid"].to_string()), (&json!("running"), pid));
    bundle.command(["delete", "--force", "test"]).ok();
    bundle.nothing_left();
    // What the process keeps was decided when it was saved.
    for flag in ["--preserve-fds=1", "--no-new-keyring", "--pidfd-socket=socket"] {
        let name = flag.split('=').next().unwrap();
        bundle.command(restore).args([flag, "test"]).refused(1, &["unexpected argument", name]);
    }
    host.check();
}

#[test]
fn what_does_not_run_cannot_be_saved() {
    needs!(root, "busybox");
    let bundle = counter();
    bundle.command(["create", "test"]).ok();
    bundle.command(["checkpoint", "test"]).refused(1, &["cannot be checkpointed in created state"]);
    bundle.command(["delete", "--force", "test"]).ok();
    bundle.command(["checkpoint", "test"]).refused(1, &["container does not exist"]);
    bundle.nothing_left();
}

#[test]
fn item_26_images_of_others_are_refused() {
    needs!(root, "busybox");
    let host = HostState::new();
    let bundle = counter();
    let images = bundle.scratch.path().join("images");
    fs::create_dir(&images).unwrap();
    fs::write(images.join("inventory.img"), "").unwrap();
    fs::write(images.join("descriptors.json"), r#"["pipe:[1]", "/etc/shadow", "/etc/shadow"]"#).unwrap();
    let refused = |path: &std::path::Path, why: &str| {
        let path = path.display().to_string();
        bundle.command(["restore", "--detach", "--image-path", &path, "test"]).refused(1, &[why]);
        bundle.nothing_left();
    };
    let link = bundle.scratch.path().join("link");
    symlink(&images, &link).unwrap();
    refused(&link, "a link in place of one");
    fs::set_permissions(&images, PermissionsExt::from_mode(0o777)).unwrap();
    refused(&images, "can be written to by others");
    fs::set_permissions(&images, PermissionsExt::from_mode(0o700)).unwrap();
    // A mount of the images that the root file system would send elsewhere.
    let tripwire = bundle.scratch.path().join("tripwire");
    fs::create_dir(&tripwire).unwrap();
    symlink(&tripwire, bundle.rootfs("sent")).unwrap();
    let mut image = vec![0x19, 0x43, 0x56, 0x54, 0x28, 0x39, 0x56, 0x55, 7, 0, 0, 0, 0x3a, 5];
    image.extend(b"/sent");
    fs::write(images.join("mountpoints-9.img"), &image).unwrap();
    refused(&images, "would follow the link /sent");
    image.splice(13.., [3]);
    image.extend(b"/..");
    image[8] = 5;
    fs::write(images.join("mountpoints-9.img"), &image).unwrap();
    refused(&images, "not inside the container");
    assert_eq!(fs::read_dir(&tripwire).unwrap().count(), 0);
    host.check();
}

#[test]
fn item_26_parents_are_checkpoints_and_annotations_mean_nothing() {
    needs!(root, "busybox");
    let host = HostState::new();
    let mut bundle = counter();
    let config = bundle.scratch.path().join("criu.conf");
    fs::write(&config, format!("action-script {}\n", bundle.scratch.path().join("script").display())).unwrap();
    bundle.config["annotations"] = json!({"org.criu.config": config});
    bundle.command(["run", "--detach", "test"]).ok();
    for (parent, why) in [("/etc", "must be relative"), ("../..", "parent-path"), ("../../..", "parent-path")] {
        let outcome =
            bundle.command(["checkpoint", "--image-path", "images", "--parent-path", parent, "test"]).exits(1);
        outcome.require(outcome.stderr.contains(why) || outcome.stderr.contains("written to by others"), why);
    }
    // Whether criu works or not: it is not told of the file.
    bundle.command(["checkpoint", "--image-path", "images", "test"]).run();
    let log = fs::read_to_string(bundle.scratch.work().join("images/dump.log")).unwrap_or_default();
    assert!(!log.contains("criu.conf"), "{log}");
    bundle.command(["delete", "--force", "test"]).ok();
    bundle.nothing_left();
    host.check();
}
