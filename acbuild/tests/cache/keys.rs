//! Whatever a step depends on is in its key: a change of it is a miss, and taking it back a hit.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::XattrFlags;
use support::{Cmd, Terminal, needs};

use super::{LONG_AGO, Place, age, base, dependency};
use crate::common::Scratch;

type Edit = fn(&Path);

/// A folder to copy.
fn tree(dir: &Path) {
    let _ = fs::remove_dir_all(dir);
    fs::create_dir_all(dir.join("d")).unwrap();
    for name in ["a", "b", "d/c"] {
        fs::write(dir.join(name), "same").unwrap();
        age(&dir.join(name));
    }
    symlink("a", dir.join("link")).unwrap();
    let times = rustix::fs::Timestamps {
        last_access: rustix::fs::Timespec { tv_sec: 5, tv_nsec: 0 },
        last_modification: rustix::fs::Timespec { tv_sec: 5, tv_nsec: 0 },
    };
    let link = dir.join("link");
    rustix::fs::utimensat(rustix::fs::CWD, &link, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).unwrap();
    settle(dir);
}

fn settle(dir: &Path) {
    age(&dir.join("d"));
    age(dir);
}

#[test]
fn everything_of_the_files_that_are_copied() {
    needs!(root);
    let edits: [(&str, Edit); 11] = [
        ("content", |dir| fs::write(dir.join("a"), "diff").unwrap()),
        ("mode", |dir| fs::set_permissions(dir.join("a"), Permissions::from_mode(0o600)).unwrap()),
        ("owner", |dir| chown(dir.join("a"), Some(7), None).unwrap()),
        ("group", |dir| chown(dir.join("a"), None, Some(7)).unwrap()),
        ("set-user-ID", |dir| fs::set_permissions(dir.join("a"), Permissions::from_mode(0o4644)).unwrap()),
        ("attribute", |dir| rustix::fs::setxattr(dir.join("a"), "user.x", b"1", XattrFlags::empty()).unwrap()),
        ("name", |dir| fs::rename(dir.join("a"), dir.join("aa")).unwrap()),
        ("kind", |dir| {
            fs::remove_file(dir.join("a")).unwrap();
            fs::create_dir(dir.join("a")).unwrap();
        }),
        ("target", |dir| {
            fs::remove_file(dir.join("link")).unwrap();
            symlink("b", dir.join("link")).unwrap();
        }),
        ("one file of two names", |dir| {
            fs::remove_file(dir.join("b")).unwrap();
            fs::hard_link(dir.join("a"), dir.join("b")).unwrap();
        }),
        ("the mode of a folder", |dir| fs::set_permissions(dir.join("d"), Permissions::from_mode(0o711)).unwrap()),
    ];
    let scratch = Scratch::new();
    let place = Place::new(&scratch, "work");
    let source = place.dir.join("src");
    let hits = |line: &str| {
        place.begin("--cache");
        place.say(line);
        place.hits()
    };
    for line in ["copy src /srv", "copy-to-dir src /srv"] {
        tree(&source);
        hits(line);
        for (what, edit) in &edits {
            edit(&source);
            if source.join("a").is_file() && *what != "time" {
                age(&source.join("a"));
            }
            settle(&source);
            assert_eq!(hits(line), [false], "{line}: {what}");
            let with = place.written();
            place.begin("");
            place.say(line);
            assert_eq!(place.written(), with, "{line}: {what}");
            tree(&source);
            assert_eq!(hits(line), [true], "{line}: back from {what}");
        }
        fs::File::open(source.join("a")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        assert_eq!(hits(line), [false], "{line}: a time");
        tree(&source);
        assert_eq!(hits(&format!("{line}2")), [false], "{line}: where to");
    }
}

#[test]
fn the_folder_that_the_build_is_in() {
    let scratch = Scratch::new();
    let place = Place::new(&scratch, "work");
    place.file("sub/a", "a");
    let app = place.dir.join(".acbuild/currentaci/rootfs/app");
    let mut ids = Vec::new();
    for (cache, known) in [("--cache", &[false][..]), ("--cache", &[true]), ("", &[])] {
        age(&place.dir.join("sub"));
        place.begin(cache);
        place.say("copy . /app");
        assert_eq!(place.hits(), known);
        ids.push(place.say("write --overwrite ../out.aci"));
        place.say("status");
        // What is in it has its own times.
        let times = [app.clone(), app.join("sub")].map(|path| fs::metadata(path).unwrap().mtime());
        assert_eq!(times, [0, LONG_AGO.cast_signed()]);
    }
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    place.file("b", "b");
    place.begin("--cache");
    place.say("copy . /app");
    assert_eq!(place.hits(), [false]);
}

#[test]
fn everything_that_a_command_sees() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    base(&scratch);
    let place = Place::new(&scratch, "work");
    place.file("volume/a", "a");
    age(&place.dir.join("volume"));
    let hit = |lines: &[&str]| {
        place.begin("--cache ../base");
        lines.iter().for_each(|line| drop(place.say(line)));
        *place.hits().last().unwrap()
    };
    let plain: &[&str] = &["run -- /bin/true"];
    let cases: [&[&str]; 12] = [
        &["run -- /bin/true x"],
        &["run --env A=1 -- /bin/true"],
        &["run --env A=2 -- /bin/true"],
        &["run --env A=1 --env B=1 -- /bin/true"],
        &["environment add A 1", "run -- /bin/true"],
        &["environment add A 2", "run -- /bin/true"],
        &["run --working-dir /bin -- /bin/true"],
        &["run --user 7 -- /bin/true"],
        &["run --net none -- /bin/true"],
        &["run --volume volume:/v:ro -- /bin/true"],
        &["run --volume volume:/w:ro -- /bin/true"],
        &["run --engine chroot -- /bin/true"],
    ];
    assert!(!hit(plain) && hit(plain));
    for case in &cases {
        assert!(!hit(case), "{case:?}");
        assert!(hit(case), "{case:?}, again");
    }
    assert!(hit(plain));
    // What else is in the manifest does not reach it.
    assert!(hit(&["label add tier web", "set-user 7", "run -- /bin/true"]));
    place.file("volume/a", "b");
    assert!(!hit(cases[9]) && hit(cases[9]));
    fs::write(place.dir.join("../base/etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").unwrap();
    assert!(!hit(plain) && hit(plain));
}

#[test]
fn everything_that_a_command_has_of_its_caller() {
    needs!(root, "busybox", "setpriv", "unshare", "setsid");
    let scratch = Scratch::new();
    base(&scratch);
    let place = Place::new(&scratch, "work");
    for name in ["hosts", "resolv.conf"] {
        place.file(name, "1.2.3.4 x\n");
    }
    let last = || *place.hits().last().unwrap();
    let hit = |before: &str, net: &str| {
        place.begin("--cache ../base");
        let plain = place.command(&["run", "--net", net, "--", "/bin/true"]);
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{before} \"$@\""), "sh"]).arg(plain.get_program()).args(plain.get_args());
        command.current_dir(&place.dir).stdin(Stdio::null());
        command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let ran = crate::finish(&mut command);
        assert_eq!(ran.code, Some(0), "{ran:#?}");
        last()
    };
    assert!(!hit("", "host") && hit("", "host") && !hit("", "none"));
    let other = |name: &str| format!("unshare -m sh -c 'mount --bind {name} /etc/{name} && exec \"$@\"' sh");
    let (hosts, resolver) = (other("hosts"), other("resolv.conf"));
    let cases = [
        "ulimit -Sn 500;",
        "ulimit -c 1000;",
        "setpriv --bounding-set=-net_raw",
        "setpriv --no-new-privs",
        hosts.as_str(),
        resolver.as_str(),
    ];
    for case in cases {
        assert!(!hit(case, "host"), "{case}");
        assert!(hit(case, "host"), "{case}, again");
    }
    assert!(hit("", "host"));
    // Without a network it sees neither file of the host's.
    assert!(hit(&hosts, "none") && hit(&resolver, "none"));
    let store = scratch.path("store");
    for known in [false, true] {
        place.begin("--cache ../base");
        let command = Cmd::new(env!("CARGO_BIN_EXE_acbuild")).args(["run", "--", "/bin/true"]).cwd(&place.dir);
        let ended = Terminal::start(&command.env("RKT_DIR", &store)).wait();
        ended.require(ended.code() == 0, "success");
        assert_eq!(last(), known, "at a terminal");
    }
}

