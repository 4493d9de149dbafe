//! A directory `.acbuild` that came with a checkout and has something else in the place of its files.
#![allow(clippy::unwrap_used)] // The lint takes helpers of tests for code.

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::Scratch;
use rustix::fs::{CWD, FileType, Mode, mknodat};

const COMMANDS: [&[&str]; 3] = [&["cat-manifest"], &["label", "add", "a", "b"], &["write", "x.aci"]];

/// Puts a pipe in the place of the file `name` of the build.
fn pipe(scratch: &Scratch, name: &str) {
    let path = scratch.path(".acbuild").join(name);
    let _ = fs::remove_file(&path);
    mknodat(CWD, &path, FileType::Fifo, Mode::from(0o644), 0).unwrap();
}

/// Runs a command that must not wait for anybody: whether it succeeded, and what it said.
fn at_once(scratch: &Scratch, args: &[&str]) -> (bool, String) {
    let mut child = scratch.command(args).stderr(Stdio::piped()).spawn().unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > end {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{args:?} waits for a pipe");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let ended = child.wait_with_output().unwrap();
    (ended.status.success(), String::from_utf8(ended.stderr).unwrap())
}

#[test]
fn nobody_waits_for_a_pipe() {
    for name in ["currentaci/manifest", "buildMode", "lock"] {
        let scratch = Scratch::named();
        pipe(&scratch, name);
        for command in COMMANDS {
            let (done, said) = at_once(&scratch, command);
            assert!(!done && said.contains("not a regular file"), "{command:?} with a pipe as {name}: {said}");
        }
    }
    let scratch = Scratch::named();
    pipe(&scratch, "manifest.new");
    assert!(at_once(&scratch, &["label", "add", "a", "b"]).0);
    pipe(&scratch, "currentaci/manifest");
    assert!(at_once(&scratch, &["end"]).0 && !scratch.path(".acbuild").exists());
}

#[test]
fn a_manifest_without_an_end_is_refused() {
    let scratch = Scratch::named();
    let manifest = scratch.path(".acbuild/currentaci/manifest");
    fs::File::create(&manifest).unwrap().set_len(64 << 30).unwrap();
    let (done, said) = at_once(&scratch, &["cat-manifest"]);
    assert!(!done && said.contains("File too large"), "{said}");
    fs::remove_file(&manifest).unwrap();
    symlink("/dev/zero", &manifest).unwrap();
    let (done, said) = at_once(&scratch, &["cat-manifest"]);
    assert!(!done && said.contains("no such file or directory"), "{said}");
}

#[test]
fn nothing_is_read_or_written_through_a_link() {
    let scratch = Scratch::named();
    let host = scratch.file("host", "the host's");
    symlink("../host", scratch.path(".acbuild/manifest.new")).unwrap();
    scratch.ok(["label", "add", "a", "b"]);
    assert_eq!(fs::read_to_string(&host).unwrap(), "the host's");
    assert_eq!(scratch.manifest()["labels"][2]["name"], "a");

    fs::remove_file(scratch.path(".acbuild/lock")).unwrap();
    symlink(&host, scratch.path(".acbuild/lock")).unwrap();
    scratch.refused(["cat-manifest"], 1, "lock");

    let scratch = Scratch::named();
    let elsewhere = scratch.path("elsewhere");
    fs::rename(scratch.path(".acbuild/currentaci"), &elsewhere).unwrap();
    let before = fs::read(elsewhere.join("manifest")).unwrap();
    symlink(&elsewhere, scratch.path(".acbuild/currentaci")).unwrap();
    scratch.refused(["label", "add", "a", "b"], 1, "manifest");
    assert_eq!(fs::read(elsewhere.join("manifest")).unwrap(), before);
}
