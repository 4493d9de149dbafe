//! A place for blobs in memory, and what is put there.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Read, Write};
use std::sync::Mutex;

use appc_image::convert::{Options, to_aci, to_oci};
use appc_image::oci::{Descriptor, Digest, Manifest, Platform, Sink, Source, media_type, verified};
use appc_image::{Error, Quiet, Result};
use appc_spec::oci::Origin;
use serde_json::{Value, json};
use tar::{EntryType, Header};

#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) blobs: Mutex<HashMap<Digest, Vec<u8>>>,
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
    pub(crate) fn store(&self, media_type: &str, bytes: &[u8]) -> Descriptor {
        let descriptor = Descriptor::of(media_type, bytes);
        self.put(&descriptor, &mut &bytes[..]).expect("it is stored");
        descriptor
    }

    pub(crate) fn json(&self, descriptor: &Descriptor) -> Value {
        let mut bytes = Vec::new();
        self.open(descriptor).unwrap().read_to_end(&mut bytes).unwrap();
        serde_json::from_slice(&bytes).expect("JSON")
    }

    /// An image of these layers, compressed, as a stranger might make it.
    pub(crate) fn image(&self, layers: &[Vec<u8>], config: Value) -> Descriptor {
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

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

pub(crate) fn options() -> Options {
    let mut options = Options::new(std::env::temp_dir());
    options.platform = "linux/amd64".parse::<Platform>().expect("a platform");
    options
}

pub(crate) fn temp(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

pub(crate) const MANIFEST: &str = r#"{ "acKind": "ImageManifest", "acVersion": "0.8.11", "name": "example.com/app",
    "labels": [{"name": "os", "value": "linux"}, {"name": "arch", "value": "amd64"}, {"name": "version", "value": "1"}],
    "app": {"exec": ["/bin/app"], "user": "0", "group": "0", "isolators": [{"name": "os/linux/cpu-shares", "value": 5}]}}
"#;

/// A tar of entries: name, type, content or target.
pub(crate) fn tar(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
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

pub(crate) use EntryType::{Directory as D, Link as L, Regular as F, Symlink as S};

/// What is in an archive, by name: a letter and the content or target.
pub(crate) fn listing(archive: &mut File) -> BTreeMap<String, String> {
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
pub(crate) fn there_and_back(aci: &File) -> (String, String, Memory) {
    let memory = Memory::default();
    to_oci(aci, &[], &memory, &options(), &Quiet).expect("it converts");
    let out = tempfile::tempfile().unwrap();
    let written = to_aci(&memory, &Origin::default(), &out, &options(), &Quiet).expect("it converts back");
    let top = memory.top().unwrap();
    let id = memory.json(&top)["annotations"]["io.appc.image.id"].as_str().expect("an ID").to_owned();
    (id, written.image_id.to_string(), memory)
}

pub(crate) fn image_id(plain: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA512, plain);
    format!("sha512-{}", digest.as_ref().iter().map(|b| format!("{b:02x}")).collect::<String>())
}

/// The same file, from its beginning.
pub(crate) fn temp_again(file: &File) -> File {
    use std::io::Seek;
    let mut file = file.try_clone().unwrap();
    file.rewind().unwrap();
    file
}
