//! Configurations that others take are taken, and what is not is named.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::fs;

use common::Bundle;
use serde_json::{Value, json};
use support::{Cmd, HostState, needs};

#[test]
fn unknown_capabilities_are_left_away() {
    needs!(root, "busybox");
    let mut bundle = Bundle::new("grep CapEff /proc/self/status; sleep 1000");
    for set in ["bounding", "effective", "permitted"] {
        bundle.config["process"]["capabilities"][set] = json!(["CAP_KILL", "CAP_FOO", "cap_chown"]);
    }
    let warning = "ignoring unknown or unavailable capabilities: [CAP_FOO cap_chown]";
    bundle.config["process"]["args"] = json!(["grep", "CapEff", "/proc/self/status"]);
    let outcome = bundle.run().ok();
    assert_eq!(outcome.text(), "CapEff:\t0000000000000020");
    outcome.says(&[warning]);
    // With a log only there: docker and podman take standard error for the program's.
    let logged = bundle.command(["--log", "log", "run", "test"]).ok();
    assert_eq!(logged.stderr, "");
    let log = std::fs::read_to_string(bundle.scratch.work().join("log")).unwrap();
    assert!(log.contains("level=warning") && log.contains(warning), "{log}");
    bundle.config["process"]["args"] = json!(["sleep", "1000"]);
    bundle.command(["run", "--detach", "test"]).ok();
    let added = ["exec", "-c", "CAP_FOO", "-c", "CAP_CHOWN", "test", "grep", "CapEff", "/proc/self/status"];
    let outcome = bundle.command(added).ok();
    assert_eq!(outcome.text(), "CapEff:\t0000000000000021");
    outcome.says(&["ignoring unknown or unavailable capabilities: [CAP_FOO]"]);
    bundle.command(["delete", "--force", "test"]).ok();
    bundle.nothing_left();
}

#[test]
fn capabilities_that_the_caller_lacks_are_left_away() {
    needs!(root, "busybox", "setpriv");
    let show = "grep -E 'Cap(Prm|Eff|Bnd)' /proc/self/status | tr -d '\\n'";
    let with = |capabilities: &str| {
        let set = u64::from_str_radix(capabilities, 16).unwrap();
        format!("CapPrm:\t{set:016x}CapEff:\t{set:016x}CapBnd:\t{set:016x}")
    };
    let warning = "process.capabilities: ignoring unknown or unavailable capabilities: [CAP_NET_RAW]";
    // Neither is in the caller's bounding set nor, for the second, permitted.
    let lacking = |command: Cmd| command.under("setpriv", ["--bounding-set=-net_raw", "--inh-caps=-net_raw"]);
    let mut bundle = Bundle::new(show);
    for set in ["bounding", "effective", "permitted"] {
        bundle.config["process"]["capabilities"][set] = json!(["CAP_KILL", "CAP_NET_RAW"]);
    }
    let outcome = bundle.run().ok();
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), (with("2020").as_str(), ""));
    let outcome = lacking(bundle.run()).ok();
    assert_eq!(outcome.stdout, with("20"));
    outcome.says(&[warning]);
    // In a user namespace of its own it has them all, as far as that reaches.
    bundle.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    for name in ["uidMappings", "gidMappings"] {
        bundle.config["linux"][name] = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    }
    let outcome = lacking(bundle.run()).ok();
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), (with("2020").as_str(), ""));
    bundle.nothing_left();
    // A process that joins is given what its own caller has.
    let mut bundle = Bundle::new("sleep 1000");
    bundle.config["process"]["capabilities"] = json!({"bounding": ["CAP_NET_RAW"], "permitted": ["CAP_NET_RAW"]});
    bundle.command(["run", "--detach", "test"]).ok();
    let outcome = lacking(bundle.command(["exec", "test", "grep", "CapPrm", "/proc/self/status"])).ok();
    assert_eq!(outcome.text(), "CapPrm:\t0000000000000000");
    outcome.says(&[warning]);
    bundle.command(["delete", "--force", "test"]).ok();
    bundle.nothing_left();
}

#[test]
fn what_is_for_file_systems_is_left_away_from_bind_mounts() {
    needs!(root, "busybox");
    let mut bundle = Bundle::new("stat -c %a /mnt");
    let source = bundle.scratch.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::set_permissions(&source, std::os::unix::fs::PermissionsExt::from_mode(0o750)).unwrap();
    bundle.config["mounts"].as_array_mut().unwrap().insert(
        0,
        json!({"destination": "/mnt", "type": "bind", "source": source, "options": ["bind", "mode=0700", "size=1k"]}),
    );
    let outcome = bundle.run().ok();
    assert_eq!(outcome.text(), "750");
    let why = "bind mounts cannot have any filesystem-specific options applied: ignored";
    outcome.says(&[&format!("mounts[0].options: \"mode\": {why}"), &format!("mounts[0].options: \"size\": {why}")]);
    bundle.nothing_left();
}

