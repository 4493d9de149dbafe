//! Trees become archives and trees again, the same to the nanosecond.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test panics")]

mod any_tree;
mod left_out;
mod others;
#[path = "../tarball/mod.rs"]
mod tarball;
mod trees;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::Path;
use std::process::Command;

use appc_image::archive::*;
use appc_rooted::Root;

use tarball::{MANIFEST, assert_same, snapshot};
use trees::{set_time, tree, unpack_to, with, write_to};

#[test]
fn everything_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let (rootfs, archive) = (dir.path().join("rootfs"), dir.path().join("image"));
    fs::create_dir(&rootfs).unwrap();
    tree(&rootfs);
    let before = snapshot(&rootfs);
    let mut ids = Vec::new();
    for compression in Compression::ALL {
        let written = write_to(&archive, &rootfs, &with(compression));
        let target = dir.path().join(compression.as_str());
        let tee = Some(File::create(dir.path().join("tee")).unwrap());
        let unpacked = unpack_to(&archive, &target, &UnpackOptions { tee, ..Default::default() });
        assert_same(&before, &snapshot(&target));
        assert_eq!(unpacked.image_id, written.image_id);
        assert_eq!(unpacked.manifest, MANIFEST);
        assert_eq!(unpacked.omitted, []);
        assert_eq!((unpacked.size, written.size), (written.size, fs::metadata(&archive).unwrap().len()));
        assert!(fs::read(dir.path().join("tee")).unwrap() == fs::read(&archive).unwrap());
        assert_eq!(manifest(File::open(&archive).unwrap()).unwrap(), MANIFEST);
        assert!(looks_like_aci(File::open(&archive).unwrap()).unwrap());
        // What was unpacked gives the same image again.
        assert_eq!(write_to(&archive, &target, &with(Compression::None)).image_id, written.image_id);
        ids.push(written.image_id.to_string());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "the ID is that of the plain tar");
    write_to(&archive, &rootfs, &with(Compression::None));
    let plain = ring::digest::digest(&ring::digest::SHA512, &fs::read(&archive).unwrap());
    let hex: String = plain.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(ids[0], format!("sha512-{hex}"));
}

#[test]
fn the_bytes_depend_on_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (rootfs, archive) = (dir.path().join("rootfs"), dir.path().join("image"));
    fs::create_dir(&rootfs).unwrap();
    tree(&rootfs);
    for compression in Compression::ALL {
        let mut all = Vec::new();
        for threads in [1, 2, 5, 0] {
            write_to(&archive, &rootfs, &WriteOptions { threads, ..with(compression) });
            all.push(fs::read(&archive).unwrap());
        }
        assert!(all.iter().all(|bytes| *bytes == all[0]), "{compression}");
    }
}

#[test]
fn times_are_clamped() {
    let dir = tempfile::tempdir().unwrap();
    let (rootfs, archive) = (dir.path().join("rootfs"), dir.path().join("image"));
    fs::create_dir(&rootfs).unwrap();
    tree(&rootfs);
    let options = WriteOptions { source_date_epoch: Some(1_650_000_000), ..with(Compression::None) };
    let id = write_to(&archive, &rootfs, &options).image_id;
    let bytes = fs::read(&archive).unwrap();
    assert_eq!(&bytes[136..147], format!("{:011o}", 1_650_000_000).as_bytes(), "the manifest's time");
    let target = dir.path().join("target");
    unpack_to(&archive, &target, &UnpackOptions::default());
    let time = |name: &str| target.join(name).symlink_metadata().map(|m| (m.mtime(), m.mtime_nsec())).unwrap();
    assert_eq!(time("a/file"), (1_650_000_000, 0), "later");
    assert_eq!(time("dangling"), (1_600_000_000, 999_999_999), "earlier");
    set_time(&rootfs.join("a/file"), 1_800_000_000, 1);
    assert_eq!(write_to(&archive, &rootfs, &options).image_id, id);
}

