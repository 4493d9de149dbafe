//! What hides other files in an overlay mount does so only where an OCI layer says so.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

use std::fs;
use std::path::Path;

use appc_image::archive::{CopyOptions, Kind, UnpackOptions, copy_tree, unpack};
use appc_image::{Quiet, render};
use appc_rooted::Root;

mod support;
mod tarball;
use support::{Fixture, make_tree};
use tarball::{Tar, set_xattr, snapshot, xattrs};

/// Only root can make such things: tests that need them say so.
fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        #[allow(clippy::print_stderr)]
        {
            eprintln!("SKIPPED {test}: needs root");
        }
    }
    root
}

fn whiteout(path: &Path) {
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::CharacterDevice, 0.into(), 0).unwrap();
}

fn hostile() -> Vec<u8> {
    let opaque = ("SCHILY.xattr.trusted.overlay.opaque", "y");
    let redirect = ("SCHILY.xattr.user.overlay.redirect", "/elsewhere");
    let kept = ("SCHILY.xattr.user.kept", "yes");
    Tar::image()
        .pax(&[opaque, kept])
        .dir("rootfs/etc")
        .header(b'3', "rootfs/etc/passwd", 0, "", |_| {})
        .hard_link("rootfs/etc/shadow", "rootfs/etc/passwd")
        .header(b'3', "rootfs/null", 0, "", |header| header[329] = b'3')
        .pax(&[redirect])
        .file("rootfs/file", b"content")
        .end()
}

#[test]
fn an_archive_cannot_hide_files_of_its_dependencies() {
    let f = Fixture::new();
    let path = f.dir.path().join("hostile.aci");
    fs::write(&path, hostile()).unwrap();
    let image = f.store.import(fs::File::open(&path).unwrap(), "hostile", &Quiet).unwrap();
    let tree = f.store.tree(&image.id);
    let left_out: Vec<&str> = image.omitted.iter().map(|(path, _)| path.as_str()).collect();
    for path in ["etc", "etc/passwd", "etc/shadow", "file"] {
        assert!(left_out.contains(&path), "{path} in {:?}", image.omitted);
    }
    assert_eq!(fs::read_dir(tree.join("etc")).unwrap().count(), 0);
    assert!(xattrs(&tree.join("file")).is_empty());
    assert!(!xattrs(&tree.join("etc")).contains_key("trusted.overlay.opaque"));
    // What does not act is kept, and so is every byte of the archive.
    if rustix::process::geteuid().is_root() {
        assert!(tree.join("null").exists());
    }
    let mut exported = Vec::new();
    f.store.export(&image.id, &mut exported, &Quiet).unwrap();
    assert_eq!(exported, hostile());
}

#[test]
fn who_edits_an_image_gets_all_of_it() {
    if !is_root("who_edits_an_image_gets_all_of_it") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let options = UnpackOptions { kind: Kind::Aci, ..Default::default() };
    let unpacked = unpack(hostile().as_slice(), &Root::open(dir.path()).unwrap(), &options, &Quiet).unwrap();
    assert!(unpacked.omitted.is_empty() && dir.path().join("etc/shadow").exists());
    assert!(xattrs(&dir.path().join("etc")).contains_key("trusted.overlay.opaque"));
}

/// Three layers in which everything happens that can.
fn layers(dir: &Path) -> [std::path::PathBuf; 3] {
    let [low, middle, top] = ["low", "middle", "top"].map(|name| dir.join(name));
    make_tree(&low, &[("gone", "1"), ("dir/a", "1"), ("dir/b", "1"), ("opaque/x", "1"), ("file-then-dir", "1")]);
    make_tree(&low, &[("dir-then-file/deep/x", "1"), ("link-then-dir", "->dir"), ("back", "1"), ("same", "1")]);
    make_tree(&middle, &[("opaque/y", "2"), ("file-then-dir/z", "2"), ("dir-then-file", "2")]);
    make_tree(&middle, &[("link-then-dir/q", "2"), ("dir-then-link", "->same"), ("dir/c", "2")]);
    make_tree(&low, &[("dir-then-link/x", "1")]);
    make_tree(&top, &[("back", "3"), ("dir/d", "3")]);
    whiteout(&middle.join("gone"));
    whiteout(&middle.join("back"));
    whiteout(&middle.join("dir/a"));
    whiteout(&middle.join("never-there"));
    whiteout(&top.join("dir/c"));
    set_xattr(&middle.join("opaque"), "trusted.overlay.opaque", b"y");
    fs::hard_link(top.join("back"), top.join("also-back")).unwrap();
    [low, middle, top]
}

