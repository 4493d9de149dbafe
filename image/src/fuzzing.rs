//! What fuzz targets call: every reader of what comes from elsewhere, with what must hold whatever it is.
//!
//! `fuzz/` has a target for each and the texts to start from; `tests/corpus.rs` reads those without a fuzzer.

mod sources;

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use appc_rooted::Root;
use appc_spec::{ImageManifest, ImageName, discovery as pages, oci as mapping, runtime};

use crate::archive::{self, Limit, Ownership, UnpackOptions};
use crate::fetch::Authorizations;
use crate::layer::{LayerOptions, digest_layer, unpack_layer};
use crate::layout::{DockerArchive, OciLayout};
use crate::oci::{Algorithm, Digest, Index, Manifest, Platform, read_image};
use crate::reference::{DOCKER_HUB, Reference};
use crate::registry::{Challenge, Credentials, challenges};
use crate::trust::cosign::PublicKey;
use crate::trust::{self, Key, Keyring, Policy, Verifier, fingerprints};
use crate::{Quiet, convert};
use sources::{Blobs, Documents};

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
    ("manifest", manifest),
    ("convert", convert),
    ("docker_config", docker_config),
    ("challenge", challenge),
    ("key", key),
    ("signature", signature),
    ("cosign", cosign),
    ("cosign_key", cosign_key),
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
    let user = runtime::User { uid: 0, gid: 0, groups: vec![], home: "/root".into() };
    let _made = runtime::to_bundle(&manifest, &user, None);
}

/// The tar of a layer, compressed in any way.
pub fn layer(tar: &[u8]) {
    in_directory(|dir| {
        let Ok(root) = Root::open(dir) else { return };
        let options =
            LayerOptions { tee: None, ownership: Ownership::Mine, algorithm: Algorithm::Sha256, limit: Limit::Usual };
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
        if std::fs::create_dir(&inside).and_then(|()| std::fs::write(inside.join("x.json"), text)).is_ok() {
            let _headers = Authorizations::read(&[dir]);
            if let Ok(credentials) = Credentials::read(&[dir], None) {
                let _login = credentials.find("registry.example", "app");
            }
        }
    });
}

/// The manifest of an image: what is accepted is printed, and accepted again as the same.
pub fn manifest(json: &[u8]) {
    let Ok(read) = ImageManifest::parse(json) else { return };
    assert_eq!(ImageManifest::parse(read.to_json().as_bytes()).as_ref(), Ok(&read));
    let parts = mapping::to_oci(&read);
    let _bundle =
        runtime::to_bundle(&read, &runtime::User { uid: 0, gid: 0, groups: vec![], home: "/root".into() }, None);
    assert!(parts.config.is_object());
}

/// An image archive, to be converted: what becomes an OCI image becomes the same archive again.
pub fn convert(tar: &[u8]) {
    in_directory(|dir| {
        let options = convert::Options::new(dir);
        let file = || tempfile::tempfile_in(dir);
        let (Ok(mut aci), Ok(out)) = (file(), file()) else { return };
        let blobs = Blobs::default();
        if aci.write_all(tar).is_err() || convert::to_oci(&aci, &[], &blobs, &options, &Quiet).is_err() {
            return;
        }
        let id = digest_layer(tar, None, Algorithm::Sha512, Limit::Usual, &Quiet).map(|(digest, _)| digest.to_string());
        match convert::to_aci(&blobs, &mapping::Origin::default(), &out, &options, &Quiet) {
            // What is recorded of an archive is limited: then it is another one with the same files.
            Ok(back) if blobs.is_recorded() => {
                assert_eq!(back.image_id.to_string().replace('-', ":"), id.unwrap_or_default())
            }
            _ => {}
        }
    });
}

