//! `run`: what the command sees, what of its changes lands in the build, and what does not.
#![allow(clippy::unwrap_used)] // The lint takes helpers of tests for code.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::{Child, Stdio};
use std::time::Instant;

use common::{Scratch, listing, on_busybox, store, until};
use support::{needs, rootfs};

fn sh(scratch: &Scratch, script: &str) -> String {
    scratch.ok(["run", "--", "/bin/sh", "-c", script])
}

/// The paths in the build's own root file system.
fn own(scratch: &Scratch) -> Vec<String> {
    let lines = listing(&scratch.rootfs(""));
    let mut paths: Vec<_> = lines.iter().filter_map(|line| line.split(" ").next()).map(str::to_owned).collect();
    paths.retain(|path| !path.is_empty() && path.len() < 64 && !path.starts_with('#'));
    paths.sort();
    paths.dedup();
    paths
}

#[test]
fn a_command_that_changes_nothing_changes_nothing() {
    needs!(root, "busybox");
    let scratch = on_busybox();
    let before = listing(&scratch.rootfs(""));
    sh(
        &scratch,
        "test -d /proc/self && test -c /dev/null && test -e /sys/class && grep -q localhost /etc/hosts && test -e /etc/resolv.conf",
    );
    assert_eq!(listing(&scratch.rootfs("")), before);
    assert!(scratch.history().last().unwrap().starts_with(r#"acbuild run "/bin/sh" "-c" "#));
    // What it does to the files of its network is gone with it, and the host's are not touched.
    let hosts = fs::read("/etc/hosts").unwrap();
    sh(&scratch, "echo 1.2.3.4 x >> /etc/hosts; echo > /etc/resolv.conf; ! touch /sys/x 2>/dev/null");
    assert_eq!(listing(&scratch.rootfs("")), before);
    assert_eq!(fs::read("/etc/hosts").unwrap(), hosts);
    assert!(!scratch.path(".acbuild/staging").exists());
}

#[test]
fn only_changes_land_in_the_build() {
    needs!(root, "busybox");
    let scratch = on_busybox();
    sh(
        &scratch,
        "echo new > /srv/new; chmod 640 /srv/meta; mkfifo /srv/fifo; ln -s /nowhere /srv/link; \
                  mkdir -m 1777 /srv/dir; echo x > /srv/dir/x; ln /srv/dir/x /srv/dir/y; touch -d @1000000000 /srv/dir",
    );
    assert_eq!(
        own(&scratch),
        ["srv", "srv/dir", "srv/dir/x", "srv/dir/y", "srv/fifo", "srv/link", "srv/meta", "srv/new"]
    );
    let stat = |name: &str| fs::symlink_metadata(scratch.rootfs(name)).unwrap();
    assert_eq!(stat("srv/meta").mode() & 0o7777, 0o640);
    assert_eq!(fs::read(scratch.rootfs("srv/meta")).unwrap(), b"srv/meta");
    assert_eq!((stat("srv/dir").mode() & 0o7777, stat("srv/dir").mtime()), (0o1777, 1_000_000_000));
    assert_eq!(stat("srv/dir/x").ino(), stat("srv/dir/y").ino());
    assert!(!listing(&scratch.rootfs("")).iter().any(|line| line.contains("overlay")));
    // In what is the build's own already, too.
    sh(
        &scratch,
        "rm /srv/new; echo more >> /srv/dir/x; mv /srv/fifo /srv/dir/z; rm /srv/link; mkdir /srv/link; \
                  touch -d @1000000001 /srv/dir",
    );
    assert_eq!(own(&scratch), ["srv", "srv/dir", "srv/dir/x", "srv/dir/y", "srv/dir/z", "srv/link", "srv/meta"]);
    assert_eq!((stat("srv/dir").mode() & 0o7777, stat("srv/dir").mtime()), (0o1777, 1_000_000_001));
    assert_eq!(fs::read(scratch.rootfs("srv/dir/x")).unwrap(), b"x\nmore\n");
}

#[test]
fn without_dependencies_deletions_are_plain() {
    needs!(root, "busybox");
    let scratch = Scratch::named();
    let base = scratch.path("base");
    rootfs::busybox(&base);
    scratch.ok(["copy", "base", "/"]);
    sh(&scratch, "rm -r /var /etc/group; rm /bin/yes; mkdir /bin/yes");
    assert!(!scratch.rootfs("var").exists() && !scratch.rootfs("etc/group").exists());
    assert!(scratch.rootfs("bin/yes").is_dir() && !scratch.path(".acbuild/deleted").exists());
    sh(&scratch, "rmdir /bin/yes; cp -a /bin/true /bin/yes");
    assert!(scratch.rootfs("bin/yes").is_symlink());
}

#[test]
fn what_is_deleted_of_dependencies_stays_so() {
    needs!(root, "busybox");
    let scratch = on_busybox();
    let gone = "! test -e /usr/doc/x && ! test -e /srv/old/f && test -e /srv/old/g && test -e /usr/doc/c";
    sh(&scratch, "rm -r /usr/doc/x /srv/old; mkdir /srv/old; echo g > /srv/old/g");
    sh(&scratch, gone);
    let file = scratch.file("file", "copied");
    scratch.ok(["copy", file.to_str().unwrap(), "/usr/doc/x/new"]);
    sh(&scratch, "test \"$(ls /usr/doc/x)\" = new && rm /usr/doc/c");
    scratch.ok(["write", "one.aci"]);
    let manifest = manifest_of(&scratch, "one.aci");
    let list: Vec<_> = manifest["pathWhitelist"].as_array().unwrap().iter().filter_map(|p| p.as_str()).collect();
    for path in ["/usr/doc", "/usr/doc/x", "/usr/doc/x/new", "/srv/old/g", "/bin/busybox", "/srv/meta"] {
        assert!(list.contains(&path), "{path} in {list:?}");
    }
    for path in ["/usr/doc/x/a", "/usr/doc/c", "/srv/old/f", "/proc/self", "/etc/hosts", "/etc/resolv.conf"] {
        assert!(!list.contains(&path), "{path} in {list:?}");
    }
    assert!(list.windows(2).all(|pair| pair[0] < pair[1]));
    // The image, begun with, is the same; it can be changed further, and written again.
    scratch.ok(["end"]);
    scratch.ok(["begin", "./one.aci"]);
    sh(&scratch, "! test -e /srv/old/f && test -e /srv/old/g && ! test -e /usr/doc/c");
    sh(&scratch, "test \"$(ls /usr/doc/x)\" = new && echo h > /srv/old/h");
    scratch.ok(["write", "two.aci"]);
    let two = manifest_of(&scratch, "two.aci");
    let mut list = list;
    list.insert(list.iter().position(|path| *path == "/srv/old/g").unwrap() + 1, "/srv/old/h");
    assert_eq!(two["pathWhitelist"], serde_json::json!(list));
    // The same of an image file that is changed where it lies.
    scratch.ok(["--modify-appc", "two.aci", "run", "--", "rm", "/srv/old/g", "/etc/group"]);
    let modified = manifest_of(&scratch, "two.aci");
    list.retain(|path| !["/srv/old/g", "/etc/group"].contains(path));
    assert_eq!(modified["pathWhitelist"], serde_json::json!(list));
    // What comes back needs no list.
    scratch.ok(["end"]);
    scratch.ok(["begin"]);
    scratch.ok(["set-name", "example.com/back"]);
    scratch.ok(["dependency", "add", "example.com/base"]);
    sh(&scratch, "rm /srv/meta; echo again > /srv/again");
    sh(&scratch, "echo back > /srv/meta");
    scratch.ok(["write", "three.aci"]);
    assert!(manifest_of(&scratch, "three.aci").get("pathWhitelist").is_none());
}

#[test]
fn nothing_at_all_may_be_left_of_dependencies() {
    needs!(root, "busybox");
    let scratch = on_busybox();
    let names = fs::read_dir(scratch.path("base")).unwrap().map(|entry| entry.unwrap().file_name());
    let paths: Vec<_> = names.map(|name| format!("/{}", name.into_string().unwrap())).collect();
    scratch.ok(["file", "remove"].into_iter().chain(paths.iter().map(String::as_str)));
    scratch.ok(["write", "one.aci"]);
    assert_eq!(manifest_of(&scratch, "one.aci")["pathWhitelist"], serde_json::json!(["/"]));
    // Rendered from the store.
    let store = appc_image::store::Store::open(scratch.path("store")).unwrap();
    let image = store.import(fs::File::open(scratch.path("one.aci")).unwrap(), "one.aci", &appc_image::Quiet).unwrap();
    let rendered = appc_image::render::layers(&store, &image).unwrap();
    for tree in &rendered.lower {
        assert_eq!(fs::read_dir(tree).unwrap().count(), 0, "{}", tree.display());
    }
    // Begun with, and as layers of OCI.
    scratch.ok(["end"]);
    scratch.ok(["begin", "./one.aci"]);
    scratch.refused(["run", "--", "/bin/true"], 1, "/bin/true");
    let file = scratch.file("file", "copied");
    scratch.ok(["copy", file.to_str().unwrap(), "/file"]);
    scratch.ok(["squash"]);
    assert_eq!(own(&scratch), ["file"]);
    scratch.ok(["convert", "one.aci", "oci:layout"]);
    scratch.ok(["end"]);
    scratch.ok(["begin", "--build-mode=oci", "oci:layout"]);
    assert_eq!(own(&scratch), Vec::<String>::new());
}

fn manifest_of(scratch: &Scratch, image: &str) -> serde_json::Value {
    let out =
        std::process::Command::new("tar").args(["xzOf", image, "manifest"]).current_dir(scratch.path("")).output();
    serde_json::from_slice(&out.unwrap().stdout).unwrap()
}

#[test]
fn later_dependencies_lie_over_earlier_ones_and_diamonds_are_one() {
    needs!(root, "busybox");
    let scratch = on_busybox();
    for name in ["a", "b"] {
        fs::create_dir_all(scratch.path(name).join("etc")).unwrap();
        fs::write(scratch.path(name).join("etc/which"), name).unwrap();
        store(&scratch, &scratch.path(name), &format!("example.com/{name}"), &["example.com/base"]);
    }
    for name in ["a", "b"] {
        scratch.ok(["dependency", "add", &format!("example.com/{name}")]);
    }
    assert_eq!(scratch.ok(["run", "cat", "/etc/which"]), "b");
    scratch.ok(["dependency", "add", "example.com/a"]);
    assert_eq!(scratch.ok(["run", "cat", "/etc/which"]), "a");
    let id = format!("sha512-{}", "0".repeat(128));
    scratch.ok(["dependency", "add", "--image-id", &id, "example.com/base"]);
    // Both IDs are named: that which it must have, and that of what there is.
    let store = appc_image::store::Store::open(scratch.path("store")).unwrap();
    let query = appc_image::store::Query::Name("example.com/base".parse().unwrap());
    let stored = store.resolve(&query).unwrap().id.short().to_string();
    let ran = scratch.run(["run", "true"]);
    let words = ["example.com/base", "must have the image ID sha512-000000", "in the store has", &stored];
    assert!(ran.code == Some(1) && words.iter().all(|word| ran.stderr.contains(word)), "{ran:#?}");
}

#[test]
fn a_command_that_fails_leaves_the_build_as_it_was() {
    needs!(root, "busybox");
    let scratch = on_busybox();
    sh(&scratch, "echo kept > /srv/kept; rm /usr/doc/c");
    scratch.refused(["run", "--", "sh", "-c", "rm -r /srv /usr; echo x > /new; exit 7"], 7, "run: exit status 7");
    scratch.refused(["run", "--", "sh", "-c", "kill -9 $$"], 137, "run: exit status 137");
    scratch.refused(["run", "--", "/no/such"], 1, "/no/such");
    scratch.refused(["run", "--user", "nosuch", "--", "true"], 1, "nosuch");
    scratch.refused(["run", "--volume", "/no/such:/x", "--", "true"], 1, "/no/such");
    scratch.refused(["run", "--working-dir", "/no/such", "--", "true"], 1, "/no/such");
    for wrong in
        [&["run", "--engine=lxc", "--", "true"][..], &["run", "--volume", "/x", "true"], &["run", "--env", "x", "true"]]
    {
        scratch.refused(wrong, 3, "run: ");
    }
}

#[test]
fn the_command_has_what_was_asked_for() {
    needs!(root, "busybox");
    let scratch = on_busybox();
    scratch.ok(["environment", "add", "A", "image, with \"quotes\""]);
    scratch.ok(["environment", "add", "B", "image"]);
    let volume = scratch.path("volume");
    fs::create_dir(&volume).unwrap();
    fs::write(volume.join("in"), "in").unwrap();
    let bind = format!("{}:/mnt/volume", volume.display());
    let script = "echo $PATH; echo $A; echo $B; pwd; id -u; id -g; cat /mnt/volume/in; echo out > /mnt/volume/out; echo \"$1\"; echo $HOME";
    let out = scratch.ok([
        "run",
        "--env",
        "B=mine",
        "--working-dir=/usr/doc",
        "--volume",
        &bind,
        "--",
        "sh",
        "-c",
        script,
        "sh",
        "a,b c",
    ]);
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let expected = [path, "image, with \"quotes\"", "mine", "/usr/doc", "0", "0", "ina,b c", "/root"];
    assert_eq!(out.lines().collect::<Vec<_>>(), expected);
    assert_eq!(fs::read_to_string(volume.join("out")).unwrap(), "out\n");
    assert_eq!(own(&scratch), Vec::<String>::new());
    assert_eq!(scratch.ok(["run", "--user", "carly", "--", "id"]), "uid=1000(carly) gid=2000(users)");
    let read_only = format!("{bind}:ro");
    scratch.refused(["run", "--volume", &read_only, "--", "sh", "-c", "touch /mnt/volume/x 2>&-"], 1, "exit status 1");
    assert_eq!(scratch.ok(["run", "--net=none", "--", "ls", "/sys/class/net"]), "lo");
    // The original's engine gives all that the caller may do, ours what an app may.
    let capabilities = |text: &str| text.lines().find_map(|line| Some(line.strip_prefix("CapPrm:")?.trim().to_owned()));
    let status = ["grep", "CapPrm:", "/proc/self/status"];
    let full = scratch.ok([&["run", "--engine=chroot", "--"], &status[..]].concat());
    assert_eq!(capabilities(&full), capabilities(&fs::read_to_string("/proc/self/status").unwrap()));
    let few = scratch.ok([&["run", "--"], &status[..]].concat());
    assert_eq!(capabilities(&few).unwrap(), "00000000a80425fb");
    if support::need::find_program("systemd-nspawn").is_none() {
        let run = ["run", "--engine=systemd-nspawn", "--", "true"];
        scratch.refused(run, 1, "systemd-nspawn is not installed");
    }
}

#[test]
fn hostile_places_lead_nowhere() {
    needs!(root, "busybox");
    let scratch = Scratch::named();
    let (base, host) = (scratch.path("base"), scratch.path("host"));
    rootfs::busybox(&base);
    fs::create_dir(&host).unwrap();
    // A link that leads to nothing inside, and would lead to the host's outside.
    symlink(host.join("resolv.conf"), base.join("etc/resolv.conf")).unwrap();
    symlink("../run/hosts", base.join("etc/hosts")).unwrap();
    scratch.ok(["copy", "base", "/"]);
    let before = listing(&scratch.rootfs(""));
    sh(&scratch, "grep -q localhost /etc/hosts && test -e /etc/resolv.conf");
    assert_eq!(listing(&scratch.rootfs("")), before);
    assert_eq!(fs::read_dir(&host).unwrap().count(), 0);
    // The build's own root file system as a link: nothing is run or changed.
    fs::rename(scratch.path(".acbuild/currentaci/rootfs"), scratch.path("moved")).unwrap();
    symlink(&host, scratch.path(".acbuild/currentaci/rootfs")).unwrap();
    scratch.refused(["run", "--", "/bin/true"], 1, "rootfs");
}

#[test]
fn a_signal_ends_everything() {
    needs!(root, "busybox");
    let scratch = on_busybox();
    let before = scratch.state();
    for signal in ["INT", "TERM", "KILL"] {
        let mut child = sleeping(&scratch);
        std::process::Command::new("kill").arg(format!("-{signal}")).arg(child.id().to_string()).status().unwrap();
        let status = child.wait().unwrap();
        match signal {
            "INT" => assert_eq!(status.code(), Some(130)),
            "TERM" => assert_eq!(status.code(), Some(143)),
            _ => assert_eq!(status.code(), None),
        }
        until(|| !running(&scratch));
        // What a killed one leaves is cleared by the next command that changes the build, its cgroups by the next that runs.
        until(|| {
            sh(&scratch, "true");
            common::cgroups(child.id()).is_empty()
        });
        scratch.ok(["annotation", "remove", &last_annotation(&scratch)]);
    }
    let history =
        |state: Vec<String>| state.into_iter().filter(|line| !line.contains("manifest") && !line.starts_with('{'));
    assert!(history(scratch.state()).eq(history(before)));
}

fn last_annotation(scratch: &Scratch) -> String {
    let manifest = scratch.manifest();
    manifest["annotations"].as_array().unwrap().last().unwrap()["name"].as_str().unwrap().to_owned()
}

/// `run` of a command that has begun and does not end by itself.
fn sleeping(scratch: &Scratch) -> Child {
    let script = "trap '' INT TERM; sleep 987654 & echo begun > /srv/begun; echo begun; wait; sleep 987654";
    let mut command = scratch.command(["run", "--", "sh", "-c", script]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    until(|| scratch.path(".acbuild/staging/upper/srv/begun").exists());
    child
}

/// Whether a process still has the scratch directory's build mounted.
fn running(scratch: &Scratch) -> bool {
    let needle = scratch.path(".acbuild/staging");
    let needle = needle.to_str().unwrap();
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .any(|process| fs::read_to_string(process.path().join("mountinfo")).is_ok_and(|mounts| mounts.contains(needle)))
}

#[test]
fn a_kill_leaves_the_build_as_it_was_or_as_it_is_to_be() {
    needs!(root, "busybox");
    let script = "for d in 1 2 3 4 5 6 7 8 9; do mkdir -p /srv/$d; for f in 1 2 3 4 5 6 7 8 9; do echo $d$f > /srv/$d/$f; done; done; \
                  rm -r /srv/old /usr/doc/x; mkdir /srv/old; rm -f /own/a; rm -rf /own/d; echo d > /own/d; echo after > /own/b";
    let prepare = "mkdir -p /own/d /srv/1; echo a > /own/a; echo d > /own/d/d; echo before > /own/b; echo x > /srv/1/1";
    let whole = |scratch: &Scratch| {
        let deleted = fs::read(scratch.path(".acbuild/deleted")).unwrap_or_default();
        (listing(&scratch.rootfs("")).into_iter().map(without_time).collect::<Vec<_>>(), deleted)
    };
    let reference = on_busybox();
    sh(&reference, prepare);
    let before = whole(&reference);
    let began = Instant::now();
    sh(&reference, script);
    let (took, after) = (began.elapsed(), whole(&reference));
    let (mut as_before, mut as_after, mut killed) = (0, 0, Vec::new());
    let count = support::kills(6);
    for n in 0..count {
        let scratch = on_busybox();
        sh(&scratch, prepare);
        let mut command = scratch.command(["run", "--", "/bin/sh", "-c", script]);
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        // Most of them towards the end, where the changes are made.
        std::thread::sleep(took.mul_f64(0.3 + 0.9 * f64::from(n) / f64::from(count)));
        child.kill().unwrap();
        child.wait().unwrap();
        killed.push(child.id());
        until(|| !running(&scratch));
        // Any command finishes what was decided upon.
        let recorded = scratch.history().iter().any(|line| line.contains("rm -r /srv/old"));
        let is = whole(&scratch);
        assert!(is == if recorded { after.clone() } else { before.clone() }, "{recorded} {is:#?}");
        *(if recorded { &mut as_after } else { &mut as_before }) += 1;
    }
    assert_eq!(as_before + as_after, count);
    until(|| {
        sh(&reference, "true");
        killed.iter().all(|pid| common::cgroups(*pid).is_empty())
    });
}

/// A line of a listing without what differs from one run to the next.
fn without_time(line: String) -> String {
    line.split(' ').filter(|word| !word.contains('.')).collect::<Vec<_>>().join(" ")
}

#[test]
fn changes_that_were_decided_upon_are_finished_by_the_next_command() {
    needs!(root, "busybox");
    let scratch = on_busybox();
    sh(&scratch, "mkdir -p /own/d; echo old > /own/f; echo old > /own/d/x");
    // As a kill leaves it that comes when the first of two moves is made.
    let staging = scratch.path(".acbuild/staging");
    for dir in ["upper/own", "trash"] {
        fs::create_dir_all(staging.join(dir)).unwrap();
    }
    fs::rename(scratch.rootfs("own/d"), staging.join("trash/0")).unwrap();
    fs::write(scratch.rootfs("own/d"), "moved").unwrap();
    fs::write(staging.join("upper/own/f"), "new").unwrap();
    fs::set_permissions(staging.join("upper/own"), fs::Permissions::from_mode(0o750)).unwrap();
    fs::write(staging.join("steps"), b"p own/d\0p own/f\0l 1000000000 5 own\0").unwrap();
    let manifest = fs::read_to_string(scratch.path(".acbuild/currentaci/manifest")).unwrap();
    fs::write(staging.join("manifest"), manifest.replace("example.com/test", "example.com/after")).unwrap();
    assert_eq!(scratch.manifest()["name"], "example.com/after");
    assert_eq!(fs::read(scratch.rootfs("own/d")).unwrap(), b"moved");
    assert_eq!(fs::read(scratch.rootfs("own/f")).unwrap(), b"new");
    let own = fs::metadata(scratch.rootfs("own")).unwrap();
    assert_eq!((own.mode() & 0o7777, own.mtime(), own.mtime_nsec()), (0o750, 1_000_000_000, 5));
    assert!(!staging.exists());
}

#[test]
fn dependencies_are_for_the_same_machine() {
    needs!(root, "busybox");
    let scratch = on_busybox();
    scratch.ok(["end"]);
    scratch.ok(["begin", "--arch=aarch64"]);
    scratch.ok(["dependency", "add", "example.com/base"]);
    let said = "run: the dependency example.com/base is for arch amd64, and the image for aarch64: name one that is";
    scratch.refused(["run", "--", "/bin/true"], 1, said);
    scratch.ok(["label", "remove", "arch"]);
    scratch.ok(["run", "--", "/bin/true"]);
}
