//! Trees in overlay form become layers and come back; what depends on the layers below is settled.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

mod tarball;

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use appc_image::Quiet;
use appc_image::archive::{Compression, Limit, Ownership, WriteOptions};
use appc_image::layer::{LayerOptions, UnpackedLayer, WrittenLayer, settle_layer, unpack_layer, write_layer};
use appc_image::oci::{Algorithm, Digest};
use appc_rooted::Root;
use tarball::{Tar, assert_same, set_xattr, snapshot, xattrs};

fn unpack(tar: &[u8], into: &Path) -> UnpackedLayer {
    try_unpack(tar, into).unwrap()
}

fn try_unpack(tar: &[u8], into: &Path) -> appc_image::Result<UnpackedLayer> {
    fs::create_dir_all(into).unwrap();
    let options = LayerOptions {
        tee: None,
        ownership: Ownership::of_this_process(),
        algorithm: Algorithm::Sha256,
        limit: Limit::Usual,
    };
    unpack_layer(tar, &Root::open(into).unwrap(), &options, &Quiet)
}

fn write(tree: &Path, compression: Compression) -> (Vec<u8>, WrittenLayer) {
    let mut out = tempfile::NamedTempFile::new().unwrap();
    let options = WriteOptions { compression, ..Default::default() };
    let file = out.as_file_mut().try_clone().unwrap();
    let written = write_layer(&Root::open(tree).unwrap(), file, &options, &Quiet).unwrap();
    (fs::read(out.path()).unwrap(), written)
}

fn is_whiteout(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|stat| stat.file_type().is_char_device() && stat.rdev() == 0)
}

#[test]
fn a_tree_in_overlay_form_comes_back_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (dir.path().join("first"), dir.path().join("second"));
    let tar = Tar::default()
        .dir(".")
        .dir("etc")
        .file("etc/.wh.passwd", b"")
        .file(".wh.bin", b"")
        .dir("var")
        .file("var/.wh..wh..opq", b"")
        .file("var/x", b"x")
        .hard_link("var/y", "var/x")
        .symlink("link", "/etc")
        .end();
    assert!(unpack(&tar, &first).is_settled());
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let (bytes, written) = write(&first, compression);
        assert_eq!((written.size, &written.digest), (bytes.len() as u64, &Digest::of(&bytes)), "{compression}");
        assert_eq!(write(&first, compression).0, bytes, "{compression}: not the same twice");
        let _ = fs::remove_dir_all(&second);
        assert_eq!(unpack(&bytes, &second).diff_id, written.diff_id);
        // Whiteouts have no time of their own: the tar does not depend on when it was unpacked.
        assert_eq!(write(&second, compression).0, bytes, "{compression}: not the same again");
        let files = |tree: &Path| {
            let mut files = snapshot(tree);
            files.retain(|path, _| !is_whiteout(&tree.join(path)));
            files
        };
        assert_same(&files(&first), &files(&second));
        assert!(is_whiteout(&second.join("etc/passwd")) && is_whiteout(&second.join("bin")));
    }
}

#[test]
fn what_no_layer_can_hold_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |compression| {
        let options = WriteOptions { compression, ..Default::default() };
        let out = tempfile::tempfile().unwrap();
        write_layer(&Root::open(dir.path()).unwrap(), out, &options, &Quiet).unwrap_err().to_string()
    };
    assert!(refused(Compression::Xz).contains("use gzip, zstd or none"));
    fs::write(dir.path().join(".wh.x"), "").unwrap();
    assert!(refused(Compression::None).contains("would hide another file"));
    fs::remove_file(dir.path().join(".wh.x")).unwrap();
    if rustix::process::geteuid().is_root() {
        fs::create_dir(dir.path().join("d")).unwrap();
        set_xattr(&dir.path().join("d"), "trusted.overlay.redirect", b"/x");
        assert!(refused(Compression::None).contains("in another layer"));
    }
}

