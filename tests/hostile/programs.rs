//! Working directories and programs that are magic links: items 8 and 20.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;
use support::needs;

use crate::attack::Attack;

#[test]
fn item_08_directories_and_programs_by_descriptor() {
    needs!(root, "busybox");
    for number in 0..20 {
        let mut attack = Attack::new("pwd; ls");
        attack.config["process"]["cwd"] = json!(format!("/proc/self/fd/{number}"));
        attack.run().refused(1, &["chdir to cwd"]);
    }
    for cwd in ["/link", "/proc/1/cwd", "/proc/self/root"] {
        let mut attack = Attack::new("pwd; ls");
        symlink("/proc/self/fd/7", attack.rootfs("link")).unwrap();
        attack.config["process"]["cwd"] = json!(cwd);
        attack.run().refused(1, &["chdir to cwd"]);
    }
    for program in ["/proc/self/exe", "/proc/self/fd/3", "/link", "/proc/1/exe"] {
        let mut attack = Attack::new("true");
        symlink("/proc/self/exe", attack.rootfs("link")).unwrap();
        attack.config["process"]["args"] = json!([program]);
        attack.run().refused(1, &["exec: "]);
    }
}

#[test]
fn item_08_directories_and_programs_of_an_exec() {
    needs!(root, "busybox");
    let attack = Attack::new("sleep 1000");
    symlink("/proc/self/fd/7", attack.rootfs("directory")).unwrap();
    symlink("/proc/self/exe", attack.rootfs("program")).unwrap();
    attack.command(["run", "-d", "test"]).ok();
    let descriptors = (0..20).map(|number| format!("/proc/self/fd/{number}"));
    let others = ["/proc/1/cwd", "/proc/self/root", "/proc/thread-self/cwd", "/directory"].map(str::to_owned);
    for cwd in descriptors.clone().chain(others) {
        attack.command(["exec", "--cwd", &cwd, "test", "pwd"]).refused(255, &["chdir to cwd"]);
        let process = json!({"args": ["pwd"], "cwd": cwd, "env": ["PATH=/bin"]});
        attack.scratch.file("process.json", process.to_string());
        attack.command(["exec", "--process", "process.json", "test"]).refused(255, &["chdir to cwd"]);
    }
    let others = ["/proc/self/exe", "/proc/1/exe", "/proc/thread-self/exe", "/program"].map(str::to_owned);
    for program in descriptors.chain(others) {
        attack.command(["exec", "test", &program, "--version"]).refused(255, &["exec: "]);
    }
    attack.command(["delete", "-f", "test"]).ok();
}

/// Tries to write to the executable of every process that it sees, for as long as it runs.
const OVERWRITE: &str = "echo ready; while :; do for e in /proc/[0-9]*/exe; do (echo harm >>$e) 2>/dev/null; \
    (exec 9<$e && echo harm >/proc/self/fd/9) 2>/dev/null; done; done";

#[test]
fn item_08_the_runtime_is_not_overwritten() {
    needs!(root, "busybox");
    let mut attack = Attack::new(OVERWRITE);
    attack.config["process"]["capabilities"] = many_rights();
    attack.config["root"]["readonly"] = json!(false);
    // Not the program itself: should the attack succeed, only a copy of it is harmed.
    let folder = attack.scratch.path().join("program");
    fs::create_dir(&folder).unwrap();
    let program = folder.join("rkt-oci");
    fs::copy(support::programs::find("rkt-oci"), &program).unwrap();
    let before = support::Tree::read(&folder);
    let state = attack.state();
    let rkt_oci = |args: &[&str]| {
        support::Cmd::new(&program).arg("--root").arg(&state).args(args.iter()).cwd(attack.scratch.work())
    };
    drop(attack.command(["list"]));
    rkt_oci(&["run", "-d", "first"]).ok();
    let pid = rkt_oci(&["state", "first"]).ok().json()["pid"].to_string();
    // A second container joins the pid namespace of the first, so that the first sees the runtime at work.
    let mut second = attack.config.clone();
    second["process"]["args"] = json!(["/proc/self/exe", "--help"]);
    for namespace in second["linux"]["namespaces"].as_array_mut().unwrap() {
        if namespace["type"] == "pid" {
            namespace["path"] = json!(format!("/proc/{pid}/ns/pid"));
        }
    }
    let name = attack.scratch.path().file_name().unwrap().to_str().unwrap().to_owned();
    second["linux"]["cgroupsPath"] = json!(format!("{name}-second"));
    attack.scratch.file("config.json", second.to_string());
    for _ in 0..15 {
        rkt_oci(&["run", "second"]).refused(1, &["exec: "]);
    }
    second["process"]["args"] = json!(["/bin/true"]);
    attack.scratch.file("config.json", second.to_string());
    for _ in 0..15 {
        rkt_oci(&["run", "second"]).run();
        rkt_oci(&["exec", "first", "/bin/true"]).run();
        rkt_oci(&["exec", "first", "/proc/self/exe"]).run();
    }
    rkt_oci(&["delete", "-f", "first"]).ok();
    before.assert_same(&support::Tree::read(&folder), "the runtime's program");
}

