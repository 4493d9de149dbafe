//! Programs that join a container.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use common::Bundle;
use serde_json::json;
use support::{HostState, needs};

/// A container that runs for as long as the test.
fn running() -> Bundle {
    let mut bundle = Bundle::new("trap 'exit 0' TERM; while :; do sleep 0.1; done");
    bundle.config["root"]["readonly"] = json!(false);
    bundle.command(["run", "--detach", "one"]).ok();
    bundle
}

fn end(bundle: &Bundle) {
    bundle.command(["delete", "--force", "one"]).ok();
    bundle.nothing_left();
}

#[test]
fn it_is_in_the_container() {
    needs!(root, "busybox");
    let host = HostState::new();
    let bundle = running();
    let script = "hostname; for p in 1 self; do for n in pid mnt; do readlink /proc/$p/ns/$n; done; done; id -u; pwd; \
                  grep -cE '^(NoNewPrivs:.1|Seccomp:.0|CapEff:.0000000020000420)' /proc/self/status; \
                  cat /proc/1/cgroup >/tmp/a; cat /proc/self/cgroup | cmp - /tmp/a && echo same; ls /proc/self/fd";
    let outcome = bundle.command(["exec", "one", "sh", "-c", script]).ok();
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(lines[0], "rkt-oci");
    assert_eq!(lines[1..3], lines[3..5]);
    // The last descriptor is that of the directory that `ls` reads.
    assert_eq!(lines[5..], ["0", "/", "3", "same", "0", "1", "2", "3"]);
    end(&bundle);
    host.check();
}

#[test]
fn exit_codes() {
    needs!(root, "busybox");
    let host = HostState::new();
    let bundle = running();
    bundle.command(["exec", "one", "sh", "-c", "exit 7"]).exits(7);
    bundle.command(["exec", "one", "sh", "-c", "kill -9 $$"]).exits(137);
    for (program, words) in [
        ("nonesuch", "exec: \"nonesuch\": executable file not found in $PATH"),
        ("/nonesuch", "no such file or directory"),
        ("/bin", "is a directory"),
        ("/etc/passwd", "permission denied"),
    ] {
        let start = "rkt-oci exec failed: unable to start container process: exec";
        bundle.command(["exec", "one", program]).refused(255, &[start, words]);
    }
    bundle.command(["exec", "one"]).refused(255, &["process args cannot be empty"]);
    bundle.command(["exec", "two", "true"]).refused(255, &["container does not exist"]);
    bundle.command(["kill", "one", "KILL"]).ok();
    bundle.command(["exec", "one", "true"]).refused(255, &["cannot exec in a stopped container"]);
    end(&bundle);
    host.check();
}

#[test]
fn options_change_the_process() {
    needs!(root, "busybox");
    let bundle = running();
    let script =
        "id -u; id -g; pwd; echo $A $B; grep -E '^(Groups|CapPrm|CapInh|NoNewPrivs)' /proc/self/status | tr -d ' '";
    let options = ["exec", "--cwd", "/tmp", "-e", "A=1", "-e", "B=2", "-u", "1000:2000", "-g", "7", "-g", "8"];
    let privileges = ["--cap", "CAP_SYS_TIME", "--no-new-privs=false", "one", "sh", "-c", script];
    let outcome = bundle.command(options).args(privileges).ok();
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    // Not root: the effective ones are what files and the ambient set give, which is nothing.
    let wanted = [
        "1000",
        "2000",
        "/tmp",
        "1 2",
        "Groups:\t78",
        "CapInh:\t0000000000000000",
        "CapPrm:\t0000000000000000",
        "NoNewPrivs:\t0",
    ];
    assert_eq!(lines, wanted);
    let caps = "grep -E '^(CapInh|CapEff|CapAmb)' /proc/self/status";
    let outcome = bundle.command(["exec", "--cap", "CAP_SYS_TIME", "one", "sh", "-c", caps]).ok();
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(lines, ["CapInh:\t0000000000000000", "CapEff:\t0000000022000420", "CapAmb:\t0000000000000000"]);
    bundle.command(["exec", "-u", "0:bad", "one", "true"]).refused(255, &["--user 0:bad"]);
    bundle.command(["exec", "--cap", "CAP_NONE", "one", "true"]).refused(255, &["--cap CAP_NONE"]);
    // What looks like an option after the name is the program's.
    let outcome = bundle.command(["exec", "one", "echo", "--tty", "-d"]).ok();
    assert_eq!(outcome.stdout, "--tty -d\n");
    end(&bundle);
}

