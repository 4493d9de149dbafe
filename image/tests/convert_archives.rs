//! Image archives with what layers say otherwise, or not at all, there and back.

// What fails here is a bug in the test; lints know test functions, not what they call.
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::Write;
use std::path::Path;

use appc_image::convert::{Converted, Options, to_aci, to_oci};
use appc_image::layer::{LayerOptions, unpack_layer};
use appc_image::layout::{LayoutDir, OciLayout};
use appc_image::oci::{Algorithm, Source, read_image};
use appc_image::{Quiet, archive};
use appc_rooted::Root;

mod tarball;
use tarball::{Tar, snapshot};

fn temp(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn convert(plain: &[u8], layout: &Path) -> appc_image::Result<Converted> {
    let sink = LayoutDir::create(layout, None).unwrap();
    to_oci(&temp(plain), &[], &sink, &Options::new(std::env::temp_dir()), &Quiet)
}

/// The image's ID, and that of what comes back from the layout.
fn ids(plain: &[u8], layout: &Path) -> [String; 2] {
    let digest = ring::digest::digest(&ring::digest::SHA512, plain);
    let id = digest.as_ref().iter().map(|b| format!("{b:02x}")).collect::<String>();
    let source = OciLayout::open(layout, None).unwrap();
    let out = tempfile::tempfile().unwrap();
    let options = Options::new(std::env::temp_dir());
    let back = to_aci(&source, &Default::default(), &out, &options, &Quiet).unwrap();
    [format!("sha512-{id}"), back.image_id.to_string()]
}

/// What the only layer makes.
fn unpacked(layout: &Path) -> tempfile::TempDir {
    let source = OciLayout::open(layout, None).unwrap();
    let image = read_image(&source, &appc_image::oci::Platform::host()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let options = LayerOptions {
        tee: None,
        ownership: Default::default(),
        algorithm: Algorithm::Sha256,
        limit: Default::default(),
    };
    let content = source.open(&image.layers[0].descriptor).unwrap();
    unpack_layer(content, &Root::open(dir.path()).unwrap(), &options, &Quiet).unwrap();
    dir
}

#[test]
fn files_with_holes_come_back_the_same() {
    let old = |tar: Tar| {
        // 0+3, 1000+5 and the end at 2000.
        tar.header(b'S', "rootfs/old", 8, "", |h| {
            h[257..265].copy_from_slice(b"ustar  \0");
            for (at, number) in [0u64, 3, 1000, 5, 2000, 0].iter().enumerate() {
                h[386 + 12 * at..][..12].copy_from_slice(format!("{number:011o}\0").as_bytes());
            }
            h[483..495].copy_from_slice(b"00000003720\0");
        })
        .content(b"abcdefgh")
    };
    let first = [("GNU.sparse.map", "0,3,5000,4"), ("GNU.sparse.size", "9000")];
    let third = [("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.realsize", "9000")];
    let mut with_map = b"2\n0\n3\n5000\n4\n".to_vec();
    with_map.resize(512, 0);
    with_map.extend(b"abcdefg");
    let plain = old(Tar::image())
        .pax(&first)
        .file("rootfs/first", b"abcdefg")
        .pax(&third)
        .file("rootfs/third", &with_map)
        .pax(&[("GNU.sparse.map", "0,0"), ("GNU.sparse.size", "1000000")])
        .file("rootfs/nothing", b"")
        .file("rootfs/after", b"after")
        .end();
    let dir = tempfile::tempdir().unwrap();
    convert(&plain, dir.path()).unwrap();
    let [id, back] = ids(&plain, dir.path());
    assert_eq!(id, back);
    let tree = unpacked(dir.path());
    let content = |name: &str| std::fs::read(tree.path().join(name)).unwrap();
    assert_eq!(
        (&content("old")[..4], &content("old")[999..1006], content("old").len()),
        (&b"abc\0"[..], &b"\0defgh\0"[..], 2000)
    );
    for name in ["first", "third"] {
        assert_eq!(
            (&content(name)[..4], &content(name)[5000..5005], content(name).len()),
            (&b"abc\0"[..], &b"defg\0"[..], 9000),
            "{name}"
        );
    }
    assert_eq!((content("nothing"), content("after")), (vec![0; 1_000_000], b"after".to_vec()));
}

#[test]
fn a_terabyte_of_holes_is_not_written() {
    let huge = [("GNU.sparse.map", "0,0"), ("GNU.sparse.size", "1000000000000")];
    let plain = Tar::image().pax(&huge).file("rootfs/huge", b"").end();
    let error = convert(&plain, tempfile::tempdir().unwrap().path()).unwrap_err().to_string();
    assert!(error.contains("bytes of holes"), "{error}");
}

#[test]
fn nothing_in_an_archive_hides_files_of_other_layers() {
    let opaque = ("SCHILY.xattr.trusted.overlay.opaque", "y");
    let redirect = ("SCHILY.xattr.user.overlay.redirect", "/elsewhere");
    let plain = Tar::image()
        .pax(&[opaque])
        .dir("rootfs/etc")
        .header(b'3', "rootfs/etc/passwd", 0, "", |_| {})
        .hard_link("rootfs/etc/shadow", "rootfs/etc/passwd")
        .pax(&[redirect])
        .file("rootfs/file", b"content")
        .end();
    let dir = tempfile::tempdir().unwrap();
    let omitted = convert(&plain, dir.path()).unwrap().omitted;
    let omitted: Vec<String> = omitted.iter().map(|one| format!("{}: {}", one.path.display(), one.what)).collect();
    assert_eq!(
        omitted,
        [
            "etc: attribute trusted.overlay.opaque, which would act in an overlay",
            "etc/passwd: device 0:0, which would hide other files",
            "etc/shadow: hard link to what was left out",
            "file: attribute user.overlay.redirect, which would act in an overlay",
        ]
    );
    let tree = unpacked(dir.path());
    let found = snapshot(tree.path());
    let names: Vec<&str> = found.keys().filter_map(|path| path.to_str()).collect();
    assert_eq!(names, ["", "etc", "file"]);
    assert!(found.values().all(|file| !file.contains("overlay")), "{found:?}");
    // For App Containers it is what it was.
    let [id, back] = ids(&plain, dir.path());
    assert_eq!(id, back);
    assert!(archive::looks_like_aci(&plain[..]).unwrap());
}
