//! The program that makes containers cannot be written to while it does.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;

use appc_container::sys::mount::{MountAttributes, mount_setattr};
use common::Bundle;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use support::{Cmd, needs};

/// What becomes of the file that a `run` executes, opened as a process of a container could while it runs: what its
/// path is shown as, and what opening it for writing gives then and when it has ended.
fn opened_while_it_runs(prefix: &[&str]) -> (File, String) {
    let bundle = Bundle::new("true");
    bundle.scratch.file("config.json", bundle.config.to_string());
    // Of its own: what another test executes cannot be written to for that reason alone.
    let program = bundle.scratch.path().join("own-rkt-oci");
    // By another process: a descriptor for writing that a fork of this one has would keep it from being executed.
    Cmd::new("cp").arg(env!("CARGO_BIN_EXE_rkt-oci")).arg(&program).ok();
    let log = bundle.scratch.work().join("log");
    mknodat(CWD, &log, FileType::Fifo, Mode::from(0o600), 0).unwrap();
    let command = Cmd::new(&program).cwd(bundle.scratch.work()).args(["--log", "log", "--root"]);
    let command = command.arg(bundle.state()).args(["run", "one"]);
    let command = match prefix {
        [] => command,
        [program, arguments @ ..] => command.under(*program, arguments),
    };
    let running = command.spawn();
    let process = PathBuf::from(format!("/proc/{}", running.pid()));
    // Executed for the second time it has its name back; then it waits for somebody to read its log.
    let named = || fs::read_to_string(process.join("comm")).is_ok_and(|name| name == "rkt-oci\n");
    for _ in 0..1000 {
        if named() {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(named(), "it goes by its own name");
    let exe = process.join("exe");
    let shown = fs::read_link(&exe).unwrap().display().to_string();
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_PATH).open(exe).unwrap();
    drop(File::open(&log).unwrap());
    running.wait();
    (opened, shown)
}

fn write(opened: &File) -> std::io::Result<usize> {
    let path = format!("/proc/self/fd/{}", opened.as_raw_fd());
    OpenOptions::new().write(true).open(path)?.write(b"x")
}

#[test]
fn by_a_read_only_mount() {
    needs!(root, "busybox");
    let (opened, _) = opened_while_it_runs(&[]);
    assert_eq!(write(&opened).unwrap_err().raw_os_error(), Some(libc::EROFS));
    // Nor does it help to be allowed to mount.
    let writable = MountAttributes { clear: 1, ..MountAttributes::default() };
    assert_eq!(mount_setattr(&opened, false, writable).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    assert_eq!(write(&opened).unwrap_err().raw_os_error(), Some(libc::EROFS));
}

#[test]
fn by_a_sealed_copy() {
    needs!(root, "busybox", "capsh");
    let (opened, shown) = opened_while_it_runs(&["capsh", "--drop=cap_sys_admin", "--", "-c", "exec \"$@\"", "sh"]);
    assert!(shown.starts_with("/memfd:rkt-oci"), "{shown}");
    assert_eq!(write(&opened).unwrap_err().raw_os_error(), Some(libc::EPERM));
}

/// See `sys/entry.rs`: its start is paid for once.
#[test]
#[cfg(target_arch = "x86_64")]
fn before_the_c_library_starts() {
    needs!(root, "busybox", "strace");
    let bundle = Bundle::new("true");
    let trace = bundle.scratch.path().join("trace");
    let calls = |command: &[&str]| -> Vec<String> {
        let rkt_oci = bundle.scratch.rkt_oci(["--root"]).arg(bundle.state()).args(command);
        let options = ["-e", "trace=execve,execveat,arch_prctl", "-o", trace.to_str().unwrap()];
        rkt_oci.under("strace", options).run();
        let traced = fs::read_to_string(&trace).unwrap();
        traced.lines().filter_map(|line| Some(line.split_once('(')?.0.to_owned())).collect()
    };
    for command in [&["list"][..], &["exec", "one", "true"]] {
        assert_eq!(calls(command), ["execve", "execveat", "arch_prctl"], "{command:?}");
    }
}