#[test]
fn sparse_files_stay_sparse() {
    let dir = tempfile::tempdir().unwrap();
    let rootfs = dir.path().join("rootfs");
    fs::create_dir(&rootfs).unwrap();
    let sparse = File::create(rootfs.join("sparse")).unwrap();
    for n in 0..40u64 {
        sparse.write_all_at(b"data", n * 300_000 + n * n).unwrap();
    }
    sparse.set_len(100 << 20).unwrap();
    File::create(rootfs.join("hole")).unwrap().set_len(10 << 20).unwrap();
    let starts = File::create(rootfs.join("starts")).unwrap();
    starts.write_all_at(&[1; 5000], 0).unwrap();
    starts.set_len(1 << 20).unwrap();
    drop((sparse, starts));
    fs::write(dir.path().join("manifest"), MANIFEST).unwrap();
    let check = |archive: &Path| {
        let target = dir.path().join("target");
        let unpacked = unpack_to(archive, &target, &UnpackOptions::default());
        assert_same(&snapshot(&rootfs), &snapshot(&target));
        assert_eq!(unpacked.tree_size, (100 << 20) + (10 << 20) + (1 << 20));
        let room = |name| target.join(name).metadata().unwrap().blocks() * 512;
        let room: u64 = ["sparse", "hole", "starts"].into_iter().map(room).sum();
        assert!(room < 6 << 20, "{room} bytes");
        fs::remove_dir_all(&target).unwrap();
    };
    let archive = dir.path().join("archive");
    for version in ["--format=gnu", "--sparse-version=0.0", "--sparse-version=0.1", "--sparse-version=1.0"] {
        let mut tar = Command::new("tar");
        tar.args(["-c", "--sparse", version]);
        if version != "--format=gnu" {
            tar.arg("--format=posix");
        } else {
            for name in ["", "sparse", "hole", "starts"] {
                set_time(&rootfs.join(name), 1_000_000_000, 0);
            }
        }
        let made = tar.arg("-f").arg(&archive).arg("-C").arg(dir.path()).args(["manifest", "rootfs"]).status().unwrap();
        assert!(made.success());
        check(&archive);
    }
    write_to(&archive, &rootfs, &WriteOptions::default());
    check(&archive);
}

#[test]
fn copies_are_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let rootfs = dir.path().join("rootfs");
    fs::create_dir(&rootfs).unwrap();
    tree(&rootfs);
    File::create(rootfs.join("hole")).unwrap().set_len(50 << 20).unwrap();
    set_time(&rootfs, 1, 2);
    let (from, to) = (Root::open(&rootfs).unwrap(), Root::open(dir.path()).unwrap());
    let options = CopyOptions::default();
    let copied = copy_tree(&from, "", &to, "copy", &options).unwrap();
    assert!(copied.bytes > 50 << 20);
    assert_same(&snapshot(&rootfs), &snapshot(&dir.path().join("copy")));
    assert!(dir.path().join("copy/hole").metadata().unwrap().blocks() < 100);
    let error = copy_tree(&from, "", &to, "copy", &options).unwrap_err();
    assert!(error.to_string().contains("already"), "{error}");
    // Onto what is there: directories are merged, the rest is replaced, links are not written through.
    fs::write(dir.path().join("outside"), "safe").unwrap();
    fs::remove_file(dir.path().join("copy/a-b")).unwrap();
    symlink("../outside", dir.path().join("copy/a-b")).unwrap();
    fs::write(dir.path().join("copy/extra"), "").unwrap();
    copy_tree(&from, "", &to, "copy", &CopyOptions { replace: true, ..options }).unwrap();
    assert_eq!(fs::read(dir.path().join("outside")).unwrap(), b"safe");
    fs::remove_file(dir.path().join("copy/extra")).unwrap();
    set_time(&dir.path().join("copy"), 1, 2);
    assert_same(&snapshot(&rootfs), &snapshot(&dir.path().join("copy")));
    // Into a root itself, single files, links as links.
    fs::create_dir(dir.path().join("top")).unwrap();
    copy_tree(&from, "/a/", &Root::open(dir.path().join("top")).unwrap(), "/", &options).unwrap();
    assert!(dir.path().join("top/b/link").is_symlink());
    copy_tree(&from, "a/b/link", &to, "top/link", &options).unwrap();
    assert!(dir.path().join("top/link").is_symlink());
    let missing = copy_tree(&from, "missing", &to, "top/missing", &options).unwrap_err();
    assert!(missing.to_string().starts_with("copy /missing: No such file"), "{missing}");
}

#[test]
fn a_copy_into_itself_is_refused_unless_left_out() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("build/rootfs")).unwrap();
    fs::write(dir.path().join("f"), "").unwrap();
    let from = Root::open(dir.path()).unwrap();
    let to = Root::open(dir.path().join("build/rootfs")).unwrap();
    assert!(copy_tree(&from, "", &to, "x", &CopyOptions::default()).is_err());
    fs::remove_dir_all(dir.path().join("build/rootfs/x")).unwrap();
    let build = Root::open(dir.path().join("build")).unwrap();
    copy_tree(&from, "", &to, "", &CopyOptions { exclude: Some(&build), ..Default::default() }).unwrap();
    let names: Vec<_> =
        fs::read_dir(dir.path().join("build/rootfs")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["f"]);
}

#[test]
fn deep_trees() {
    let dir = tempfile::tempdir().unwrap();
    let mut path = dir.path().join("rootfs");
    fs::create_dir(&path).unwrap();
    for n in 0..300 {
        path.push(format!("d{n}"));
        fs::create_dir(&path).unwrap();
        fs::write(path.join("before"), "").unwrap();
        fs::write(path.join("zafter"), format!("{n}")).unwrap();
    }
    let archive = dir.path().join("image");
    write_to(&archive, &dir.path().join("rootfs"), &WriteOptions::default());
    unpack_to(&archive, &dir.path().join("target"), &UnpackOptions::default());
    assert_same(&snapshot(&dir.path().join("rootfs")), &snapshot(&dir.path().join("target")));
}
