//! Filters of system calls, as programs in containers meet them.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use common::Bundle;
use serde_json::{Value, json};
use support::{HostState, needs};

/// A bundle whose filter allows everything but what `syscalls` say.
fn bundle(script: &str, syscalls: Value) -> Bundle {
    let mut bundle = Bundle::new(script);
    bundle.config["root"]["readonly"] = json!(false);
    bundle.config["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": syscalls,
    });
    bundle
}

fn refuse_mkdir(action: &str) -> Value {
    json!([{"names": ["mkdir", "mkdirat"], "action": action}])
}

/// Whether processes may still gain privileges decides when the filter is loaded.
const BOTH: [bool; 2] = [false, true];

#[test]
fn every_action_has_its_effect() {
    needs!(root, "busybox");
    let host = HostState::new();
    for no_new_privileges in BOTH {
        for (action, output) in [
            ("SCMP_ACT_ERRNO", "mkdir: can't create directory '/tmp/x': Operation not permitted\n1\n"),
            ("SCMP_ACT_KILL", "Bad system call\n159\n"),
            ("SCMP_ACT_KILL_THREAD", "Bad system call\n159\n"),
            ("SCMP_ACT_KILL_PROCESS", "Bad system call\n159\n"),
            ("SCMP_ACT_TRAP", "Bad system call\n159\n"),
            // Without a tracer.
            ("SCMP_ACT_TRACE", "mkdir: can't create directory '/tmp/x': Function not implemented\n1\n"),
            ("SCMP_ACT_LOG", "0\n"),
            ("SCMP_ACT_ALLOW", "0\n"),
        ] {
            let mut bundle = bundle("exec 2>&1; mkdir /tmp/x; echo $?", refuse_mkdir(action));
            bundle.config["process"]["noNewPrivileges"] = json!(no_new_privileges);
            let said = bundle.run().ok().stdout;
            // The shell's words for the signal differ in what they say besides.
            assert!(said.ends_with(output) || said.replace(" (core dumped)", "").ends_with(output), "{action}: {said}");
            bundle.nothing_left();
        }
    }
    host.check();
}

#[test]
fn an_ordinary_user_is_filtered_with_exactly_its_capabilities() {
    needs!(root, "busybox");
    for no_new_privileges in BOTH {
        let mut bundle = bundle(
            "grep -E '^(CapPrm|CapEff|CapAmb|Seccomp|NoNewPrivs):' /proc/self/status; mkdir /tmp/x",
            json!([{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 100}]),
        );
        bundle.config["process"]["noNewPrivileges"] = json!(no_new_privileges);
        bundle.config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        let kill = json!(["CAP_KILL"]);
        bundle.config["process"]["capabilities"] =
            json!({"bounding": kill, "permitted": kill, "inheritable": kill, "ambient": kill, "effective": kill});
        let outcome = bundle.run().exits(1);
        let flag = u8::from(no_new_privileges);
        let wanted = "CapPrm:\t0000000000000020\nCapEff:\t0000000000000020\nCapAmb:\t0000000000000020\n";
        assert_eq!(outcome.stdout, format!("{wanted}NoNewPrivs:\t{flag}\nSeccomp:\t2\n"));
        assert!(outcome.stderr.contains("Network is down"), "{}", outcome.stderr);
        // And none at all, so that nothing the kernel asks for can be had but by what was kept for it.
        bundle.config["process"]["capabilities"] = json!({});
        let outcome = bundle.run().exits(1);
        assert!(
            outcome.stdout.starts_with("CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n"),
            "{}",
            outcome.stdout
        );
    }
}

#[test]
fn a_filter_of_little_more_than_execve_is_enough() {
    needs!(root, "busybox");
    // What a program without libraries that prints a line needs, and nothing of what comes before it.
    let names = json!([
        "execve",
        "arch_prctl",
        "set_tid_address",
        "set_robust_list",
        "rseq",
        "prlimit64",
        "readlink",
        "readlinkat",
        "getrandom",
        "brk",
        "mprotect",
        "write",
        "exit_group",
        "fstat",
        "newfstatat",
        "ioctl",
        "getuid",
        "mmap",
        "munmap",
        "rt_sigaction",
        "rt_sigprocmask",
        "prctl",
        "writev",
        "setuid",
        "getgid",
        "setgid"
    ]);
    for no_new_privileges in BOTH {
        for user in [0, 1000] {
            let mut bundle = bundle("", json!([]));
            let mut names = names.clone();
            if !no_new_privileges {
                // Dropping what was needed to load the filter.
                names.as_array_mut().unwrap().push(json!("capset"));
            }
            bundle.config["linux"]["seccomp"] =
                json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}]});
            bundle.config["process"]["noNewPrivileges"] = json!(no_new_privileges);
            bundle.config["process"]["user"] = json!({"uid": user, "gid": user});
            bundle.config["process"]["args"] = json!(["/bin/busybox", "echo", "here"]);
            assert_eq!(bundle.run().ok().stdout, "here\n");
            bundle.command(["create", "two"]).ok();
            bundle.command(["start", "two"]).ok();
            bundle.command(["delete", "--force", "two"]).ok();
            bundle.nothing_left();
        }
    }
}

