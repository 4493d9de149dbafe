//! Trees, and the way into an archive and out of it.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use appc_image::Quiet;
use appc_image::archive::*;
use appc_rooted::Root;
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps};

use crate::tarball::{MANIFEST, set_xattr};

pub(crate) fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("SKIPPED the parts that need root");
    }
    root
}

pub(crate) fn set_time(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// A tree with one of everything.
pub(crate) fn tree(top: &Path) {
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

pub(crate) fn write_to(path: &Path, rootfs: &Path, options: &WriteOptions) -> Written {
    write(MANIFEST, &Root::open(rootfs).unwrap(), File::create(path).unwrap(), options, &Quiet).unwrap()
}

pub(crate) fn unpack_to(archive: &Path, target: &Path, options: &UnpackOptions) -> Unpacked {
    fs::create_dir(target).unwrap();
    unpack(File::open(archive).unwrap(), &Root::open(target).unwrap(), options, &Quiet)
        .unwrap_or_else(|e| panic!("{}: {e}", archive.display()))
}

pub(crate) fn with(compression: Compression) -> WriteOptions {
    WriteOptions { compression, ..Default::default() }
}