/// What a container with too many rights has.
fn many_rights() -> serde_json::Value {
    let names = ["DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "KILL", "SETGID", "SETUID", "SYS_ADMIN", "SYS_PTRACE"];
    let names = names.map(|name| format!("CAP_{name}"));
    json!({"bounding": names, "effective": names, "permitted": names})
}

#[test]
fn item_20_the_runtime_is_not_looked_into() {
    needs!(root, "busybox");
    // The default capabilities, which are those of most containers.
    let watch = "echo ready; while :; do for p in /proc/[0-9]*; do \
        grep -aq tripwire=secret $p/environ 2>/dev/null && echo found environment $p; \
        ls -l $p/fd/ 2>/dev/null | grep -q 'socket:' && echo found descriptors $p; \
        grep -q rkt-oci $p/maps 2>/dev/null && echo found memory $p; done; done";
    let first = Attack::new(watch);
    let log = first.scratch.path().join("out");
    let line = format!("exec {} >{} 2>&1 </dev/null", first.command(["run", "-d", "first"]).line(), log.display());
    support::Cmd::new("sh").args(["-c", &line]).cwd(first.scratch.work()).ok();
    let pid = first.command(["state", "first"]).ok().json()["pid"].to_string();
    let mut second = Attack::new("true");
    for namespace in second.config["linux"]["namespaces"].as_array_mut().unwrap() {
        if namespace["type"] == "pid" {
            namespace["path"] = json!(format!("/proc/{pid}/ns/pid"));
        }
    }
    for _ in 0..25 {
        second.run().env("tripwire", "secret").ok();
        first.command(["exec", "first", "/bin/true"]).env("tripwire", "secret").run();
    }
    first.command(["delete", "-f", "first"]).ok();
    assert_eq!(fs::read_to_string(&log).unwrap(), "ready\n");
}

#[test]
fn item_20_the_callers_environment_is_not_there_to_be_read() {
    needs!(root, "busybox");
    // Nothing keeps these from reading the memory of what comes in.
    let watch =
        "echo ready; while :; do cat /proc/[0-9]*/environ 2>/dev/null; done | grep -aq tripwire=secret && echo found";
    let mut first = Attack::new(watch);
    for set in ["bounding", "effective", "permitted"] {
        first.config["process"]["capabilities"][set].as_array_mut().unwrap().push(json!("CAP_SYS_PTRACE"));
    }
    let log = first.scratch.path().join("out");
    let line = format!("exec {} >{} 2>&1 </dev/null", first.command(["run", "-d", "first"]).line(), log.display());
    support::Cmd::new("sh").args(["-c", &line]).cwd(first.scratch.work()).ok();
    let pid = first.command(["state", "first"]).ok().json()["pid"].to_string();
    let mut second = Attack::new("true");
    for namespace in second.config["linux"]["namespaces"].as_array_mut().unwrap() {
        if namespace["type"] == "pid" {
            namespace["path"] = json!(format!("/proc/{pid}/ns/pid"));
        }
    }
    // Hooks of the runtime's have what it has.
    second.config["hooks"] =
        json!({"prestart": [{"path": "/bin/sh", "args": ["sh", "-c", "test $tripwire = secret"]}]});
    for _ in 0..40 {
        first.command(["exec", "first", "/bin/true"]).env("tripwire", "secret").run();
        second.run().env("tripwire", "secret").ok();
    }
    first.command(["delete", "-f", "first"]).ok();
    assert_eq!(fs::read_to_string(&log).unwrap(), "ready\n");
}

#[test]
fn item_20_the_container_changes_under_exec() {
    needs!(root, "busybox");
    let mut attack = Attack::new(
        "while :; do ln -sf /proc/self/exe /bin/tool; ln -sf /../../../tripwire/passwd /etc/passwd; rm -f /bin/tool \
         /etc/passwd; cp /bin/busybox /bin/tool; mkdir /etc/passwd; rmdir /etc/passwd; done 2>/dev/null",
    );
    attack.config["root"]["readonly"] = json!(false);
    attack.command(["run", "-d", "test"]).ok();
    for _ in 0..40 {
        let outcome = attack.command(["exec", "--user", "1000", "test", "/bin/tool", "true"]).run();
        // Executed, or not there at this moment, or a program that says that it is called by an unknown name; the runtime, as
        // which it is started by way of /proc/self/exe, knows no such command.
        outcome.require([0, 1, 3, 127, 255].contains(&outcome.code()), "an end without a signal");
        outcome.require(!outcome.stdout.contains("OCI"), "not the runtime");
    }
    attack.command(["delete", "-f", "test"]).ok();
}
