//! Archives made to do harm. Each must be refused with its rule, or unpacked without touching anything outside.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test panics")]

mod check;
mod headers;
mod names;
mod streams;
#[path = "../tarball/mod.rs"]
mod tarball;

use std::path::Path;

use appc_image::archive::{Ownership, UnpackOptions, manifest, unpack};
use appc_image::{Error, Quiet};
use appc_rooted::Root;
use check::{Contained, Refused, check, host};
use tarball::{MANIFEST, Tar, assert_same, snapshot};

#[test]
fn strange_but_harmless() {
    let odd = Tar::image()
        .file("rootfs/.wh..wh..opq", b"")
        .file("rootfs/.wh..", b"")
        .file("rootfs/a\nb\x1b[31m", b"")
        .file("rootfs/\u{e9}", b"")
        .file("rootfs/case", b"")
        .file("rootfs/CASE", b"")
        .header(b'0', "rootfs/latin", 0, "", |h| h[12] = 0xe9)
        .symlink("rootfs/dangling", "/no/where")
        .symlink("rootfs/loop", "loop")
        .header(b'6', "rootfs/fifo", 0, "", |_| {})
        .end();
    let mut cases = vec![("odd names", odd, Contained)];
    if rustix::process::geteuid().is_root() {
        let memory = Tar::image().header(b'3', "rootfs/mem", 0, "", |h| {
            h[100..107].copy_from_slice(b"0004777");
            h[329..345].copy_from_slice(b"0000001\x000000001\0");
        });
        let setuid = Tar::image().header(b'0', "rootfs/su", 0, "", |h| h[100..107].copy_from_slice(b"0006755"));
        cases.push(("a device node", memory.end(), Contained));
        cases.push(("a set-user-ID file", setuid.end(), Contained));
    }
    check(cases);
    // The message of a refused name is plain text.
    let evil = Tar::image().file("rootfs/x\n\x1b[31m/../..", b"").end();
    check(vec![("a name for the terminal", evil, Refused("rootfs/x\\n\\u{1b}[31m"))]);
}

#[test]
fn an_error_names_entry_offset_and_rule() {
    let archive = Tar::image().file("rootfs/ok", b"12345").file("rootfs/../x", b"").end();
    let error = unpack_error(&archive, Ownership::default());
    // Two headers and content, one header, one header and content.
    assert_eq!(error.to_string(), "archive entry \"rootfs/../x\" at byte 2560: it leads out of the root by `..`");
    assert!(matches!(error, Error::Archive { offset: 2560, .. }), "{error:?}");
}

fn unpack_error(archive: &[u8], ownership: Ownership) -> Error {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::open(dir.path()).unwrap();
    unpack(archive, &root, &UnpackOptions { ownership, ..Default::default() }, &Quiet).unwrap_err()
}

#[test]
fn peeking_refuses_too() {
    for archive in
        [Tar::default().dir("rootfs").file("../manifest", b"").end(), Tar::default().dir("rootfs").0, Vec::new()]
    {
        assert!(manifest(archive.as_slice()).is_err());
    }
    // It stops as soon as it has it: what is wrong later is not its business.
    assert_eq!(manifest(Tar::image().file("../x", b"").0.as_slice()).unwrap(), MANIFEST);
}

#[test]
fn every_cut_and_every_flip_of_a_header_is_survived() {
    let dir = host();
    let before = snapshot(&dir.path().join("host"));
    let good = Tar::image()
        .pax(&[("mtime", "1.5"), ("path", "rootfs/long")])
        .file("rootfs/f", b"x")
        .symlink("rootfs/l", "f")
        .end();
    let run = |archive: &[u8], at: usize| {
        let target = dir.path().join(format!("target/{at}"));
        std::fs::create_dir(&target).unwrap();
        let outcome = unpack(archive, &Root::open(&target).unwrap(), &UnpackOptions::default(), &Quiet);
        std::fs::remove_dir_all(Path::new(&target)).unwrap();
        outcome.is_ok()
    };
    for cut in (0..good.len()).step_by(61) {
        assert!(!run(&good[..cut], cut), "cut at {cut}");
    }
    for at in (0..good.len()).step_by(7) {
        let mut flipped = good.clone();
        flipped[at] ^= 0x20;
        run(&flipped, at);
    }
    assert_same(&before, &snapshot(&dir.path().join("host")));
}
