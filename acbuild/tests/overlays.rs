//! What acts in overlay mounts gets into no build from outside: it would hide files of others when the image is run.
#![allow(clippy::unwrap_used)] // The lint takes helpers of tests for code.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::{Scratch, is_root, listing, skip};
use rustix::fs::{CWD, FileType, Mode, XattrFlags, mknodat};

/// A tree with a device 0:0 and an opaque directory; whether it could be made.
fn tree(at: &Path) -> bool {
    fs::create_dir_all(at.join("etc")).unwrap();
    fs::write(at.join("etc/own"), "own").unwrap();
    let kept = rustix::fs::setxattr(at.join("etc/own"), "user.note", b"kept", XattrFlags::empty()).is_ok();
    mknodat(CWD, at.join("hidden"), FileType::CharacterDevice, Mode::from(0o600), 0).unwrap();
    fs::hard_link(at.join("hidden"), at.join("etc/hidden")).unwrap();
    kept && rustix::fs::setxattr(at.join("etc"), "trusted.overlay.opaque", b"y", XattrFlags::empty()).is_ok()
}

fn sh(dir: &Path, script: &str) {
    let out = Command::new("sh").args(["-ec", script]).current_dir(dir).output().unwrap();
    assert!(out.status.success(), "{script}: {out:?}");
}

/// The tree, and a tar and an image of it; nothing where that is not to be had.
fn inputs(test: &str) -> Option<Scratch> {
    let scratch = Scratch::new();
    if !is_root() || !tree(&scratch.path("tree")) {
        skip(test, "it sets attributes trusted.* and makes devices");
        return None;
    }
    sh(&scratch.path("tree"), "tar --xattrs --xattrs-include='*' -cf ../tree.tar .");
    let manifest = r#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/acting"}"#;
    scratch.file("image/manifest", manifest);
    sh(
        &scratch.path("image"),
        "cp -a ../tree rootfs; tar --xattrs --xattrs-include='*' -cf ../image.aci manifest rootfs",
    );
    Some(scratch)
}

/// Says that both were left out, once each, and of `path` of the build that nothing of it is there and the rest is.
fn assert_left_out(scratch: &Scratch, stderr: &str, path: &str) {
    for (count, words) in
        [(1, "etc: attribute trusted.overlay.opaque, which would act in an overlay"), (2, "device 0:0")]
    {
        assert_eq!(stderr.matches(words).count(), count, "{stderr}");
    }
    assert!(
        stderr.lines().all(|line| line.starts_with("warning: left out of ") || !line.starts_with("warning: ")),
        "{stderr}"
    );
    let made = listing(&scratch.rootfs(path)).join("\n");
    assert!(made.contains("user.note=\"kept\"") && made.contains("etc/own"), "{made}");
    assert!(!made.contains("overlay") && !made.contains("hidden"), "{made}");
}

#[test]
fn what_acts_in_overlays_is_left_out_of_what_a_build_begins_with() {
    let Some(scratch) = inputs("what_acts_in_overlays_is_left_out_of_what_a_build_begins_with") else { return };
    for mode in ["appc", "oci"] {
        for start in ["./tree", "./tree.tar", "./image.aci"] {
            if (mode, start) == ("oci", "./image.aci") {
                continue;
            }
            let ran = scratch.run(["begin", &format!("--build-mode={mode}"), start]);
            assert_eq!(ran.code, Some(0), "{ran:#?}");
            assert_left_out(&scratch, &ran.stderr, "");
            scratch.ok(["end"]);
        }
    }
    let ran = scratch.run(["--modify-appc", "image.aci", "copy", "tree/etc/own", "/new"]);
    assert!(ran.code == Some(0) && ran.stderr.contains("device 0:0"), "{ran:#?}");
    scratch.ok(["begin", "./image.aci"]);
}

#[test]
fn what_acts_in_overlays_is_not_copied() {
    let Some(scratch) = inputs("what_acts_in_overlays_is_not_copied") else { return };
    scratch.ok(["begin"]);
    for (words, path) in [(["copy", "tree", "/srv/tree"], "srv/tree"), (["copy-to-dir", "tree", "/usr"], "usr/tree")] {
        let ran = scratch.run(words);
        assert_eq!(ran.code, Some(0), "{ran:#?}");
        assert_left_out(&scratch, &ran.stderr, path);
        assert!(ran.stderr.contains("left out of tree/etc: ") && ran.stderr.contains("left out of tree/hidden: "));
    }
    let ran = scratch.run(["copy", "tree/hidden", "/x"]);
    let why = "copy: tree/hidden is a socket, a device 0:0 or the build itself";
    assert!(ran.code == Some(1) && ran.stderr.contains(why) && !scratch.rootfs("x").exists(), "{ran:#?}");
}

#[test]
fn the_cache_knows_what_is_left_out() {
    let Some(scratch) = inputs("the_cache_knows_what_is_left_out") else { return };
    let build = |cache: &[&str]| {
        scratch.ok([&["begin"], cache, &["./tree"]].concat());
        scratch.ok(["set-name", "example.com/built"]);
        scratch.ok(["copy", "tree", "/srv"]);
        let id = scratch.ok(["write", "--overwrite", "built.aci"]);
        let hits = scratch.ok(["history"]).matches(" hit ").count();
        scratch.ok(["end"]);
        (id, hits)
    };
    let (id, _) = build(&[]);
    assert_eq!(build(&["--cache"]), (id.clone(), 0));
    // What is left out changes nothing.
    sh(&scratch.path("tree"), "setfattr -x trusted.overlay.opaque etc; chmod 666 hidden");
    assert_eq!(build(&["--cache"]), (id.clone(), 2));
    fs::write(scratch.path("tree/etc/own"), "other").unwrap();
    assert_ne!(build(&[]).0, id);
}
