//! Trees become archives and trees again, the same to the nanosecond.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test panics")]

mod tarball;

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use appc_image::archive::*;
use appc_image::{Error, Progress, Quiet};
use appc_rooted::Root;
use proptest::prelude::*;
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps};
use tarball::{MANIFEST, Tar, assert_same, set_xattr, snapshot, xattrs};

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("SKIPPED the parts that need root");
    }
    root
}

fn set_time(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// A tree with one of everything.
fn tree(top: &Path) {
    let at = |name: &str| top.join(name);
    fs::create_dir_all(at("a/b/c")).unwrap();
    fs::create_dir(at("empty")).unwrap();
    fs::write(at("a/file"), "content").unwrap();
    fs::write(at("a-b"), "sorts between a and a/b in some orders").unwrap();
    fs::write(at("nothing"), "").unwrap();
    fs::write(at("a/block"), [7; 512]).unwrap();
    fs::write(
        at("large"),
        (0..700_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect::<Vec<_>>(),
    )
    .unwrap();
    fs::write(at("naïve \u{1f980}\n"), "odd").unwrap();
    fs::create_dir_all(at(&"long-directory-name/".repeat(12))).unwrap();
    fs::write(at(&("long-directory-name/".repeat(12) + &"n".repeat(255))), "long").unwrap();
    fs::write(at(&("long-directory-name/".repeat(5) + "fits-the-prefix")), "split").unwrap();
    symlink("../file", at("a/b/link")).unwrap();
    symlink("t".repeat(500), at("long-link")).unwrap();
    symlink("/dangling/\u{e4}", at("dangling")).unwrap();
    fs::hard_link(at("a/file"), at("zz-second")).unwrap();
    fs::hard_link(at("a/file"), at("a/third")).unwrap();
    rustix::fs::linkat(CWD, at("dangling"), CWD, at("dangling2"), AtFlags::empty()).unwrap();
    rustix::fs::mknodat(CWD, at("fifo"), FileType::Fifo, Mode::from(0o620), 0).unwrap();
    set_xattr(&at("a/file"), "user.colour", b"blue\0\n=\xff");
    set_xattr(&at("a/file"), "user.a=b%3D", b"a name that ends no key");
    set_xattr(&at("a/b"), "user.dir", &[b'x'; 2000]);
    for (name, mode) in
        [("a/block", 0o4755), ("nothing", 0o000), ("empty", 0o1777), ("a/b/c", 0o2500), ("large", 0o640)]
    {
        if is_root() || mode & 0o6000 == 0 && mode & 0o400 != 0 {
            fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
        }
    }
    if is_root() {
        let own = |name: &str, uid, gid| std::os::unix::fs::lchown(at(name), Some(uid), Some(gid)).unwrap();
        own("a-b", 1000, 100);
        own("long-link", 5_000_000, 4_294_967_294);
        own("empty", 0, 3_000_000);
        let device = |name: &str, kind, mode, device| {
            rustix::fs::mknodat(CWD, at(name), kind, Mode::from(mode), device).unwrap();
        };
        device("null", FileType::CharacterDevice, 0o666, rustix::fs::makedev(1, 3));
        device("disk", FileType::BlockDevice, 0o660, rustix::fs::makedev(259, 1_000_000));
        own("disk", 0, 6);
        // cap_net_raw=ep, as setcap writes it.
        let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        own("large", 1, 1);
        set_xattr(&at("large"), "security.capability", &capability);
        set_xattr(&at("a/b/c"), "trusted.overlay.opaque", b"y");
        set_xattr(&at("long-link"), "trusted.link", b"on the link");
        set_xattr(&at("null"), "trusted.device", b"on the device");
    }
    // The sun sets on the directories last.
    set_time(&at("nothing"), -1_000_000_000, 1);
    set_time(&at("a/file"), 1_700_000_000, 123_456_789);
    set_time(&at("dangling"), 1_600_000_000, 999_999_999);
    set_time(&at("fifo"), 10_000_000_000, 0);
    for dir in ["a/b/c", "a/b", "a", "empty", "."] {
        set_time(&at(dir), 1_500_000_000, 5);
    }
}

fn write_to(path: &Path, rootfs: &Path, options: &WriteOptions) -> Written {
    write(MANIFEST, &Root::open(rootfs).unwrap(), File::create(path).unwrap(), options, &Quiet).unwrap()
}

fn unpack_to(archive: &Path, target: &Path, options: &UnpackOptions) -> Unpacked {
    fs::create_dir(target).unwrap();
    unpack(File::open(archive).unwrap(), &Root::open(target).unwrap(), options, &Quiet)
        .unwrap_or_else(|e| panic!("{}: {e}", archive.display()))
}

fn with(compression: Compression) -> WriteOptions {
    WriteOptions { compression, ..Default::default() }
}

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
    let mixed = [&ours[..first], &member(&plain[1 << 20..])].concat();
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

#[test]
fn sockets_are_left_out_and_devices_are_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    let rootfs = dir.path().join("rootfs");
    fs::create_dir_all(rootfs.join("run")).unwrap();
    let _listener = UnixListener::bind(rootfs.join("run/socket")).unwrap();
    rustix::fs::mknodat(CWD, rootfs.join("fifo"), FileType::Fifo, Mode::from(0o600), 0).unwrap();
    let written = write_to(&dir.path().join("image"), &rootfs, &WriteOptions::default());
    assert_eq!(written.sockets, [PathBuf::from("run/socket")]);
    let (from, to) = (Root::open(&rootfs).unwrap(), Root::open(dir.path()).unwrap());
    let copied = copy_tree(&from, "", &to, "copy", &CopyOptions::default()).unwrap();
    assert_eq!(copied.sockets, [PathBuf::from("run/socket")]);
    assert!(!dir.path().join("copy/run/socket").exists());
}

/// A file that grows while it is read.
struct Grow(PathBuf);

impl Progress for Grow {
    fn advance(&self, _: u64) {
        File::options().append(true).open(&self.0).unwrap().write_all(b"more").unwrap();
    }
}

#[test]
fn a_file_that_changes_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let rootfs = dir.path().join("rootfs");
    fs::create_dir(&rootfs).unwrap();
    fs::write(rootfs.join("growing"), vec![1; 5 << 20]).unwrap();
    let out = File::create(dir.path().join("image")).unwrap();
    let progress = Grow(rootfs.join("growing"));
    let error = write(MANIFEST, &Root::open(&rootfs).unwrap(), out, &WriteOptions::default(), &progress).unwrap_err();
    assert!(matches!(&error, Error::Tree { path, .. } if path == Path::new("/growing")), "{error}");
}