#[test]
fn conditions_look_at_arguments() {
    needs!(root, "busybox");
    let uname = |value: u32, operator: &str| {
        // kill(2) with signal 0 asks whether a process is there.
        let condition = json!([{"index": 1, "value": value, "op": operator}]);
        let rules = json!([{"names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 100, "args": condition}]);
        bundle("kill -0 $$ 2>/dev/null; echo $?; kill -CONT $$ 2>/dev/null; echo $?", rules).run().ok().stdout
    };
    assert_eq!(uname(0, "SCMP_CMP_EQ"), "1\n0\n");
    assert_eq!(uname(0, "SCMP_CMP_NE"), "0\n1\n");
    assert_eq!(uname(18, "SCMP_CMP_LT"), "1\n0\n");
    assert_eq!(uname(18, "SCMP_CMP_LE"), "1\n1\n");
}

#[test]
fn every_flag_is_taken() {
    needs!(root, "busybox");
    let flags = ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"];
    for chosen in [&flags[..0], &flags[..1], &flags[1..2], &flags[2..], &flags[..]] {
        let mut bundle = bundle("exec 2>&1; mkdir /tmp/x", refuse_mkdir("SCMP_ACT_ERRNO"));
        bundle.config["linux"]["seccomp"]["flags"] = json!(chosen);
        assert!(bundle.run().exits(1).stdout.contains("not permitted"));
    }
}

#[test]
fn hooks_in_the_container_are_filtered_too() {
    needs!(root, "busybox");
    let host = HostState::new();
    for no_new_privileges in BOTH {
        let mut bundle = bundle("true", refuse_mkdir("SCMP_ACT_ERRNO"));
        bundle.config["process"]["noNewPrivileges"] = json!(no_new_privileges);
        bundle.config["hooks"]["startContainer"] = json!([{"path": "/bin/busybox", "args": ["mkdir", "/tmp/by-hook"]}]);
        bundle.run().refused(1, &["error running startContainer hook #0", "Operation not permitted"]);
        assert!(!bundle.rootfs("tmp/by-hook").exists());
        bundle.nothing_left();
    }
    host.check();
}

#[test]
fn what_cannot_be_is_refused() {
    needs!(root, "busybox");
    let host = HostState::new();
    for (seccomp, words) in [
        (json!({"defaultAction": "SCMP_ACT_PANIC"}), "SCMP_ACT_PANIC"),
        (json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_NEW"]}), "SECCOMP_FILTER_FLAG_NEW"),
        (
            json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["write"], "action": "SCMP_ACT_NOTIFY"}]}),
            "SCMP_ACT_NOTIFY cannot be used for the write syscall",
        ),
    ] {
        let mut bundle = bundle("true", json!([]));
        bundle.config["linux"]["seccomp"] = seccomp;
        bundle.run().refused(1, &[words]);
        bundle.nothing_left();
    }
    // Names that no table has are no reason to fail.
    bundle("true", json!([{"names": ["quantum_fork"], "action": "SCMP_ACT_KILL"}])).run().ok();
    host.check();
}

#[test]
fn filters_are_kept_for_others_and_are_no_container() {
    needs!(root, "busybox");
    let bundle = bundle("exec 2>&1; mkdir /tmp/x", refuse_mkdir("SCMP_ACT_ERRNO"));
    let kept = bundle.state().join(".cache/seccomp");
    for _ in 0..2 {
        assert!(bundle.run().exits(1).stdout.contains("not permitted"));
        assert_eq!(std::fs::read_dir(&kept).unwrap().count(), 1);
    }
    assert_eq!(bundle.command(["list", "-q"]).ok().stdout, "");
    bundle.command(["run", ".cache"]).refused(1, &["invalid container id"]);
    bundle.nothing_left();
}

#[test]
fn what_joins_a_container_is_filtered_like_it() {
    needs!(root, "busybox");
    for no_new_privileges in BOTH {
        let mut bundle = bundle("while :; do sleep 0.1; done", refuse_mkdir("SCMP_ACT_ERRNO"));
        bundle.config["process"]["noNewPrivileges"] = json!(no_new_privileges);
        bundle.command(["run", "--detach", "one"]).ok();
        bundle.command(["exec", "one", "mkdir", "/tmp/x"]).refused(1, &["Operation not permitted"]);
        bundle.command(["delete", "--force", "one"]).ok();
        bundle.nothing_left();
    }
}

#[test]
fn the_default_of_engines_lets_programs_run() {
    needs!(root, "busybox");
    let mut bundle = bundle("exec 2>&1; rm -rf /tmp/x; mkdir /tmp/x; ls /; echo $?", json!([]));
    let profile = include_str!("seccomp/docker.json");
    bundle.config["linux"]["seccomp"] = serde_json::from_str(profile).unwrap();
    for no_new_privileges in BOTH {
        bundle.config["process"]["noNewPrivileges"] = json!(no_new_privileges);
        let said = bundle.run().ok().stdout;
        assert!(said.contains("proc\n") && said.contains("\n0\n"), "{said}");
    }
}
