//! Root file systems that try to reach the host. The numbers are those of the list of attacks a runtime must survive.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use common::Bundle;
use serde_json::json;
use support::{HostState, needs};

/// A folder of the host that must stay as it is.
fn tripwire(bundle: &Bundle) -> (PathBuf, HostState) {
    let folder = bundle.scratch.path().join("tripwire");
    fs::create_dir_all(folder.join("sub")).unwrap();
    for name in ["null", "console", "ptmx", "passwd"] {
        fs::write(folder.join(name), "host").unwrap();
    }
    let host = HostState::new().watch(&folder);
    (folder, host)
}

fn remove(path: &Path) {
    if path.is_dir() && !path.is_symlink() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
}

#[test]
fn t01_proc_and_sys_are_not_ordinary_directories() {
    needs!(root, "busybox");
    for place in ["proc", "sys"] {
        for target in [Some("/tmp/x"), Some("../../.."), None] {
            let bundle = Bundle::new("true");
            let (folder, host) = tripwire(&bundle);
            remove(&bundle.rootfs(place));
            match target {
                Some("/tmp/x") => symlink(&folder, bundle.rootfs(place)).unwrap(),
                Some(target) => symlink(target, bundle.rootfs(place)).unwrap(),
                None => fs::write(bundle.rootfs(place), "file").unwrap(),
            }
            bundle.run().refused(1, &["must be mounted on ordinary directory"]);
            bundle.nothing_left();
            host.check();
        }
    }
}

#[test]
fn t02_dev_leads_out() {
    needs!(root, "busybox");
    for target in ["absolute", "../../tripwire", "../../../../../../tmp"] {
        let mut bundle = Bundle::new("ls -l /dev/null");
        let (folder, host) = tripwire(&bundle);
        // With its own tmpfs and without: then the nodes go into what /dev is.
        for own in [true, false] {
            if !own {
                for place in ["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"] {
                    bundle.unmount(place);
                }
            }
            let dev = bundle.rootfs("dev");
            remove(&dev);
            let target = if target == "absolute" { folder.clone() } else { PathBuf::from(target) };
            symlink(target, &dev).unwrap();
            bundle.run().run();
            bundle.nothing_left();
            host.check();
            assert!(!Path::new("/tmp/null").exists());
        }
    }
}

#[test]
fn t02_entries_of_dev_are_links() {
    needs!(root, "busybox");
    for entry in ["pts", "shm", "fd", "ptmx", "console", "null"] {
        let mut bundle = Bundle::new("true");
        let (folder, host) = tripwire(&bundle);
        bundle.unmount("/dev");
        let _missing = fs::remove_dir_all(bundle.rootfs("dev").join(entry));
        symlink(folder.join(entry), bundle.rootfs("dev").join(entry)).unwrap();
        bundle.run().run();
        bundle.nothing_left();
        host.check();
    }
}

#[test]
fn t03_console_is_something_else() {
    needs!(root, "busybox", "setsid");
    let targets: [(&str, bool); 3] = [("/proc/sysrq-trigger", true), ("/etc/passwd", true), ("directory", false)];
    for (target, link) in targets {
        let mut bundle = Bundle::new("true");
        let (_folder, host) = tripwire(&bundle);
        bundle.unmount("/dev");
        bundle.config["process"]["terminal"] = json!(true);
        let console = bundle.rootfs("dev/console");
        if link {
            symlink(target, &console).unwrap()
        } else {
            fs::create_dir(&console).unwrap()
        }
        bundle.run().refused(1, &["/dev/console"]);
        assert!(fs::read_to_string(bundle.rootfs("etc/passwd")).unwrap().starts_with("root:"));
        bundle.nothing_left();
        host.check();
    }
}

#[test]
fn t03_ptmx_is_something_else() {
    needs!(root, "busybox");
    let mut bundle = Bundle::new("true");
    let (_folder, host) = tripwire(&bundle);
    bundle.unmount("/dev");
    bundle.unmount("/dev/pts");
    bundle.config["process"]["terminal"] = json!(true);
    fs::create_dir(bundle.rootfs("dev/pts")).unwrap();
    fs::write(bundle.rootfs("dev/pts/ptmx"), "").unwrap();
    bundle.run().refused(1, &["/dev/pts/ptmx"]);
    bundle.nothing_left();
    host.check();
}