#[test]
fn copies_of_layers_are_what_an_overlay_mount_shows() {
    if !is_root("copies_of_layers_are_what_an_overlay_mount_shows") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let layers = layers(dir.path());
    let out = dir.path().join("out");
    fs::create_dir(&out).unwrap();
    let to = Root::open(&out).unwrap();
    for layer in &layers {
        let options = CopyOptions { layer: true, ..Default::default() };
        copy_tree(&Root::open(layer).unwrap(), "", &to, "", &options).unwrap();
    }
    let mut names: Vec<String> = snapshot(&out).keys().map(|path| path.display().to_string()).collect();
    names.sort();
    let expected = [
        "",
        "also-back",
        "back",
        "dir",
        "dir-then-file",
        "dir-then-link",
        "dir/b",
        "dir/d",
        "file-then-dir",
        "file-then-dir/z",
        "link-then-dir",
        "link-then-dir/q",
        "opaque",
        "opaque/y",
        "same",
    ];
    assert_eq!(names, expected);
    assert!(xattrs(&out.join("opaque")).is_empty());
    assert!(snapshot(&out)["back".as_ref() as &Path].contains("same as"));
    same_as_mounted(dir.path(), &layers, &out);
}

/// What the kernel makes of the same layers, where this file system can be a layer.
fn same_as_mounted(dir: &Path, layers: &[std::path::PathBuf], out: &Path) {
    let mounted = dir.join("mounted");
    fs::create_dir(&mounted).unwrap();
    let lower: Vec<&str> = layers.iter().rev().map(|layer| layer.to_str().unwrap()).collect();
    let script = "mount -t overlay overlay -o lowerdir=\"$1\" \"$2\" && cd \"$2\" && find . | sort";
    let mut command = std::process::Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh", &lower.join(":")]).arg(&mounted);
    let output = command.output().unwrap();
    if output.status.success() {
        let listed = String::from_utf8(output.stdout).unwrap();
        let names: Vec<&str> =
            listed.lines().map(|line| line.trim_start_matches('.').trim_start_matches('/')).collect();
        let copied: Vec<String> = snapshot(out).keys().map(|path| path.display().to_string()).collect();
        let mut sorted: Vec<&str> = copied.iter().map(String::as_str).collect();
        sorted.sort_by_key(|name| format!("./{name}"));
        let mut names = names;
        names.sort_by_key(|name| format!("./{name}"));
        assert_eq!(names, sorted);
    }
}

#[test]
fn a_whitelist_sees_what_whiteouts_leave() {
    if !is_root("a_whitelist_sees_what_whiteouts_leave") {
        return;
    }
    // Trees that only OCI layers become, put in place of what images have.
    let f = Fixture::new();
    let low = f.import("low", "", &[("a", "1"), ("dir/x", "1"), ("dir/y", "1")]);
    let middle = f.import("middle", r#""dependencies":[{"imageName":"low"}]"#, &[("dir/z", "2")]);
    let list = r#""/a","/dir/x","/dir/z","/keep""#;
    let rest = format!(r#""dependencies":[{{"imageName":"middle"}}],"pathWhitelist":[{list}]"#);
    let top = f.import("top", &rest, &[("keep", "3")]);
    whiteout(&f.store.tree(&middle.id).join("a"));
    set_xattr(&f.store.tree(&middle.id).join("dir"), "trusted.overlay.opaque", b"y");
    let rendered = render::layers(&f.store, &top).unwrap();
    let names: Vec<String> = snapshot(&rendered.lower[0]).keys().map(|path| path.display().to_string()).collect();
    assert_eq!(names, ["", "dir", "dir/z", "keep"]);
    assert!(xattrs(&rendered.lower[0].join("dir")).is_empty());
    drop(low);
}
