//! Archives made to do harm. Each must be refused with its rule, or unpacked without touching anything outside.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test panics")]

mod tarball;

use std::io::Write;
use std::path::Path;

use appc_image::archive::{Kind, Limit, Ownership, UnpackOptions, manifest, unpack};
use appc_image::convert;
use appc_image::layer::{LayerOptions, unpack_layer};
use appc_image::layout::{DockerArchive, OciLayout};
use appc_image::oci::{Algorithm, Descriptor, Platform, Sink, read_image};
use appc_image::{Error, Quiet};
use appc_rooted::Root;
use tarball::{MANIFEST, Tar, assert_same, pax_data, snapshot};

enum Expect {
    /// Refused with a message that has this in it.
    Refused(&'static str),
    /// Unpacked, harmlessly.
    Contained,
}
use Expect::{Contained, Refused};

/// Unpacks each case beside a tree that must not change, and checks the outcome and the tree.
fn check(cases: Vec<(&str, Vec<u8>, Expect)>) {
    for (name, archive, expect) in cases {
        check_one(name, &archive, expect, host(), Kind::Aci);
    }
}

/// What an attack would like to change.
fn host() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let host = dir.path().join("host");
    std::fs::create_dir_all(host.join("etc")).unwrap();
    std::fs::write(host.join("secret"), "secret").unwrap();
    std::fs::write(host.join("etc/passwd"), "root").unwrap();
    std::fs::create_dir(dir.path().join("target")).unwrap();
    dir
}

fn check_one(name: &str, archive: &[u8], expect: Expect, dir: tempfile::TempDir, kind: Kind) {
    let host = dir.path().join("host");
    let before = snapshot(&host);
    let root = Root::open(dir.path().join("target")).unwrap();
    let outcome = unpack(archive, &root, &UnpackOptions { kind, ..Default::default() }, &Quiet);
    assert_same(&before, &snapshot(&host));
    let beside = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(beside, 2, "{name}: something was made beside the target");
    as_anything_else(name, archive, &dir);
    assert_same(&before, &snapshot(&host));
    match (expect, outcome) {
        (Contained, outcome) => drop(outcome.unwrap_or_else(|e| panic!("{name}: {e}"))),
        (Refused(rule), Ok(_)) => panic!("{name}: unpacked, not refused as \"{rule}\""),
        (Refused(rule), Err(error)) => {
            let text = error.to_string();
            assert!(text.contains(rule), "{name}: \"{text}\" does not say \"{rule}\"");
            assert!(!text.contains(['\n', '\x1b']), "{name}: {text:?} is not one plain line");
            if let Error::Archive { offset, .. } = error {
                assert!(offset <= 64 << 20, "{name}: {offset}");
            }
        }
    }
}

/// Gives the archive to every other reader: whatever each makes of it stays where it belongs, and is one plain line if it
/// is a refusal.
fn as_anything_else(name: &str, archive: &[u8], dir: &tempfile::TempDir) {
    let plain = |error: Error| {
        let text = error.to_string();
        assert!(!text.contains(['\n', '\x1b']) && text.len() < 10_000, "{name}: {text:?} is not one plain line");
    };
    let place = dir.path().join("target/others");
    let _made = std::fs::create_dir(&place);
    let below = |name: &str| {
        let path = place.join(name);
        std::fs::create_dir(&path).unwrap();
        path
    };
    let options =
        LayerOptions { tee: None, ownership: Ownership::default(), algorithm: Algorithm::Sha256, limit: Limit::Usual };
    let layer = unpack_layer(archive, &Root::open(below("layer")).unwrap(), &options, &Quiet).map(drop);
    let options = convert::Options::new(&place);
    let bundle = convert::archive_to_bundle(archive, &below("bundle"), &options, &Quiet).map(drop);
    let file = place.join("archive");
    std::fs::write(&file, archive).unwrap();
    let host = Platform::host();
    let docker = DockerArchive::open(&file, None).and_then(|source| read_image(&source, &host)).map(drop);
    let oci = OciLayout::open_archive(&file, None).and_then(|source| read_image(&source, &host)).map(drop);
    let aci = std::fs::File::open(&file).unwrap();
    let layers = convert::to_oci(&aci, &[], &Nowhere, &options, &Quiet).map(drop);
    [layer, bundle, docker, oci, layers].into_iter().filter_map(Result::err).for_each(plain);
    std::fs::remove_dir_all(&place).unwrap();
}

