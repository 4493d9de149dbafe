//! Somebody who shares a directory with the container changes it while the container is made: item 7.
//!
//! `APPC_RACES` says how often each is tried.

use std::ffi::CString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::json;
use support::needs;

use crate::attack::Attack;

/// Makes and runs the container many times while `place` in its root file system is, in turn, itself and a link.
fn race(place: &str, target: &str, prepare: impl FnOnce(&mut Attack)) {
    let mut attack = Attack::new("true");
    let target = if target == "tripwire" { attack.tripwire() } else { target.into() };
    prepare(&mut attack);
    let (one, other) = (attack.rootfs(place), attack.rootfs("swapped"));
    symlink(&target, &other).unwrap();
    let (one, other) = [one, other].map(|p| CString::new(p.to_str().unwrap()).unwrap()).into();
    let stop = AtomicBool::new(false);
    let times = std::env::var("APPC_RACES").ok().and_then(|n| n.parse().ok()).unwrap_or(25);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let _gone = renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE);
            }
        });
        let tried = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..times {
                let outcome = attack.run().run();
                outcome.require(outcome.code() <= 1, "success or a clean failure");
                let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
                assert!(!table.contains(attack.scratch.path().to_str().unwrap()), "a mount got out:\n{table}");
            }
        }));
        stop.store(true, Ordering::Relaxed);
        tried.unwrap_or_else(|failure| std::panic::resume_unwind(failure));
    });
}

fn directory(attack: &Attack, path: &str) {
    fs::create_dir_all(attack.rootfs(path)).unwrap();
}

#[test]
fn item_07_a_mount_point_is_swapped() {
    needs!(root, "busybox");
    for target in ["tripwire", "/proc", "/", "../../tripwire"] {
        race("data", target, |attack| {
            directory(attack, "data/sub");
            attack.mount(json!({"destination": "/data/sub", "type": "tmpfs", "source": "tmpfs"}));
        });
    }
}

#[test]
fn item_07_a_bind_is_swapped() {
    needs!(root, "busybox");
    for target in ["tripwire", "../../tripwire", "/proc/self"] {
        race("data", target, |attack| {
            directory(attack, "data");
            let source = attack.scratch.file("source", "from the host");
            attack.mount(json!({"destination": "/data/passwd", "source": source, "options": ["bind", "ro"]}));
        });
    }
}

#[test]
fn item_07_a_masked_path_is_swapped() {
    needs!(root, "busybox");
    for (list, path) in [("maskedPaths", "/data/passwd"), ("maskedPaths", "/data"), ("readonlyPaths", "/data/sub")] {
        race("data", "../../tripwire", |attack| {
            directory(attack, "data/sub");
            fs::write(attack.rootfs("data/passwd"), "inside").unwrap();
            attack.config["linux"][list] = json!([path]);
        });
    }
}

#[test]
fn item_07_the_working_directory_is_swapped() {
    needs!(root, "busybox");
    for target in ["/proc/self/fd/7", "../../tripwire"] {
        race("data", target, |attack| {
            directory(attack, "data/sub");
            attack.config["root"]["readonly"] = json!(false);
            attack.config["process"]["cwd"] = json!("/data/sub/made");
        });
    }
}

#[test]
fn item_07_the_directory_of_devices_is_swapped() {
    needs!(root, "busybox");
    for target in ["tripwire", "../../tripwire"] {
        race("dev", target, |attack| {
            for place in ["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"] {
                attack.unmount(place);
            }
            directory(attack, "dev/deeper");
            let device = json!({"path": "/dev/deeper/null", "type": "c", "major": 1, "minor": 3});
            attack.config["linux"]["devices"] = json!([device]);
        });
    }
}

#[test]
fn item_07_the_place_of_proc_is_swapped() {
    needs!(root, "busybox");
    for place in ["proc", "sys"] {
        race(place, "../../tripwire", |attack| assert!(Path::new(&attack.rootfs(place)).is_dir()));
    }
}

#[test]
fn item_07_the_program_is_swapped() {
    needs!(root, "busybox");
    race("true", "/proc/self/exe", |attack| {
        fs::copy(attack.rootfs("bin/busybox"), attack.rootfs("true")).unwrap();
        attack.config["process"]["args"] = json!(["/true"]);
    });
}
