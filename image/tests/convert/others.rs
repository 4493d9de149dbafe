//! Images of others by way of an archive of ours.

use std::collections::BTreeMap;
use std::fs::File;

use appc_image::Quiet;
use appc_image::archive::{self, WriteOptions};
use appc_image::convert::{Converted, Options, archive_again, to_aci, to_oci};
use appc_image::oci::{Digest, Sink, media_type, read_image};
use appc_rooted::Root;
use appc_spec::ImageManifest;
use appc_spec::oci::Origin;
use serde_json::{Value, json};

use super::memory::{F, Memory};
use super::memory::{gzip, listing, options, tar, temp_again};

#[test]
fn images_of_others_come_back_the_same() {
    // Longer than a note can hold, and not to be compressed.
    let random: String =
        (0u32..200_000).map(|n| char::from(b'!' + (n.wrapping_mul(2_654_435_761) >> 24) as u8 % 90)).collect();
    let layers = [tar(&[("a", F, &random), ("b", F, "1")]), tar(&[(".wh.a", F, "")]), tar(&[])];
    let memory = Memory::default();
    let config = json!({ "os": "linux", "architecture": "amd64", "config": {"Cmd": ["x"]}, "history": [{}, {}, {}] });
    let top = memory.image(&layers, config);
    let out = tempfile::tempfile().unwrap();
    let origin = Origin { repository: "app".into(), tag: "1".into(), ..Origin::default() };
    let written = to_aci(&memory, &origin, &out, &options(), &Quiet).expect("it converts");
    assert_eq!(written.size, out.metadata().unwrap().len());
    // An ordinary image to everybody else.
    let dir = tempfile::tempdir().unwrap();
    let root = Root::open(dir.path()).unwrap();
    let unpacked = archive::unpack(temp_again(&out), &root, &archive::UnpackOptions::default(), &Quiet).unwrap();
    assert_eq!(unpacked.image_id, written.image_id);
    assert_eq!(listing(&mut temp_again(&out)), BTreeMap::from([("rootfs/b".into(), "f 1".into())]));

    let back = Memory::default();
    let again = to_oci(&out, &[], &back, &options(), &Quiet).expect("it converts back");
    assert_eq!(again.top.digest, top.digest);
    let image = read_image(&back, &options().platform).expect("an image");
    assert_eq!(image.layers.len(), 3);

    // Without the originals it is an image of one layer, and its documents are merged.
    let small = tempfile::tempfile().unwrap();
    let options = Options { originals: false, ..options() };
    to_aci(&memory, &origin, &small, &options, &Quiet).unwrap();
    let back = Memory::default();
    assert!(to_oci(&small, &[], &back, &options, &Quiet).unwrap().without_originals);
    let image = read_image(&back, &options.platform).expect("an image");
    assert_eq!(image.layers.len(), 1);
    let config: Value = serde_json::from_slice(&image.config_bytes).unwrap();
    assert_eq!((&config["config"]["Cmd"], &config["history"]), (&json!(["x"]), &Value::Null));
    let manifest: Value = serde_json::from_slice(&image.manifest_bytes).unwrap();
    assert_eq!(manifest["annotations"]["Who"], "a stranger");
}

/// The same archive with what `edit` makes of its manifest.
fn edited(aci: &File, edit: impl FnOnce(&mut Value)) -> File {
    let mut manifest: Value = serde_json::from_slice(&archive::manifest(temp_again(aci)).unwrap()).unwrap();
    edit(&mut manifest);
    let manifest = ImageManifest::parse(manifest.to_string().as_bytes()).unwrap().to_json();
    let out = tempfile::tempfile().unwrap();
    archive::replace_manifest(aci, manifest.as_bytes(), &out, &WriteOptions::default(), &Quiet).unwrap();
    out
}

fn back_to_oci(aci: &File) -> (Memory, Converted) {
    let memory = Memory::default();
    let made = to_oci(aci, &[], &memory, &options(), &Quiet).expect("it converts");
    (memory, made)
}

#[test]
fn an_image_of_others_keeps_its_layers_when_its_manifest_is_edited() {
    let layers = [tar(&[("a", F, "0"), ("b", F, "1")]), tar(&[(".wh.a", F, "")])];
    let memory = Memory::default();
    let history = json!([{"created_by": "one"}, {"created_by": "nothing", "empty_layer": true}, {"created_by": "two"}]);
    let config = json!({ "os": "linux", "architecture": "amd64", "config": {"Cmd": ["x"]}, "history": history });
    let mut manifest = memory.json(&memory.image(&layers, config));
    manifest["layers"][1]["annotations"] = json!({ "org.example.layer": "the second" });
    manifest["config"]["data"] = json!("e30=");
    let top = memory.store(media_type::MANIFEST, manifest.to_string().as_bytes());
    memory.finish(&top).unwrap();
    let aci = tempfile::tempfile().unwrap();
    to_aci(&memory, &Origin::default(), &aci, &options(), &Quiet).unwrap();

    let aci = edited(&aci, |manifest| manifest["app"]["exec"] = json!(["y"]));
    let (back, made) = back_to_oci(&aci);
    assert!(!made.without_originals);
    let now = back.json(&made.top);
    assert_eq!((&now["layers"], &now["annotations"]["Who"]), (&manifest["layers"], &json!("a stranger")));
    let image = read_image(&back, &options().platform).expect("an image");
    let config: Value = serde_json::from_slice(&image.config_bytes).unwrap();
    assert_eq!((&config["history"], &config["config"]["Entrypoint"]), (&history, &json!(["y"])));
    // There and back: the same image on either side, and unedited the first one again.
    let again = tempfile::tempfile().unwrap();
    let written = to_aci(&back, &Origin::default(), &again, &options(), &Quiet).unwrap();
    let id = archive_again(&aci, &tempfile::tempfile().unwrap(), &options(), &Quiet).unwrap().image_id;
    assert_eq!(id, written.image_id);
    assert_eq!(back_to_oci(&again).1.top.digest, made.top.digest);
    let undone = edited(&aci, |manifest| manifest["app"]["exec"] = json!(["x"]));
    assert_eq!(back_to_oci(&undone).1.top.digest, top.digest);

    // Somebody put a layer on top: it is not lost for those that the manifest speaks of.
    let higher = tar(&[("c", F, "2")]);
    let (mut more, mut config) = (now, config);
    let layer = back.store(media_type::LAYER_GZIP, &gzip(&higher));
    more["layers"].as_array_mut().unwrap().push(json!(layer));
    config["rootfs"]["diff_ids"].as_array_mut().unwrap().push(json!(Digest::of(&higher)));
    more["config"] = json!(back.store(media_type::CONFIG, config.to_string().as_bytes()));
    back.finish(&back.store(media_type::MANIFEST, more.to_string().as_bytes())).unwrap();
    let aci = tempfile::tempfile().unwrap();
    to_aci(&back, &Origin::default(), &aci, &options(), &Quiet).unwrap();
    assert!(listing(&mut temp_again(&aci)).contains_key("rootfs/c"));
    let (whole, made) = back_to_oci(&aci);
    assert!(!made.without_originals);
    let out = tempfile::tempfile().unwrap();
    to_aci(&whole, &Origin::default(), &out, &options(), &Quiet).unwrap();
    assert!(listing(&mut temp_again(&out)).contains_key("rootfs/c"));
}