/// Has everything already.
struct Nowhere;

impl Sink for Nowhere {
    fn has(&self, _: &Descriptor) -> appc_image::Result<bool> {
        Ok(true)
    }

    fn put(&self, _: &Descriptor, _: &mut dyn std::io::Read) -> appc_image::Result<()> {
        Ok(())
    }

    fn finish(&self, _: &Descriptor) -> appc_image::Result<()> {
        Ok(())
    }
}

#[test]
fn names_that_lead_out() {
    let up = "leads out of the root by `..`";
    check(vec![
        ("dotdot at the top", Tar::image().file("../x", b"").end(), Refused(up)),
        ("dotdot below rootfs", Tar::image().file("rootfs/../../x", b"").end(), Refused(up)),
        ("dotdot that stays inside", Tar::image().file("rootfs/a/../x", b"").end(), Refused(up)),
        ("dotdot as a directory", Tar::image().dir("rootfs/..").end(), Refused(up)),
        ("dotdot link", Tar::image().symlink("rootfs/../x", "y").end(), Refused(up)),
        ("absolute", Tar::image().file("/tmp/x", b"").end(), Refused("absolute")),
        ("absolute by PAX", Tar::image().pax(&[("path", "/tmp/x")]).file("rootfs/x", b"").end(), Refused("absolute")),
        ("dotdot by PAX", Tar::image().pax(&[("path", "rootfs/../../x")]).file("rootfs/x", b"").end(), Refused(up)),
        ("dotdot by GNU", Tar::image().extended(b'L', b"rootfs/../../x\0").file("rootfs/x", b"").end(), Refused(up)),
        (
            "dotdot by the prefix",
            Tar::image().header(b'0', "x", 0, "", |h| h[345..354].copy_from_slice(b"rootfs/..")).end(),
            Refused(up),
        ),
        (
            "dotdot by a sparse name",
            Tar::image().pax(&[("GNU.sparse.name", "../x"), ("GNU.sparse.size", "0")]).file("rootfs/x", b"").end(),
            Refused(up),
        ),
    ]);
}

#[test]
fn ways_through_links() {
    let through = "leads through the symbolic link";
    for target in ["{host}", "../host", "/", "../../../../../../../..", "real"] {
        let dir = host();
        let target = target.replace("{host}", dir.path().join("host").to_str().unwrap());
        let tar = |then: &dyn Fn(Tar) -> Tar| then(Tar::image().dir("rootfs/real").symlink("rootfs/l", &target)).end();
        let cases = [
            ("file through a link", tar(&|tar| tar.file("rootfs/l/secret", b"x"))),
            ("directory through a link", tar(&|tar| tar.dir("rootfs/l/etc"))),
            ("deep through a link", tar(&|tar| tar.file("rootfs/l/etc/passwd", b"x"))),
            ("link through a link", tar(&|tar| tar.symlink("rootfs/l/etc2", "x"))),
            ("device through a link", tar(&|tar| tar.header(b'3', "rootfs/l/null", 0, "", |_| {}))),
            ("hard link through a link", tar(&|tar| tar.file("rootfs/f", b"").hard_link("rootfs/l/f", "rootfs/f"))),
        ];
        for (name, archive) in cases {
            let dir = host();
            check_one(name, &archive, Refused(through), dir, Kind::Aci);
        }
        let taken = [
            ("a directory where a link is", tar(&|tar| tar.dir("rootfs/l")), through),
            ("a file where a link is", tar(&|tar| tar.file("rootfs/l", b"x")), "twice"),
            (
                "a hard link to what is behind a link",
                tar(&|tar| tar.hard_link("rootfs/h", "rootfs/l/secret")),
                "not in the archive",
            ),
        ];
        for (name, archive, rule) in taken {
            check_one(name, &archive, Refused(rule), host(), Kind::Aci);
        }
        // The link itself is content like any other, and so is another name of it.
        let archive = tar(&|tar| tar.hard_link("rootfs/h", "rootfs/l"));
        check_one("a hard link to a link", &archive, Contained, dir, Kind::Aci);
    }
}

