//! Containers from their making to their end, as `rkt-oci` shows them.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use common::Bundle;
use serde_json::json;
use support::{HostState, needs};

#[test]
fn create_start_kill_delete() {
    needs!(root, "busybox");
    let host = HostState::new();
    let bundle = Bundle::new("trap 'exit 7' TERM; echo started >/tmp/mark; while :; do sleep 0.05; done");
    let mut bundle = bundle;
    bundle.config["root"]["readonly"] = json!(false);
    bundle.command(["create", "--pid-file", "pid", "one"]).ok();
    let pid = fs::read_to_string(bundle.scratch.work().join("pid")).unwrap();
    assert!(!pid.ends_with('\n') && pid.parse::<i32>().is_ok());
    let state = bundle.command(["state", "one"]).ok().json();
    assert_eq!((&state["status"], state["pid"].to_string()), (&json!("created"), pid.clone()));
    assert!(!bundle.rootfs("tmp/mark").exists());
    bundle.command(["create", "one"]).refused(1, &["already exists"]);
    bundle.command(["start", "one"]).ok();
    bundle.command(["start", "one"]).refused(1, &["already running"]);
    assert_eq!(bundle.command(["state", "one"]).ok().json()["status"], "running");
    bundle.command(["delete", "one"]).refused(1, &["not stopped: running"]);
    let list = bundle.command(["list", "--format", "json"]).ok().json();
    assert_eq!(list[0]["id"], "one");
    while !bundle.rootfs("tmp/mark").exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    bundle.command(["kill", "one"]).ok();
    while bundle.command(["state", "one"]).ok().json()["status"] != "stopped" {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(bundle.command(["state", "one"]).ok().json()["pid"], 0);
    bundle.command(["kill", "one", "KILL"]).refused(1, &["container not running"]);
    bundle.command(["delete", "one"]).ok();
    bundle.command(["state", "one"]).refused(1, &["does not exist"]);
    bundle.command(["delete", "one"]).refused(1, &["does not exist"]);
    bundle.command(["delete", "--force", "one"]).ok();
    bundle.nothing_left();
    host.check();
}

#[test]
fn signals_to_what_is_only_created() {
    needs!(root, "busybox");
    let bundle = Bundle::new("trap 'exit 7' USR1; sleep 1000");
    let status = || bundle.command(["state", "one"]).ok().json()["status"].clone();
    for signal in ["TERM", "HUP", "INT", "QUIT", "KILL"] {
        bundle.command(["create", "one"]).ok();
        for unheard in ["0", "USR1", "CHLD", "WINCH"] {
            bundle.command(["kill", "one", unheard]).ok();
        }
        assert_eq!(status(), "created", "before {signal}");
        bundle.command(["kill", "one", signal]).ok();
        for _ in 0..1000 {
            if status() == "stopped" {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(status(), "stopped", "{signal}");
        bundle.command(["kill", "one", signal]).refused(1, &["container not running"]);
        bundle.command(["start", "one"]).refused(1, &["cannot start a container that has stopped"]);
        bundle.command(["delete", "one"]).ok();
    }
    // What its caller ignores is ignored, as nohup(1) has it; and the program has none of this.
    let ignoring = bundle.command(["create", "one"]).under("sh", ["-c", "trap '' HUP; exec \"$@\"", "sh"]);
    ignoring.ok();
    bundle.command(["kill", "one", "HUP"]).ok();
    assert_eq!(status(), "created");
    bundle.command(["start", "one"]).ok();
    let pid = bundle.command(["state", "one"]).ok().json()["pid"].to_string();
    let dispositions = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let set = |name: &str| dispositions.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    assert_eq!(u64::from_str_radix(&set("SigIgn:"), 16).unwrap() & 1, 1, "{dispositions}");
    bundle.command(["delete", "--force", "one"]).ok();
    bundle.nothing_left();
}

#[test]
fn delete_of_created_and_of_running() {
    needs!(root, "busybox");
    let host = HostState::new();
    let bundle = Bundle::new("sleep 1000");
    bundle.command(["create", "one"]).ok();
    bundle.command(["delete", "one"]).ok();
    bundle.command(["run", "--detach", "two"]).ok();
    bundle.command(["delete", "-f", "two"]).ok();
    // What is left of a command that was killed right after it claimed the name.
    fs::create_dir(bundle.state().join("three")).unwrap();
    bundle.command(["delete", "-f", "three"]).ok();
    bundle.nothing_left();
    host.check();
}

#[test]
fn the_process_is_as_configured() {
    needs!(root, "busybox");
    let mut bundle = Bundle::new(
        "id -u; id -g; umask; pwd; echo $HOME; echo $A; grep -E 'Groups|NoNewPrivs|CapEff|CapAmb' /proc/self/status; \
         ulimit -n; cat /proc/self/oom_score_adj; hostname; cat /proc/sys/kernel/domainname; \
         cat /proc/sys/net/ipv4/ip_forward; cat /sys/class/net/lo/carrier",
    );
    bundle.config["root"]["readonly"] = json!(false);
    let process = &mut bundle.config["process"];
    process["user"] = json!({"uid": 1000, "gid": 2000, "additionalGids": [7, 8], "umask": 0o077});
    process["cwd"] = json!("/made/for/it");
    process["env"] = json!(["PATH=/bin", "A=1", "A=2"]);
    process["oomScoreAdj"] = json!(321);
    let kill = json!(["CAP_KILL"]);
    process["capabilities"] =
        json!({"bounding": kill, "permitted": kill, "inheritable": kill, "ambient": kill, "effective": kill});
    bundle.config["hostname"] = json!("inside");
    bundle.config["domainname"] = json!("example.com");
    bundle.config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
    let outcome = bundle.run().ok();
    let lines: Vec<&str> = outcome.stdout.lines().map(str::trim_end).collect();
    let wanted = [
        "1000",
        "2000",
        "0077",
        "/made/for/it",
        "/home/carly",
        "2",
        "Groups:\t7 8",
        "CapEff:\t0000000000000020",
        "CapAmb:\t0000000000000020",
        "NoNewPrivs:\t1",
        "1024",
        "321",
        "inside",
        "example.com",
        "1",
        "1",
    ];
    assert_eq!(lines, wanted);
}

#[test]
fn programs_that_cannot_be_executed() {
    needs!(root, "busybox");
    let host = HostState::new();
    for (program, words) in [
        ("nonesuch", "exec: \"nonesuch\": executable file not found in $PATH"),
        ("/nonesuch", "no such file or directory"),
        ("/bin", "is a directory"),
        ("/etc/passwd", "permission denied"),
        ("/bin/script", "exec /bin/script: no such file or directory"),
    ] {
        let mut bundle = Bundle::new("true");
        let script = bundle.rootfs("bin/script");
        fs::write(&script, "#!/no/interpreter\n").unwrap();
        fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
        bundle.config["process"]["args"] = json!([program]);
        bundle.run().refused(1, &["rkt-oci run failed: unable to start container process: ", words]);
        bundle.nothing_left();
    }
    host.check();
}

#[test]
fn start_returns_when_the_program_runs_or_says_why_not() {
    needs!(root, "busybox");
    let host = HostState::new();
    // What the hook sees is the program already, however long the container's own hook took.
    let mut bundle = Bundle::new("sleep 1000");
    let seen = bundle.scratch.path().join("seen");
    let script = format!("readlink /proc/$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/')/exe >{}", seen.display());
    bundle.config["hooks"] = json!({
        "startContainer": [{"path": "/bin/sleep", "args": ["sleep", "0.3"]}],
        "poststart": [{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]}],
    });
    bundle.command(["create", "one"]).ok();
    bundle.command(["start", "one"]).ok();
    assert_eq!(fs::read_to_string(&seen).unwrap(), "/bin/busybox\n");
    bundle.command(["delete", "--force", "one"]).ok();
    bundle.config["hooks"] = json!({"startContainer": [{"path": "/bin/false"}]});
    bundle.command(["create", "one"]).ok();
    bundle.command(["start", "one"]).refused(1, &["rkt-oci start failed: error running startContainer hook #0"]);
    assert_eq!(bundle.command(["state", "one"]).ok().json()["status"], "stopped");
    bundle.command(["delete", "one"]).ok();
    // Found by `create`, and no program any more.
    bundle.config["hooks"] = json!({});
    bundle.config["process"]["args"] = json!(["/bin/program"]);
    let program = bundle.rootfs("bin/program");
    fs::write(&program, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    bundle.command(["create", "one"]).ok();
    fs::write(&program, "\x7fELF").unwrap();
    bundle.command(["start", "one"]).refused(1, &["exec /bin/program: exec format error"]);
    bundle.command(["delete", "one"]).ok();
    bundle.nothing_left();
    host.check();
}

#[test]
fn of_several_starts_at_once_one_succeeds() {
    needs!(root, "busybox");
    let host = HostState::new();
    let bundle = Bundle::new("sleep 1000");
    for _ in 0..support::kills(10) {
        bundle.command(["create", "one"]).ok();
        let starts = [(); 3].map(|()| bundle.command(["start", "one"]).spawn());
        let ended = starts.map(|start| start.wait());
        assert_eq!(ended.iter().filter(|ended| ended.code() == 0).count(), 1, "{ended:?}");
        for late in ended.iter().filter(|ended| ended.code() != 0) {
            late.require(late.stderr.contains("cannot start an already running container"), "the reason");
        }
        bundle.command(["delete", "--force", "one"]).ok();
    }
    bundle.nothing_left();
    host.check();
}

#[test]
fn what_runs_out_of_descriptors_leaves_nothing() {
    needs!(root, "busybox");
    let host = HostState::new();
    let bundle = Bundle::new("true");
    // With fewer not even what was made can be looked at.
    for limit in 8..24 {
        let limited = format!("ulimit -n {limit}; exec \"$@\"");
        // Whether it is enough is not the question.
        bundle.run().under("/bin/sh", ["-c", limited.as_str(), "sh"]).run();
    }
    bundle.nothing_left();
    host.check();
}

#[test]
fn hooks_run_in_their_order_and_see_the_state() {
    needs!(root, "busybox");
    let host = HostState::new();
    let mut bundle = Bundle::new("true");
    let log = bundle.scratch.path().join("hooks");
    let hook = |name: &str| {
        let status = "$(sed 's/.*\"status\":\"\\([a-z]*\\)\".*/\\1/')";
        let script = format!("echo {name} {status} in ${{PWD##*/}} >>{}", log.display());
        json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]}])
    };
    for name in ["prestart", "createRuntime", "createContainer", "poststart", "poststop"] {
        bundle.config["hooks"][name] = hook(name);
    }
    bundle.run().ok();
    let name = bundle.rootfs("..").canonicalize().unwrap();
    let name = name.file_name().unwrap().to_str().unwrap();
    let wanted = format!(
        "prestart created in {name}\ncreateRuntime creating in {name}\ncreateContainer creating in rootfs\n\
         poststart running in {name}\npoststop stopped in {name}\n"
    );
    assert_eq!(fs::read_to_string(&log).unwrap(), wanted);
    for name in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart"] {
        let mut bundle = Bundle::new("sleep 100");
        bundle.config["hooks"][name] = json!([
            {"path": "/bin/true"},
            {"path": "/bin/sh", "args": ["sh", "-c", "echo because >&2; exit 1"]},
        ]);
        bundle.run().refused(1, &[&format!("error running {name} hook #1: exit status 1, stderr: because")]);
        bundle.nothing_left();
    }
    let mut bundle = Bundle::new("true");
    bundle.config["hooks"]["createRuntime"] = json!([{"path": "/bin/sleep", "args": ["sleep", "100"], "timeout": 1}]);
    bundle.run().refused(1, &["error running createRuntime hook #0: ran past its timeout of 1 s"]);
    bundle.nothing_left();
    host.check();
}