#[test]
fn a_full_disk_is_said() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("f"), vec![1; 5 << 20]).unwrap();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let root = Root::open(dir.path()).unwrap();
    let error = write(MANIFEST, &root, full.try_clone().unwrap(), &WriteOptions::default(), &Quiet).unwrap_err();
    assert_eq!(error.to_string(), "write the archive: No space left on device");
    let archive = tempfile::NamedTempFile::new().unwrap();
    write(MANIFEST, &root, archive.reopen().unwrap(), &WriteOptions::default(), &Quiet).unwrap();
    let target = tempfile::tempdir().unwrap();
    let options = UnpackOptions { tee: Some(full), ..Default::default() };
    let error = unpack(archive.reopen().unwrap(), &Root::open(target.path()).unwrap(), &options, &Quiet).unwrap_err();
    assert_eq!(error.to_string(), "keep a copy of the archive: No space left on device");
}

#[test]
fn a_source_that_fails_is_not_called_corrupt() {
    struct Broken(File);
    impl Read for Broken {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            if self.0.stream_position()? > 100_000 {
                return Err(std::io::Error::other("the network went away"));
            }
            let len = into.len().min(50_000);
            self.0.read(&mut into[..len])
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let rootfs = dir.path().join("rootfs");
    fs::create_dir(&rootfs).unwrap();
    tree(&rootfs);
    for compression in Compression::ALL {
        let archive = dir.path().join("image");
        write_to(&archive, &rootfs, &with(compression));
        let target = tempfile::tempdir().unwrap();
        let root = Root::open(target.path()).unwrap();
        let error =
            unpack(Broken(File::open(&archive).unwrap()), &root, &UnpackOptions::default(), &Quiet).unwrap_err();
        assert_eq!(error.to_string(), "read the archive: the network went away", "{compression}");
    }
}

#[test]
fn levels_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    for (compression, level, good) in [
        (Compression::None, 1, false),
        (Compression::Gzip, 0, false),
        (Compression::Gzip, 9, true),
        (Compression::Gzip, 13, false),
        (Compression::Bzip2, 1, true),
        (Compression::Xz, 10, false),
        (Compression::Zstd, 19, true),
        (Compression::Zstd, 20, false),
    ] {
        let options = WriteOptions { level: Some(level), ..with(compression) };
        let out = tempfile::tempfile().unwrap();
        let written = write(MANIFEST, &Root::open(dir.path()).unwrap(), out, &options, &Quiet);
        assert_eq!(written.is_ok(), good, "{compression} {level}");
    }
    assert!("lzma".parse::<Compression>().unwrap_err().to_string().contains("use none, gzip, bzip2, xz or zstd"));
}

