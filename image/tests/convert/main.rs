//! Conversion there and back, over a place for blobs in memory.

// What fails here is a bug in the test; lints know test functions, not what they call.
#![allow(clippy::unwrap_used)]

mod layers;
mod memory;
mod others;

use std::collections::BTreeMap;
use std::io::Read;

use appc_image::Quiet;
use appc_image::archive::{self, Compression, WriteOptions};
use appc_image::convert::{Options, Referrers, copy, to_aci, to_oci};
use appc_image::oci::{Manifest, Sink, media_type, read_image};
use appc_rooted::Root;
use appc_spec::oci::Origin;
use serde_json::{Value, json};
use tar::EntryType;

use memory::{D, F, L, MANIFEST, Memory, S};
use memory::{gzip, image_id, listing, options, tar, temp, temp_again, there_and_back};

#[test]
fn our_own_archives_come_back_the_same() {
    let tree = tempfile::tempdir().unwrap();
    let path = |name: &str| tree.path().join(name);
    std::fs::create_dir_all(path("usr/bin")).unwrap();
    std::fs::write(path("usr/bin/app"), "x".repeat(3_000_000)).unwrap();
    std::fs::hard_link(path("usr/bin/app"), path("usr/bin/other")).unwrap();
    std::os::unix::fs::symlink("usr/bin", path("bin")).unwrap();
    std::fs::write(path("é".repeat(70).as_str()), "").unwrap();
    let aci = tempfile::tempfile().unwrap();
    let root = Root::open(tree.path()).unwrap();
    let written =
        archive::write(MANIFEST.as_bytes(), &root, aci.try_clone().unwrap(), &WriteOptions::default(), &Quiet).unwrap();
    let (id, back, memory) = there_and_back(&aci);
    assert_eq!((id, back), (written.image_id.to_string(), written.image_id.to_string()));

    let image = read_image(&memory, &options().platform).expect("an image");
    let config: Value = serde_json::from_slice(&image.config_bytes).unwrap();
    assert_eq!(config["config"]["Entrypoint"], json!(["/bin/app"]));
    let manifest: Value = serde_json::from_slice(&image.manifest_bytes).unwrap();
    assert_eq!(manifest["annotations"]["io.appc.manifest"], MANIFEST);
    assert!(manifest["annotations"]["io.appc.archive"].as_str().expect("a record").len() < 300);
    // The same again: nothing depends on when and where.
    let again = Memory::default();
    let top = to_oci(&aci, &[], &again, &options(), &Quiet).unwrap().top;
    assert_eq!(top.digest, image.manifest.digest);
}

#[test]
fn archives_of_others_come_back_the_same() {
    let long = format!("rootfs/{}/file", "directory/".repeat(20));
    let manifest_last = tar(&[
        ("rootfs/", D, ""),
        ("rootfs/etc/", D, ""),
        ("rootfs/etc/passwd", F, "root:x:0:0::/:/bin/sh\n"),
        ("rootfs/etc/shadow", L, "rootfs/etc/passwd"),
        ("rootfs/lib", S, "usr/lib"),
        (&long, F, "deep"),
        ("manifest", F, MANIFEST),
    ]);
    let mut padded = manifest_last.clone();
    padded.resize(padded.len().next_multiple_of(10240) + 10240, 0);
    let dotted = tar(&[("./", D, ""), ("./manifest", F, MANIFEST), ("./rootfs/", D, ""), ("./rootfs/x", F, "y")]);
    for plain in [manifest_last, padded, dotted] {
        let packed = gzip(&plain);
        for bytes in [&plain, &packed] {
            let (id, back, _) = there_and_back(&temp(bytes));
            assert_eq!(id, image_id(&plain));
            assert_eq!(back, id);
        }
    }
}

#[test]
fn edits_of_the_oci_image_are_merged() {
    let aci = temp(&tar(&[("manifest", F, MANIFEST), ("rootfs/", D, ""), ("rootfs/x", F, "y")]));
    let memory = Memory::default();
    let top = to_oci(&aci, &[], &memory, &options(), &Quiet).unwrap().top;
    let mut manifest: Manifest = serde_json::from_value(memory.json(&top)).unwrap();
    let mut config = memory.json(&manifest.config);
    config["config"]["Env"] = json!(["A=1"]);
    manifest.config = memory.store(media_type::CONFIG, config.to_string().as_bytes());
    memory.finish(&memory.store(media_type::MANIFEST, &serde_json::to_vec(&manifest).unwrap())).unwrap();

    let mut out = tempfile::tempfile().unwrap();
    to_aci(&memory, &Origin::default(), &out, &options(), &Quiet).unwrap();
    assert_eq!(listing(&mut out), BTreeMap::from([("rootfs/x".into(), "f y".into())]));
    let made = archive::manifest(temp_again(&out)).unwrap();
    let made = appc_spec::ImageManifest::parse(&made).unwrap();
    let mut expected = appc_spec::ImageManifest::parse(MANIFEST.as_bytes()).unwrap();
    expected.app.as_mut().unwrap().environment.set("A", "1");
    assert_eq!((made.name, made.labels, made.app), (expected.name, expected.labels, expected.app));
}

