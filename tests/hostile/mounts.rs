//! Mounts, masks and read-only paths that lead elsewhere: items 5, 6 and 10.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;
use support::needs;

use crate::attack::Attack;

#[test]
fn item_05_mount_destinations_lead_out() {
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
            let mut attack = Attack::new("true");
            let folder = attack.tripwire();
            let root = attack.rootfs("");
            symlink("../../..", root.join("up")).unwrap();
            symlink("/", root.join("root-link")).unwrap();
            symlink(&folder, root.join("absolute")).unwrap();
            symlink("nowhere", root.join("dangling")).unwrap();
            symlink("loop", root.join("loop")).unwrap();
            let source = attack.scratch.file("source", "from the host");
            attack.mount(match kind {
                "bind" => json!({"destination": destination, "source": source, "options": ["bind", "ro"]}),
                kind => json!({"destination": destination, "type": kind, "source": kind}),
            });
            // Refused, or mounted inside: both are right.
            let outcome = attack.run().run();
            outcome.require(outcome.code() <= 1, "an end without a signal");
        }
    }
}

#[test]
fn item_06_destinations_that_are_never_right() {
    needs!(root, "busybox");
    symlinks_into_proc();
    for (destination, words) in [
        ("/", "on the top of rootfs"),
        (".", "on the top of rootfs"),
        ("/x/..", "on the top of rootfs"),
        ("/proc", "not of type proc"),
        ("/proc/self/attr", "inside /proc"),
        ("/proc/../proc/sys", "inside /proc"),
        ("/proc/self/exe", "inside /proc"),
        ("/proc/self/fd/5", "inside /proc"),
    ] {
        let mut attack = Attack::new("true");
        let folder = attack.tripwire();
        attack.mount(json!({"destination": destination, "source": folder, "options": ["bind"]}));
        attack.run().refused(1, &["mounts[7].destination", words]);
    }
}

#[test]
fn item_06_an_overlay_poses_as_proc() {
    needs!(root, "busybox");
    let mut attack = Attack::new("true");
    let folder = attack.scratch.path().join("layers");
    for name in ["upper", "work"] {
        fs::create_dir_all(folder.join(name)).unwrap();
    }
    let (upper, work) = (folder.join("upper"), folder.join("work"));
    let options =
        ["lowerdir=/proc".to_owned(), format!("upperdir={}", upper.display()), format!("workdir={}", work.display())];
    for destination in ["/proc", "/proc/sys", "/lead/sys"] {
        let mut bundle = attack.config.clone();
        std::mem::swap(&mut attack.config, &mut bundle);
        if destination == "/lead/sys" {
            symlink("/proc", attack.rootfs("lead")).unwrap();
        }
        attack.mount(json!({"destination": destination, "type": "overlay", "source": "overlay", "options": options}));
        attack.run().refused(1, &["proc"]);
        attack.config = bundle;
    }
}

fn symlinks_into_proc() {
    for target in ["/proc/self", "proc/sys", "/proc/self/fd/3", "/proc/1/root"] {
        let mut attack = Attack::new("true");
        let folder = attack.tripwire();
        symlink(target, attack.rootfs("lead")).unwrap();
        attack.mount(json!({"destination": "/lead", "source": folder, "options": ["bind"]}));
        attack.run().refused(1, &["error mounting"]);
    }
}

#[test]
fn item_10_masked_and_read_only_paths() {
    needs!(root, "busybox");
    let mut attack = Attack::new(
        "cat /etc/secret /etc/missing 2>/dev/null; ls -A /root; touch /tmp/x /var/x 2>/dev/null && echo written; true",
    );
    let folder = attack.tripwire();
    attack.config["root"]["readonly"] = json!(false);
    fs::write(attack.rootfs("etc/secret"), "secret").unwrap();
    fs::write(attack.rootfs("root/secret"), "secret").unwrap();
    attack.config["linux"]["maskedPaths"] = json!(["/etc/secret", "/root", "/root", "/none", "/etc/secret/below"]);
    attack.config["linux"]["readonlyPaths"] = json!(["/tmp", "/var", "/none", "/tmp"]);
    let outcome = attack.run().ok();
    assert_eq!(outcome.stdout, "");
    // A link is refused for what it is; where it leads is never looked at.
    for list in ["maskedPaths", "readonlyPaths"] {
        let mut attack = Attack::new("true");
        symlink(folder.join("passwd"), attack.rootfs("etc/link")).unwrap();
        attack.config["linux"][list] = json!(["/etc/link"]);
        attack.run().run();
    }
    for path in ["/", "relative", "/../x"] {
        let mut attack = Attack::new("true");
        attack.config["linux"]["maskedPaths"] = json!([path]);
        attack.run().refused(1, &["linux.maskedPaths[0]"]);
    }
}

#[test]
fn item_10_covers_on_covers_and_on_file_systems_of_the_container() {
    needs!(root, "busybox");
    let mut attack = Attack::new(
        "cat /vol/masked 2>/dev/null; cat /vol/hidden/* /vol/hidden 2>/dev/null; for f in /vol/ro/x /vol/ro-file /vol/hidden/x; do \
         (echo y >$f) 2>/dev/null && echo written $f; done; true",
    );
    let volume = attack.scratch.path().join("volume");
    for name in ["hidden", "ro"] {
        fs::create_dir_all(volume.join(name)).unwrap();
    }
    for name in ["masked", "ro-file", "hidden/file"] {
        fs::write(volume.join(name), "secret").unwrap();
    }
    // A directory where a file was, and a file where a directory was.
    attack.mount(json!({"destination": "/vol", "source": volume, "options": ["rbind"]}));
    let masked = ["/vol/masked", "/vol/masked/below", "/vol/hidden", "/vol/hidden/file", "/vol//hidden/", "/vol/none"];
    attack.config["linux"]["maskedPaths"] = json!(masked);
    attack.config["linux"]["readonlyPaths"] = json!(["/vol/ro", "/vol/ro-file", "/vol/ro", "/vol/none/below"]);
    assert_eq!(attack.run().ok().stdout, "");
    for name in ["hidden", "masked"] {
        let path = volume.join(name);
        crate::attack::remove(&path);
        if name == "hidden" { fs::write(path, "secret").unwrap() } else { fs::create_dir(path).unwrap() }
    }
    assert_eq!(attack.run().run().stdout, "");
}
