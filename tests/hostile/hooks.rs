//! Hooks that hang, fail, or are turned against the host: item 21.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::needs;

use crate::attack::Attack;

const STAGES: [&str; 6] = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

fn shell(script: &str) -> Value {
    json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]})
}

#[test]
fn item_21_hooks_that_hang() {
    needs!(root, "busybox");
    for stage in STAGES {
        let mut attack = Attack::new("true");
        // With a child that would hold on longer than the hook itself.
        let mut hook = shell("sleep 100 & trap '' TERM; sleep 100");
        hook["timeout"] = json!(1);
        attack.config["hooks"] = json!({stage: [hook]});
        let began = Instant::now();
        let outcome = attack.run().run();
        outcome.says(&[&format!("error running {stage} hook #0"), "timeout"]);
        outcome.require(outcome.code() == if stage == "poststop" { 0 } else { 1 }, "the exit code");
        assert!(began.elapsed() < Duration::from_secs(8), "{stage}: {:?}", began.elapsed());
    }
}

#[test]
fn item_21_hooks_that_fail_leave_nothing() {
    needs!(root, "busybox");
    for stage in STAGES {
        for detached in [false, true] {
            let mut attack = Attack::new("sleep 0.2");
            let mark = attack.scratch.path().join("poststop");
            attack.config["hooks"] = json!({"poststop": [shell(&format!("echo ran >{}", mark.display()))]});
            match stage {
                "poststop" => attack.config["hooks"][stage].as_array_mut().unwrap().insert(0, shell("exit 1")),
                stage => attack.config["hooks"][stage] = json!([{"path": "/bin/true"}, shell("exit 1")]),
            }
            let outcome = match detached {
                false => attack.run().run(),
                true => {
                    attack.command(["create", "test"]).run();
                    let outcome = attack.command(["start", "test"]).run();
                    attack.command(["delete", "-f", "test"]).run();
                    outcome
                }
            };
            if !detached && stage != "poststop" {
                outcome.require(outcome.code() == 1, "the exit code 1");
                outcome.says(&[&format!("error running {stage} hook #1")]);
            }
            assert_eq!(fs::read_to_string(&mark).unwrap_or_default(), "ran\n", "{stage}: poststop runs");
        }
    }
}

#[test]
fn item_21_hooks_that_are_none() {
    needs!(root, "busybox");
    for (path, words) in
        [("bin/true", "must be an absolute path"), ("/no/such/hook", "no such file"), ("/etc", "denied")]
    {
        let mut attack = Attack::new("true");
        attack.config["hooks"] = json!({"createRuntime": [{"path": path}]});
        attack.run().refused(1, &["createRuntime", words]);
    }
}

#[test]
fn item_21_hooks_that_do_not_read() {
    needs!(root, "busybox");
    // Far more than a pipe holds, for hooks that end at once, and for one that closes its input first.
    for hook in [json!({"path": "/bin/true"}), shell("exec <&-; sleep 0.2"), shell("head -c 1 >/dev/null")] {
        // The kernel keeps SIGPIPE from the first process of a pid namespace.
        for own_pids in [true, false] {
            let mut attack = Attack::new("echo ran; sleep 0.1");
            attack.config["annotations"] = json!({"long": "x".repeat(300_000)});
            for stage in STAGES.iter().filter(|stage| **stage != "startContainer") {
                attack.config["hooks"][stage] = json!([hook]);
            }
            if !own_pids {
                attack.config["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "pid");
            }
            assert_eq!(attack.run().ok().stdout, "ran\n");
        }
    }
}

#[test]
fn item_21_a_hook_that_hangs_without_reading() {
    needs!(root, "busybox");
    let mut attack = Attack::new("true");
    attack.config["annotations"] = json!({"long": "x".repeat(300_000)});
    attack.config["hooks"] = json!({"prestart": [{"path": "/bin/sleep", "args": ["sleep", "100"], "timeout": 1}]});
    attack.run().timeout(Duration::from_secs(20)).refused(1, &["prestart hook #0", "timeout"]);
}

#[test]
fn item_21_a_hook_that_kills_the_container() {
    needs!(root, "busybox");
    let kill = "kill -9 $(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/')";
    for stage in ["prestart", "createRuntime", "poststart"] {
        let mut attack = Attack::new("sleep 1000");
        attack.config["hooks"] = json!({stage: [shell(kill)]});
        let outcome = attack.run().timeout(Duration::from_secs(20)).run();
        outcome.require(outcome.code() == if stage == "poststart" { 137 } else { 1 }, "the container is gone");
    }
}

#[test]
fn item_21_a_hook_that_leaves_a_daemon() {
    needs!(root, "busybox");
    let mut attack = Attack::new("true");
    let pid = attack.scratch.path().join("daemon");
    let daemon = format!("setsid sleep 30 & echo $! >{}", pid.display());
    for stage in ["createRuntime", "poststart"] {
        attack.config["hooks"] = json!({stage: [shell(&daemon)]});
        let began = Instant::now();
        attack.run().ok();
        assert!(began.elapsed() < Duration::from_secs(10), "nobody waits for the daemon");
        let pid: i32 = fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        crate::attack::wait_until("the daemon is gone", || attack.scratch.processes().is_empty());
    }
}

#[test]
fn item_21_a_hook_that_covers_proc() {
    needs!(root, "busybox");
    let mut attack = Attack::new("true");
    // In the container's mount namespace, before its root is entered.
    let root = attack.rootfs("");
    let cover = format!(
        "cd {}; mount -t tmpfs tmpfs proc; mkdir -p proc/self/fd proc/sys/net/ipv4 proc/self/attr; \
         echo fake >proc/sys/net/ipv4/ip_forward; ln -s {} proc/sys/kernel",
        root.display(),
        attack.tripwire().display()
    );
    attack.config["hooks"] = json!({"createContainer": [shell(&cover)]});
    attack.config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
    let outcome = attack.run().run();
    outcome.require(outcome.code() <= 1, "an end without a signal");
}

#[test]
fn item_21_a_hook_of_the_container_is_the_runtime() {
    needs!(root, "busybox");
    let mut attack = Attack::new("true");
    // The image put a link where the configuration expects its hook. What is executed is the protected copy, which runs
    // if it needs no libraries; the host's program stays as it is.
    symlink("/proc/self/exe", attack.rootfs("hook")).unwrap();
    attack.config["hooks"] = json!({"startContainer": [{"path": "/hook", "args": ["hook", "--version"]}]});
    let outcome = attack.run().run();
    outcome.require(outcome.code() <= 1 && outcome.stdout.is_empty(), "the copy, if anything");
    // A script whose interpreter is that link.
    let script = attack.rootfs("script");
    fs::write(&script, "#!/proc/self/exe\n").unwrap();
    fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    attack.config["hooks"] = json!({"startContainer": [{"path": "/script", "args": ["script", "--version"]}]});
    let outcome = attack.run().run();
    outcome.require(outcome.code() <= 1 && outcome.stdout.is_empty(), "the copy, if anything");
}
