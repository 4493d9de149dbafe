//! Mounts as the container sees them.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use common::Bundle;
use serde_json::{Value, json};
use support::{Cmd, HostState, Outcome, needs};

/// Prints the options of all mounts at and below a path.
const SHOW: &str = "awk '$5 ~ \"^/m\" {print $5, $6, $7, $8, $9}' /proc/self/mountinfo";

/// A bundle whose root file system can be written to, with `/m` to mount on.
fn bundle(script: &str) -> Bundle {
    let mut bundle = Bundle::new(script);
    bundle.config["root"]["readonly"] = json!(false);
    fs::create_dir(bundle.rootfs("m")).unwrap();
    bundle
}

/// A directory of the host with another mounted in it, gone with the bundle's scratch folder.
fn nested(bundle: &Bundle) -> PathBuf {
    let outer = bundle.scratch.work().join("outer");
    fs::create_dir_all(outer.join("inner")).unwrap();
    Cmd::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&outer).ok();
    fs::create_dir_all(outer.join("inner")).unwrap();
    Cmd::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(outer.join("inner")).ok();
    outer
}

/// What `/proc/self/mountinfo` says of a mount in the container.
#[track_caller]
fn options(outcome: &Outcome, path: &str) -> Vec<String> {
    let line = outcome.stdout.lines().find(|line| line.split(' ').next() == Some(path));
    outcome.require(line.is_some(), &format!("a mount at {path}"));
    line.unwrap().split([' ', ',']).skip(1).map(str::to_owned).collect()
}

fn with_mount(mount: Value, script: &str) -> Outcome {
    let mut bundle = bundle(script);
    let outer = nested(&bundle);
    let mut mount = mount;
    if mount.get("source").is_none() {
        mount["source"] = json!(outer);
    }
    bundle.mount(mount);
    let outcome = bundle.run().run();
    for path in [outer.join("inner"), outer] {
        Cmd::new("umount").arg(path).ok();
    }
    outcome
}

#[test]
fn attributes_act_on_one_mount_or_on_all_below() {
    needs!(root, "busybox");
    let host = HostState::new();
    for (option, name) in [
        ("ro", "ro"),
        ("nosuid", "nosuid"),
        ("nodev", "nodev"),
        ("noexec", "noexec"),
        ("noatime", "noatime"),
        ("nodiratime", "nodiratime"),
        ("nosymfollow", "nosymfollow"),
    ] {
        let one = json!({"destination": "/m", "options": ["rbind", option]});
        let outcome = with_mount(one, SHOW);
        let has = |path: &str| options(&outcome, path).iter().any(|o| o == name);
        outcome.require(has("/m") && !has("/m/inner"), &format!("{option} on the top only"));
        let all = json!({"destination": "/m", "options": ["rbind", format!("r{option}")]});
        let outcome = with_mount(all, SHOW);
        let has = |path: &str| options(&outcome, path).iter().any(|o| o == name);
        outcome.require(has("/m") && has("/m/inner"), &format!("r{option} on both"));
        let none = json!({"destination": "/m", "options": ["rbind", option, format!("r{}", opposite(option))]});
        let outcome = with_mount(none, SHOW);
        let has = |path: &str| options(&outcome, path).iter().any(|o| o == name);
        outcome.require(!has("/m") && !has("/m/inner"), &format!("{option} on neither"));
    }
    host.check();
}

fn opposite(option: &str) -> String {
    if option == "ro" { "rw".to_owned() } else { option.replacen("no", "", 1) }
}

#[test]
fn propagation_is_as_asked_for() {
    needs!(root, "busybox");
    for (asked, words) in [
        ("rprivate", ["-", "-"]),
        ("private", ["-", "master:"]),
        ("rslave", ["master:", "master:"]),
        ("rshared", ["shared:", "shared:"]),
        ("shared", ["shared:", "master:"]),
        ("runbindable", ["unbindable", "unbindable"]),
    ] {
        // The host's must be shared for others to be its slaves.
        let mut bundle = bundle(SHOW);
        let outer = nested(&bundle);
        Cmd::new("mount").args(["--make-rshared"]).arg(&outer).ok();
        bundle.mount(json!({"destination": "/m", "source": outer, "options": ["rbind", asked]}));
        let outcome = bundle.run().run();
        for path in [outer.join("inner"), outer] {
            Cmd::new("umount").arg(path).ok();
        }
        for (path, word) in ["/m", "/m/inner"].into_iter().zip(words) {
            let has = options(&outcome, path).iter().any(|o| o.starts_with(word));
            outcome.require(has, &format!("{asked}: {word} at {path}"));
        }
    }
}