#[test]
fn the_images_below() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    base(&scratch);
    let place = Place::new(&scratch, "work");
    for version in ["1", "2"] {
        place.file("../base/etc/version", version);
        dependency(&place, version);
    }
    let hits = |version: &str| {
        place.begin("--cache");
        place.say(&format!("dependency add example.com/base:{version}"));
        place.sh("cat /etc/version > /seen");
        place.say("file remove /etc/version");
        place.say("squash");
        (place.hits(), place.written())
    };
    let (first, second) = (hits("1"), hits("2"));
    assert_eq!((first.0, &second.0[..]), (vec![false; 3], &[false; 3][..]));
    assert_ne!(first.1, second.1);
    assert_eq!((hits("1"), hits("2")), ((vec![true; 3], first.1), (vec![true; 3], second.1)));
}

#[test]
fn everything_that_an_image_is_written_of() {
    let scratch = Scratch::new();
    let place = Place::new(&scratch, "work");
    place.file("a", "a");
    let images = || {
        let listed: Vec<serde_json::Value> = serde_json::from_str(&place.say("cache list --format=json")).unwrap();
        listed.iter().filter(|entry| entry["command"].as_str().unwrap().starts_with("acbuild write")).count()
    };
    place.begin("--cache");
    place.say("copy a /a");
    let lines = ["write", "write --compression none", "write --compression zstd", "write --level 9"];
    for twice in 0..2 {
        for line in lines {
            place.say(&format!("{line} --overwrite out.aci"));
        }
        assert_eq!(images(), lines.len(), "{twice}");
    }
    let mut command = place.command(&["write", "--overwrite", "out.aci"]);
    crate::finish(command.env("SOURCE_DATE_EPOCH", "5"));
    assert_eq!(images(), 5);
    place.say("label add a b");
    place.written();
    assert_eq!(images(), 6);
    // What is there is never replaced unasked.
    assert_eq!(place.run(&["write", "out.aci"]).code, Some(1));
}

