//! Sources of mounts that are not what they seem: item 11.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use serde_json::json;
use support::guard::Mounted;
use support::needs;

use crate::attack::Attack;

#[test]
fn item_11_sources_that_are_links_or_gone() {
    needs!(root, "busybox");
    let mut attack = Attack::new("cat /data/passwd");
    let folder = attack.tripwire();
    // The configuration is trusted: a link that it names is followed on the host, once, before the container exists.
    symlink(&folder, attack.scratch.work().join("link")).unwrap();
    attack.mount(json!({"destination": "/data", "source": "link", "options": ["bind", "ro"]}));
    assert_eq!(attack.run().ok().stdout, "host");
    fs::remove_file(attack.scratch.work().join("link")).unwrap();
    attack.run().refused(1, &["mounts[7].source", "no such file or directory"]);
    symlink("link", attack.scratch.work().join("link")).unwrap();
    attack.run().refused(1, &["mounts[7].source", "symbolic link"]);
}

#[test]
fn item_11_a_source_that_only_the_host_may_reach() {
    needs!(root, "busybox");
    let mut attack = Attack::new("cat /data/file; ls /data/..  | grep -c tripwire; id -u");
    let closed = attack.scratch.path().join("closed");
    fs::create_dir_all(closed.join("open")).unwrap();
    fs::write(closed.join("open/file"), "reached\n").unwrap();
    fs::set_permissions(&closed, PermissionsExt::from_mode(0o700)).unwrap();
    attack.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    for name in ["uidMappings", "gidMappings"] {
        attack.config["linux"][name] = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    }
    fs::create_dir(attack.rootfs("data")).unwrap();
    attack.mount(json!({"destination": "/data", "source": closed.join("open"), "options": ["bind", "ro"]}));
    assert_eq!(attack.run().run().stdout, "reached\n0\n0\n");
}

#[test]
fn item_11_what_is_mounted_below_a_source() {
    needs!(root, "busybox");
    for (options, written) in [(["rbind", "ro"], "written\n"), (["rbind", "rro"], "")] {
        let mut attack =
            Attack::new("for d in /data /data/sub; do (echo >$d/x) 2>/dev/null && echo written; done; true");
        let source = attack.scratch.path().join("source");
        let _below = Mounted::tmpfs(&source.join("sub"), "1m");
        attack.mount(json!({"destination": "/data", "source": source, "options": options}));
        assert_eq!(attack.run().ok().stdout, written, "{options:?}");
        assert!(!source.join("x").exists());
        assert_eq!(source.join("sub/x").exists(), !written.is_empty());
    }
}

#[test]
fn item_11_a_source_whose_users_are_mapped() {
    needs!(root, "busybox");
    let mapped = |script: &str, source: &std::path::Path, outside: u32| {
        let mut attack = Attack::new(script);
        let mapping = json!([{"containerID": 0, "hostID": outside, "size": 10}]);
        attack.mount(json!({
            "destination": "/data", "source": source, "options": ["bind", "idmap"],
            "uidMappings": mapping, "gidMappings": mapping,
        }));
        attack
    };
    let folder = support::Scratch::new();
    let script = "stat -c %u /data/mine /data/other; chown 0 /data/mine 2>/dev/null && echo given; true";
    for (name, owner) in [("mine", 0), ("other", 70)] {
        fs::write(folder.work().join(name), "").unwrap();
        std::os::unix::fs::chown(folder.work().join(name), Some(owner), Some(owner)).unwrap();
    }
    // Root's own file is another user's there; one that is not mapped is nobody's, and root there may not take it.
    assert_eq!(mapped(script, &folder.work(), 5000).run().ok().stdout, "5000\n65534\n");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&fs::metadata(folder.work().join("mine")).unwrap()), 0);
    mapped("true", "/proc".as_ref(), 5000).run().refused(1, &["mounts[7].source", "/proc"]);
}

#[test]
fn item_11_a_user_namespace_does_not_unlock_options() {
    needs!(root, "busybox");
    let mut attack = Attack::new(
        "for o in suid dev exec rw; do mount -o remount,bind,$o /data 2>/dev/null && echo unlocked $o; done; \
         umount /data 2>/dev/null && echo unmounted; true",
    );
    attack.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    for name in ["uidMappings", "gidMappings"] {
        attack.config["linux"][name] = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    }
    // CAP_SETFCAP: the kernel asks for it before it maps user 0 once more.
    let all = json!(["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE", "CAP_SETFCAP"]);
    for set in ["bounding", "effective", "permitted"] {
        attack.config["process"]["capabilities"][set] = all.clone();
    }
    let source = attack.scratch.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::create_dir(attack.rootfs("data")).unwrap();
    attack.mount(json!({
        "destination": "/data", "source": source, "options": ["bind", "ro", "nosuid", "nodev", "noexec"],
    }));
    // With a mount namespace that the container's user namespace owns, it may change its own mounts, but a process that
    // makes another pair of namespaces may not: what it inherits is locked.
    let script = attack.config["process"]["args"][2].as_str().unwrap().to_owned();
    attack.config["process"]["args"] = json!(["unshare", "-U", "-r", "-m", "sh", "-c", script]);
    assert_eq!(attack.run().ok().stdout, "");
}
