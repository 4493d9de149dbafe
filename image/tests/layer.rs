//! Layers of OCI images become trees in overlay form.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use appc_image::archive::{Limit, Ownership};
use appc_image::layer::{LayerOptions, UnpackedLayer, digest_layer, unpack_layer};
use appc_image::oci::{Algorithm, Digest};
use appc_image::{Error, Quiet};
use appc_rooted::Root;

mod tarball;
use tarball::{Tar, xattrs};

fn unpack(tar: &[u8], into: &Path) -> Result<UnpackedLayer, Error> {
    let options = LayerOptions {
        tee: None,
        ownership: Ownership::of_this_process(),
        algorithm: Algorithm::Sha256,
        limit: Limit::Usual,
    };
    unpack_layer(tar, &Root::open(into).unwrap(), &options, &Quiet)
}

fn unpacked(tar: Vec<u8>) -> (tempfile::TempDir, UnpackedLayer) {
    let dir = tempfile::tempdir().unwrap();
    let layer = unpack(&tar, dir.path()).unwrap();
    assert_eq!(layer.diff_id, Digest::of(&tar));
    assert_eq!(layer.size, tar.len() as u64);
    assert_eq!(
        digest_layer(tar.as_slice(), None, Algorithm::Sha256, Limit::Usual, &Quiet).unwrap(),
        (layer.diff_id.clone(), layer.size)
    );
    (dir, layer)
}

fn is_whiteout(path: &Path) -> bool {
    let stat = fs::symlink_metadata(path).unwrap();
    stat.file_type().is_char_device() && stat.rdev() == 0
}

fn is_opaque(path: &Path) -> bool {
    let xattrs = xattrs(path);
    ["trusted.overlay.opaque", "user.overlay.opaque"].iter().any(|name| xattrs.get(*name).is_some_and(|v| v == b"y"))
}

#[test]
fn marks_become_whiteouts_and_opaque_directories() {
    let tar = Tar::default()
        .dir("etc")
        .file("etc/.wh.passwd", b"")
        .file(".wh.bin", b"")
        .dir("var")
        .file("var/.wh..wh..opq", b"")
        .file("var/new", b"new")
        .file(".wh..wh.aufs", b"")
        .file(".wh..wh.plnk/17.4", b"")
        .end();
    let (dir, layer) = unpacked(tar);
    assert!(is_whiteout(&dir.path().join("etc/passwd")) && is_whiteout(&dir.path().join("bin")));
    assert!(is_opaque(&dir.path().join("var")) && !is_opaque(&dir.path().join("etc")));
    let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["bin", "etc", "var"]);
    assert!(layer.omitted.is_empty() && layer.implied.is_empty() && layer.tree_size == 3);
}

#[test]
fn what_is_deleted_and_made_again_hides_what_was_there_in_either_order() {
    let made_after =
        Tar::default().file(".wh.dir", b"").dir("dir").file("dir/x", b"").file(".wh.file", b"").file("file", b"2");
    let made_before =
        Tar::default().dir("dir").file("dir/x", b"").file(".wh.dir", b"").file("file", b"2").file(".wh.file", b"");
    for tar in [made_after, made_before] {
        let (dir, _) = unpacked(tar.end());
        assert!(is_opaque(&dir.path().join("dir")) && dir.path().join("dir/x").exists());
        assert_eq!(fs::read(dir.path().join("file")).unwrap(), b"2");
    }
}

#[test]
fn the_last_of_several_entries_of_one_name_counts() {
    let tar = Tar::default().dir("d").file("d/x", b"1").symlink("d/x", "elsewhere").file("d/x", b"22").dir("d").end();
    let (dir, _) = unpacked(tar);
    assert_eq!(fs::read(dir.path().join("d/x")).unwrap(), b"22");
}

#[test]
fn what_has_to_be_looked_up_in_the_layers_below_is_told() {
    let tar = Tar::default()
        .file("usr/share/doc/x", b"")
        .hard_link("usr/share/y", "bin/y")
        .hard_link("usr/share/doc/z", "/usr/share/doc/x")
        .end();
    let (dir, layer) = unpacked(tar);
    let paths = |paths: &[&str]| paths.iter().map(PathBuf::from).collect::<Vec<_>>();
    assert_eq!(layer.implied, paths(&["usr", "usr/share", "usr/share/doc"]));
    assert_eq!(layer.links, [("usr/share/y".into(), "bin/y".into())]);
    assert_eq!(fs::metadata(dir.path().join("usr/share/doc/z")).unwrap().nlink(), 2);
}

#[test]
fn nothing_hidden_by_the_back_door() {
    let tar = Tar::default()
        .pax(&[("SCHILY.xattr.trusted.overlay.opaque", "y")])
        .dir("etc")
        .header(b'3', "etc/passwd", 0, "", |_| {})
        .hard_link("etc/group", "etc/passwd")
        .end();
    let (dir, layer) = unpacked(tar);
    assert!(!is_opaque(&dir.path().join("etc")) && fs::read_dir(dir.path().join("etc")).unwrap().next().is_none());
    assert_eq!(layer.omitted.len(), 3, "{:?}", layer.omitted);
}

#[test]
fn marks_below_what_a_file_or_a_link_replaced_mean_nothing() {
    let tar =
        Tar::default().dir("d").file("d/b", b"2").file("a", b"1").file("a/.wh.b", b"").file("a/.wh..wh..opq", b"");
    let tar = tar.symlink("l", "d").file("l/.wh.b", b"").file("l/.wh..wh..opq", b"").end();
    let (dir, layer) = unpacked(tar);
    let read = |name: &str| fs::read(dir.path().join(name)).unwrap();
    assert_eq!((read("a"), read("l/b"), layer.omitted.len()), (b"1".to_vec(), b"2".to_vec(), 0));
}

#[test]
fn hostile_marks_are_refused() {
    for (tar, rule) in [
        (Tar::default().file(".wh.", b""), "names none"),
        (Tar::default().file("a/.wh..", b""), "names none"),
        (Tar::default().file("a/.wh...", b""), "names none"),
        (Tar::default().file(".wh.a/b", b""), "below a mark"),
        (Tar::default().file("../.wh.a", b""), "`..`"),
        (Tar::default().symlink("a", "/etc").file("a/passwd", b""), "symbolic link"),
        (Tar::default().file("a", b"").file("a/b", b""), "no directory"),
        (Tar::default().hard_link("a", ".wh.b"), "mark for removed files"),
        (Tar::default().hard_link("a", "../b"), "`..`"),
        (Tar::default().hard_link("a", "."), "root"),
        (Tar::default().dir("d").hard_link("a", "d"), "directory"),
        (Tar::default().dir("d").file("d/x", b"").file("d", b""), "directory is there"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let error = unpack(&tar.end(), dir.path()).unwrap_err().to_string();
        assert!(error.contains(rule), "{rule}: {error}");
    }
}
