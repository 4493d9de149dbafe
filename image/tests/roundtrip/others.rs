//! Archives for other programs, and of other programs.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use appc_image::Quiet;
use appc_image::archive::*;
use appc_rooted::Root;

use crate::tarball::{MANIFEST, Tar, assert_same, snapshot};
use crate::trees::{tree, unpack_to, with, write_to};

#[test]
fn other_programs_read_what_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (rootfs, archive) = (dir.path().join("rootfs"), dir.path().join("image"));
    fs::create_dir(&rootfs).unwrap();
    tree(&rootfs);
    for compression in Compression::ALL {
        write_to(&archive, &rootfs, &with(compression));
        let target = dir.path().join(compression.as_str());
        fs::create_dir(&target).unwrap();
        let mut tar = Command::new("tar");
        tar.args(["-x", "--xattrs", "--xattrs-include=*", "-p", "--numeric-owner", "-f"])
            .arg(&archive)
            .arg("-C")
            .arg(&target);
        assert!(tar.status().unwrap().success(), "{compression}");
        assert_same(&snapshot(&rootfs), &snapshot(&target.join("rootfs")));
        assert_eq!(fs::read(target.join("manifest")).unwrap(), MANIFEST);
    }
    write_to(&archive, &rootfs, &with(Compression::None));
    let mut names = Vec::new();
    for entry in tar::Archive::new(File::open(&archive).unwrap()).entries().unwrap() {
        names.push(entry.unwrap().path_bytes().into_owned());
    }
    assert_eq!(names[..2], [b"manifest".to_vec(), b"rootfs".to_vec()]);
    let place = |name: &str| names.iter().position(|n| n == name.as_bytes()).unwrap();
    assert!(place("rootfs/a") < place("rootfs/a/b") && place("rootfs/a/third") < place("rootfs/a-b"), "depth first");
}

#[test]
fn archives_of_other_programs_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image");
    fs::create_dir_all(image.join("rootfs")).unwrap();
    fs::write(image.join("manifest"), MANIFEST).unwrap();
    tree(&image.join("rootfs"));
    let before = snapshot(&image.join("rootfs"));
    for (format, exact) in [("posix", true), ("gnu", false)] {
        for (pack, extension) in
            [("--gzip", "gz"), ("--bzip2", "bz2"), ("--xz", "xz"), ("--zstd", "zst"), ("--no-auto-compress", "tar")]
        {
            for top in [&["manifest", "rootfs"][..], &["."], &["./rootfs", "./manifest"]] {
                // The spellings have nothing to do with the compression.
                if pack != "--gzip" && top != ["."] {
                    continue;
                }
                let archive = dir.path().join("archive").with_extension(extension);
                let mut tar = Command::new("tar");
                tar.arg("-c").arg(format!("--format={format}")).args(["--numeric-owner", "-f"]).arg(&archive);
                if format == "posix" {
                    tar.args(["--xattrs", "--xattrs-include=*", pack]);
                } else {
                    tar.arg(pack);
                }
                assert!(tar.arg("-C").arg(&image).args(top).status().unwrap().success());
                let target = dir.path().join("target");
                let unpacked = unpack_to(&archive, &target, &UnpackOptions::default());
                assert_eq!(unpacked.manifest, MANIFEST);
                if exact {
                    assert_same(&before, &snapshot(&target));
                } else {
                    assert_eq!(before.len(), snapshot(&target).len());
                    let meta = |top: &Path, name| {
                        fs::symlink_metadata(top.join(name)).map(|m| (m.mode(), m.uid(), m.gid(), m.mtime()))
                    };
                    for name in before.keys() {
                        let name: &Path = name;
                        assert_eq!(
                            meta(&image.join("rootfs"), name).unwrap(),
                            meta(&target, name).unwrap(),
                            "{}",
                            name.display()
                        );
                    }
                }
                fs::remove_dir_all(&target).unwrap();
            }
        }
    }
}

