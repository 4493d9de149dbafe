//! Headers, their extensions, and maps of sparse files.

use crate::check::{Contained, Refused, check};
use crate::tarball::{Tar, pax_data};

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