#[test]
fn t04_null_is_not_null() {
    needs!(root, "busybox");
    for kind in ["file", "link", "zero"] {
        let mut bundle = Bundle::new("true");
        let (_folder, host) = tripwire(&bundle);
        bundle.config["linux"]["maskedPaths"] = json!(["/proc/kcore", "/proc/keys", "/etc/passwd"]);
        for place in ["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"] {
            bundle.unmount(place);
        }
        let dev = bundle.scratch.path().join("dev");
        fs::create_dir(&dev).unwrap();
        match kind {
            "file" => fs::write(dev.join("null"), "").unwrap(),
            "link" => symlink("/proc/sysrq-trigger", dev.join("null")).unwrap(),
            _ => {
                let kind = rustix::fs::FileType::CharacterDevice;
                let zero = rustix::fs::makedev(1, 5);
                rustix::fs::mknodat(rustix::fs::CWD, dev.join("null"), kind, 0o666.into(), zero).unwrap();
            }
        }
        bundle.mount(json!({"destination": "/dev", "type": "bind", "source": dev, "options": ["rbind"]}));
        bundle.run().refused(1, &["container's /dev/null is invalid"]);
        bundle.nothing_left();
        host.check();
    }
}

#[test]
fn t05_mount_destinations_lead_out() {
    needs!(root, "busybox");
    let destinations = [
        "/up/cron.d",
        "/root-link/tmp/inside",
        "../../../../tripwire/sub",
        "relative/place",
        "/absolute",
        "/dangling/x",
        "/loop/x",
        "/dangling",
    ];
    for destination in destinations {
        for kind in ["tmpfs", "bind"] {
            let mut bundle = Bundle::new("true");
            let (folder, host) = tripwire(&bundle);
            let root = bundle.rootfs("");
            symlink("../../..", root.join("up")).unwrap();
            symlink("/", root.join("root-link")).unwrap();
            symlink(&folder, root.join("absolute")).unwrap();
            symlink("nowhere", root.join("dangling")).unwrap();
            symlink("loop", root.join("loop")).unwrap();
            let source = bundle.scratch.file("source", "from the host");
            bundle.mount(match kind {
                "bind" => json!({"destination": destination, "source": source, "options": ["bind", "ro"]}),
                kind => json!({"destination": destination, "type": kind, "source": kind}),
            });
            // Refused, or mounted inside: both are right.
            let outcome = bundle.run().run();
            outcome.require(outcome.code() <= 1, "an end without a signal");
            bundle.nothing_left();
            host.check();
        }
    }
}

#[test]
fn t06_destinations_that_are_never_right() {
    needs!(root, "busybox");
    symlinks_into_proc();
    for (destination, words) in [
        ("/", "on the top of rootfs"),
        (".", "on the top of rootfs"),
        ("/x/..", "on the top of rootfs"),
        ("/proc", "not of type proc"),
        ("/proc/self/attr", "inside /proc"),
        ("/proc/../proc/sys", "inside /proc"),
    ] {
        let mut bundle = Bundle::new("true");
        let (folder, host) = tripwire(&bundle);
        bundle.mount(json!({"destination": destination, "source": folder, "options": ["bind"]}));
        bundle.run().refused(1, &["mounts[7].destination", words]);
        bundle.nothing_left();
        host.check();
    }
}

fn symlinks_into_proc() {
    for target in ["/proc/self", "proc/sys", "/proc/self/fd/3", "/proc/1/root"] {
        let mut bundle = Bundle::new("true");
        let (folder, host) = tripwire(&bundle);
        symlink(target, bundle.rootfs("lead")).unwrap();
        bundle.mount(json!({"destination": "/lead", "source": folder, "options": ["bind"]}));
        bundle.run().refused(1, &["error mounting"]);
        bundle.nothing_left();
        host.check();
    }
}

#[test]
fn t08_directories_and_programs_by_descriptor() {
    needs!(root, "busybox");
    for number in 0..20 {
        let mut bundle = Bundle::new("pwd; ls");
        let (_folder, host) = tripwire(&bundle);
        bundle.config["process"]["cwd"] = json!(format!("/proc/self/fd/{number}"));
        bundle.run().refused(1, &["chdir to cwd"]);
        host.check();
    }
    for cwd in ["/link", "/proc/1/cwd", "/proc/self/root"] {
        let mut bundle = Bundle::new("pwd; ls");
        symlink("/proc/self/fd/7", bundle.rootfs("link")).unwrap();
        bundle.config["process"]["cwd"] = json!(cwd);
        bundle.run().refused(1, &["chdir to cwd"]);
    }
    for program in ["/proc/self/exe", "/proc/self/fd/3", "/link", "/proc/1/exe"] {
        let mut bundle = Bundle::new("true");
        symlink("/proc/self/exe", bundle.rootfs("link")).unwrap();
        bundle.config["process"]["args"] = json!([program]);
        bundle.run().refused(1, &["exec: "]);
        bundle.nothing_left();
    }
}

