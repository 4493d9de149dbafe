//! `end`: the build is gone at once, and its files are soon.
#![allow(clippy::unwrap_used)] // The lint takes helpers of tests for code.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use appc_image::store::Store;
use common::{Scratch, finish, until};
use support::needs;

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

#[test]
fn what_is_mounted_in_it_is_left_alone() {
    needs!(root);
    let scratch = large();
    scratch.file("precious/file", "precious");
    fs::create_dir(scratch.rootfs("m n")).unwrap();
    let mounted = Mounted(scratch.rootfs("m n"));
    let mount = Command::new("mount").arg("--bind").arg(scratch.path("precious")).arg(&mounted.0).status();
    assert!(mount.unwrap().success());
    let ended = scratch.run(["end"]);
    assert!(
        ended.code == Some(1) && ended.stderr.contains("what is mounted there must be unmounted first"),
        "{ended:#?}"
    );
    assert!(mounted.0.join("file").exists() && scratch.path("precious/file").exists());
    drop(mounted);
    scratch.ok(["end"]);
    assert!(scratch.path("precious/file").exists() && !scratch.path(".acbuild").exists());
}

struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        assert!(Command::new("umount").arg(&self.0).status().unwrap().success());
    }
}

#[test]
fn a_link_in_the_place_of_a_build_is_no_build_to_move() {
    let scratch = Scratch::begun();
    fs::rename(scratch.path(".acbuild"), scratch.path("elsewhere")).unwrap();
    std::os::unix::fs::symlink("elsewhere", scratch.path(".acbuild")).unwrap();
    let ended = scratch.run(["end"]);
    assert!(ended.code == Some(1) && ended.stderr.contains("cannot remove"), "{ended:#?}");
}
