//! Root file systems whose own directories are something else: items 1 to 4.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::json;
use support::needs;

use crate::attack::{Attack, remove};

#[test]
fn item_01_proc_and_sys_are_not_ordinary_directories() {
    needs!(root, "busybox");
    for place in ["proc", "sys"] {
        for target in [Some("/tmp/x"), Some("../../.."), None] {
            let attack = Attack::new("true");
            let folder = attack.tripwire();
            remove(&attack.rootfs(place));
            match target {
                Some("/tmp/x") => symlink(&folder, attack.rootfs(place)).unwrap(),
                Some(target) => symlink(target, attack.rootfs(place)).unwrap(),
                None => fs::write(attack.rootfs(place), "file").unwrap(),
            }
            attack.run().refused(1, &["must be mounted on ordinary directory"]);
        }
    }
}

#[test]
fn item_02_dev_leads_out() {
    needs!(root, "busybox");
    for target in ["absolute", "../../tripwire", "../../../../../../tmp"] {
        let mut attack = Attack::new("ls -l /dev/null");
        let folder = attack.tripwire();
        // With its own tmpfs and without: then the nodes go into what /dev is.
        for own in [true, false] {
            if !own {
                for place in ["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"] {
                    attack.unmount(place);
                }
            }
            let dev = attack.rootfs("dev");
            remove(&dev);
            let target = if target == "absolute" { folder.clone() } else { PathBuf::from(target) };
            symlink(target, &dev).unwrap();
            attack.run().run();
            assert!(!Path::new("/tmp/null").exists());
        }
    }
}

#[test]
fn item_02_entries_of_dev_are_links() {
    needs!(root, "busybox");
    for entry in ["pts", "shm", "fd", "ptmx", "console", "null"] {
        let mut attack = Attack::new("true");
        let folder = attack.tripwire();
        attack.unmount("/dev");
        let _missing = fs::remove_dir_all(attack.rootfs("dev").join(entry));
        symlink(folder.join(entry), attack.rootfs("dev").join(entry)).unwrap();
        attack.run().run();
    }
}

#[test]
fn item_03_console_is_something_else() {
    needs!(root, "busybox", "setsid");
    let targets: [(&str, bool); 3] = [("/proc/sysrq-trigger", true), ("/etc/passwd", true), ("directory", false)];
    for (target, link) in targets {
        let mut attack = Attack::new("true");
        attack.unmount("/dev");
        attack.config["process"]["terminal"] = json!(true);
        let console = attack.rootfs("dev/console");
        if link {
            symlink(target, &console).unwrap()
        } else {
            fs::create_dir(&console).unwrap()
        }
        attack.run().refused(1, &["/dev/console"]);
        assert!(fs::read_to_string(attack.rootfs("etc/passwd")).unwrap().starts_with("root:"));
    }
}

#[test]
fn item_03_ptmx_is_something_else() {
    needs!(root, "busybox");
    let mut attack = Attack::new("true");
    attack.unmount("/dev");
    attack.unmount("/dev/pts");
    attack.config["process"]["terminal"] = json!(true);
    fs::create_dir(attack.rootfs("dev/pts")).unwrap();
    fs::write(attack.rootfs("dev/pts/ptmx"), "").unwrap();
    attack.run().refused(1, &["/dev/pts/ptmx"]);
}

#[test]
fn item_04_null_is_not_null() {
    needs!(root, "busybox");
    for kind in ["file", "link", "zero"] {
        let mut attack = Attack::new("true");
        attack.config["linux"]["maskedPaths"] = json!(["/proc/kcore", "/proc/keys", "/etc/passwd"]);
        for place in ["/dev", "/dev/pts", "/dev/shm", "/dev/mqueue"] {
            attack.unmount(place);
        }
        let dev = attack.scratch.path().join("dev");
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
        attack.mount(json!({"destination": "/dev", "type": "bind", "source": dev, "options": ["rbind"]}));
        attack.run().refused(1, &["container's /dev/null is invalid"]);
    }
}

#[test]
fn item_03_a_terminal_already_there() {
    needs!(root, "busybox");
    // With a devpts of the container's own, what the image put at the terminal's number is covered by it.
    let mut attack = Attack::new("tty; ls -l /dev/console | cut -c 1; echo hello");
    attack.config["process"]["terminal"] = json!(true);
    let tripwire = attack.tripwire();
    fs::create_dir_all(attack.rootfs("dev/pts")).unwrap();
    symlink(tripwire.join("console"), attack.rootfs("dev/pts/0")).unwrap();
    symlink(tripwire.join("ptmx"), attack.rootfs("dev/ptmx")).unwrap();
    let outcome = attack.run().ok();
    outcome.prints(&["hello", "/dev/pts/0"]);
    // Without one, there is nothing that makes terminals.
    attack.unmount("/dev");
    attack.unmount("/dev/pts");
    attack.run().refused(1, &["/dev/pts/ptmx"]);
}
