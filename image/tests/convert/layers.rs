//! Layers become one tree, and what a tree lacks of its dependencies is whited out.

use std::collections::BTreeMap;

use appc_image::Quiet;
use appc_image::archive;
use appc_image::convert::{Below, Files, to_aci, to_oci};
use appc_image::oci::{Manifest, Sink, Source, media_type, read_image};
use appc_rooted::Root;
use appc_spec::oci::Origin;
use serde_json::json;

use super::memory::{D, F, L, MANIFEST, Memory, S};
use super::memory::{listing, options, tar, temp, temp_again};

#[test]
fn layers_are_squashed_as_containers_see_them() {
    let layers = [
        tar(&[
            ("./", D, ""),
            ("etc/", D, ""),
            ("etc/gone", F, "1"),
            ("etc/kept", F, "1"),
            ("etc/changed", F, "1"),
            ("full/", D, ""),
            ("full/a", F, "1"),
            ("full/sub/", D, ""),
            ("full/sub/b", F, "1"),
            ("again", F, "1"),
            ("file-to-dir", F, "1"),
            ("dir-to-file/", D, ""),
            ("dir-to-file/x", F, "1"),
            ("link-to-dir", S, "etc"),
            ("linked", F, "content"),
            ("linked-gone", F, "other content"),
            ("deleted-dir/", D, ""),
            ("deleted-dir/x", F, "1"),
        ]),
        tar(&[
            ("etc/.wh.gone", F, ""),
            ("etc/changed", F, "2"),
            ("full/", D, ""),
            ("full/new", F, "2"),
            ("full/.wh..wh..opq", F, ""),
            (".wh.again", F, ""),
            ("again", F, "2"),
            ("file-to-dir/", D, ""),
            ("file-to-dir/y", F, "2"),
            ("dir-to-file", F, "2"),
            ("link-to-dir/in", F, "2"),
            ("hard", L, "linked"),
            ("hard-gone", L, "linked-gone"),
            (".wh.linked-gone", F, ""),
            ("deleted-dir/new", F, "2"),
            (".wh.deleted-dir", F, ""),
            (".wh..wh.plnk/", D, ""),
            (".wh..wh.plnk/1.2", F, "notes"),
        ]),
        tar(&[("absolute", F, "3"), (".wh.not-there", F, "")]),
    ];
    let memory = Memory::default();
    memory.image(&layers, json!({ "os": "linux", "architecture": "amd64" }));
    let mut out = tempfile::tempfile().unwrap();
    let written = to_aci(&memory, &Origin::default(), &out, &options(), &Quiet).expect("it converts");
    let expected: BTreeMap<String, String> = [
        ("rootfs/absolute", "f 3"),
        ("rootfs/again", "f 2"),
        ("rootfs/deleted-dir", "d"),
        ("rootfs/deleted-dir/new", "f 2"),
        ("rootfs/dir-to-file", "f 2"),
        ("rootfs/etc", "d"),
        ("rootfs/etc/changed", "f 2"),
        ("rootfs/etc/in", "f 2"),
        ("rootfs/etc/kept", "f 1"),
        ("rootfs/file-to-dir", "d"),
        ("rootfs/file-to-dir/y", "f 2"),
        ("rootfs/full", "d"),
        ("rootfs/full/new", "f 2"),
        ("rootfs/hard", "f content"),
        ("rootfs/hard-gone", "f other content"),
        ("rootfs/link-to-dir", "s etc"),
        ("rootfs/linked", "l rootfs/hard"),
    ]
    .map(|(name, what)| (name.to_owned(), what.to_owned()))
    .into();
    assert_eq!(listing(&mut out), expected);
    let again = tempfile::tempfile().unwrap();
    assert_eq!(to_aci(&memory, &Origin::default(), &again, &options(), &Quiet).unwrap().image_id, written.image_id);
    // It is an image.
    let dir = tempfile::tempdir().unwrap();
    let root = Root::open(dir.path()).unwrap();
    let unpacked = archive::unpack(temp_again(&out), &root, &archive::UnpackOptions::default(), &Quiet).unwrap();
    assert_eq!(unpacked.image_id, written.image_id);
}

#[test]
fn a_path_whitelist_deletes_the_rest() {
    let listed =
        "\"pathWhitelist\": [\"/etc/passwd\", \"/empty/\", \"/not-there/\", \"/nor-this\", \"/low\"], \"app\":";
    let manifest = MANIFEST.replace("\"app\":", listed);
    let aci = temp(&tar(&[
        ("manifest", F, &manifest),
        ("rootfs/", D, ""),
        ("rootfs/etc/", D, ""),
        ("rootfs/etc/passwd", F, "1"),
        ("rootfs/etc/shadow", F, "1"),
        ("rootfs/usr/", D, ""),
        ("rootfs/usr/bin/", D, ""),
        ("rootfs/usr/bin/app", F, "1"),
        ("rootfs/empty/", D, ""),
        ("rootfs/empty/full", F, "1"),
    ]));
    let low =
        temp(&tar(&[("manifest", F, MANIFEST), ("rootfs/", D, ""), ("rootfs/low", F, "0"), ("rootfs/lower", F, "0")]));
    let below = [Below { files: Files::Archive(low), name: "example.com/low".into() }];
    let memory = Memory::default();
    to_oci(&aci, &below, &memory, &options(), &Quiet).expect("it converts");
    let image = read_image(&memory, &options().platform).expect("an image");
    assert_eq!(image.layers.len(), 3);
    // It is what it was.
    let out = tempfile::tempfile().unwrap();
    let written = to_aci(&memory, &Origin::default(), &out, &options(), &Quiet).expect("it converts back");
    let top = memory.json(&memory.top().unwrap());
    assert_eq!(top["annotations"]["io.appc.image.id"], json!(written.image_id.as_str()));
    // To whoever knows nothing of whitelists the rest is gone.
    let stranger = Memory::default();
    for layer in image.layers.iter().map(|layer| &layer.descriptor).chain([&image.config]) {
        stranger.put(layer, &mut memory.open(layer).unwrap()).unwrap();
    }
    let plain = Manifest::new(image.config.clone(), image.layers.iter().map(|layer| layer.descriptor.bare()).collect());
    let plain = serde_json::to_vec(&plain).unwrap();
    stranger.finish(&stranger.store(media_type::MANIFEST, &plain)).unwrap();
    let mut out = tempfile::tempfile().unwrap();
    to_aci(&stranger, &Origin::default(), &out, &options(), &Quiet).expect("it converts");
    let expected = [
        ("rootfs/empty", "d"),
        ("rootfs/etc", "d"),
        ("rootfs/etc/passwd", "f 1"),
        ("rootfs/low", "f 0"),
        ("rootfs/not-there", "d"),
    ];
    assert_eq!(listing(&mut out), expected.map(|(name, what)| (name.to_owned(), what.to_owned())).into());
}