#[test]
fn t10_masked_and_read_only_paths() {
    needs!(root, "busybox");
    let mut bundle = Bundle::new(
        "cat /etc/secret /etc/missing 2>/dev/null; ls -A /root; touch /tmp/x /var/x 2>/dev/null && echo written; true",
    );
    let (folder, host) = tripwire(&bundle);
    bundle.config["root"]["readonly"] = json!(false);
    fs::write(bundle.rootfs("etc/secret"), "secret").unwrap();
    fs::write(bundle.rootfs("root/secret"), "secret").unwrap();
    bundle.config["linux"]["maskedPaths"] = json!(["/etc/secret", "/root", "/root", "/none", "/etc/secret/below"]);
    bundle.config["linux"]["readonlyPaths"] = json!(["/tmp", "/var", "/none", "/tmp"]);
    let outcome = bundle.run().ok();
    assert_eq!(outcome.stdout, "");
    // A link is refused for what it is; where it leads is never looked at.
    for list in ["maskedPaths", "readonlyPaths"] {
        let mut bundle = Bundle::new("true");
        symlink(folder.join("passwd"), bundle.rootfs("etc/link")).unwrap();
        bundle.config["linux"][list] = json!(["/etc/link"]);
        bundle.run().run();
        bundle.nothing_left();
    }
    for path in ["/", "relative", "/../x"] {
        let mut bundle = Bundle::new("true");
        bundle.config["linux"]["maskedPaths"] = json!([path]);
        bundle.run().refused(1, &["linux.maskedPaths[0]"]);
    }
    bundle.nothing_left();
    host.check();
}

#[test]
fn t18_descriptors_do_not_leak() {
    needs!(root, "busybox");
    let bundle = Bundle::new("ls /proc/$$/fd; true");
    let line = bundle.run().line();
    let many = (3..50).map(|n| format!("{n}</")).collect::<Vec<_>>().join(" ");
    let outcome =
        support::Cmd::new("bash").args(["-c", &format!("exec {many}; {line}")]).cwd(bundle.scratch.work()).ok();
    let fds: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(fds, ["0", "1", "2"]);
    let line = bundle.command(["run", "--preserve-fds", "1", "test"]).line();
    let bash = |script: String| support::Cmd::new("bash").args(["-c", &script]).cwd(bundle.scratch.work());
    bash(format!("exec {line} 3<&-")).refused(1, &["unable to stat preserved-fd 3 (of 1)"]);
    let outcome = bash(format!("exec {line} 3</etc/passwd 4</")).ok();
    assert_eq!(outcome.stdout, "0\n1\n2\n3\n");
    bundle.nothing_left();
}

#[test]
fn t29_configurations_that_are_no_file() {
    needs!(root, "busybox");
    let bundle = Bundle::new("true");
    let (config, line) = (bundle.scratch.work().join("config.json"), bundle.run().line());
    let run = || support::Cmd::new("bash").args(["-c", &line]).cwd(bundle.scratch.work());
    fs::remove_file(&config).unwrap();
    for target in ["/dev/zero", "/dev/tty", "/", "/proc/self/fd"] {
        symlink(target, &config).unwrap();
        run().refused(1, &["config.json: "]);
        fs::remove_file(&config).unwrap();
    }
    support::Cmd::new("mkfifo").arg(&config).ok();
    run().refused(1, &["config.json: it is not a regular file"]);
    fs::remove_file(&config).unwrap();
    // No byte of it is on the disk.
    fs::File::create(&config).unwrap().set_len(1 << 40).unwrap();
    run().refused(1, &["config.json: it is longer than 16 MiB"]);
    bundle.nothing_left();
}

#[test]
fn t29_names_are_looked_at_first() {
    needs!(root, "busybox");
    let bundle = Bundle::new("true");
    for id in ["", ".", "..", "../x", "a/b", "a\nb"] {
        bundle.command(["run", id]).refused(1, &["invalid container id"]);
    }
    bundle.nothing_left();
}