#[test]
fn ids_are_mapped() {
    needs!(root, "busybox");
    let host = HostState::new();
    let map = |host: u32| json!([{"containerID": 0, "hostID": host, "size": 1000}]);
    let ids = |mount: Value| -> Outcome {
        let mut bundle = bundle("stat -c %u:%g /m/file /m/inner/file; touch /m/new");
        let outer = nested(&bundle);
        for file in ["file", "inner/file"] {
            fs::write(outer.join(file), "").unwrap();
            chown(outer.join(file), Some(5), Some(6)).unwrap();
        }
        let mut mount = mount;
        (mount["destination"], mount["source"]) = (json!("/m"), json!(outer));
        bundle.mount(mount);
        let outcome = bundle.run().run();
        for path in [outer.join("inner"), outer] {
            Cmd::new("umount").arg(path).ok();
        }
        outcome
    };
    let both = |options: Value| ids(json!({"options": options, "uidMappings": map(1000), "gidMappings": map(2000)}));
    assert_eq!(both(json!(["rbind", "idmap"])).stdout, "1005:2006\n5:6\n");
    assert_eq!(both(json!(["rbind", "ridmap"])).stdout, "1005:2006\n1005:2006\n");
    assert_eq!(both(json!(["rbind"])).stdout, "1005:2006\n5:6\n");
    ids(json!({"options": ["rbind", "idmap"]})).says(&["uidMappings and gidMappings, or a new user namespace"]);
    ids(json!({"options": ["rbind", "idmap"], "uidMappings": map(0)})).says(&["both uid and gid mappings"]);
    let tmpfs = json!({"type": "tmpfs", "uidMappings": map(0), "gidMappings": map(0)});
    ids(tmpfs).says(&["id-mapped mounts are only supported for bind mounts"]);
    host.check();
}

/// What belongs to root on the host belongs to the container's root, whoever that is on the host.
#[test]
fn ids_are_mapped_as_the_containers_are() {
    needs!(root, "busybox");
    let mut bundle = bundle("stat -c %u:%g /m/file; echo x >/m/new && stat -c %u:%g /m/new");
    let source = bundle.scratch.work().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "").unwrap();
    let linux = &mut bundle.config["linux"];
    linux["uidMappings"] = json!([{"containerID": 0, "hostID": 400000, "size": 65536}]);
    linux["gidMappings"] = linux["uidMappings"].clone();
    linux["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    bundle.mount(json!({"destination": "/m", "source": source, "options": ["bind", "idmap"]}));
    assert_eq!(bundle.run().ok().stdout, "0:0\n0:0\n");
    let new = fs::metadata(source.join("new")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&new), 0);
}

#[test]
fn a_tmpfs_is_filled_with_what_it_covers() {
    needs!(root, "busybox");
    let mut bundle = bundle(
        "stat -c '%a %u %n' /m /m/file /m/dir; cat /m/file /m/dir/other; readlink /m/link; \
         echo changed >/m/file && cat /m/file; stat -c %a /empty /new",
    );
    let place = bundle.rootfs("m");
    fs::create_dir(place.join("dir")).unwrap();
    fs::write(place.join("file"), "content\n").unwrap();
    fs::write(place.join("dir/other"), "other\n").unwrap();
    symlink("/etc/shadow", place.join("link")).unwrap();
    fs::set_permissions(place.join("file"), PermissionsExt::from_mode(0o666)).unwrap();
    fs::set_permissions(&place, PermissionsExt::from_mode(0o751)).unwrap();
    chown(place.join("file"), Some(7), Some(7)).unwrap();
    fs::create_dir(bundle.rootfs("empty")).unwrap();
    fs::set_permissions(bundle.rootfs("empty"), PermissionsExt::from_mode(0o1700)).unwrap();
    bundle.mount(json!({"destination": "/m", "type": "tmpfs", "options": ["tmpcopyup", "size=1m"]}));
    bundle.mount(json!({"destination": "/empty", "type": "tmpfs"}));
    bundle.mount(json!({"destination": "new", "type": "tmpfs"}));
    bundle.run().ok().prints(&[
        "751 0 /m\n666 7 /m/file\n755 0 /m/dir\n",
        "content\nother\n/etc/shadow\nchanged\n",
        "1700\n1777\n",
    ]);
    assert_eq!(fs::read(place.join("file")).unwrap(), b"content\n", "the root file system stays as it is");
    bundle.mount(json!({"destination": "/tmp", "type": "ramfs", "options": ["tmpcopyup"]}));
    bundle.run().refused(1, &["mounts[10].options", "tmpcopyup"]);
}

