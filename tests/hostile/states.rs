//! State that is old, damaged, or cannot be written: item 27.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;

use serde_json::{Value, json};
use support::guard::Mounted;
use support::{Cmd, needs};

use crate::attack::{Attack, wait_until};

fn edit(attack: &Attack, change: impl FnOnce(&mut Value)) {
    let path = attack.state().join("test/state.json");
    let mut state: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut state);
    fs::write(&path, state.to_string()).unwrap();
}

#[test]
fn item_27_the_number_is_another_process_now() {
    needs!(root, "busybox");
    let innocent = Cmd::new("sleep").arg("1000").spawn();
    let attack = Attack::new("true");
    attack.command(["run", "--keep", "test"]).ok();
    edit(&attack, |state| state["pid"] = json!(innocent.pid()));
    assert_eq!(attack.command(["state", "test"]).ok().json()["status"], "stopped");
    for signal in ["TERM", "KILL"] {
        attack.command(["kill", "test", signal]).refused(1, &["container not running"]);
    }
    attack.command(["delete", "-f", "test"]).ok();
    assert!(!innocent.ended_within(Duration::from_millis(200)), "the other process lives");
    innocent.signal(rustix::process::Signal::KILL);
    innocent.wait();
}

#[test]
fn item_27_the_state_of_before_a_reboot() {
    needs!(root, "busybox");
    let attack = Attack::new("true");
    attack.command(["run", "--keep", "test"]).ok();
    // No such process, no such cgroup, no such bundle; the cgroup of a running container is gone after a reboot.
    edit(&attack, |state| {
        state["pid"] = json!(4_194_303);
        state["bundle"] = json!("/nowhere");
    });
    assert_eq!(attack.command(["state", "test"]).ok().json()["status"], "stopped");
    attack.command(["list"]).ok().prints(&["stopped"]);
    attack.command(["create", "test"]).refused(1, &["already exists"]);
    attack.command(["delete", "test"]).ok();
}

#[test]
fn item_27_many_make_the_same_container() {
    needs!(root, "busybox");
    let attack = Attack::new("sleep 1000");
    for _ in 0..5 {
        let command = attack.command(["run", "-d", "test"]);
        let all: Vec<_> = (0..8).map(|_| command.spawn()).collect();
        let codes: Vec<_> = all.into_iter().map(|running| running.wait().code()).collect();
        assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
        assert_eq!(attack.command(["state", "test"]).ok().json()["status"], "running");
        let all: Vec<_> = (0..4).map(|_| attack.command(["delete", "-f", "test"]).spawn()).collect();
        for running in all {
            let outcome = running.wait();
            outcome.require(outcome.code() <= 1, "an end without a signal");
        }
        attack.command(["delete", "-f", "test"]).ok();
        attack.nothing_left();
    }
}

#[test]
fn item_27_places_that_cannot_be_written() {
    needs!(root, "busybox");
    let attack = Attack::new("true");
    let small = Mounted::tmpfs(&attack.scratch.path().join("small"), "64k");
    let root = attack.scratch.path().join("small/state");
    fs::create_dir(&root).unwrap();
    drop(attack.command(["list"]));
    let run = |command: &[&str]| attack.scratch.rkt_oci(["--root"]).arg(&root).args(command);
    // Full: not even the state fits.
    let mut size = 64 << 10;
    while size > 0 && fs::write(attack.scratch.path().join(format!("small/fill{size}")), vec![0; size]).is_err() {
        size /= 2;
    }
    fs::write(attack.scratch.path().join("small/fill"), vec![0; 64 << 10]).unwrap_err();
    run(&["run", "test"]).refused(1, &["no space left on device"]);
    assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
    small.read_only();
    run(&["run", "test"]).refused(1, &["read-only file system"]);
    run(&["list"]).ok();
    run(&["state", "test"]).refused(1, &["does not exist"]);
    run(&["delete", "-f", "test"]).ok();
}

#[test]
fn item_27_a_look_while_it_is_made() {
    needs!(root, "busybox");
    let mut attack = Attack::new("true");
    let mark = attack.scratch.path().join("mark");
    let script = format!("echo >{}; sleep 1", mark.display());
    attack.config["hooks"] = json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]});
    let making = attack.command(["run", "test"]).spawn();
    wait_until("the hook runs", || mark.exists());
    for command in ["state", "start", "delete"] {
        let outcome = attack.command([command, "test"]).run();
        outcome.require(outcome.code() <= 1, "an answer");
    }
    attack.command(["list"]).ok();
    making.wait();
    attack.command(["delete", "-f", "test"]).ok();
}

