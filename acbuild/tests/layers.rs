//! Which files `layer` looks at, and `status`: those that commands have changed.
#![allow(clippy::unwrap_used)] // The lint takes helpers of tests for code.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::Scratch;
use serde_json::Value;
use support::{needs, rootfs};

/// What is done between two layers: each line the words of one command.
const STEPS: [&[&str]; 12] = [
    &[],
    &["copy new /srv/sub/deep/new"],
    &["copy new /etc/linked", "copy new /link/below"],
    &["file remove /srv/sub /usr/doc"],
    &["run -- /bin/sh -c :"],
    &["run -- chmod 700 /srv", "run -- chown 7:7 /usr/deep"],
    &["run -- ln /srv/a /srv/other-name"],
    &["run -- sh -c cd${IFS}/usr/deep&&rm${IFS}-r${IFS}er&&ln${IFS}-s${IFS}/srv${IFS}er"],
    &["run -- mkdir -p /usr/doc/again/x", "file remove /usr/doc/again"],
    &["run -- mv /usr/deep /usr/moved"],
    &["run -- touch -d @77 /etc/file /", "copy tree /etc"],
    &["run -- chmod 750 /"],
];

fn base(scratch: &Scratch) {
    let base = scratch.path("base");
    rootfs::busybox(&base);
    for file in ["srv/a", "srv/b", "etc/file", "usr/doc/x", "usr/deep/er/y", "elsewhere/z"] {
        scratch.file(&format!("base/{file}"), file);
    }
    fs::hard_link(base.join("srv/b"), base.join("srv/b-too")).unwrap();
    std::os::unix::fs::symlink("file", base.join("etc/linked")).unwrap();
    std::os::unix::fs::symlink("/elsewhere", base.join("link")).unwrap();
    scratch.file("new", "new");
    scratch.file("tree/a/in-the-place", "of nothing");
    fs::remove_dir_all(scratch.path("tree/a")).unwrap();
    scratch.file("tree/file", "replaced");
}

fn layers(scratch: &Scratch) -> usize {
    fs::read_dir(scratch.path(".acbuild/layers")).map_or(0, Iterator::count)
}

#[test]
fn a_layer_has_all_that_commands_have_changed() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    base(&scratch);
    scratch.ok(["begin", "--build-mode=oci", "./base"]);
    scratch.ok(["layer"]);
    scratch.ok(["write", "oci:start"]);
    scratch.ok(["end"]);
    let written = |layout: &str| {
        let image: Value = serde_json::from_str(&scratch.ok(["cat-manifest", "--file=config", layout])).unwrap();
        image["rootfs"]["diff_ids"].as_array().unwrap().len()
    };
    // Where it is not known what was changed, every file is looked at.
    let build = |known: bool| {
        let mut closed = Vec::new();
        scratch.ok(["begin", "--build-mode=oci", "oci:start"]);
        for (number, lines) in STEPS.iter().enumerate() {
            lines.iter().for_each(|line| drop(scratch.ok(line.split(' '))));
            if !known {
                fs::remove_file(scratch.path(".acbuild/touched")).unwrap();
            }
            scratch.ok(["layer"]);
            let layout = format!("oci:{known}-{number}");
            scratch.ok(["write", &layout]);
            assert_eq!(written(&layout), 1 + layers(&scratch), "{lines:?}: something was left");
            closed.push(contents(&scratch));
        }
        if known {
            // Names of one file that are no more: those that stay as they are need not be in the layer.
            ["copy new /srv/b", "run -- sh -c echo>>/srv/a"].iter().for_each(|line| drop(scratch.ok(line.split(' '))));
            scratch.ok(["layer"]);
            scratch.ok(["write", "oci:names"]);
            assert_eq!(written("oci:names"), 1 + layers(&scratch));
        }
        scratch.ok(["end"]);
        closed
    };
    let (known, all) = (build(true), build(false));
    for (number, lines) in STEPS.iter().enumerate() {
        assert_eq!(known[number], all[number], "{lines:?}");
    }
    assert_eq!(all.last().unwrap().lines().filter(|line| line.contains("/rootfs d 75")).count(), 10);
}

/// What is in the closed layers, whatever time it is from.
fn contents(scratch: &Scratch) -> String {
    let find = Command::new("find")
        .args([".acbuild/layers", "-printf", "%P %y %m %l\n"])
        .current_dir(scratch.path(""))
        .output();
    let mut lines: Vec<_> = String::from_utf8(find.unwrap().stdout).unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    lines.join("\n")
}

#[test]
fn what_is_changed_by_hand_is_in_the_last_layer() {
    let scratch = Scratch::new();
    scratch.file("tree/a", "a");
    scratch.ok(["begin", "--build-mode=oci", "./tree"]);
    scratch.ok(["layer"]);
    fs::write(scratch.rootfs("b"), "by hand").unwrap();
    scratch.ok(["layer"]);
    assert_eq!(layers(&scratch), 1);
    let size = |scratch: &Scratch| serde_json::from_str::<Value>(&scratch.ok(["status", "--format=json"])).unwrap();
    assert_eq!(size(&scratch)["size"], 8);
    fs::write(scratch.rootfs("c"), "12345").unwrap();
    scratch.ok(["copy", "tree/a", "/d"]);
    assert_eq!(size(&scratch)["size"], 14);
    scratch.ok(["layer"]);
    assert_eq!(
        (fs::read(closed(&scratch, "1/rootfs/d")).unwrap(), closed(&scratch, "1/rootfs/b").exists()),
        (b"a".into(), false)
    );
    scratch.ok(["write", "out.tar"]);
    scratch.ok(["end"]);
    scratch.ok(["begin", "./out.tar"]);
    assert_eq!(["a", "b", "c", "d"].map(|name| scratch.rootfs(name).exists()), [true; 4]);
}

fn closed(scratch: &Scratch, path: &str) -> std::path::PathBuf {
    scratch.path(Path::new(".acbuild/layers").join(path))
}

#[test]
fn a_size_is_that_after_the_last_command() {
    let scratch = Scratch::begun();
    scratch.file("f", "12345");
    let size = || serde_json::from_str::<Value>(&scratch.ok(["status", "--format=json"])).unwrap()["size"].clone();
    for (line, expected) in [
        ("set-name example.com/s", 0),
        ("copy f /a/f", 5),
        ("label add x y", 5),
        ("copy f /b", 10),
        ("file remove /a", 5),
        ("squash", 5),
    ] {
        scratch.ok(line.split(' '));
        assert_eq!((size(), size()), (expected.into(), expected.into()), "{line}");
    }
}