#[test]
fn what_is_mounted_is_mounted_anew() {
    needs!(root, "busybox");
    let mut bundle = bundle(&format!("{SHOW}; df -k /m | tail -1; touch /m/x 2>&1"));
    bundle.mount(json!({"destination": "/m", "type": "tmpfs", "options": ["size=1m"]}));
    bundle.mount(json!({"destination": "/m", "type": "tmpfs", "options": ["remount", "size=2m", "nosuid"]}));
    bundle.mount(json!({"destination": "/m", "type": "none", "options": ["remount", "bind", "noexec", "ro"]}));
    let outcome = bundle.run().run();
    outcome.prints(&[" 2048 ", "touch: /m/x: Read-only file system"]);
    let seen = options(&outcome, "/m");
    outcome.require(["ro", "nosuid", "noexec"].iter().all(|o| seen.iter().any(|s| s == o)), "all options");
    bundle.unmount("/m");
    bundle.mount(json!({"destination": "/m", "options": ["remount", "bind", "ro"]}));
    let refused = ["error mounting \"remount\" to rootfs at \"/m\"", "invalid argument"];
    bundle.run().refused(1, &refused);
    let last = bundle.config["mounts"].as_array_mut().unwrap().last_mut().unwrap();
    last["options"] = json!(["remount"]);
    bundle.run().refused(1, &refused);
}

#[test]
fn read_only_comes_after_what_is_put_there() {
    needs!(root, "busybox");
    let mut bundle =
        bundle("touch /dev/x 2>&1; touch /m/x 2>&1; stat -c %t:%T /dev/null; ls -d /m/below/proc; touch /m/below/x");
    let mounts = bundle.config["mounts"].as_array_mut().unwrap();
    let dev = mounts.iter_mut().find(|m| m["destination"] == "/dev").unwrap();
    dev["options"].as_array_mut().unwrap().push(json!("ro"));
    bundle.mount(json!({"destination": "/m", "type": "tmpfs", "options": ["ro"]}));
    bundle.mount(json!({"destination": "/m/below", "type": "bind", "source": "rootfs", "options": ["rbind"]}));
    bundle.run().ok().prints(&[
        "touch: /dev/x: Read-only file system\n",
        "touch: /m/x: Read-only file system\n",
        "1:3\n",
        "/m/below/proc\n",
    ]);
}

#[test]
fn options_in_vain_are_no_mistake() {
    needs!(root, "busybox");
    let outcome = with_mount(json!({"destination": "/m", "options": ["bind", "sync"]}), "true");
    outcome.require(outcome.code() == 0, "success");
    let mut bundle = bundle(SHOW);
    bundle.mount(json!({"destination": "/m", "type": "tmpfs", "options": ["sync", "dirsync", "silent", "lazytime", "mand", "nomand"]}));
    bundle.run().ok();
    bundle.mount(json!({"destination": "/tmp", "type": "tmpfs", "options": ["nonsense=1"]}));
    bundle.run().refused(1, &["error mounting \"tmpfs\" to rootfs at \"/tmp\": option \"nonsense\""]);
}

/// Whatever the host has, a container sees its own cgroup there and cannot leave it.
#[test]
fn cgroups_are_the_containers_own() {
    needs!(root, "busybox");
    for own_namespace in [false, true] {
        let mut bundle = bundle(
            "for dir in /sys/fs/cgroup/*/; do test -e $dir/cgroup.procs && cat $dir/cgroup.procs | head -1; done; \
             touch /sys/fs/cgroup/x 2>&1; mkdir /sys/fs/cgroup/pids/x /sys/fs/cgroup/x 2>&1",
        );
        bundle.config["linux"]["resources"] = json!({"pids": {"limit": 50}});
        if own_namespace {
            let namespaces = bundle.config["linux"]["namespaces"].as_array_mut().unwrap();
            namespaces.push(json!({"type": "cgroup"}));
        }
        let outcome = bundle.run().run();
        outcome.prints(&["1\n", "touch: /sys/fs/cgroup/x: Read-only file system"]);
        outcome.require(outcome.stdout.matches("Read-only").count() == 3, "nothing to be made anywhere");
    }
}