/// Docker's configuration. No program that keeps logins is asked: there are none here.
pub fn docker_config(text: &[u8]) {
    in_directory(|dir| {
        let path = dir.join("config.json");
        if std::fs::write(&path, text).is_err() {
            return;
        }
        match Credentials::read(&[dir], Some(&path)) {
            Ok(credentials) => {
                for (registry, repository) in [("registry.example", "team/app"), (DOCKER_HUB, "library/app")] {
                    let found = credentials.find(registry, repository);
                    assert!(!found.is_err_and(|why| why.to_string().contains('\n')));
                }
            }
            Err(why) => assert!(!why.to_string().contains('\n'), "{why}"),
        }
    });
}

/// The header by which a registry asks who we are: whoever is asked for a token has an address.
pub fn challenge(header: &[u8]) {
    let Ok(header) = std::str::from_utf8(header) else { return };
    for challenge in challenges(header.lines()) {
        if let Challenge::Bearer { realm, .. } = challenge {
            assert!(!realm.is_empty());
        }
    }
}

/// Keys, armored or not: what is shown of them is one line each, and they are stored as what they are.
pub fn key(bytes: &[u8]) {
    let Ok(keys) = fingerprints(bytes) else { return };
    for key in keys {
        let shown = [vec![key.fingerprint(), key.identity()], key.subkeys(), key.identities()].concat();
        assert!(shown.iter().all(|text| !text.contains(char::is_control)), "{shown:?}");
        assert!(matches!(key.fingerprint().len(), 32 | 40 | 64), "{}", key.fingerprint());
        if let Ok(again) = key.armored().and_then(|armored| Key::parse(&armored)) {
            assert_eq!(again.fingerprint(), key.fingerprint());
        }
    }
}

/// A key and, behind a line with nothing but a dash, a signature: it is one of nothing.
pub fn signature(both: &[u8]) {
    let end = both.windows(3).position(|three| three == b"\n-\n");
    let (key, signature) = end.map_or((&b""[..], both), |end| (&both[..end + 1], &both[end + 3..]));
    let Ok(name) = "example.com/app".parse() else { return };
    let keys = Keyring::of(name, fingerprints(key).unwrap_or_default());
    let Ok(verifier) = Verifier::expecting(signature) else { return };
    match verifier.finish(signature, &keys) {
        Ok(signer) => assert!(keys.iter().any(|(_, key)| key.fingerprint() == signer.fingerprint)),
        Err(why) => assert!(!why.to_string().contains('\n'), "{why}"),
    }
}

/// A manifest with signatures and, behind a zero byte, the statement that is signed: none is by a key of ours.
pub fn cosign(documents: &[u8]) {
    let mut parts = documents.splitn(2, |byte| *byte == 0);
    let (manifest, statement) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let source = Documents::new(manifest, statement);
    let (Ok(name), Ok(key)) = ("registry.example/app".parse(), PublicKey::from_pem(COSIGN_KEY)) else { return };
    let image = Digest::of(b"the image");
    if trust::cosign::verify(&source, &name, &image, &[key]).is_ok() {
        let statement = String::from_utf8_lossy(statement);
        assert!(statement.contains(&image.to_string()) && statement.contains("registry.example/app"), "{statement}");
    }
}

/// A key as cosign writes it.
pub fn cosign_key(pem: &[u8]) {
    let Ok(pem) = std::str::from_utf8(pem) else { return };
    if let Err(rule) = PublicKey::from_pem(pem) {
        assert!(!rule.contains('\n'), "{rule}");
    }
}

/// The key that the seeds of [`cosign()`] are signed with.
const COSIGN_KEY: &str = "\
-----BEGIN PUBLIC KEY-----\n\
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEfC+YHyEzzDFJ5w+KJTU88LoinVzh\n\
Wwa2Bz3sXRkYkFrOfFj9HQn7kKzVZPvVaqFlK7Uh5nOYZoogRt3okIngfQ==\n\
-----END PUBLIC KEY-----\n";

fn in_directory(run: impl FnOnce(&Path)) {
    if let Ok(dir) = tempfile::tempdir() {
        run(dir.path());
    }
}
