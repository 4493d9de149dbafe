//! Several commands at once, and commands that are killed.
#![allow(clippy::unwrap_used)] // The lint takes helpers of tests for code.

mod common;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::Scratch;
use rustix::fs::FlockOperation;

#[test]
fn a_hundred_labels_added_at_once_are_a_hundred_labels() {
    let scratch = Scratch::begun();
    let children: Vec<_> =
        (0..100).map(|n| scratch.command(["label", "add", &format!("l{n}"), "v"]).spawn().unwrap()).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let manifest = scratch.manifest();
    let names: BTreeSet<_> =
        manifest["labels"].as_array().unwrap().iter().map(|l| l["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), 102, "with arch and os");
    assert_eq!(scratch.history().len(), 100);
}

#[test]
fn of_many_that_begin_at_once_one_does() {
    let scratch = Scratch::new();
    let children: Vec<_> = (0..20).map(|_| scratch.command(["begin"]).spawn().unwrap()).collect();
    let begun = children.into_iter().map(|mut c| c.wait().unwrap().success()).filter(|ok| *ok).count();
    assert_eq!(begun, 1);
    scratch.ok(["set-name", "example.com/x"]);
}

#[test]
fn of_many_that_write_one_file_at_once_one_does() {
    let scratch = Scratch::named();
    let children: Vec<_> = (0..8).map(|_| scratch.command(["write", "x.aci"]).spawn().unwrap()).collect();
    assert_eq!(children.into_iter().map(|mut c| c.wait().unwrap().success()).filter(|ok| *ok).count(), 1);
    scratch.ok(["end"]);
    scratch.ok(["begin", "./x.aci"]);
}

#[test]
fn a_command_waits_for_the_lock_and_notices_that_the_build_ended() {
    let scratch = Scratch::begun();
    let lock = File::open(scratch.path(".acbuild/lock")).unwrap();
    rustix::fs::flock(&lock, FlockOperation::LockExclusive).unwrap();
    let mut waiting = scratch.command(["label", "add", "a", "b"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut naming = scratch.command(["set-name", "example.com/x"]).spawn().unwrap();
    let mut said = String::new();
    BufReader::new(waiting.stderr.take().unwrap()).read_line(&mut said).unwrap();
    assert!(said.starts_with("waiting for another command of the build in "), "{said}");
    assert!(waiting.try_wait().unwrap().is_none() && naming.try_wait().unwrap().is_none());
    // Who only looks at what is said of the image does not wait.
    for looking in ["cat-manifest", "status", "history"] {
        scratch.ok([looking]);
    }
    // What `end` does, by the one who holds the lock.
    fs::remove_dir_all(scratch.path(".acbuild")).unwrap();
    scratch.ok(["begin"]);
    drop(lock);
    // The new build is as good as the old one: the label is in it.
    assert!(waiting.wait().unwrap().success());
    assert!(naming.wait().unwrap().success());
    assert_eq!(scratch.manifest()["labels"][2]["name"], "a");

    let lock = File::open(scratch.path(".acbuild/lock")).unwrap();
    rustix::fs::flock(&lock, FlockOperation::LockExclusive).unwrap();
    let waiting = scratch.command(["label", "add", "a", "b"]).stderr(std::process::Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(200));
    fs::remove_dir_all(scratch.path(".acbuild")).unwrap();
    drop(lock);
    let out = waiting.wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&out.stderr).contains("no build in progress"), "{out:?}");
}

#[test]
fn who_looks_at_a_build_that_is_being_begun_waits_for_it() {
    let scratch = Scratch::begun();
    let lock = File::open(scratch.path(".acbuild/lock")).unwrap();
    rustix::fs::flock(&lock, FlockOperation::LockExclusive).unwrap();
    // What `begin` writes last.
    fs::remove_file(scratch.path(".acbuild/buildMode")).unwrap();
    let mut looking = scratch.command(["cat-manifest"]).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(200));
    assert!(looking.try_wait().unwrap().is_none());
    fs::write(scratch.path(".acbuild/buildMode"), "appc").unwrap();
    drop(lock);
    assert!(looking.wait().unwrap().success());
}

#[test]
fn what_a_killed_begin_left_is_no_build_and_is_cleared() {
    let scratch = Scratch::new();
    for next in ["begin", "end"] {
        // What is there before the last step of `begin`.
        scratch.file(".acbuild/lock", "");
        scratch.file(".acbuild/currentaci/rootfs/half", "h");
        scratch.refused(["cat-manifest"], 1, "no build in progress");
        scratch.ok([next]);
        assert!(!scratch.rootfs("half").exists());
        let _ = fs::remove_dir_all(scratch.path(".acbuild"));
    }
    // A directory of somebody else is left alone.
    scratch.file(".acbuild/thesis.tex", "");
    scratch.refused(["begin"], 1, "holds files that acbuild did not make: remove it by hand");
    scratch.refused(["end"], 1, "no build in progress");
    scratch.file(".acbuild/lock", "");
    scratch.refused(["end"], 1, "holds files that acbuild did not make");
}

#[test]
fn a_kill_at_any_moment_leaves_a_manifest_that_can_be_read() {
    let scratch = Scratch::begun();
    scratch.file("staged/f", "f");
    for delay in 0..40_u64 {
        let args: &[&str] = if delay % 2 == 0 { &["copy", "staged", "/x"] } else { &["label", "add", "k", "v"] };
        let mut child = scratch.command(args).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(delay * 100));
        let _ = child.kill();
        child.wait().unwrap();
        scratch.manifest();
    }
    scratch.ok(["copy", "staged", "/x"]);
    assert!(!scratch.path(".acbuild/staging").exists());
    scratch.ok(["end"]);
    assert!(!scratch.path(".acbuild").exists());
}

#[test]
fn a_metadata_command_does_not_look_at_the_root_file_system() {
    let scratch = Scratch::begun();
    let best = || (0..5).map(|_| time(&scratch)).min().unwrap();
    let empty = best();
    for n in 0..20_000 {
        File::create(scratch.rootfs(&format!("f{n}"))).unwrap();
    }
    let full = best();
    // No figure of a time, which depends on the machine: only that the size does not matter.
    assert!(full < empty * 3 + Duration::from_millis(5), "{empty:?} with no files, {full:?} with 20000");
}

fn time(scratch: &Scratch) -> Duration {
    let start = Instant::now();
    scratch.ok(["label", "add", "a", "b", "--no-history"]);
    start.elapsed()
}