/// A node that the configuration binds and lists as well stays as it is on the host.
#[test]
fn devices_that_are_there_stay_as_they_are() {
    needs!(root, "busybox");
    let mut bundle = bundle("stat -c '%t:%T %u' /dev/mine");
    let node = bundle.scratch.work().join("node");
    Cmd::new("mknod").arg(&node).args(["c", "1", "5"]).ok();
    chown(&node, Some(7), Some(7)).unwrap();
    bundle.mount(json!({"destination": "/dev/mine", "source": node, "options": ["bind"]}));
    bundle.config["linux"]["devices"] =
        json!([{"path": "/dev/mine", "type": "c", "major": 1, "minor": 5, "uid": 8, "gid": 8}]);
    assert_eq!(bundle.run().ok().stdout, "1:5 7\n");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&fs::metadata(&node).unwrap()), 7);
    bundle.config["linux"]["devices"][0]["minor"] = json!(3);
    bundle.run().refused(1, &["/dev/mine exists and is not the device it should be"]);
}

/// Mount tables have the order of the configuration, whoever can open or copy what is mounted.
#[test]
fn mounts_are_listed_in_their_order() {
    needs!(root, "busybox");
    let host = HostState::new();
    let mut bundle = bundle("grep -o ' /mnt/[a-z]* ' /proc/self/mountinfo | tr -d '\\n'; cat /mnt/closed/file");
    let closed = bundle.scratch.work().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::write(closed.join("file"), "content\n").unwrap();
    let names = ["one", "two", "mapped", "closed", "three", "six", "four"];
    for name in names {
        let destination = format!("/mnt/{name}");
        bundle.mount(match name {
            "one" | "two" | "six" => {
                json!({"destination": destination, "source": "/etc", "options": ["rbind", "ro", "rprivate"]})
            }
            "closed" => json!({"destination": destination, "source": closed, "options": ["bind"]}),
            "mapped" => {
                let map = json!([{"containerID": 0, "hostID": 1000, "size": 1000}]);
                json!({"destination": destination, "source": closed, "options": ["bind", "idmap"],
                       "uidMappings": map, "gidMappings": map})
            }
            _ => json!({"destination": destination, "type": "tmpfs", "source": "tmpfs"}),
        });
    }
    let listed = names.map(|name| format!(" /mnt/{name} ")).concat() + "content\n";
    assert_eq!(bundle.run().ok().stdout, listed);
    // The user of a user namespace cannot go where the bundle is.
    let linux = &mut bundle.config["linux"];
    linux["uidMappings"] = json!([{"containerID": 0, "hostID": 400000, "size": 65536}]);
    linux["gidMappings"] = linux["uidMappings"].clone();
    linux["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    fs::set_permissions(bundle.scratch.work(), PermissionsExt::from_mode(0o700)).unwrap();
    assert_eq!(bundle.run().ok().stdout, listed);
    bundle.nothing_left();
    host.check();
}

/// The way to a source is followed once: whoever turns it meanwhile gains nothing by that.
#[test]
fn sources_are_found_once() {
    needs!(root, "busybox");
    let mut bundle = bundle("cat /m /m/file 2>/dev/null");
    let work = bundle.scratch.work().to_owned();
    fs::create_dir(work.join("directory")).unwrap();
    fs::write(work.join("directory/file"), "whole").unwrap();
    fs::write(work.join("single"), "whole").unwrap();
    symlink("single", work.join("way")).unwrap();
    fs::remove_dir(bundle.rootfs("m")).unwrap();
    let source = work.join("way");
    // A file system before it, so that it is copied late.
    bundle.mount(json!({"destination": "/mnt", "type": "tmpfs"}));
    bundle.mount(json!({"destination": "/m", "source": source, "options": ["bind"]}));
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for to in ["directory", "single"].into_iter().cycle() {
                symlink(to, work.join("next")).unwrap();
                fs::rename(work.join("next"), work.join("way")).unwrap();
                if over.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        let outcomes: Vec<Outcome> = (0..20)
            .map(|_| {
                // What one made to mount on, the next may not need.
                let _none = fs::remove_file(bundle.rootfs("m")).or_else(|_| fs::remove_dir(bundle.rootfs("m")));
                bundle.run().run()
            })
            .collect();
        over.store(true, Ordering::Relaxed);
        outcomes.iter().for_each(|outcome| outcome.require(outcome.stdout == "whole", "the same to the end"));
    });
    bundle.mount(json!({"destination": "/other", "source": work.join("none"), "options": ["bind"]}));
    bundle.run().refused(1, &["].source", "none: no such file or directory"]);
}

