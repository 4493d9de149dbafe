//! Conversion there and back, over a place for blobs in memory.

// What fails here is a bug in the test; lints know test functions, not what they call.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Read, Write};
use std::sync::Mutex;

use appc_image::archive::{self, Compression, WriteOptions};
use appc_image::convert::{Below, Converted, Files, Options, Referrers, archive_again, copy, to_aci, to_oci};
use appc_image::oci::{Descriptor, Digest, Manifest, Platform, Sink, Source, media_type, read_image, verified};
use appc_image::{Error, Quiet, Result};
use appc_rooted::Root;
use appc_spec::ImageManifest;
use appc_spec::oci::Origin;
use serde_json::{Value, json};
use tar::{EntryType, Header};

#[derive(Default)]
struct Memory {
    blobs: Mutex<HashMap<Digest, Vec<u8>>>,
    top: Mutex<Option<Descriptor>>,
}

impl Sink for Memory {
    fn has(&self, descriptor: &Descriptor) -> Result<bool> {
        Ok(self.blobs.lock().unwrap().contains_key(&descriptor.digest))
    }

    fn put(&self, descriptor: &Descriptor, content: &mut dyn Read) -> Result<()> {
        let mut bytes = Vec::new();
        verified(content, descriptor).read_to_end(&mut bytes).map_err(Error::io("put"))?;
        self.blobs.lock().unwrap().insert(descriptor.digest.clone(), bytes);
        Ok(())
    }

    fn finish(&self, top: &Descriptor) -> Result<()> {
        *self.top.lock().unwrap() = Some(top.clone());
        Ok(())
    }
}

impl Source for Memory {
    fn top(&self) -> Result<Descriptor> {
        Ok(self.top.lock().unwrap().clone().expect("an image"))
    }

    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send + '_>> {
        let blobs = self.blobs.lock().unwrap();
        let bytes = blobs.get(&descriptor.digest).cloned().expect("a blob that is there");
        Ok(Box::new(std::io::Cursor::new(bytes)))
    }

    fn describe(&self) -> String {
        "memory".into()
    }
}

impl Memory {
    fn store(&self, media_type: &str, bytes: &[u8]) -> Descriptor {
        let descriptor = Descriptor::of(media_type, bytes);
        self.put(&descriptor, &mut &bytes[..]).expect("it is stored");
        descriptor
    }

    fn json(&self, descriptor: &Descriptor) -> Value {
        let mut bytes = Vec::new();
        self.open(descriptor).unwrap().read_to_end(&mut bytes).unwrap();
        serde_json::from_slice(&bytes).expect("JSON")
    }