#[test]
fn what_depends_on_the_layers_below_is_settled() {
    let dir = tempfile::tempdir().unwrap();
    let [low, mid, top] = ["low", "mid", "top"].map(|name| dir.path().join(name));
    unpack(&Tar::default().dir("tmp").dir("bin").file("bin/a", b"old").file("gone", b"").end(), &low);
    fs::set_permissions(low.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    unpack(&Tar::default().dir("bin").file("bin/a", b"new").file(".wh.gone", b"").end(), &mid);
    let tar = Tar::default()
        .dir("links")
        .hard_link("links/b", "bin/a")
        .hard_link("links/c", "/bin/a")
        .hard_link("links/d", "links/b")
        .file("tmp/x", b"x")
        .end();
    let layer = unpack(&tar, &top);
    let lower = [&low, &mid].map(|path| Root::open(path).unwrap());
    let root = Root::open(&top).unwrap();
    let before = fs::metadata(top.join("links")).unwrap().mtime();
    settle_layer(&root, &layer, &lower, Ownership::of_this_process()).unwrap();
    for name in ["b", "c", "d"] {
        assert_eq!(fs::read(top.join("links").join(name)).unwrap(), b"new", "{name}");
    }
    assert_eq!(fs::metadata(top.join("links/b")).unwrap().nlink(), 3);
    assert_eq!(fs::metadata(top.join("links")).unwrap().mtime(), before);
    assert_eq!(fs::metadata(top.join("tmp")).unwrap().mode() & 0o7777, 0o1777);
    assert_eq!(fs::read(mid.join("bin/a")).unwrap(), b"new", "a link is a copy: what is below stays");
    assert_ne!(fs::metadata(mid.join("bin/a")).unwrap().ino(), fs::metadata(top.join("links/b")).unwrap().ino());

    for target in ["nowhere", "gone", "bin"] {
        let bad = dir.path().join("bad");
        let _ = fs::remove_dir_all(&bad);
        let layer = unpack(&Tar::default().hard_link("l", target).end(), &bad);
        let error = settle_layer(&Root::open(&bad).unwrap(), &layer, &lower, Ownership::of_this_process()).unwrap_err();
        assert!(error.to_string().contains(target), "{error}");
    }
}

#[test]
fn an_opaque_top_hides_every_name_below() {
    let dir = tempfile::tempdir().unwrap();
    let (low, top) = (dir.path().join("low"), dir.path().join("top"));
    unpack(&Tar::default().dir("etc").file("etc/passwd", b"").file("a", b"").file("b", b"1").end(), &low);
    let layer = unpack(&Tar::default().file(".wh..wh..opq", b"").dir("etc").file("b", b"2").end(), &top);
    assert!(layer.hides_all && !layer.is_settled());
    settle_layer(&Root::open(&top).unwrap(), &layer, &[Root::open(&low).unwrap()], Ownership::of_this_process())
        .unwrap();
    assert!(is_whiteout(&top.join("a")));
    assert_eq!(fs::read(top.join("b")).unwrap(), b"2");
    let etc = xattrs(&top.join("etc"));
    assert!(etc.keys().any(|name| name.ends_with("overlay.opaque")), "{etc:?}");
}

#[test]
fn marks_that_hide_nothing_make_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (low, top) = (dir.path().join("low"), dir.path().join("top"));
    unpack(&Tar::default().dir("etc").file("etc/passwd", b"").symlink("link", "etc").end(), &low);
    let tar = Tar::default().file("none/deep/.wh.x", b"").file("link/.wh.passwd", b"").file("etc/.wh.none", b"").end();
    let layer = unpack(&tar, &top);
    assert!(!layer.is_settled());
    settle_layer(&Root::open(&top).unwrap(), &layer, &[Root::open(&low).unwrap()], Ownership::of_this_process())
        .unwrap();
    let names: Vec<_> = fs::read_dir(&top).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["etc"]);
}

#[test]
fn layers_of_other_writers_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let whole = Tar::default().dir("/etc").file("/etc/x", b"1").end();
    for (name, tar) in [
        ("names with a slash", whole.clone()),
        ("without an end mark", whole[..whole.len() - 1024].to_vec()),
        ("with half an end mark", whole[..whole.len() - 512].to_vec()),
        ("without what fills the last block up", whole[..whole.len() - 1024 - 511].to_vec()),
    ] {
        let into = dir.path().join(name);
        unpack(&tar, &into);
        assert_eq!(fs::read(into.join("etc/x")).unwrap(), b"1", "{name}");
    }
    // But not without a byte of the last file's content.
    let cut = &whole[..whole.len() - 1024 - 512];
    assert!(try_unpack(cut, &dir.path().join("cut")).unwrap_err().to_string().contains("cut short"));
    for (name, tar) in [("only an end mark", vec![0; 1024]), ("nothing", Vec::new())] {
        let into = dir.path().join(name);
        assert_eq!(unpack(&tar, &into).diff_id, Digest::of(&tar), "{name}");
        assert_eq!(fs::read_dir(&into).unwrap().count(), 0);
    }
}
