//! Names, links and layouts.

use appc_image::archive::Kind;

use crate::check::{Contained, Refused, check, check_one, host};
use crate::tarball::{MANIFEST, Tar};

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
    let plain = |name: &str, tar: Tar, expect| check_one(name, &tar.end(), expect, host(), Kind::RootfsTar);
    let link = || Tar::default().symlink("l", "../host");
    let made = || Tar::default().dir("d").file("d/f", b"x");
    plain("the top of a plain tar twice", Tar::default().dir("./").dir("a").dir("."), Contained);
    plain("a link of a plain tar becomes a file", link().file("l", b"x"), Contained);
    plain("a link of a plain tar becomes a directory", link().dir("l").file("l/secret", b"x"), Contained);
    plain(
        "a file of a plain tar becomes a link",
        made().symlink("d/f", "../../host/secret").file("d/f", b"x"),
        Contained,
    );
    plain("a hard link of a plain tar becomes a file", made().hard_link("h", "d/f").file("h", b"y"), Contained);
    plain("a file of a plain tar in a link", link().file("l/secret", b"x"), Refused("through the symbolic link"));
    plain("a directory of a plain tar in a link", link().dir("l/etc"), Refused("through the symbolic link"));
    plain("a directory of a plain tar becomes a link", made().symlink("d", "../host"), Refused("a directory is there"));
    plain(
        "a hard link of a plain tar through a link",
        link().hard_link("h", "l/secret"),
        Refused("not in the archive"),
    );
    plain("a hard link of a plain tar to nothing", made().hard_link("d/f", "none"), Refused("not in the archive"));
    let root_link = Tar::default().symlink("./", "/").end();
    check_one("the top of a plain tar a link", &root_link, Refused("place of the root"), host(), Kind::RootfsTar);
}
