//! `end`: the build is gone at once, and its files are soon.
#![allow(clippy::unwrap_used)] // The lint takes helpers of tests for code.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
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

/// What is in a directory for what is on its way out.
fn left(place: &Path) -> usize {
    fs::read_dir(place).map_or(0, Iterator::count)
}

#[test]
fn a_large_build_is_gone_at_once_and_its_files_soon() {
    for has_store in [true, false] {
        let scratch = large();
        let (temporary, store) = (scratch.path("tmp"), scratch.path("store/tmp"));
        fs::create_dir(&temporary).unwrap();
        if has_store {
            Store::open(scratch.path("store")).unwrap();
        }
        // What a process left that was killed on the way.
        let place = if has_store { &store } else { &temporary };
        fs::create_dir_all(place.join("acbuild-ended-x/build/a")).unwrap();
        fs::set_permissions(place.join("acbuild-ended-x"), fs::Permissions::from_mode(0o700)).unwrap();
        let acbuild = |word: &str| finish(scratch.command([word]).env("TMPDIR", &temporary));
        assert_eq!(acbuild("end").code, Some(0));
        assert!(!scratch.path(".acbuild").exists());
        for word in ["status", "end"] {
            let ran = acbuild(word);
            assert!(ran.code == Some(1) && ran.stderr.contains("no build in progress"), "{ran:#?}");
        }
        scratch.ok(["begin"]);
        scratch.ok(["status"]);
        until(|| left(place) == 0);
        assert!(scratch.path(".acbuild").exists());
    }
}

#[test]
fn files_are_removed_where_they_are_when_there_is_no_better_place() {
    let elsewhere = tempfile::tempdir_in("/dev/shm").unwrap();
    let (store, temporary) = (elsewhere.path().join("store"), elsewhere.path().join("tmp"));
    fs::create_dir(&temporary).unwrap();
    Store::open(&store).unwrap();
    for (store, temporary) in [(&*store, &*temporary), (Path::new("/proc/none"), Path::new("/proc/none"))] {
        let scratch = large();
        let device = |path: &Path| fs::metadata(path).unwrap().dev();
        assert_ne!(device(Path::new("/dev/shm")), device(&scratch.path("")));
        let ended = finish(scratch.command(["end"]).env("RKT_DIR", store).env("TMPDIR", temporary));
        assert_eq!((ended.code, &*ended.stderr), (Some(0), ""));
        assert_eq!((left(&scratch.path("")), left(&store.join("tmp")), left(temporary)), (0, 0, 0));
    }
}