#[test]
fn item_27_damaged_state_stops_no_other_command() {
    needs!(root, "busybox");
    let attack = Attack::new("sleep 1000");
    attack.command(["run", "-d", "good"]).ok();
    let cases = ["", "{", "null", "[]", "{\"pid\":1}", "\u{1b}[31m", "{\"pid\":-1,\"id\":\"../good\"}"];
    for (n, text) in cases.iter().enumerate() {
        let folder = attack.state().join(format!("bad{n}"));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("state.json"), text).unwrap();
        let listed = attack.command(["list", "-q"]).ok();
        listed.prints(&["good"]);
        listed.require(!listed.stderr.contains('\u{1b}'), "nothing raw on the terminal");
        attack.command(["state", &format!("bad{n}")]).exits(1);
        attack.command(["delete", "-f", &format!("bad{n}")]).ok();
    }
    assert_eq!(attack.command(["state", "good"]).ok().json()["status"], "running");
    attack.command(["delete", "-f", "good"]).ok();
}

#[test]
fn item_27_a_damaged_state_still_finds_the_process() {
    needs!(root, "busybox");
    for text in ["", "{\"ociVersion\":", "[]"] {
        let attack = Attack::new("sleep 1000");
        attack.command(["run", "-d", "--pid-file", "pid", "test"]).ok();
        let pid = fs::read_to_string(attack.scratch.work().join("pid")).unwrap();
        fs::write(attack.state().join("test/state.json"), text).unwrap();
        attack.command(["delete", "-f", "test"]).ok();
        let left = attack.scratch.processes();
        if !left.is_empty() {
            Cmd::new("kill").args(["-9", &pid]).run();
        }
        assert_eq!(left, Vec::<String>::new(), "{text:?}");
    }
}

#[test]
fn item_27_state_is_for_its_owner_alone() {
    needs!(root, "busybox");
    let mut attack = Attack::new("sleep 1000");
    // Annotations and the environment may hold secrets, and the directory lets everybody through.
    attack.config["annotations"] = json!({"token": "secret"});
    attack.command(["create", "--pid-file", "pid", "test"]).ok();
    for again in [&["start", "test"][..], &["update", "--pids-limit", "100", "test"]] {
        attack.command([]).args(again).ok();
        for name in ["config.json", "state.json", "state.json.spare"] {
            let mode = fs::metadata(attack.state().join("test").join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }
    // That one is for others to read.
    let mode = fs::metadata(attack.scratch.work().join("pid")).unwrap().permissions().mode();
    assert_eq!(mode & 0o444, 0o444);
    attack.command(["delete", "-f", "test"]).ok();
}

#[test]
fn item_27_state_that_is_no_file() {
    needs!(root, "busybox");
    let secret = "tripwire-secret";
    for kind in ["fifo", "link", "directory", "device", "huge"] {
        let attack = Attack::new("true");
        let folder = attack.state().join("test");
        fs::create_dir_all(&folder).unwrap();
        let state = folder.join("state.json");
        let target = attack.scratch.file("shadow", secret);
        match kind {
            "fifo" => drop(Cmd::new("mkfifo").arg(&state).ok()),
            "link" => symlink(&target, &state).unwrap(),
            "device" => symlink("/dev/zero", &state).unwrap(),
            "directory" => fs::create_dir(&state).unwrap(),
            _ => fs::File::create(&state).unwrap().set_len(1 << 40).unwrap(),
        }
        fs::set_permissions(attack.state(), PermissionsExt::from_mode(0o777)).unwrap();
        for command in ["state", "start", "kill"] {
            let outcome = attack.command([command, "test"]).timeout(Duration::from_secs(10)).run();
            outcome.require(outcome.code() == 1, &format!("a refusal of a {kind}"));
            outcome.require(!outcome.stderr.contains(secret), "nothing of the file is shown");
        }
        attack.command(["list"]).timeout(Duration::from_secs(10)).ok();
        attack.command(["delete", "-f", "test"]).timeout(Duration::from_secs(10)).ok();
        assert_eq!(fs::read_to_string(&target).unwrap(), secret);
    }
}
