//! `end`: the build is gone at once, and its files are soon.
#![allow(clippy::unwrap_used)] // The lint takes helpers of tests for code.

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use appc_image::store::Store;
use common::{Scratch, finish, until};

/// A build with so many files that they are not removed in an instant.
fn large() -> Scratch {
    let scratch = Scratch::begun();
    let make = "for d in $(seq 20); do mkdir $d; (cd $d; seq 400 | xargs touch); done; chmod 500 1; ln -s / out";
    assert!(Command::new("sh").args(["-ec", make]).current_dir(scratch.rootfs("")).status().unwrap().success());
    scratch
}

fn left(scratch: &Scratch) -> usize {
    fs::read_dir(scratch.path("store/tmp")).map_or(0, Iterator::count)
}

#[test]
fn a_large_build_is_gone_at_once_and_its_files_soon() {
    let scratch = large();
    Store::open(scratch.path("store")).unwrap();
    // What a process left that was killed on the way.
    fs::create_dir_all(scratch.path("store/tmp/store-0-0/gone/a")).unwrap();
    scratch.ok(["end"]);
    assert_eq!(fs::read_dir(scratch.path("")).unwrap().map(|e| e.unwrap().file_name()).collect::<Vec<_>>(), ["store"]);
    for word in ["status", "end"] {
        let ran = scratch.run([word]);
        assert!(ran.code == Some(1) && ran.stderr.contains("no build in progress"), "{ran:#?}");
    }
    scratch.ok(["begin"]);
    scratch.ok(["status"]);
    until(|| left(&scratch) == 0);
    assert!(scratch.path(".acbuild").exists());
}

#[test]
fn files_are_removed_where_they_are_when_there_is_no_better_place() {
    let elsewhere = tempfile::tempdir_in("/dev/shm").unwrap();
    for place in [elsewhere.path().join("store"), "/proc/none".into()] {
        let scratch = large();
        if place.starts_with("/dev/shm") {
            Store::open(&place).unwrap();
            assert_ne!(fs::metadata("/dev/shm").unwrap().dev(), fs::metadata(scratch.path("")).unwrap().dev());
        }
        let ended = finish(scratch.command(["end"]).env("RKT_DIR", &place));
        assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
        assert_eq!(fs::read_dir(scratch.path("")).unwrap().count(), 0);
        assert!(fs::read_dir(place.join("tmp")).map_or(0, Iterator::count) == 0);
    }
}
