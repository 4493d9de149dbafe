//! Filters of system calls that are odd, long, or left alone by their agent: item 22.

use std::fs;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Cmd, needs};

use crate::attack::Attack;

fn filtered(script: &str, profile: Value) -> Attack {
    let mut attack = Attack::new(script);
    attack.config["root"]["readonly"] = json!(false);
    attack.config["linux"]["seccomp"] = profile;
    attack
}

#[test]
fn item_22_profiles_of_any_shape() {
    needs!(root, "busybox");
    let refuse = json!([{"names": ["mkdir", "mkdirat", "no_such_call"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]);
    for architectures in
        [json!(null), json!([]), json!(["SCMP_ARCH_X86_64"]), json!(["SCMP_ARCH_X86", "SCMP_ARCH_X32"])]
    {
        let mut profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": refuse});
        if !architectures.is_null() {
            profile["architectures"] = architectures.clone();
        }
        let attack = filtered("mkdir /tmp/x 2>&1", profile);
        let outcome = attack.run().exits(1);
        outcome.require(outcome.stdout.contains("not implemented"), &format!("a refusal with {architectures}"));
    }
    for (profile, words) in [
        (json!({"defaultAction": "SCMP_ACT_NOTHING"}), "SCMP_ACT_NOTHING"),
        (json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "ALLOW"}]}), "ALLOW"),
        (json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_PDP11"]}), "SCMP_ARCH_PDP11"),
        (json!({"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/x"}), "SCMP_ACT_NOTIFY"),
    ] {
        filtered("true", profile).run().refused(1, &[words]);
    }
}

#[test]
fn item_22_two_thousand_rules() {
    needs!(root, "busybox");
    let rule = |n: u64| {
        let args = json!([{"index": n % 6, "value": n * 7, "op": "SCMP_CMP_EQ"}]);
        let name = ["personality", "prctl", "ioctl"][(n % 3) as usize];
        json!({"names": [name], "action": "SCMP_ACT_ERRNO", "args": args})
    };
    let attack = filtered(
        "echo ran",
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": (0..2000).map(rule).collect::<Vec<_>>()}),
    );
    let began = Instant::now();
    let outcome = attack.run().run();
    // The kernel takes 4096 instructions; more is an error that says so.
    match outcome.code() {
        0 => assert_eq!(outcome.stdout, "ran\n"),
        _ => outcome.says(&["linux.seccomp", "instructions"]),
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn item_22_new_calls_look_as_if_they_did_not_exist() {
    needs!(root, "busybox", "cc");
    // Everything that a static program needs, and not one call of the last years.
    let names = "read write close fstat lseek mmap mprotect munmap brk rt_sigaction rt_sigprocmask ioctl access getpid execve \
        exit exit_group arch_prctl set_tid_address set_robust_list prlimit64 getrandom newfstatat readlink openat futex \
        readlinkat clone3 rseq statx faccessat2 uname writev";
    let names: Vec<&str> = names.split_whitespace().collect();
    let profile = json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
        "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}]});
    let mut attack = filtered("true", profile);
    // A number far beyond all, and an old call that the profile leaves out.
    let source = "#include <stdio.h>\n#include <errno.h>\n#include <unistd.h>\n#include <sys/syscall.h>\n\
        int main(void) { syscall(1000); int new = errno; syscall(SYS_mkdir, \"/tmp/x\", 0); printf(\"%d %d\\n\", new, errno);\n\
        return 0; }\n";
    let source = attack.scratch.file("calls.c", source);
    Cmd::new("cc").args(["-static", "-o"]).arg(attack.rootfs("bin/calls")).arg(source).ok();
    attack.config["process"]["args"] = json!(["/bin/calls"]);
    assert_eq!(attack.run().ok().text(), "38 1");
}

#[test]
fn item_22_agents_that_are_missing_or_die() {
    needs!(root, "busybox");
    let profile = |path: &std::path::Path, name: &str| {
        json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path,
            "syscalls": [{"names": [name], "action": "SCMP_ACT_NOTIFY"}]})
    };
    let attack = filtered("mkdir /tmp/x; echo $?", json!(null));
    let mut attack = attack;
    let socket = attack.scratch.path().join("agent");
    attack.config["linux"]["seccomp"] = profile(&socket, "mkdir");
    attack.run().refused(1, &["failed to connect with seccomp agent"]);
    attack.nothing_left();
    fs::write(&socket, "").unwrap();
    attack.run().refused(1, &["failed to connect with seccomp agent"]);
    fs::remove_file(&socket).unwrap();
    attack.config["linux"]["seccomp"] = profile(&socket, "write");
    attack.run().refused(1, &["SCMP_ACT_NOTIFY cannot be used for the write syscall"]);
    // It takes the connection and dies at once, or later: the call then fails, and nobody waits for ever.
    for name in ["mkdir", "getppid", "sendmsg", "openat", "futex"] {
        let listener = UnixListener::bind(&socket).unwrap();
        let dying = std::thread::spawn(move || drop(listener.accept()));
        attack.config["linux"]["seccomp"] = profile(&socket, name);
        let outcome = attack.run().timeout(Duration::from_secs(20)).run();
        outcome.require(outcome.code() < 128, &format!("an end with {name}"));
        let _woken = std::os::unix::net::UnixStream::connect(&socket);
        dying.join().unwrap();
        fs::remove_file(&socket).unwrap();
        attack.nothing_left();
    }
    attack.config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]});
    attack.run().refused(1, &["listenerPath"]);
}

#[test]
fn item_22_whoever_may_gain_rights_is_filtered_too() {
    needs!(root, "busybox");
    for (flags, uid) in [(json!([]), 0), (json!(["SECCOMP_FILTER_FLAG_TSYNC"]), 1000), (json!([]), 1000)] {
        let mut attack = filtered(
            "mkdir /tmp/x 2>&1; grep CapEff /proc/self/status",
            json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": flags,
                "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]}),
        );
        attack.config["process"]["noNewPrivileges"] = json!(false);
        attack.config["process"]["capabilities"] = json!({});
        attack.config["process"]["user"] = json!({"uid": uid, "gid": uid});
        attack.run().ok().prints(&["not implemented", "CapEff:\t0000000000000000"]);
    }
}
