//! What is damaged, somebody else's, or from elsewhere is not used.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::Command;

use support::needs;

use super::{Place, base};
use crate::common::Scratch;

const NOBODY: u32 = 65534;

fn folder(scratch: &Scratch, name: &str) -> Vec<PathBuf> {
    let folder = scratch.path("store/cache").join(rustix::process::geteuid().as_raw().to_string()).join(name);
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Begins, and copies a file twice.
fn copies(place: &Place<'_>) -> (Vec<bool>, String) {
    place.begin("--cache");
    place.file("a", &"content ".repeat(100));
    place.say("copy a /a");
    place.say("copy a /b");
    (place.hits(), place.written())
}

type Damage = fn(&PathBuf);

#[test]
fn damaged_entries_are_misses() {
    let damages: [(&str, Damage); 4] = [
        ("a byte, as old as before", |path| {
            let found = fs::metadata(path).unwrap();
            let mut bytes = fs::read(path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(path, bytes).unwrap();
            fs::File::open(path).unwrap().set_modified(found.modified().unwrap()).unwrap();
        }),
        ("an end that is missing", |path| {
            let len = fs::metadata(path).unwrap().len();
            fs::OpenOptions::new().write(true).open(path).unwrap().set_len(len / 2).unwrap();
        }),
        ("nothing in it", |path| drop(fs::File::create(path).unwrap())),
        ("gone", |path| fs::remove_file(path).unwrap()),
    ];
    for folder_name in ["results", "steps"] {
        for (what, damage) in &damages {
            let scratch = Scratch::new();
            let place = Place::new(&scratch, "work");
            let (_, id) = copies(&place);
            let files = folder(&scratch, folder_name);
            // Two steps, of which the results may be one, and the image.
            assert!(files.len() >= 3, "{files:?}");
            files.iter().for_each(damage);
            assert_eq!(copies(&place), (vec![false; 2], id.clone()), "{folder_name}: {what}");
            assert_eq!(copies(&place), (vec![true; 2], id), "{folder_name}: {what}, mended");
        }
    }
}

#[test]
fn an_entry_that_was_only_touched_is_read_and_used() {
    let scratch = Scratch::new();
    let place = Place::new(&scratch, "work");
    let (_, id) = copies(&place);
    for file in folder(&scratch, "results") {
        fs::File::open(file).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    }
    for _ in 0..2 {
        assert_eq!(copies(&place), (vec![true; 2], id.clone()));
    }
}

#[test]
fn what_is_damaged_when_it_is_needed_is_told() {
    let scratch = Scratch::new();
    let place = Place::new(&scratch, "work");
    let (_, id) = copies(&place);
    copies(&place);
    for file in folder(&scratch, "results") {
        fs::write(file, "damaged").unwrap();
    }
    let ran = place.run(&["status"]);
    assert!(ran.code == Some(1) && ran.stderr.contains("damaged") && ran.stderr.contains("build again"), "{ran:#?}");
    let (_, again) = copies(&place);
    assert_eq!(again, id);
}

#[test]
fn entries_of_others_are_misses() {
    needs!(root);
    let spoil: [fn(&PathBuf); 2] = [
        |path| chown(path, Some(NOBODY), Some(NOBODY)).unwrap(),
        |path| fs::set_permissions(path, Permissions::from_mode(0o666)).unwrap(),
    ];
    for name in ["results", "steps"] {
        for spoil in spoil {
            let scratch = Scratch::new();
            let place = Place::new(&scratch, "work");
            let (_, id) = copies(&place);
            folder(&scratch, name).iter().for_each(spoil);
            assert_eq!(copies(&place), (vec![false; 2], id));
        }
    }
    // A folder that others can write to is no cache.
    for spoil in spoil {
        let scratch = Scratch::new();
        let place = Place::new(&scratch, "work");
        copies(&place);
        place.say("end");
        spoil(&scratch.path("store/cache/0"));
        let ran = place.run(&["begin", "--cache"]);
        assert!(ran.code == Some(1) && ran.stderr.contains("can be written by others"), "{ran:#?}");
        assert!(!place.dir.join(".acbuild").exists());
    }
}

#[test]
fn a_build_that_was_copied_does_not_take_part() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    base(&scratch);
    let place = Place::new(&scratch, "work");
    place.begin("--cache ../base");
    place.sh("echo one > /x");
    let copied = Command::new("cp").args(["-a", "work", "copy"]).current_dir(scratch.path("")).status().unwrap();
    assert!(copied.success());
    let copy = Place::new(&scratch, "copy");
    // Files that no key knows of.
    fs::write(copy.dir.join(".acbuild/currentaci/rootfs/x"), "poison").unwrap();
    let ran = copy.run(&["run", "--", "/bin/cp", "/x", "/y"]);
    assert!(ran.code == Some(0) && ran.stderr.contains("not cached"), "{ran:#?}");
    place.say("run -- /bin/cp /x /y");
    assert_eq!(place.hits().last(), Some(&false));
    assert_eq!(fs::read_to_string(place.dir.join(".acbuild/currentaci/rootfs/y")).unwrap(), "one\n");
}

#[test]
fn large_files_that_change_unseen_are_read() {
    let scratch = Scratch::new();
    let place = Place::new(&scratch, "work");
    let copied = |content: char| {
        // Its time, its length and its inode are the same.
        place.file("a", &content.to_string().repeat(1 << 20));
        place.begin("--cache");
        place.say("copy a /a");
        place.hits()
    };
    assert_eq!((copied('a'), copied('b'), copied('a')), (vec![false], vec![false], vec![true]));
}

#[test]
fn gc_removes_what_is_old_or_too_much_and_nothing_that_is_needed() {
    let scratch = Scratch::new();
    let place = Place::new(&scratch, "work");
    let (_, id) = copies(&place);
    let entries = || {
        let listed: Vec<serde_json::Value> = serde_json::from_str(&place.say("cache list --format=json")).unwrap();
        listed.iter().map(|entry| entry["command"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(entries().len(), 3);
    assert!(place.say("cache list").starts_with("KEY"));
    place.say("cache gc");
    assert_eq!(entries().len(), 3, "none is two weeks old");
    // What a killed process has left.
    let left = scratch.path("store/cache").join(rustix::process::geteuid().as_raw().to_string()).join("new-xyz");
    fs::write(&left, "x").unwrap();
    // The build has the copies pending.
    assert_eq!(copies(&place).0, [true; 2]);
    let said = place.say("cache gc --older-than 0s --format=json");
    assert!(said.contains("\"removed\":1"), "{said}");
    assert!(!left.exists() && !entries().iter().any(|command| command.contains("write")));
    assert_eq!(place.written(), id);
    place.say("end");
    place.say("cache gc --max-size 1");
    assert!(entries().is_empty() && folder(&scratch, "results").is_empty() && folder(&scratch, "builds").is_empty());
    for wrong in [["--older-than", "x"], ["--older-than", "-1h"], ["--max-size", "-1"]] {
        assert_eq!(place.run(&[&["cache", "gc"][..], &wrong].concat()).code, Some(3), "{wrong:?}");
    }
}
