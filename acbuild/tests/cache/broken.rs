//! Steps that fail, commands that are killed, disks that are full, builds at the same time.

use std::fs;
use std::time::Duration;

use support::guard::Mounted;
use support::needs;

use super::{Place, base};
use crate::common::Scratch;

/// Steps whose image is the same whenever they are done.
fn build(place: &Place<'_>, cache: &str) -> String {
    place.begin(format!("{cache} ../base").trim());
    place.file("a", &"content ".repeat(10_000));
    place.say("copy a /srv/a");
    place.sh("echo x > /x; rm /etc/group");
    place.say("copy-to-dir a /opt");
    place.sh("mv /x /y");
    place.written()
}

#[test]
fn a_step_that_fails_changes_neither_build_nor_cache() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    base(&scratch);
    let place = Place::new(&scratch, "work");
    let id = build(&place, "--cache");
    let listed = place.say("cache list --format=json").matches("key").count();
    place.begin("--cache ../base");
    for (words, code) in [
        (&["run", "--", "/bin/sh", "-c", "touch /z; exit 7"][..], 7),
        (&["copy", "missing", "/x"], 1),
        (&["copy", "a", "/bin"], 1),
        (&["file", "remove", "/missing"], 2),
        (&["--no-cache", "run", "--", "/missing"], 127),
    ] {
        let ran = place.run(words);
        assert!(ran.code == Some(code) || code == 127 && ran.code != Some(0), "{ran:#?}");
    }
    assert_eq!(place.say("cache list --format=json").matches("key").count(), listed);
    place.say("copy a /srv/a");
    place.sh("echo x > /x; rm /etc/group");
    assert_eq!(place.hits(), [true; 3]);
    assert_eq!(build(&place, "--cache"), id);
    assert_eq!(place.hits(), [true; 5]);
}

#[test]
fn whenever_a_build_is_killed_the_next_one_is_right() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    base(&scratch);
    let place = Place::new(&scratch, "work");
    let id = build(&place, "");
    let words: [&[&str]; 5] = [
        &["begin", "--cache", "../base"],
        &["copy", "a", "/srv/a"],
        &["run", "--", "/bin/sh", "-c", "echo x > /x; rm /etc/group"],
        &["copy-to-dir", "a", "/opt"],
        &["run", "--", "/bin/sh", "-c", "mv /x /y"],
    ];
    for round in 0..40_u64 {
        place.run(&["end"]);
        let at = (round % 5) as usize;
        for words in &words[..at] {
            place.ok(words);
        }
        // The entry is new again in every other round.
        let flags: &[&str] = if round % 2 == 0 { &["--no-cache"] } else { &[] };
        let mut child = place.command(&[flags, words[at]].concat()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(round * 700));
        child.kill().unwrap();
        child.wait().unwrap();
        // What goes on in that build is right, whether the step was done or not.
        if at > 0 && place.run(&["set-name", "example.com/test"]).code == Some(0) {
            place.say("copy a /srv/a");
            place.sh("echo x > /x; rm -f /etc/group");
            place.say("copy-to-dir a /opt");
            place.sh("mv /x /y");
            place.say("--no-history replace-manifest manifest.json");
            assert_eq!(place.written(), id, "round {round}, in the build");
        } else if round == 0 {
            build(&place, "");
        }
        if round == 0 {
            fs::write(place.dir.join("manifest.json"), place.say("cat-manifest")).unwrap();
        }
        assert_eq!(build(&place, "--cache"), id, "round {round}");
    }
    place.say("cache gc --older-than 0s");
    let cache = scratch.path("store/cache/0");
    assert!(
        fs::read_dir(cache).unwrap().all(|entry| !entry.unwrap().file_name().to_string_lossy().starts_with("new-"))
    );
}

#[test]
fn builds_at_the_same_time_store_the_same() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    base(&scratch);
    let ids: Vec<String> = std::thread::scope(|scope| {
        let builds: Vec<_> = (0..6)
            .map(|n| {
                let scratch = &scratch;
                scope.spawn(move || build(&Place::new(scratch, &n.to_string()), "--cache"))
            })
            .collect();
        builds.into_iter().map(|build| build.join().unwrap()).collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let place = Place::new(&scratch, "0");
    assert_eq!(build(&place, "--cache"), ids[0]);
    assert_eq!(place.hits(), [true; 5]);
    assert_eq!(build(&place, ""), ids[0]);
}

#[test]
fn without_room_for_results_steps_are_done_all_the_same() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    base(&scratch);
    let store = scratch.path("store");
    fs::create_dir(&store).unwrap();
    let _disk = Mounted::tmpfs(&store, "256k");
    let place = Place::new(&scratch, "work");
    let id = build(&place, "");
    place.begin("--cache");
    place.ok(&["copy", "../base/bin/busybox", "/bin/sh"]);
    let ran = place.run(&["copy", "a", "/a"]);
    assert!(ran.code == Some(0), "{ran:#?}");
    assert_eq!(place.hits(), [false; 2]);
    // Begun with more than there is room for: the build has no cache.
    place.run(&["end"]);
    let ran = place.run(&["begin", "--cache", "../base"]);
    assert!(ran.code == Some(0) && ran.stderr.contains("goes on without a cache"), "{ran:#?}");
    place.say("set-name example.com/test");
    place.say("copy a /srv/a");
    place.sh("echo x > /x; rm /etc/group");
    place.say("copy-to-dir a /opt");
    place.sh("mv /x /y");
    assert_eq!(place.written(), id);
}

#[test]
fn in_a_store_of_somebody_else_s_there_is_no_cache() {
    needs!(root);
    let scratch = Scratch::new();
    for (name, user) in [("store/cache", 0), ("", 65534)] {
        fs::create_dir_all(scratch.path(name)).unwrap();
        std::os::unix::fs::chown(scratch.path(name), Some(user), None).unwrap();
    }
    let ran = crate::common::as_nobody(&scratch, &["begin", "--cache"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    let said: Vec<_> = ran.stderr.lines().filter(|line| line.contains("cache")).collect();
    assert!(said.len() == 1 && said[0].starts_with("warning: this build goes on without a cache: "), "{ran:#?}");
    let ran = crate::common::as_nobody(&scratch, &["set-name", "example.com/x"]);
    assert!(ran.code == Some(0) && ran.stderr.is_empty(), "{ran:#?}");
}
