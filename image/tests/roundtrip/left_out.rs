//! What cannot be kept, and what goes wrong on the way.

use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use appc_image::archive::*;
use appc_image::{Error, Progress, Quiet};
use appc_rooted::Root;
use rustix::fs::{CWD, FileType, Mode};

use crate::tarball::{MANIFEST, Tar, xattrs};
use crate::trees::{is_root, tree, with, write_to};

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
    assert!(copied.unwrap().omitted.iter().any(|o| o.path == Path::new("null")));
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