#[test]
fn what_may_be_absent_may_be_absent() {
    needs!(root, "busybox");
    let host = HostState::new();
    let mut bundle = Bundle::new("id -u");
    bundle.config["process"].as_object_mut().unwrap().remove("user");
    assert_eq!(bundle.run().ok().text(), "0");
    bundle.config["process"]["user"] = json!({"username": "somebody"});
    assert_eq!(bundle.run().ok().text(), "0");
    bundle.config["process"]["args"] = json!(["sleep", "1000"]);
    bundle.command(["run", "--detach", "test"]).ok();
    let file = bundle.scratch.file("process.json", r#"{"cwd": "/", "args": ["/bin/busybox", "id", "-u"]}"#);
    assert_eq!(bundle.command(["exec", "--process", file.to_str().unwrap(), "test"]).ok().text(), "0");
    bundle.command(["delete", "--force", "test"]).ok();
    bundle.config = json!({"ociVersion": "1.2.0", "root": {"path": "rootfs"},
        "process": {"cwd": "/", "args": ["/bin/busybox", "echo", "here"]}});
    assert_eq!(bundle.run().ok().text(), "here");
    bundle.nothing_left();
    host.check();
}

#[test]
fn a_working_directory_is_made_although_the_root_is_read_only() {
    needs!(root, "busybox");
    let mut bundle = Bundle::new("pwd; stat -c '%a %u' .; touch x");
    bundle.config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    bundle.config["process"]["cwd"] = json!("/made/for/it");
    bundle.config["root"]["readonly"] = json!(true);
    let outcome = bundle.run().exits(1);
    assert_eq!(outcome.stdout, "/made/for/it\n755 0\n");
    outcome.says(&["Read-only file system"]);
    // What cannot be made is told with why.
    bundle.config["process"]["cwd"] = json!("/etc/passwd/below");
    bundle.run().refused(1, &["chdir to cwd (\"/etc/passwd/below\") set in config.json failed: not a directory"]);
    bundle.nothing_left();
}

#[test]
fn hooks_have_the_environment_of_where_they_run() {
    needs!(root, "busybox");
    let mut bundle = Bundle::new("true");
    bundle.config["process"]["env"] = json!(["PATH=/bin", "WHOSE=containers"]);
    let log = bundle.scratch.path().join("log");
    let stages = ["prestart", "createRuntime", "createContainer", "poststart", "poststop"];
    for stage in stages {
        let hook = |what: &str| json!(["sh", "-c", format!("echo {stage} {what} ${{WHOSE-}} >>{}", log.display())]);
        bundle.config["hooks"][stage] =
            json!([{"path": "/bin/sh", "args": hook("own")}, {"path": "/bin/sh", "args": hook("none"), "env": []}]);
    }
    let script = "echo $WHOSE $HOME; [ $WHOSE = containers ] && [ $HOME = / ]";
    bundle.config["hooks"]["startContainer"] = json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}]);
    bundle.config["process"]["env"].as_array_mut().unwrap().push(json!("HOME=/"));
    bundle.run().env("WHOSE", "runtimes").ok();
    let seen = fs::read_to_string(&log).unwrap();
    for stage in stages {
        let whose = if stage == "createContainer" { "containers" } else { "runtimes" };
        assert!(seen.contains(&format!("{stage} own {whose}\n{stage} none\n")), "{seen}");
    }
    bundle.nothing_left();
}

#[test]
fn what_is_refused_is_named() {
    needs!(root, "busybox");
    let refused = |change: fn(&mut Value), words: &[&str]| {
        let mut bundle = Bundle::new("true");
        bundle.config["process"]["rlimits"] = json!([]);
        change(&mut bundle.config);
        bundle.run().refused(1, words);
        bundle.nothing_left();
    };
    refused(
        |c| c["process"]["rlimits"] = json!([{"type": "RLIMIT_FOO", "soft": 1, "hard": 1}]),
        &["process.rlimits[0].type: unknown variant `RLIMIT_FOO`"],
    );
    refused(
        |c| c["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 1u64 << 60, "hard": 1u64 << 60}]),
        &["process.rlimits[0]: set RLIMIT_NOFILE to 1152921504606846976 (soft) and 1152921504606846976 (hard): "],
    );
    refused(
        |c| c["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "zzz"}),
        &["linux.sysctl: write \"zzz\" to /proc/sys/net/ipv4/ip_forward: invalid argument"],
    );
    refused(
        |c| c["linux"]["devices"] = json!([{"path": "/dev/null/x", "type": "c", "major": 1, "minor": 3}]),
        &["linux.devices[0].path: /dev/null above it is a device, not a directory"],
    );
    refused(
        |c| c["linux"]["sysctl"] = json!({"kernel.hostname": "x"}),
        &["linux.sysctl[\"kernel.hostname\"]", "use that"],
    );
    refused(|c| c["linux"]["netDevices"] = json!({"nonesuch7": {}}), &["linux.netDevices[\"nonesuch7\"]: find"]);
    refused(
        |c| {
            c["mounts"] = json!([{"destination": "/etc", "type": "bind", "source": "/etc/passwd", "options": ["bind"]}])
        },
        &["(mounts[0])", "its source is not a directory, and its destination is one"],
    );
    let mut bundle = Bundle::new("true");
    bundle.config["linux"]["resources"]["memory"] = json!({"kernel": 1 << 30});
    bundle.run().ok().says(&["linux.resources.memory.kernel"]);
}