#[test]
fn hard_links() {
    let outside = "hard link to something outside rootfs";
    check(vec![
        ("absolute", Tar::image().hard_link("rootfs/h", "/etc/passwd").end(), Refused("absolute")),
        ("dotdot", Tar::image().hard_link("rootfs/h", "rootfs/../../host/secret").end(), Refused("`..`")),
        ("not below rootfs", Tar::image().hard_link("rootfs/h", "host/secret").end(), Refused(outside)),
        ("to the manifest", Tar::image().hard_link("rootfs/h", "manifest").end(), Refused(outside)),
        ("to the rootfs", Tar::image().hard_link("rootfs/h", "rootfs").end(), Refused(outside)),
        (
            "to nothing",
            Tar::image().hard_link("rootfs/h", "rootfs/missing").end(),
            Refused("not in the archive before it"),
        ),
        (
            "to nowhere",
            Tar::image().hard_link("rootfs/h", "rootfs/a/b/c").end(),
            Refused("not in the archive before it"),
        ),
        ("to itself", Tar::image().hard_link("rootfs/h", "rootfs/h").end(), Refused("itself")),
        ("to a directory", Tar::image().dir("rootfs/d").hard_link("rootfs/h", "rootfs/d").end(), Refused("directory")),
        ("without a target", Tar::image().hard_link("rootfs/h", "").end(), Refused("without a target")),
        (
            "over a file",
            Tar::image().file("rootfs/a", b"").file("rootfs/b", b"").hard_link("rootfs/b", "rootfs/a").end(),
            Refused("twice"),
        ),
        (
            "by PAX",
            Tar::image().pax(&[("linkpath", "/etc/passwd")]).hard_link("rootfs/h", "rootfs/x").end(),
            Refused("absolute"),
        ),
        (
            "through a file",
            Tar::image().file("rootfs/f", b"").hard_link("rootfs/f/x", "rootfs/f").end(),
            Refused("no directory"),
        ),
    ]);
}

#[test]
fn duplicates() {
    let twice = "twice";
    check(vec![
        ("files", Tar::image().file("rootfs/f", b"1").file("rootfs/f", b"2").end(), Refused(twice)),
        (
            "files spelt differently",
            Tar::image().file("rootfs/f", b"1").file("./rootfs//./f", b"2").end(),
            Refused(twice),
        ),
        ("directories", Tar::image().dir("rootfs/d").dir("rootfs/d/").end(), Refused("there already")),
        ("the rootfs", Tar::image().dir("rootfs").end(), Refused("there already")),
        ("manifests", Tar::image().file("./manifest", MANIFEST).end(), Refused(twice)),
        ("a directory after a file", Tar::image().file("rootfs/f", b"").dir("rootfs/f").end(), Refused("no directory")),
        ("a file after a directory", Tar::image().dir("rootfs/d").file("rootfs/d", b"").end(), Refused(twice)),
        ("links", Tar::image().symlink("rootfs/l", "a").symlink("rootfs/l", "b").end(), Refused(twice)),
        (
            "a file below a file",
            Tar::image().file("rootfs/f", b"").file("rootfs/f/x", b"").end(),
            Refused("no directory"),
        ),
        (
            "a file below a fifo",
            Tar::image().header(b'6', "rootfs/p", 0, "", |_| {}).file("rootfs/p/x", b"").end(),
            Refused("no directory"),
        ),
        ("a directory after what is in it", Tar::image().file("rootfs/d/f", b"").dir("rootfs/d").end(), Contained),
    ]);
}