#[test]
fn what_no_key_can_know_is_not_cached() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    base(&scratch);
    let place = Place::new(&scratch, "work");
    place.file("volume/a", "a");
    for (words, why) in
        [(&["run", "--volume", "volume:/v", "--", "/bin/true"][..], ":ro"), (&["run", "--", "/bin/cat"], "/dev/null")]
    {
        for _ in 0..2 {
            place.begin("--cache ../base");
            let mut command = place.command(words);
            if why == "/dev/null" {
                command.stdin(fs::File::open(place.dir.join("volume/a")).unwrap());
            }
            let ran = crate::finish(&mut command);
            assert!(ran.code == Some(0) && ran.stderr.contains("not cached") && ran.stderr.contains(why), "{ran:#?}");
            // Nobody knows what the files are now.
            place.say("copy volume /srv");
            assert_eq!(place.hits()[1..], [false, false]);
        }
    }
}

#[test]
fn a_step_can_be_done_again_and_what_follows_is_of_that() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    base(&scratch);
    let place = Place::new(&scratch, "work");
    let build = |first: &[&str]| {
        place.begin("--cache ../base");
        place.ok(&[first, &["run", "--", "/bin/sh", "-c", "cat /proc/sys/kernel/random/uuid > /id"]].concat());
        place.sh("cp /id /copy");
        place.sh("cmp /id /copy && cat /copy");
        (place.written(), place.hits()[1..].to_vec())
    };
    let first = build(&[]);
    assert_eq!(build(&[]), (first.0.clone(), vec![true; 3]));
    let second = build(&["--no-cache"]);
    assert_ne!(second.0, first.0);
    assert_eq!(second.1, [false; 3]);
    assert_eq!(build(&[]), (second.0, vec![true; 3]));
}

#[test]
fn a_script_that_is_verified_is_done_twice() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    base(&scratch);
    let place = Place::new(&scratch, "work");
    let run = "run -- /bin/sh -c \"cat /proc/sys/kernel/random/uuid > /id\"";
    let base = scratch.path("base");
    place.file("build", &format!("begin --cache {}\nset-name example.com/x\n{run}\nwrite x.aci\n", base.display()));
    let ran = place.run(&["verify-reproducible", "build"]);
    assert!(ran.code == Some(1) && ran.stdout.contains("/id"), "{ran:#?}");
}
