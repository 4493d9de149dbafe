//! Random scripts give the same image with the cache and without, whatever other scripts have left in it.

use std::fs;

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use support::needs;

use super::{Place, age, base, dependency};
use crate::common::Scratch;

/// What a build begins with: options of `begin`, and further commands.
const BEGINNINGS: [(&str, &[&str]); 3] =
    [("../base", &[]), ("", &["dependency add example.com/base"]), ("--build-mode=oci ../base", &[])];

/// Commands of a build. Some fail in some states, and must then do so with the cache, too.
const COMMANDS: &[&str] = &[
    "copy s/a /srv/a",
    "copy s/a /etc/x",
    "copy s/d /srv",
    "copy s/d /srv/d",
    "copy s/d /link",
    "copy s /",
    "copy-to-dir s/a s/d /srv",
    "copy-to-dir s/b /opt/new",
    "file remove /srv/a",
    "file remove /srv",
    "file remove /etc/passwd /etc/group",
    "file remove /usr/doc",
    "environment add A 1",
    "environment add A 2",
    "mount add data /data",
    "set-user 7",
    "squash",
    "layer",
];

/// Commands in the image.
const SCRIPTS: &[&str] = &[
    "echo $A >> /srv/log",
    "cat /srv/* > /all 2>/dev/null",
    "rm -rf /srv/d /usr/doc",
    "mkdir -p /srv/d/e; echo x > /srv/d/e/f",
    "ln -sf /srv /link",
    "ln -f /etc/x /etc/y",
    "mv /srv /opt/moved",
    "chmod 4755 /srv/a; chown 5:6 /srv/a",
    "cp -a /srv /copy",
    "rm -rf /etc; mkdir /etc; echo root:x:0:0::/:/bin/sh > /etc/passwd",
];

/// What becomes of the files to copy between two builds.
const EDITS: &[&str] = &[
    "",
    "echo 1 > s/a",
    "echo 2 > s/a",
    "chmod 600 s/a",
    "chmod 644 s/a",
    "rm -f s/b; ln s/a s/b",
    "rm -f s/b; echo 2 > s/b",
    "rm -rf s/d; mkdir s/d; echo 1 > s/d/a",
    "rm -rf s/d; echo 1 > s/d",
    "rm -rf s/d; ln -s a s/d",
];

#[derive(Debug, Clone)]
enum Command {
    Say(&'static str),
    Sh(&'static str),
}

#[derive(Debug, Clone)]
struct Script {
    beginning: usize,
    commands: Vec<Command>,
    edits: Vec<&'static str>,
}

fn scripts() -> impl Strategy<Value = Script> {
    let command = prop_oneof![
        3 => select(COMMANDS).prop_map(Command::Say),
        1 => select(SCRIPTS).prop_map(Command::Sh),
    ];
    let edits = prop::collection::vec(select(EDITS), 0..3);
    (0..BEGINNINGS.len(), prop::collection::vec(command, 1..9), edits).prop_map(|(beginning, commands, edits)| Script {
        beginning,
        commands,
        edits,
    })
}

/// Edits the files to copy. All are as old as before, so that only what is in them tells.
fn edit(place: &Place<'_>, edits: &[&str]) {
    for edit in edits {
        let ran = std::process::Command::new("sh").args(["-c", edit]).current_dir(&place.dir).status();
        assert!(ran.unwrap().success());
    }
    for name in ["s/a", "s/b", "s/d/a", "s/d", "s"] {
        let path = place.dir.join(name);
        if path.symlink_metadata().is_ok_and(|found| !found.is_symlink()) {
            age(&path);
        }
    }
}

/// The exit codes of the commands, and the image.
fn build(place: &Place<'_>, script: &Script, cache: &str) -> (Vec<Option<i32>>, String, usize) {
    let (options, more) = BEGINNINGS[script.beginning];
    let oci = options.contains("oci");
    place.run(&["end"]);
    place.say(format!("begin {cache} {options}").split_whitespace().collect::<Vec<_>>().join(" ").as_str());
    if !oci {
        place.say("set-name example.com/test");
    }
    more.iter().for_each(|line| drop(place.say(line)));
    let codes = script.commands.iter().map(|command| match command {
        Command::Say(line) => place.run(&line.split(' ').collect::<Vec<_>>()).code,
        Command::Sh(text) => place.run(&["run", "--", "/bin/sh", "-c", text]).code,
    });
    let codes = codes.collect();
    let hits = place.hits().iter().filter(|hit| **hit).count();
    (codes, place.written(), hits)
}

/// Of busybox's programs only those that the scripts need: many links take long to copy many times.
fn leave_applets(scratch: &Scratch) {
    const NEEDED: [&str; 11] = ["busybox", "sh", "cat", "chmod", "chown", "cp", "ln", "mkdir", "mv", "rm", "true"];
    for entry in fs::read_dir(scratch.path("base/bin")).unwrap() {
        let entry = entry.unwrap();
        if !NEEDED.iter().any(|name| entry.file_name() == *name) {
            fs::remove_file(entry.path()).unwrap();
        }
    }
}

#[test]
fn random_scripts_give_the_same_image() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    base(&scratch);
    leave_applets(&scratch);
    let place = Place::new(&scratch, "work");
    place.file("../base/usr/doc/a", "a");
    dependency(&place, "1");
    fs::create_dir_all(place.dir.join("s/d")).unwrap();
    for name in ["s/a", "s/b", "s/d/a"] {
        place.file(name, "1\n");
    }
    let config = Config { cases: 300, failure_persistence: None, max_shrink_iters: 50, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]));
    let hits = std::cell::Cell::new(0);
    let check = |script: Script| {
        edit(&place, &script.edits);
        let cached = build(&place, &script, "--cache");
        let plain = build(&place, &script, "");
        prop_assert_eq!(&cached.0, &plain.0, "exit codes");
        prop_assert_eq!(&cached.1, &plain.1, "images");
        hits.set(hits.get() + cached.2);
        Ok(())
    };
    runner.run(&scripts(), check).unwrap();
    assert!(hits.get() > 200, "the cache was hardly used: {}", hits.get());
}