#[test]
fn a_process_file() {
    needs!(root, "busybox");
    let bundle = running();
    let process = json!({
        "args": ["sh", "-c", "echo $X; pwd; id -u; cat /proc/self/oom_score_adj; ulimit -n; umask"], "cwd": "/made",
        "env": ["PATH=/bin", "X=1"], "user": {"uid": 7, "gid": 8, "umask": 63}, "oomScoreAdj": 77,
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 99, "hard": 99}],
    });
    bundle.scratch.file("process.json", process.to_string());
    let outcome = bundle.command(["exec", "--process", "process.json", "one"]).ok();
    assert_eq!(outcome.stdout, "1\n/made\n7\n77\n99\n0077\n");
    bundle.scratch.file("process.json", "{");
    bundle.command(["exec", "--process", "process.json", "one"]).refused(255, &["--process process.json"]);
    bundle.command(["exec", "-p", "none.json", "one"]).refused(255, &["--process none.json"]);
    end(&bundle);
}

#[test]
fn detached_it_lives_on() {
    needs!(root, "busybox");
    let host = HostState::new();
    let bundle = running();
    bundle.command(["exec", "--detach", "--pid-file", "pid", "one", "sh", "-c", "sleep 100; true"]).ok();
    let pid = fs::read_to_string(bundle.scratch.work().join("pid")).unwrap();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.lines().any(|l| l.starts_with("NSpid:") && l.split_whitespace().count() == 3), "{status}");
    // It is what was asked for, and not the program that started it.
    assert_eq!(fs::read_to_string(format!("/proc/{pid}/comm")).unwrap(), "sh\n");
    end(&bundle);
    host.check();
}

#[test]
fn a_paused_container_is_not_joined() {
    needs!(root, "busybox");
    let bundle = running();
    let freezer = freezer(&bundle);
    fs::write(&freezer.0, freezer.1).unwrap();
    while bundle.command(["state", "one"]).ok().json()["status"] != "paused" {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    bundle.command(["exec", "one", "true"]).refused(255, &["cannot exec in a paused container (use --ignore-paused"]);
    let waiting = bundle.command(["exec", "--ignore-paused", "one", "echo", "hello"]);
    let waiting = std::thread::spawn(move || waiting.ok().stdout);
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(!waiting.is_finished());
    fs::write(&freezer.0, freezer.2).unwrap();
    assert_eq!(waiting.join().unwrap(), "hello\n");
    end(&bundle);
}

/// The file that freezes the container's cgroup, and what to write to it for that and for the opposite.
fn freezer(bundle: &Bundle) -> (std::path::PathBuf, &'static str, &'static str) {
    let name = bundle.config["linux"]["cgroupsPath"].as_str().unwrap();
    for (path, freeze, thaw) in [
        (format!("/sys/fs/cgroup/{name}/cgroup.freeze"), "1", "0"),
        (format!("/sys/fs/cgroup/unified/{name}/cgroup.freeze"), "1", "0"),
        (format!("/sys/fs/cgroup/freezer/{name}/freezer.state"), "FROZEN", "THAWED"),
    ] {
        if fs::metadata(&path).is_ok() {
            return (path.into(), freeze, thaw);
        }
    }
    panic!("the container has no freezer");
}

#[test]
fn a_container_with_its_own_users() {
    needs!(root, "busybox");
    let mut bundle = Bundle::new("sleep 1000");
    bundle.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    for name in ["uidMappings", "gidMappings"] {
        bundle.config["linux"][name] = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    }
    bundle.command(["run", "--detach", "one"]).ok();
    fs::set_permissions(bundle.rootfs("tmp"), PermissionsExt::from_mode(0o1777)).unwrap();
    let script = "id -u; tr -s ' ' </proc/self/uid_map; test $(readlink /proc/self/ns/user) = $(readlink /proc/1/ns/user) && echo 1";
    let outcome = bundle.command(["exec", "one", "sh", "-c", script]).ok();
    assert_eq!(outcome.stdout, "0\n 0 100000 65536\n1\n");
    let outcome = bundle.command(["exec", "-u", "1000:1000", "one", "id", "-u"]).ok();
    assert_eq!(outcome.stdout, "1000\n");
    end(&bundle);
}