#[test]
fn layouts() {
    let top = "nothing else at its top";
    check(vec![
        ("rootfsx", Tar::image().dir("rootfsx").end(), Refused(top)),
        ("a third file", Tar::image().file("signature", b"").end(), Refused(top)),
        ("below the manifest", Tar::image().file("manifest/x", b"").end(), Refused(top)),
        (
            "rootfs a link",
            Tar::default().file("manifest", MANIFEST).symlink("rootfs", "../host").end(),
            Refused("must be a directory"),
        ),
        (
            "rootfs a file",
            Tar::default().file("manifest", MANIFEST).file("rootfs", b"").end(),
            Refused("must be a directory"),
        ),
        ("manifest a link", Tar::default().symlink("manifest", "../host/secret").end(), Refused("regular file")),
        ("manifest a directory", Tar::default().dir("manifest").end(), Refused("regular file")),
        ("manifest a hard link", Tar::default().hard_link("manifest", "rootfs/x").end(), Refused("regular file")),
        ("manifest a device", Tar::default().header(b'3', "manifest", 0, "", |_| {}).end(), Refused("regular file")),
        ("no manifest", Tar::default().dir("rootfs").end(), Refused("without a manifest")),
        ("no rootfs", Tar::default().file("manifest", MANIFEST).end(), Refused("without a rootfs")),
        ("nothing", Tar::default().end(), Refused("neither tar")),
        (
            "manifest a bomb",
            Tar::default().file("manifest", &vec![b' '; 5 << 20]).dir("rootfs").end(),
            Refused("longer than"),
        ),
    ]);
    let root_twice = Tar::default().dir("./").dir("a").dir(".").end();
    check_one("the top of a plain tar twice", &root_twice, Refused("there already"), host(), Kind::RootfsTar);
    let root_link = Tar::default().symlink("./", "/").end();
    check_one("the top of a plain tar a link", &root_link, Refused("place of the root"), host(), Kind::RootfsTar);
}