#[test]
fn a_user_namespace_with_mappings() {
    needs!(root, "busybox");
    let mut bundle = Bundle::new(
        "id -u; cat /proc/self/uid_map | tr -s ' '; echo x >/dev/null; stat -c %t:%T /dev/null; touch /tmp/x",
    );
    bundle.config["root"]["readonly"] = json!(false);
    bundle.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    for name in ["uidMappings", "gidMappings"] {
        bundle.config["linux"][name] = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    }
    fs::set_permissions(bundle.rootfs("tmp"), PermissionsExt::from_mode(0o1777)).unwrap();
    let outcome = bundle.run().ok();
    assert_eq!(outcome.stdout, "0\n 0 100000 65536\n1:3\n");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&fs::metadata(bundle.rootfs("tmp/x")).unwrap()), 100_000);
    bundle.nothing_left();
}

#[test]
fn namespaces_are_joined_by_path() {
    needs!(root, "busybox");
    let first = Bundle::new("sleep 1000");
    first.command(["run", "-d", "--pid-file", "pid", "first"]).ok();
    let pid = fs::read_to_string(first.scratch.work().join("pid")).unwrap();
    let mut second = Bundle::new("hostname; ps | grep -c 'sleep 1000'");
    second.config.as_object_mut().unwrap().remove("hostname");
    for namespace in second.config["linux"]["namespaces"].as_array_mut().unwrap() {
        let name = match namespace["type"].as_str().unwrap() {
            "mount" => continue,
            "network" => "net".to_owned(),
            other => other.to_owned(),
        };
        namespace["path"] = json!(format!("/proc/{pid}/ns/{name}"));
    }
    let outcome = second.run().ok();
    assert!(outcome.stdout.starts_with("rkt-oci\n"), "{}", outcome.stdout);
    second.config["linux"]["namespaces"] =
        json!([{"type": "mount"}, {"type": "uts", "path": format!("/proc/{pid}/ns/ipc")}]);
    second.run().refused(1, &["linux.namespaces[1].path", "is not a uts namespace"]);
    second.config["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "uts", "path": "/etc/passwd"}]);
    second.run().refused(1, &["linux.namespaces[1].path", "is not a namespace"]);
    first.command(["delete", "-f", "first"]).ok();
    first.nothing_left();
    second.nothing_left();
}

#[test]
fn a_log_has_one_json_object() {
    needs!(root, "busybox");
    let mut bundle = Bundle::new("true");
    bundle.config["process"]["args"] = json!(["nonesuch"]);
    bundle.command([]).args(["--log", "log", "--log-format", "json", "run", "x"]).exits(1);
    let log = fs::read_to_string(bundle.scratch.work().join("log")).unwrap();
    let entry: serde_json::Value = serde_json::from_str(&log).unwrap();
    assert_eq!(entry["level"], "error");
    assert!(entry["msg"].as_str().unwrap().contains("executable file not found in $PATH"));
}

#[test]
fn the_root_is_propagated_as_asked() {
    needs!(root, "busybox");
    for (propagation, shown) in [("shared", "shared:"), ("private", ""), ("rslave", ""), ("unbindable", "unbindable")] {
        let mut bundle = Bundle::new("head -n 1 /proc/self/mountinfo | sed 's/ - .*//; s/.*relatime//'");
        bundle.config["linux"]["rootfsPropagation"] = json!(propagation);
        let outcome = bundle.run().ok();
        assert!(outcome.stdout.trim().starts_with(shown), "{propagation}: {}", outcome.stdout);
    }
}

#[test]
fn messages_that_cannot_be_written_fail_nothing() {
    needs!(root, "busybox");
    let host = HostState::new();
    let mut bundle = Bundle::new("exit 3");
    let bash = |script: String, bundle: &Bundle| {
        support::Cmd::new("bash").args(["-c", &script]).cwd(bundle.scratch.work()).run().code()
    };
    // What cannot be said on a full disk is why the hook failed; what follows from it is done nevertheless.
    bundle.config["hooks"] = json!({"poststart": [{"path": "/bin/false"}]});
    let line = bundle.run().line();
    assert_eq!(bash(format!("{line} 2>/dev/full"), &bundle), 1);
    bundle.nothing_left();
    bundle.config["hooks"] = json!({});
    let line = bundle.run().line();
    assert_eq!(bash(format!("{line} 2>/dev/full"), &bundle), 3);
    // A result that cannot be written is no success.
    for command in [["list", "-q"], ["list", "--format=json"]] {
        bundle.command(["run", "--detach", "one"]).run();
        let line = bundle.command(command).line();
        assert_eq!(bash(format!("{line} >/dev/full"), &bundle), 1);
        assert_eq!(bash(format!("{line} | true; exit ${{PIPESTATUS[0]}}"), &bundle), 0);
        bundle.command(["delete", "--force", "one"]).ok();
    }
    bundle.nothing_left();
    host.check();
}

#[test]
fn debug_says_each_step() {
    needs!(root, "busybox");
    let bundle = Bundle::new("exit 3");
    let steps = ["begun", "config.json is read", "is set up", "executes the program", "has ended", "is removed"];
    let outcome = bundle.command([]).args(["--debug", "run", "one"]).exits(3);
    let lines: Vec<&str> = outcome.stderr.lines().collect();
    assert!(lines.iter().all(|line| line.starts_with("time=\"") && line.contains(" level=debug msg=\"")), "{lines:?}");
    outcome.says(&steps);
    // In the log alone, where there is one.
    let log = bundle.scratch.work().join("log");
    let logged = ["--debug", "--log", "log", "--log-format", "json", "run", "two"];
    assert_eq!(bundle.command([]).args(logged).exits(3).stderr, "");
    let text = fs::read_to_string(&log).unwrap();
    let said: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(said.iter().all(|line| line["level"] == "debug"), "{text}");
    for step in steps {
        assert!(said.iter().any(|line| line["msg"].as_str().unwrap().contains(step)), "{step}: {text}");
    }
    // Nobody who has not asked is told.
    assert_eq!(bundle.command(["run", "three"]).exits(3).stderr, "");
    bundle.nothing_left();
}