#[test]
fn what_others_make_of_our_images_comes_back_the_same() {
    let aci = temp(&tar(&[("manifest", F, MANIFEST), ("rootfs/", D, ""), ("rootfs/x", F, "y")]));
    let memory = Memory::default();
    let ours = to_oci(&aci, &[], &memory, &options(), &Quiet).unwrap().top;
    let ours: Manifest = serde_json::from_value(memory.json(&ours)).unwrap();
    let mut config = memory.json(&ours.config);
    config["config"]["Env"] = json!(["A=1"]);
    config["history"] = json!([{"created_by": "somebody else"}, {"created_by": "once more"}]);
    let edited = memory.store(media_type::CONFIG, config.to_string().as_bytes());
    let layer = memory.store(media_type::LAYER_TAR, &tar(&[("z", F, "new")]));
    config["rootfs"]["diff_ids"].as_array_mut().unwrap().push(json!(layer.digest));
    let longer = memory.store(media_type::CONFIG, config.to_string().as_bytes());
    for (config, layers) in [(edited, ours.layers.clone()), (longer, [&ours.layers[..], &[layer]].concat())] {
        let mut manifest = Manifest::new(config, layers);
        manifest.annotations.clone_from(&ours.annotations);
        let top = memory.store(media_type::MANIFEST, &serde_json::to_vec(&manifest).unwrap());
        memory.finish(&top).unwrap();
        let out = tempfile::tempfile().unwrap();
        to_aci(&memory, &Origin::default(), &out, &options(), &Quiet).unwrap();
        let again = to_oci(&out, &[], &Memory::default(), &options(), &Quiet).unwrap();
        assert_eq!(again.top.digest, top.digest);
    }
}

#[test]
fn a_damaged_tail_is_noticed() {
    let memory = Memory::default();
    memory.image(&[tar(&[("a", F, "1")])], json!({ "os": "linux", "architecture": "amd64" }));
    let mut out = tempfile::tempfile().unwrap();
    to_aci(&memory, &Origin::default(), &out, &options(), &Quiet).unwrap();
    let mut bytes = Vec::new();
    temp_again(&out).read_to_end(&mut bytes).unwrap();
    // In the first note: the layer's compressed bytes.
    let layer = bytes.windows(4).rposition(|w| w == [0x1f, 0x8b, 8, 0]).expect("the layer");
    bytes[layer + 30] ^= 1;
    out = temp(&bytes);
    let error = to_oci(&out, &[], &Memory::default(), &options(), &Quiet).expect_err("it is damaged");
    assert!(error.to_string().contains("sha256:"), "{error}");
    // Cut off it is an ordinary archive.
    let cut = temp(&bytes[..bytes.len() - 5]);
    assert!(to_oci(&cut, &[], &Memory::default(), &options(), &Quiet).is_err() || cut.metadata().unwrap().len() > 0);
}

#[test]
fn what_cannot_be_converted_is_refused() {
    let refused = |entries: &[(&str, EntryType, &str)]| {
        let aci = temp(&tar(entries));
        to_oci(&aci, &[], &Memory::default(), &options(), &Quiet).expect_err("refused").to_string()
    };
    let start = [("manifest", F, MANIFEST), ("rootfs/", D, "")];
    let with = |entry| refused(&[start[0], start[1], entry]);
    assert!(with(("rootfs/.wh.x", F, "")).contains("mean deletions in OCI images"));
    assert!(refused(&[start[0], start[1], ("rootfs/x", F, "1"), ("rootfs/x", F, "2")]).contains("twice"));
    assert!(with(("other", F, "")).contains("nothing else at its top"));
    assert!(with(("rootfs/x", L, "manifest")).contains("outside rootfs"));
    assert!(refused(&start[1..]).contains("without a manifest"));
    let needy = MANIFEST.replace("\"app\":", "\"dependencies\": [{\"imageName\": \"example.com/base\"}], \"app\":");
    assert!(refused(&[("manifest", F, &needy), start[1]]).contains("example.com/base"));

    let refused = |layers: &[Vec<u8>]| {
        let memory = Memory::default();
        memory.image(layers, json!({ "os": "linux", "architecture": "amd64" }));
        let out = tempfile::tempfile().unwrap();
        to_aci(&memory, &Origin::default(), &out, &options(), &Quiet).expect_err("refused").to_string()
    };
    for entries in [
        &[("x", L, "not-there")][..],
        &[("d", S, "/etc"), ("d/passwd", F, "")],
        &[("d/", D, ""), ("l", L, "d")],
        &[("d/x", F, ""), ("d", F, "")],
        &[(".wh.", F, "")],
        &[(".wh...", F, "")],
        &[("x", L, "../../etc/passwd")],
    ] {
        assert!(refused(&[tar(entries)]).contains("archive entry"), "{entries:?}");
    }
    let options =
        Options { write: WriteOptions { compression: Compression::Xz, ..WriteOptions::default() }, ..options() };
    let aci = temp(&tar(&start));
    let error = to_oci(&aci, &[], &Memory::default(), &options, &Quiet).expect_err("refused").to_string();
    assert!(error.contains("use gzip, zstd or none"), "{error}");
}

#[test]
fn all_platforms_are_copied_or_one() {
    let memory = Memory::default();
    let mut manifests = Vec::new();
    for architecture in ["amd64", "s390x"] {
        let platform = json!({ "os": "linux", "architecture": architecture });
        let mut manifest = memory.image(&[tar(&[("arch", F, architecture)])], platform.clone());
        manifest.platform = serde_json::from_value(platform).ok();
        manifests.push(manifest);
    }
    let index = serde_json::to_vec(&appc_image::oci::Index::new(manifests.clone())).unwrap();
    let index = memory.store(media_type::INDEX, &index);
    memory.finish(&index).unwrap();

    let all = Memory::default();
    assert_eq!(copy(&memory, &all, None, Referrers::Kept, &Quiet).unwrap().digest, index.digest);
    assert_eq!(all.blobs.lock().unwrap().len(), 7);
    let one = Memory::default();
    let platform = "linux/s390x".parse().unwrap();
    assert_eq!(copy(&memory, &one, Some(&platform), Referrers::Kept, &Quiet).unwrap().digest, manifests[1].digest);
    assert_eq!(one.blobs.lock().unwrap().len(), 3);
}