#[test]
fn headers() {
    let number =
        |at: usize, bytes: &'static [u8]| move |h: &mut [u8; 512]| h[at..at + bytes.len()].copy_from_slice(bytes);
    let with = |at, bytes| Tar::image().header(b'0', "rootfs/f", 0, "", number(at, bytes)).end();
    let kind =
        |kind, name, size| Tar::image().header(kind, name, size, "", |_| {}).content(&vec![0; size as usize]).end();
    let mut bad_sum = Tar::image().dir("rootfs/d").end();
    let at = bad_sum.len() - 1024 - 512;
    bad_sum[at] ^= 1;
    check(vec![
        ("unknown type", kind(b'Z', "rootfs/z", 0), Refused("type 'Z' is unknown")),
        ("multi-volume", kind(b'M', "rootfs/m", 0), Refused("type 'M' is unknown")),
        ("type that is a control character", kind(0x1b, "rootfs/m", 0), Refused("unknown")),
        ("negative size", with(124, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe"), Refused("negative")),
        ("huge size", with(124, b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"), Refused("impossibly large")),
        (
            "size beyond numbers",
            with(124, b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
            Refused("not a number"),
        ),
        ("size that is text", with(124, b"0000000001x\0"), Refused("not a number")),
        ("size beyond the end", with(124, b"77777777777\0"), Refused("cut short")),
        (
            "size beyond numbers by PAX",
            Tar::image().pax(&[("size", "99999999999999999999")]).dir("rootfs/x").end(),
            Refused("out of range"),
        ),
        (
            "numbers out of range, with the name of what has them",
            Tar::image().pax(&[("path", "rootfs/named"), ("size", "99999999999999999999")]).dir("rootfs/x").end(),
            Refused("\"rootfs/named\" at byte"),
        ),
        ("negative mode", with(100, b"\xff\xff\xff\xff\xff\xff\xff\xff"), Refused("negative")),
        ("owner -1", Tar::image().pax(&[("uid", "4294967295")]).dir("rootfs/x").end(), Refused("too large")),
        (
            "owner beyond 32 bits",
            Tar::image().pax(&[("gid", "4294967296")]).dir("rootfs/x").end(),
            Refused("too large"),
        ),
        (
            "time beyond numbers",
            Tar::image().pax(&[("mtime", "99999999999999999999")]).dir("rootfs/x").end(),
            Refused("out of range"),
        ),
        (
            "time beyond the file system",
            Tar::image().pax(&[("mtime", "9223372036854775807")]).dir("rootfs/x").end(),
            Contained,
        ),
        ("directory with content", kind(b'5', "rootfs/d", 512), Refused("no regular file")),
        (
            "link with content",
            Tar::image().header(b'2', "rootfs/l", 512, "x", |_| {}).content(&[0; 512]).end(),
            Refused("no regular file"),
        ),
        ("empty name", Tar::image().file("", b"").end(), Refused("name is empty")),
        ("file with a slash", Tar::image().file("rootfs/f/", b"").end(), Refused("ends in a slash")),
        ("file that is the root", Tar::image().file("rootfs/.", b"").end(), Refused("must be a directory")),
        ("link without a target", Tar::image().symlink("rootfs/l", "").end(), Refused("without a target")),
        ("bad checksum", bad_sum, Refused("checksum")),
        ("pre-POSIX", Tar::image().header(b'0', "rootfs/f", 0, "", number(257, &[0; 8])).end(), Refused("v7")),
        ("lone zero block", Tar::image().raw(&[0; 512]).dir("rootfs/x").end(), Refused("lone zero block")),
        (
            "a major number beyond the kernel's 12 bits",
            Tar::image().header(b'3', "rootfs/c", 0, "", number(329, b"0010000\0")).end(),
            Refused("major number is too large"),
        ),
        (
            "a minor number beyond the kernel's 20 bits",
            Tar::image().header(b'4', "rootfs/b", 0, "", number(337, b"4000000\0")).end(),
            Refused("minor number is too large"),
        ),
        (
            "device numbers beyond 32 bits",
            Tar::image().header(b'3', "rootfs/c", 0, "", number(329, b"\x80\0\0\xff\0\0\0\0")).end(),
            Refused("too large"),
        ),
    ]);
}

#[test]
fn extended_headers() {
    let long = "rootfs/".to_owned() + &"d/".repeat(2100);
    let deep = "rootfs/".to_owned() + &"d/".repeat(2000) + "f";
    let wide = "rootfs/".to_owned() + &"w".repeat(256);
    let pax = |key, value| Tar::image().pax(&[(key, value)]).file("rootfs/f", b"").end();
    let target = "t".repeat(5000);
    check(vec![
        ("name beyond PATH_MAX", pax("path", &long), Refused("longer than 4095 bytes")),
        ("deep name", pax("path", &deep), Contained),
        ("wide name", pax("path", &wide), Refused("longer than 255 bytes")),
        ("NUL in a name", pax("path", "rootfs/a\0b"), Refused("NUL")),
        ("NUL in a target", Tar::image().pax(&[("linkpath", "a\0b")]).symlink("rootfs/l", "x").end(), Refused("NUL")),
        (
            "target beyond PATH_MAX",
            Tar::image().pax(&[("linkpath", &target)]).symlink("rootfs/l", "x").end(),
            Refused("target is longer"),
        ),
        (
            "endless name",
            Tar::image().header(b'L', "x", 2 << 20, "", |_| {}).content(&vec![b'a'; 2 << 20]).end(),
            Refused("longer than 1048576"),
        ),
        (
            "endless records",
            Tar::image().extended(b'x', &pax_data(&[("comment", &"x".repeat(2 << 20))])).end(),
            Refused("longer than"),
        ),
        (
            "malformed records",
            Tar::image().extended(b'x', b"99 path=x\n").file("rootfs/f", b"").end(),
            Refused("malformed"),
        ),
        ("length zero", Tar::image().extended(b'x', b"0 path=x\n").file("rootfs/f", b"").end(), Refused("malformed")),
        (
            "two of a kind",
            Tar::image().pax(&[("uid", "1")]).pax(&[("uid", "2")]).file("rootfs/f", b"").end(),
            Refused("two extended headers"),
        ),
        (
            "two names",
            Tar::image().extended(b'L', b"rootfs/a\0").pax(&[("path", "rootfs/b")]).file("rootfs/f", b"").end(),
            Refused("both a GNU and a PAX"),
        ),
        ("before nothing", Tar::image().pax(&[("path", "rootfs/b")]).end(), Refused("before no entry")),
        (
            "a global name",
            Tar::image().extended(b'g', &pax_data(&[("path", "rootfs/x")])).file("rootfs/f", b"").end(),
            Refused("global"),
        ),
        (
            "a global size",
            Tar::image().extended(b'g', &pax_data(&[("size", "1")])).file("rootfs/f", b"").end(),
            Refused("global"),
        ),
        ("an attribute without a name", pax("SCHILY.xattr.", "x"), Refused("bad name")),
    ]);
}

#[test]
fn sparse_maps() {
    let sparse = |records: &[(&str, &str)], content: &[u8]| Tar::image().pax(records).file("rootfs/s", content).end();
    let v1 = |map: &[u8], size| {
        let mut content = map.to_vec();
        content.resize(map.len().next_multiple_of(512), 0);
        sparse(&[("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.realsize", size)], &content)
    };
    let old = |real: &'static [u8; 12]| {
        Tar::image().header(b'S', "rootfs/s", 0, "", |h| {
            h[257..265].copy_from_slice(b"ustar  \0");
            h[483..495].copy_from_slice(real);
        })
    };
    check(vec![
        ("8 EiB", old(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff").end(), Refused("unpack rootfs/s: File too large")),
        (
            "larger than numbers",
            old(b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff").end(),
            Refused("not a number"),
        ),
        ("a terabyte of nothing", old(b"\x80\0\0\0\0\0\x01\0\0\0\0\0").end(), Contained),
        (
            "overlap",
            sparse(&[("GNU.sparse.map", "0,4,2,4"), ("GNU.sparse.size", "8")], b"12345678"),
            Refused("out of order"),
        ),
        (
            "beyond the size",
            sparse(&[("GNU.sparse.map", "4,8"), ("GNU.sparse.size", "8")], b"12345678"),
            Refused("beyond its size"),
        ),
        (
            "more than stored",
            sparse(&[("GNU.sparse.map", "0,8"), ("GNU.sparse.size", "8")], b"1234"),
            Refused("4 are stored"),
        ),
        (
            "less than stored",
            sparse(&[("GNU.sparse.map", "0,2"), ("GNU.sparse.size", "8")], b"1234"),
            Refused("4 are stored"),
        ),
        (
            "half a segment",
            sparse(&[("GNU.sparse.map", "0,2,4"), ("GNU.sparse.size", "8")], b"12"),
            Refused("malformed"),
        ),
        ("no size", sparse(&[("GNU.sparse.map", "0,2")], b"12"), Refused("no real size")),
        ("version 9", sparse(&[("GNU.sparse.major", "9"), ("GNU.sparse.size", "2")], b"12"), Refused("unknown")),
        ("1.0 with too many segments", v1(b"999999999\n", "5"), Refused("too long")),
        ("1.0 cut short", v1(b"9\n", "5"), Refused("cut short")),
        ("1.0 with text", v1(b"one\n", "5"), Refused("malformed")),
        ("1.0 with an endless line", v1(&[b'1'; 4096], "5"), Refused("malformed")),
        (
            "a sparse manifest",
            Tar::default()
                .pax(&[("GNU.sparse.size", "1000000000000"), ("GNU.sparse.map", "0,0")])
                .file("manifest", b"")
                .end(),
            Refused("regular file"),
        ),
    ]);
}

/// Compresses with a program's library, or not at all.
fn packed(format: &str, plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match format {
        "gzip" => {
            let mut encoder = flate2::write::GzEncoder::new(&mut out, flate2::Compression::fast());
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap();
        }
        "bzip2" => {
            let mut encoder = bzip2::write::BzEncoder::new(&mut out, bzip2::Compression::fast());
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap();
        }
        "xz" => {
            let mut encoder = liblzma::write::XzEncoder::new(&mut out, 0);
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap();
        }
        "zstd" => zstd::stream::copy_encode(plain, &mut out, 1).unwrap(),
        _ => out.extend_from_slice(plain),
    }
    out
}

#[test]
fn endings() {
    let good = Tar::image().file("rootfs/f", &b"content\n".repeat(20_000)).end();
    for format in ["none", "gzip", "bzip2", "xz", "zstd"] {
        let whole = packed(format, &good);
        check_one(format, &whole, Contained, host(), Kind::Aci);
        let cuts = [whole.len() - 1, whole.len() - 7, whole.len() / 2, whole.len() / 3 + 1];
        for cut in cuts {
            check_one(format, &whole[..cut], Refused("cut short"), host(), Kind::Aci);
        }
        for garbage in [&b"garbage"[..], b"\x1f\x8bgarbage", &[1; 5000]] {
            let long = [&whole, garbage].concat();
            check_one(format, &long, Refused(""), host(), Kind::Aci);
        }
        let twice = [&whole[..], &whole].concat();
        check_one(format, &twice, Refused("garbage after the end"), host(), Kind::Aci);
        if format != "none" {
            let mut flipped = whole.clone();
            let at = whole.len() - 6;
            flipped[at] ^= 0x10;
            check_one(format, &flipped, Refused(""), host(), Kind::Aci);
            let inner = packed(format, &Tar::image().0);
            check_one(format, &inner, Refused("cut short"), host(), Kind::Aci);
            check_one(format, &packed(format, b""), Refused("cut short"), host(), Kind::Aci);
            check_one(format, &packed(format, &whole), Refused(""), host(), Kind::Aci);
        }
    }
}

#[test]
fn what_was_being_read_is_named_where_compressed_data_ends() {
    let noise: Vec<u8> =
        (0..1_000_000_u32).flat_map(|n| n.wrapping_mul(n).wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let good = Tar::image().file("rootfs/noise", &noise).end();
    for format in ["gzip", "xz", "zstd"] {
        let whole = packed(format, &good);
        check_one(format, &whole[..whole.len() / 3 * 2], Refused("entry \"rootfs/noise\": bad"), host(), Kind::Aci);
    }
}

#[test]
fn what_is_no_archive() {
    check(vec![
        ("empty", Vec::new(), Refused("it is empty")),
        ("text", b"#!/bin/sh\necho hello\n".to_vec(), Refused("it is text, not a tar archive")),
        ("JSON", MANIFEST.repeat(20), Refused("it is text")),
        ("an error page", "<!DOCTYPE html>\n<html>ä".repeat(100).into_bytes(), Refused("it is text")),
        ("short", b"\x7fELF\x02\x01\x01\0".to_vec(), Refused("shorter than one tar header")),
        ("a program", [&b"\x7fELF\x02\x01\x01\0"[..], &[7; 2000]].concat(), Refused("neither tar nor gzip")),
        ("only a magic", vec![0x1f, 0x8b], Refused("")),
    ]);
}

#[test]
fn bombs() {
    // A frame that asks for a window of 2 GiB.
    let window = [&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3][..], &[0; 64]].concat();
    // An xz block whose dictionary is 4 GiB: byte 16 is its size, four bytes of checksum end the block's header.
    let mut dictionary = packed("xz", &Tar::image().end());
    let header = 12..12 + (usize::from(dictionary[12]) + 1) * 4;
    dictionary[16] = 40;
    let crc = libdeflater::crc32(&dictionary[header.start..header.end - 4]).to_le_bytes();
    dictionary[header.end - 4..header.end].copy_from_slice(&crc);
    let mut zeros = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    zeros.write_all(&Tar::image().header(b'0', "rootfs/f", 256 << 20, "", |_| {}).0).unwrap();
    for _ in 0..256 {
        zeros.write_all(&vec![0; 1 << 20]).unwrap();
    }
    zeros.write_all(&[0; 1024]).unwrap();
    let zeros = zeros.finish().unwrap();
    check(vec![
        ("zstd window", window, Refused("")),
        ("xz dictionary", dictionary, Refused("emory")),
        ("256 MiB of zeros", zeros, Contained),
    ]);
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak: u64 =
        status.lines().find_map(|l| l.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok()).unwrap();
    assert!(peak < 200 << 10, "{peak} kB");
}

#[test]
fn a_member_that_lies_about_its_length() {
    let archive = {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.aci");
        let out = std::fs::File::create(&path).unwrap();
        appc_image::archive::write(MANIFEST, &Root::open(dir.path()).unwrap(), out, &Default::default(), &Quiet)
            .map(drop)
            .ok();
        let empty = tempfile::tempdir().unwrap();
        let out = std::fs::File::create(&path).unwrap();
        appc_image::archive::write(MANIFEST, &Root::open(empty.path()).unwrap(), out, &Default::default(), &Quiet)
            .unwrap();
        std::fs::read(path).unwrap()
    };
    check_one("honest", &archive, Contained, host(), Kind::Aci);
    let len = u32::from_le_bytes(archive[16..20].try_into().unwrap());
    for lie in [len - 1, len + 1, len - 8, 40] {
        let mut archive = archive.clone();
        archive[16..20].copy_from_slice(&lie.to_le_bytes());
        check_one("compressed length", &archive, Refused(""), host(), Kind::Aci);
    }
    for (at, lie) in [(20, 0), (20, 1 << 20), (24, 7)] {
        let mut archive = archive.clone();
        archive[at..at + 4].copy_from_slice(&u32::to_le_bytes(lie));
        check_one("content", &archive, Refused(""), host(), Kind::Aci);
    }
    let mut huge = archive.clone();
    huge[16..20].copy_from_slice(&u32::MAX.to_le_bytes());
    // Then the extra field is not believed, and the member is plain gzip.
    check_one("huge", &huge, Contained, host(), Kind::Aci);
}

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
