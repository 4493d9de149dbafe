//! What fuzz targets call: every reader of what comes from elsewhere, with what must hold whatever it is.
//!
//! `fuzz/` has a target for each and the texts to start from; `tests/corpus.rs` reads those without a fuzzer.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use appc_rooted::Root;
use appc_spec::{ImageManifest, ImageName, discovery as pages, oci as mapping, runtime};
use serde_json::Value;

use crate::archive::{self, Ownership, UnpackOptions};
use crate::layer::{LayerOptions, unpack_layer};
use crate::layout::{DockerArchive, OciLayout};
use crate::oci::{Algorithm, Descriptor, Index, Manifest, Platform, Source, media_type, read_image};
use crate::reference::Reference;
use crate::registry::Credentials;
use crate::trust::Policy;
use crate::{Quiet, Result};

/// Takes anything, and panics when what must hold does not.
pub type Target = fn(&[u8]);

/// The name of each target, and what it runs.
pub const TARGETS: &[(&str, Target)] = &[
    ("reference", reference),
    ("discovery", discovery),
    ("oci", oci),
    ("bundle", bundle),
    ("layer", layer),
    ("archive", archive),
    ("docker_archive", docker_archive),
    ("policy", policy),
    ("auth_d", auth_d),
];

/// The word for an image: what is understood is printed, and understood again as the same.
pub fn reference(word: &[u8]) {
    let Ok(read) = Reference::parse(OsStr::from_bytes(word), |_| None) else { return };
    if std::str::from_utf8(word).is_err() || matches!(read, Reference::Url(_)) {
        return;
    }
    let printed = read.to_string();
    let again = Reference::parse(printed.as_ref(), |_| None).map(|read| read.to_string());
    assert_eq!(again.as_deref().ok(), Some(&*printed), "{read:?}");
}

/// A web page with meta tags: what is found has an address for each template.
pub fn discovery(page: &[u8]) {
    let Ok(name) = "example.com/app:1.0,os=linux".parse::<ImageName>() else { return };
    let tags = pages::meta_tags(page);
    for endpoint in pages::endpoints(&tags, &name) {
        assert!(!endpoint.image.contains("{name}"), "{}", endpoint.image);
    }
    for key in pages::keys(&tags, "example.com/app") {
        assert!(pages::is_prefix(&key.prefix, "example.com/app"), "{}", key.prefix);
    }
}

/// A manifest or index and, behind a zero byte, a configuration: what is mapped obeys the rules of App Containers.
pub fn oci(documents: &[u8]) {
    let mut parts = documents.splitn(2, |byte| *byte == 0);
    let (manifest, config) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let _index = serde_json::from_slice::<Index>(manifest);
    let _manifest = serde_json::from_slice::<Manifest>(manifest);
    let source = Documents::new(manifest, config);
    let Ok(image) = read_image(&source, &Platform::host()) else { return };
    if let Ok(mapped) = mapping::to_appc(&image.config_bytes, &image.manifest_bytes, &mapping::Origin::default()) {
        assert!(mapped.validate().is_ok());
        let printed = mapped.to_json();
        assert_eq!(ImageManifest::parse(printed.as_bytes()).as_ref(), Ok(&mapped));
        let _parts = mapping::to_oci(&mapped);
    }
}

/// A `config.json`: what is mapped obeys the rules, and is a bundle again.
pub fn bundle(config: &[u8]) {
    let Ok(name) = "bundle".parse() else { return };
    let Ok(manifest) = runtime::to_appc(config, name) else { return };
    assert!(manifest.validate().is_ok());
    let user = runtime::User { uid: 0, gid: 0, home: "/root".into() };
    let _made = runtime::to_bundle(&manifest, &user, None);
}

/// The tar of a layer, compressed in any way.
pub fn layer(tar: &[u8]) {
    in_directory(|dir| {
        let Ok(root) = Root::open(dir) else { return };
        let options = LayerOptions { tee: None, ownership: Ownership::Mine, algorithm: Algorithm::Sha256 };
        let _unpacked = unpack_layer(tar, &root, &options, &Quiet);
    });
}

/// An image archive: what can be unpacked has the manifest that a look at its beginning finds.
pub fn archive(tar: &[u8]) {
    let _kind = archive::looks_like_aci(tar);
    let manifest = archive::manifest(tar);
    in_directory(|dir| {
        let Ok(root) = Root::open(dir) else { return };
        let options = UnpackOptions { ownership: Ownership::Mine, ..UnpackOptions::default() };
        if let Ok(unpacked) = archive::unpack(tar, &root, &options, &Quiet) {
            assert_eq!(manifest.ok(), Some(unpacked.manifest));
        }
    });
}

/// An archive by `docker save`, or of an OCI layout.
pub fn docker_archive(tar: &[u8]) {
    in_directory(|dir| {
        let path = dir.join("archive");
        if std::fs::write(&path, tar).is_err() {
            return;
        }
        let host = Platform::host();
        let _docker = DockerArchive::open(&path, None).and_then(|source| read_image(&source, &host));
        let _oci = OciLayout::open_archive(&path, None).and_then(|source| read_image(&source, &host));
    });
}

/// A policy file: one that cannot be read demands nothing, but is an error.
pub fn policy(text: &[u8]) {
    in_directory(|dir| {
        let inside = dir.join("trust.d");
        if std::fs::create_dir(&inside).and_then(|()| std::fs::write(inside.join("x.json"), text)).is_ok()
            && let Err(why) = Policy::read([dir])
        {
            assert!(!why.to_string().contains('\n'), "{why}");
        }
    });
}

/// A file of logins.
pub fn auth_d(text: &[u8]) {
    in_directory(|dir| {
        let inside = dir.join("auth.d");
        if std::fs::create_dir(&inside).and_then(|()| std::fs::write(inside.join("x.json"), text)).is_ok()
            && let Ok(credentials) = Credentials::read(&[dir], None)
        {
            let _login = credentials.find("registry.example", "app");
        }
    });
}

fn in_directory(run: impl FnOnce(&Path)) {
    if let Ok(dir) = tempfile::tempdir() {
        run(dir.path());
    }
}

/// Two documents, under the digests that they have. Nobody can guess those: a manifest names the configuration that it
/// comes with.
struct Documents {
    manifest: Vec<u8>,
    config: Vec<u8>,
}

impl Documents {
    fn new(manifest: &[u8], config: &[u8]) -> Documents {
        let mut document: Value = serde_json::from_slice(manifest).unwrap_or_default();
        let found = Descriptor::of(media_type::CONFIG, config);
        if let Some(Value::Object(named)) = document.get_mut("config") {
            named.insert("digest".into(), found.digest.to_string().into());
            named.insert("size".into(), found.size.into());
        }
        let manifest = if document.is_object() { document.to_string().into() } else { manifest.to_vec() };
        Documents { manifest, config: config.to_vec() }
    }
}

impl Source for Documents {
    fn top(&self) -> Result<Descriptor> {
        let is_index = serde_json::from_slice::<Value>(&self.manifest).is_ok_and(|all| all.get("manifests").is_some());
        let kind = if is_index { media_type::INDEX } else { media_type::MANIFEST };
        Ok(Descriptor::of(kind, &self.manifest))
    }

    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send + '_>> {
        let config = Descriptor::of(media_type::CONFIG, &self.config);
        Ok(Box::new(if descriptor.digest == config.digest { &self.config[..] } else { &self.manifest[..] }))
    }

    fn describe(&self) -> String {
        "the fuzzer".into()
    }
}
