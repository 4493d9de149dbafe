//! The library's own doors: a pod's first process, detached overlays, a container from both.
//!
//! One function after the other in a process with a single thread, as [`appc_container::sys::clone::clone3`] asks.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test without a test runner")]

use std::fs;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Command;

use appc_container::sys::namespace::setns;
use appc_container::{Network, Plan, RootSource, Sandbox, SandboxOptions, Setup, Stdio, exit_code, overlay};
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use serde_json::json;
use support::{HostState, Scratch, need, rootfs};

fn main() {
    let ready = need::check(need::is_root(), "to run as root")
        && need::check(need::find_program("busybox").is_some(), "the program busybox");
    if !ready {
        return;
    }
    let host = HostState::new();
    let tests: [(&str, fn()); 4] = [
        ("an overlay is nowhere to be seen", an_overlay_is_nowhere_to_be_seen),
        ("a container in a sandbox on an overlay", a_container_in_a_sandbox_on_an_overlay),
        ("a sandbox shows nothing of the host", a_sandbox_shows_nothing_of_the_host),
        ("a process that nobody waits for holds no one up", a_process_that_nobody_waits_for_holds_no_one_up),
    ];
    for (name, test) in tests {
        test();
        println!("test {name} ... ok");
    }
    host.check();
}

/// Folders for an overlay of `count` lower layers, each with a file of its number and one that all have.
fn layers(scratch: &Scratch, count: usize) -> (Vec<PathBuf>, PathBuf, PathBuf) {
    let folder = |name: String| {
        let path = scratch.path().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    };
    let lower: Vec<PathBuf> = (0..count).map(|n| folder(format!("lower:{n},x"))).collect();
    for (n, layer) in lower.iter().enumerate() {
        fs::write(layer.join(n.to_string()), "").unwrap();
        fs::write(layer.join("same"), n.to_string()).unwrap();
    }
    (lower, folder("upper".into()), folder("overlay-work".into()))
}

fn an_overlay_is_nowhere_to_be_seen() {
    for count in [1, 3, 40] {
        let scratch = Scratch::new();
        let (lower, upper, work) = layers(&scratch, count);
        let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mount = overlay(&lower, &upper, &work).unwrap();
        assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
        let root = appc_rooted::Root::from_fd(mount);
        assert_eq!(root.read("same", 100).unwrap(), (count - 1).to_string().as_bytes());
        assert!(root.stat("0").is_ok());
        let flags = appc_rooted::OFlags::WRONLY;
        root.create("new", flags, appc_rooted::Mode::from(0o644)).unwrap();
        assert!(upper.join("new").exists());
    }
    assert!(overlay(&[], "/tmp".as_ref(), "/tmp".as_ref()).is_err());
    let error = overlay(&["/no/such/layer".into()], "/tmp".as_ref(), "/tmp".as_ref()).unwrap_err();
    assert!(error.to_string().contains("/no/such/layer"), "{error}");
}

fn spec(sandbox: &Sandbox, script: &str) -> Spec {
    let mut namespaces = vec![json!({"type": "mount"})];
    for (kind, path) in sandbox.namespace_paths() {
        namespaces.push(json!({"type": kind, "path": path}));
    }
    let config = json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0}, "args": ["/bin/sh", "-c", script], "cwd": "/", "env": ["PATH=/bin"],
            "capabilities": {"bounding": ["CAP_SYS_PTRACE"], "permitted": ["CAP_SYS_PTRACE"], "effective": ["CAP_SYS_PTRACE"]},
        },
        "root": {"path": "unused"},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {"namespaces": namespaces},
    });
    serde_json::from_value(config).unwrap()
}

fn run(sandbox: &Sandbox, script: &str) -> (i32, String) {
    let scratch = Scratch::new();
    rootfs::busybox(&scratch.work());
    let (_, upper, work) = layers(&scratch, 0);
    let root = overlay(&[scratch.work()], &upper, &work).unwrap();
    let (mut output, theirs) = std::io::pipe().unwrap();
    let theirs = OwnedFd::from(theirs);
    let fds = [OwnedFd::from(fs::File::open("/dev/null").unwrap()), theirs.try_clone().unwrap(), theirs];
    let mut setup = Setup::new("app", scratch.path());
    setup.root = Some(RootSource::Mount(root));
    setup.stdio = Stdio::Fds(fds);
    let mut process = Plan::new(&spec(sandbox, script), setup).unwrap().spawn().unwrap();
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    let status = process.wait().unwrap();
    assert!(process.destroy().unwrap().is_empty());
    (exit_code(status), text)
}

fn a_container_in_a_sandbox_on_an_overlay() {
    let options = SandboxOptions { hostname: Some("pod".into()), network: Network::NewLoopback };
    let sandbox = Sandbox::new(options).unwrap();
    let kinds: Vec<_> = sandbox.namespace_paths().into_iter().map(|(kind, _)| kind).collect();
    assert!(kinds.contains(&LinuxNamespaceType::Network));
    let (code, text) = run(&sandbox, "hostname; test $$ -gt 1 && ip link show lo | grep -c UP; exit 7");
    assert_eq!((code, text.as_str()), (7, "pod\n1\n"));
    let (code, _) = run(&sandbox, "kill -9 $$");
    assert_eq!(code, 137);
    // An orphan of an app is reaped by the pod's first process.
    let (_, text) = run(&sandbox, "(sleep 0.05 &); sleep 0.2; grep -l ') Z' /proc/[0-9]*/stat | wc -l");
    assert_eq!(text, "0\n", "a zombie is left");
}

fn a_sandbox_shows_nothing_of_the_host() {
    let sandbox = Sandbox::new(SandboxOptions::default()).unwrap();
    let (_, text) = run(&sandbox, "ls -A /proc/1/root/ | wc -l; ls -A /proc/1/fd | wc -l; ls -A /proc/1/cwd/ | wc -l");
    let counts: Vec<u32> = text.lines().map(|n| n.trim().parse().unwrap()).collect();
    // One descriptor: the signals'.
    assert!(counts.iter().all(|&n| n <= 1), "{text}");
    let pid = sandbox.pid();
    drop(sandbox);
    assert!(!PathBuf::from(format!("/proc/{pid}")).exists());
}

fn a_process_that_nobody_waits_for_holds_no_one_up() {
    let sandbox = Sandbox::new(SandboxOptions::default()).unwrap();
    let pid = sandbox.pid();
    let own = fs::File::open("/proc/self/ns/pid").unwrap();
    let inside = fs::File::open(&sandbox.namespace_paths()[0].1).unwrap();
    let kind = LinuxNamespaceType::Pid as i32;
    setns(inside.as_fd(), kind).unwrap();
    let mut child = Command::new("/bin/true").spawn().unwrap();
    setns(own.as_fd(), kind).unwrap();
    // As long as the child is a zombie, the kernel holds the end of the first process up.
    drop(sandbox);
    assert!(PathBuf::from(format!("/proc/{pid}")).exists());
    child.wait().unwrap();
    let ended = || rustix::process::waitpid(rustix::process::Pid::from_raw(pid), rustix::process::WaitOptions::empty());
    assert!(ended().unwrap().is_some());
}