#[test]
fn an_ordinary_user_hears_what_was_left_out() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let rootfs = dir.path().join("rootfs");
    fs::create_dir(&rootfs).unwrap();
    tree(&rootfs);
    fs::hard_link(rootfs.join("null"), rootfs.join("null2")).unwrap();
    let archive = dir.path().join("image");
    write_to(&archive, &rootfs, &WriteOptions::default());
    let target = dir.path().join("target");
    fs::create_dir(&target).unwrap();
    // As root with Ownership::Mine nothing is refused by the kernel but devices are left out all the same.
    let options = UnpackOptions { ownership: Ownership::Mine, ..Default::default() };
    let unpacked = unpack(File::open(&archive).unwrap(), &Root::open(&target).unwrap(), &options, &Quiet).unwrap();
    let said =
        |path: &str, what: &str| unpacked.omitted.iter().any(|o| o.path == Path::new(path) && o.what.contains(what));
    assert!(
        said("null", "device node") && said("disk", "device node") && said("null2", "hard link"),
        "{:?}",
        unpacked.omitted
    );
    assert!(said("a/block", "set-user-ID"), "{:?}", unpacked.omitted);
    assert!(!target.join("null").exists());
    assert_eq!(target.join("a/block").metadata().unwrap().mode() & 0o7777, 0o755);
    assert_eq!(target.join("a-b").metadata().unwrap().uid(), 0);
    let copied = copy_tree(
        &Root::open(&rootfs).unwrap(),
        "",
        &Root::open(dir.path()).unwrap(),
        "copy",
        &CopyOptions { ownership: Ownership::Mine, ..Default::default() },
    );
    assert!(copied.unwrap().omitted.iter().any(|o| o.path == Path::new("copy/null")));
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

/// A random tree: what to make at each path.
#[derive(Debug, Clone)]
enum Thing {
    Dir { mode: u32 },
    File { content: Vec<u8>, repeat: usize, mode: u32 },
    Link(String),
    Again,
}

fn thing() -> impl Strategy<Value = Thing> {
    prop_oneof![
        3 => (0o700u32..0o1000).prop_map(|mode| Thing::Dir { mode }),
        5 => (proptest::collection::vec(any::<u8>(), 0..40), 0usize..20_000, 0o400u32..0o1000)
            .prop_map(|(content, repeat, mode)| Thing::File { content, repeat, mode }),
        1 => "[a-z/.]{1,150}".prop_map(Thing::Link),
        1 => Just(Thing::Again),
    ]
}

fn build(top: &Path, things: &[(u8, String, Thing, i64, u32)]) {
    let mut dirs = vec![top.to_owned()];
    let mut files = Vec::new();
    let mut times = Vec::new();
    for (place, name, thing, seconds, nanoseconds) in things {
        let path = dirs[usize::from(*place) % dirs.len()].join(name);
        if path.as_os_str().len() > 3500 || path.symlink_metadata().is_ok() {
            continue;
        }
        match thing {
            Thing::Dir { mode } => {
                fs::create_dir(&path).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
                dirs.push(path.clone());
            }
            Thing::File { content, repeat, mode } => {
                fs::write(&path, content.repeat(*repeat)).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
                files.push(path.clone());
            }
            Thing::Link(target) => symlink(target, &path).unwrap(),
            Thing::Again => match files.get(usize::from(*place) % files.len().max(1)) {
                Some(file) => fs::hard_link(file, &path).unwrap(),
                None => continue,
            },
        }
        times.push((path, *seconds, i64::from(*nanoseconds)));
    }
    for (path, seconds, nanoseconds) in times.iter().rev() {
        set_time(path, *seconds, *nanoseconds);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn any_tree_comes_back(
        things in proptest::collection::vec(
            (any::<u8>(), "[a-z\u{e4}\u{1f600} .]{1,12}[a-z]{0,60}x", thing(), -2_000_000_000i64..12_000_000_000, 0u32..1_000_000_000),
            0..40,
        ),
        compression in proptest::sample::select(&Compression::ALL[..]),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let (rootfs, archive, target) = (dir.path().join("rootfs"), dir.path().join("image"), dir.path().join("target"));
        fs::create_dir(&rootfs).unwrap();
        build(&rootfs, &things);
        let level = if compression == Compression::Xz { Some(0) } else { None };
        let written = write_to(&archive, &rootfs, &WriteOptions { level, ..with(compression) });
        let unpacked = unpack_to(&archive, &target, &UnpackOptions::default());
        prop_assert_eq!(written.image_id, unpacked.image_id);
        assert_same(&snapshot(&rootfs), &snapshot(&target));
        let copied = copy_tree(&Root::open(&target).unwrap(), "", &Root::open(dir.path()).unwrap(), "copy", &CopyOptions::default());
        prop_assert!(copied.is_ok());
        assert_same(&snapshot(&rootfs), &snapshot(&dir.path().join("copy")));
    }
}

#[test]
fn attributes_that_cannot_be_kept_are_an_error_for_root() {
    if !is_root() {
        return;
    }
    let archive = Tar::image().pax(&[("SCHILY.xattr.nonsense.x", "1")]).file("rootfs/f", b"").end();
    let dir = tempfile::tempdir().unwrap();
    let root = Root::open(dir.path()).unwrap();
    let error = unpack(archive.as_slice(), &root, &UnpackOptions::default(), &Quiet).unwrap_err();
    assert!(error.to_string().contains("cannot keep its attribute nonsense.x"), "{error}");
    let mine = UnpackOptions { ownership: Ownership::Mine, ..Default::default() };
    let other = tempfile::tempdir().unwrap();
    let unpacked = unpack(archive.as_slice(), &Root::open(other.path()).unwrap(), &mine, &Quiet).unwrap();
    assert_eq!(unpacked.omitted[0].what, "attribute nonsense.x");
    assert!(xattrs(&other.path().join("f")).is_empty());
}