    /// An image of these layers, compressed, as a stranger might make it.
    fn image(&self, layers: &[Vec<u8>], config: Value) -> Descriptor {
        let mut config = config;
        let ids: Vec<Digest> = layers.iter().map(|layer| Digest::of(layer)).collect();
        config["rootfs"] = json!({ "type": "layers", "diff_ids": ids });
        let config = serde_json::to_vec_pretty(&config).unwrap();
        let config = self.store(media_type::CONFIG, &config);
        let layers = layers.iter().map(|layer| self.store(media_type::LAYER_GZIP, &gzip(layer))).collect();
        let mut manifest = Manifest::new(config, layers);
        manifest.annotations.insert("Who".into(), "a stranger".into());
        let manifest = serde_json::to_vec_pretty(&manifest).unwrap();
        let top = self.store(media_type::MANIFEST, &manifest);
        self.finish(&top).unwrap();
        top
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn options() -> Options {
    let mut options = Options::new(std::env::temp_dir());
    options.platform = "linux/amd64".parse::<Platform>().expect("a platform");
    options
}

fn temp(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

const MANIFEST: &str = r#"{ "acKind": "ImageManifest", "acVersion": "0.8.11", "name": "example.com/app",
    "labels": [{"name": "os", "value": "linux"}, {"name": "arch", "value": "amd64"}, {"name": "version", "value": "1"}],
    "app": {"exec": ["/bin/app"], "user": "0", "group": "0", "isolators": [{"name": "os/linux/cpu-shares", "value": 5}]}}
"#;

/// A tar of entries: name, type, content or target.
fn tar(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, kind, what) in entries {
        let mut header = Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(if *kind == EntryType::Directory { 0o755 } else { 0o640 });
        header.set_mtime(1_234_567_890);
        header.set_uid(7);
        header.set_gid(8);
        let _ = header.set_username("someone");
        match kind {
            EntryType::Link | EntryType::Symlink => tar.append_link(&mut header, name, what).unwrap(),
            _ => {
                header.set_size(what.len() as u64);
                tar.append_data(&mut header, name, what.as_bytes()).unwrap();
            }
        }
    }
    tar.into_inner().unwrap()
}

use EntryType::{Directory as D, Link as L, Regular as F, Symlink as S};

/// What is in an archive, by name: a letter and the content or target.
fn listing(archive: &mut File) -> BTreeMap<String, String> {
    use std::io::Seek;
    archive.rewind().unwrap();
    let mut found = BTreeMap::new();
    let mut tar = tar::Archive::new(flate2::read::MultiGzDecoder::new(archive));
    for entry in tar.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let link = entry.link_name().unwrap().map(|link| link.display().to_string());
        let what = match entry.header().entry_type() {
            F => {
                let mut content = String::new();
                entry.read_to_string(&mut content).unwrap();
                format!("f {content}")
            }
            D => "d".into(),
            L => format!("l {}", link.unwrap()),
            S => format!("s {}", link.unwrap()),
            other => format!("{other:?}"),
        };
        assert!(found.insert(name.clone(), what).is_none(), "{name} twice");
    }
    found.remove("manifest");
    found.remove("rootfs");
    found
}

/// To OCI and back; the ID of what came in, of what came out, and the OCI image.
fn there_and_back(aci: &File) -> (String, String, Memory) {
    let memory = Memory::default();
    to_oci(aci, &[], &memory, &options(), &Quiet).expect("it converts");
    let out = tempfile::tempfile().unwrap();
    let written = to_aci(&memory, &Origin::default(), &out, &options(), &Quiet).expect("it converts back");
    let top = memory.top().unwrap();
    let id = memory.json(&top)["annotations"]["io.appc.image.id"].as_str().expect("an ID").to_owned();
    (id, written.image_id.to_string(), memory)
}

fn image_id(plain: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA512, plain);
    format!("sha512-{}", digest.as_ref().iter().map(|b| format!("{b:02x}")).collect::<String>())
}

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
    let mut expected = appc_spec::ImageManifest::parse(MANIFEST.as_bytes()).unwrap();
    expected.app.as_mut().unwrap().environment.set("A", "1");
    assert_eq!(appc_spec::ImageManifest::parse(&made).unwrap(), expected);
}

fn temp_again(file: &File) -> File {
    use std::io::Seek;
    let mut file = file.try_clone().unwrap();
    file.rewind().unwrap();
    file
}

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
        ("rootfs/etc/kept", "f 1"),
        ("rootfs/file-to-dir", "d"),
        ("rootfs/file-to-dir/y", "f 2"),
        ("rootfs/full", "d"),
        ("rootfs/full/new", "f 2"),
        ("rootfs/hard", "f content"),
        ("rootfs/hard-gone", "f other content"),
        ("rootfs/link-to-dir", "d"),
        ("rootfs/link-to-dir/in", "f 2"),
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
    assert!(made.without_originals);
    let out = tempfile::tempfile().unwrap();
    to_aci(&whole, &Origin::default(), &out, &options(), &Quiet).unwrap();
    assert!(listing(&mut temp_again(&out)).contains_key("rootfs/c"));
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
        &[("d", S, "/etc"), ("d/.wh.passwd", F, "")],
        &[("d", S, "/etc"), ("d/.wh..wh..opq", F, "")],
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