#[test]
fn links_of_the_image_take_no_protection_away() {
    needs!(root, "busybox");
    let host = HostState::new();
    let mut bundle = bundle("echo x >>/etc/passwd; touch /etc/new; cat /hidden; ls /secret");
    fs::create_dir_all(bundle.rootfs("etc/inner")).unwrap();
    fs::write(bundle.rootfs("etc/passwd"), "root\n").unwrap();
    fs::write(bundle.rootfs("etc/inner/file"), "").unwrap();
    fs::write(bundle.rootfs("hidden"), "visible\n").unwrap();
    for (target, link) in [("etc", "m/etc"), ("../etc/inner", "m/inner"), ("../hidden", "m/hidden")] {
        symlink(target, bundle.rootfs(link)).unwrap();
    }
    fs::remove_file(bundle.rootfs("m/etc")).unwrap();
    symlink("/etc", bundle.rootfs("m/etc")).unwrap();
    symlink("etc/inner", bundle.rootfs("secret")).unwrap();
    bundle.config["linux"]["readonlyPaths"] = json!(["/m/etc"]);
    bundle.config["linux"]["maskedPaths"] = json!(["/m/hidden", "/m/inner"]);
    let outcome = bundle.run().run();
    outcome.says(&["/etc/passwd: Read-only file system", "/etc/new: Read-only file system"]);
    outcome.require(outcome.stdout.is_empty(), "what is masked to stay hidden");
    host.check();
}

#[test]
fn what_links_lead_to_is_made_to_mount_on() {
    needs!(root, "busybox");
    let host = HostState::new();
    let mut bundle = bundle(
        "cat /var/run/secrets/token/file; echo new >/run/lock/file; cat /var/lock/file; cat /etc/resolv.conf /run/dns/conf",
    );
    let source = bundle.scratch.work().join("token");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "secret\n").unwrap();
    fs::create_dir_all(bundle.rootfs("var")).unwrap();
    symlink("/run", bundle.rootfs("var/run")).unwrap();
    symlink("../run/lock", bundle.rootfs("var/lock")).unwrap();
    bundle.mount(
        json!({"destination": "/var/run/secrets/token", "type": "bind", "source": source, "options": ["rbind", "ro"]}),
    );
    bundle.mount(json!({"destination": "/var/lock", "type": "tmpfs"}));
    // A file by two links, of which the second does not lead out of the root.
    symlink("../../../run/dns/conf", bundle.rootfs("run-dns")).unwrap();
    symlink("../run-dns", bundle.rootfs("etc/resolv.conf")).unwrap();
    bundle.mount(
        json!({"destination": "/etc/resolv.conf", "type": "bind", "source": source.join("file"), "options": ["bind"]}),
    );
    bundle.run().ok().prints(&["secret\nnew\nsecret\nsecret\n"]);
    assert!(bundle.rootfs("run/secrets/token").is_dir());
    assert!(bundle.rootfs("run/dns/conf").is_file());
    // In circles they lead nowhere.
    symlink("two", bundle.rootfs("one")).unwrap();
    symlink("one/x", bundle.rootfs("two")).unwrap();
    bundle.mount(json!({"destination": "/one/y", "type": "tmpfs"}));
    bundle.run().refused(1, &["at \"/one/y\"", "symbolic links"]);
    bundle.nothing_left();
    host.check();
}

#[test]
fn there_may_be_more_mounts_than_the_process_may_have_descriptors() {
    needs!(root, "busybox");
    let host = HostState::new();
    let mut bundle = bundle("ulimit -n; ls /m | wc -l");
    let file = bundle.scratch.file("file", "");
    for i in 0..100 {
        bundle.mount(json!({"destination": format!("/m/{i}"), "type": "bind", "source": file, "options": ["bind"]}));
    }
    for limit in [8, 24, 64] {
        bundle.config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": limit, "hard": limit}]);
        bundle.run().ok().prints(&[&format!("{limit}\n100\n")]);
        bundle.command(["create", "one"]).ok();
        bundle.command(["start", "one"]).ok();
        bundle.command(["delete", "--force", "one"]).ok();
    }
    host.check();
}