#[test]
fn gzip_of_any_shape_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let rootfs = dir.path().join("rootfs");
    fs::create_dir(&rootfs).unwrap();
    tree(&rootfs);
    let plain = dir.path().join("plain");
    let id = write_to(&plain, &rootfs, &with(Compression::None)).image_id;
    let plain = fs::read(plain).unwrap();
    let member = |data: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(1));
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    };
    let named = {
        let mut encoder = flate2::GzBuilder::new()
            .filename("x")
            .comment("y")
            .extra(b"ZZ\x01\0a")
            .write(Vec::new(), flate2::Compression::new(6));
        encoder.write_all(&plain).unwrap();
        encoder.finish().unwrap()
    };
    let ours = dir.path().join("ours");
    write_to(&ours, &rootfs, &WriteOptions::default());
    let ours = fs::read(ours).unwrap();
    // Ours up to some member, then somebody else's.
    let first = u32::from_le_bytes(ours[16..20].try_into().unwrap()) as usize;
    let length = u32::from_le_bytes(ours[first - 4..first].try_into().unwrap()) as usize;
    let mixed = [&ours[..first], &member(&plain[length..])].concat();
    let shapes = [
        ("one member", member(&plain)),
        ("many members", plain.chunks(70_001).flat_map(member).collect()),
        ("an empty member between", [member(&plain[..1000]), member(b""), member(&plain[1000..])].concat()),
        ("with a name", named),
        ("ours, then another's", mixed),
    ];
    for (shape, bytes) in shapes {
        let path = dir.path().join("shape");
        fs::write(&path, bytes).unwrap();
        let target = dir.path().join("target");
        assert_eq!(unpack_to(&path, &target, &UnpackOptions::default()).image_id, id, "{shape}");
        assert_same(&snapshot(&rootfs), &snapshot(&target));
        fs::remove_dir_all(target).unwrap();
    }
}

#[test]
fn a_plain_tar_is_a_root_file_system() {
    let dir = tempfile::tempdir().unwrap();
    let rootfs = dir.path().join("rootfs");
    fs::create_dir(&rootfs).unwrap();
    tree(&rootfs);
    let before = snapshot(&rootfs);
    let archive = dir.path().join("rootfs.tar.gz");
    let mut tar = Command::new("tar");
    tar.args(["-c", "--format=posix", "--xattrs", "--xattrs-include=*", "-zf"]).arg(&archive).arg("-C").arg(&rootfs);
    assert!(tar.arg(".").status().unwrap().success());
    assert!(!looks_like_aci(File::open(&archive).unwrap()).unwrap());
    let target = dir.path().join("target");
    let options = UnpackOptions { kind: Kind::RootfsTar, ..Default::default() };
    let unpacked = unpack_to(&archive, &target, &options);
    assert_eq!(unpacked.manifest, b"");
    assert_same(&before, &snapshot(&target));
    // Refused as an image, and the other way round a tar that happens to have a rootfs is not one.
    fs::create_dir(dir.path().join("other")).unwrap();
    let root = Root::open(dir.path().join("other")).unwrap();
    assert!(unpack(File::open(&archive).unwrap(), &root, &UnpackOptions::default(), &Quiet).is_err());
    let half = Tar::default().dir("rootfs").dir("bin").end();
    assert!(!looks_like_aci(half.as_slice()).unwrap());
    let half = Tar::default().file("manifest", b"{}").end();
    assert!(looks_like_aci(half.as_slice()).unwrap(), "an image that lacks a rootfs is no root file system");
}

#[test]
fn parents_may_come_late_or_never() {
    let archive = Tar::default()
        .file("rootfs/a/b/c/f", b"x")
        .file("manifest", MANIFEST)
        .header(b'5', "rootfs/a", 0, "", |h| h[100..107].copy_from_slice(b"0000700"))
        .end();
    let dir = tempfile::tempdir().unwrap();
    unpack(archive.as_slice(), &Root::open(dir.path()).unwrap(), &UnpackOptions::default(), &Quiet).unwrap();
    let meta = |name: &str| fs::metadata(dir.path().join(name)).unwrap();
    assert_eq!((meta("a").mode() & 0o7777, meta("a").mtime()), (0o700, 0o14000000000));
    assert_eq!((meta("a/b").mode() & 0o7777, meta("a/b").mtime()), (0o755, 0), "made up, the same every time");
    assert_eq!((meta("").mode() & 0o7777, meta("").mtime()), (0o755, 0));
}
