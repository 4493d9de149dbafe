//! What a policy demands, and signatures as cosign makes them, made by openssl.
#![allow(clippy::unwrap_used)]

#[path = "support/mod.rs"]
mod images;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use appc_image::fetch::{self, Fetcher, Insecure, Reporter};
use appc_image::oci::{Descriptor, Digest, Manifest, Source, media_type};
use appc_image::reference::{DockerName, Reference};
use appc_image::trust::cosign::{self, PublicKey};
use appc_image::trust::{Key, Keystore, Policy, Scope};
use appc_image::{Error, Progress, Quiet, Result};
use base64::Engine;
use images::Fixture;
use support::Gpg;

const STATEMENT: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

/// A registry in memory.
#[derive(Default)]
struct Memory {
    blobs: BTreeMap<String, Vec<u8>>,
    top: Option<Descriptor>,
}

impl Memory {
    fn put(&mut self, media_type: &str, content: &[u8]) -> Descriptor {
        let digest = Digest::of(content);
        self.blobs.insert(digest.to_string(), content.to_vec());
        Descriptor::new(media_type, digest, content.len() as u64)
    }

    /// The manifest of signatures with these statements.
    fn of(statements: &[(String, Vec<u8>)]) -> Memory {
        let mut memory = Memory::default();
        let config = memory.put(media_type::CONFIG, b"{}");
        let layers = statements.iter().map(|(statement, signature)| {
            let mut layer = memory.put(STATEMENT, statement.as_bytes());
            let signature = base64::engine::general_purpose::STANDARD.encode(signature);
            layer.annotations.insert("dev.cosignproject.cosign/signature".into(), signature);
            layer
        });
        let manifest = Manifest::new(config, layers.collect());
        memory.top = Some(memory.put(media_type::MANIFEST, &serde_json::to_vec(&manifest).unwrap()));
        memory
    }
}

impl Source for Memory {
    fn top(&self) -> Result<Descriptor> {
        self.top.clone().ok_or_else(|| Error::NotStored("no signatures".into()))
    }

    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send + '_>> {
        Ok(Box::new(Cursor::new(&self.blobs[&descriptor.digest.to_string()])))
    }

    fn describe(&self) -> String {
        "memory".into()
    }
}

fn openssl(dir: &Path, args: &[&str]) -> Vec<u8> {
    let output = Command::new("openssl").args(args).current_dir(dir).stdin(Stdio::null()).output();
    let output = output.expect("the tests need openssl");
    assert!(output.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Makes `NAME.key` and `NAME.pub`.
fn make_key(dir: &Path, name: &str, kind: &[&str]) -> PathBuf {
    let (key, public) = (format!("{name}.key"), format!("{name}.pub"));
    openssl(dir, &[&["genpkey", "-out", &key][..], kind].concat());
    openssl(dir, &["pkey", "-in", &key, "-pubout", "-out", &public]);
    dir.join(public)
}

const P256: &[&str] = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];

fn sign(dir: &Path, key: &str, statement: &str) -> (String, Vec<u8>) {
    fs::write(dir.join("statement"), statement).unwrap();
    let key = format!("{key}.key");
    let signature = match key.starts_with("ed25519") {
        true => openssl(dir, &["pkeyutl", "-sign", "-rawin", "-inkey", &key, "-in", "statement"]),
        false => openssl(dir, &["dgst", "-sha256", "-sign", &key, "statement"]),
    };
    (statement.into(), signature)
}

fn statement(reference: &str, image: &Digest) -> String {
    format!(
        "{{\"critical\":{{\"identity\":{{\"docker-reference\":\"{reference}\"}},\"image\":{{\"docker-manifest-digest\":\"{image}\"}},\
         \"type\":\"cosign container image signature\"}},\"optional\":null}}"
    )
}

fn name(text: &str) -> DockerName {
    text.parse().unwrap()
}

#[test]
fn statements_by_all_kinds_of_keys() {
    let dir = tempfile::tempdir().unwrap();
    let image = Digest::of(b"a manifest");
    let kinds: [(&str, &[&str]); 4] = [
        ("p256", P256),
        ("p384", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"]),
        ("ed25519", &["-algorithm", "ed25519"]),
        ("rsa", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]),
    ];
    for (kind, options) in kinds {
        let public = make_key(dir.path(), kind, options);
        let key = PublicKey::from_pem(&fs::read_to_string(public).unwrap()).unwrap();
        let signatures = Memory::of(&[sign(dir.path(), kind, &statement("example.com/team/app", &image))]);
        cosign::verify(&signatures, &name("example.com/team/app:1.0"), &image, &[key])
            .unwrap_or_else(|e| panic!("{kind}: {e}"));
    }
    for bad in [
        "",
        "-----BEGIN PUBLIC KEY-----\n!\n-----END PUBLIC KEY-----",
        "-----BEGIN PUBLIC KEY-----\nMAA=\n-----END PUBLIC KEY-----",
    ] {
        assert!(PublicKey::from_pem(bad).is_err(), "{bad:?}");
    }
    openssl(dir.path(), &["genpkey", "-algorithm", "x25519", "-out", "x.key"]);
    let other = openssl(dir.path(), &["pkey", "-in", "x.key", "-pubout"]);
    assert!(PublicKey::from_pem(&String::from_utf8(other).unwrap()).unwrap_err().contains("kind"));
}

#[test]
fn what_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (image, other) = (Digest::of(b"a manifest"), Digest::of(b"another"));
    let key = PublicKey::from_pem(&fs::read_to_string(make_key(dir.path(), "key", P256)).unwrap()).unwrap();
    make_key(dir.path(), "stranger", P256);
    let app = name("example.com/team/app");
    let good = sign(dir.path(), "key", &statement("example.com/team/app", &image));
    let changed = (statement("example.com/team/app", &other), good.1.clone());
    let kind = statement("example.com/team/app", &image).replace("cosign container", "other");
    let refused = [
        (vec![], "has no signature"),
        (vec![sign(dir.path(), "stranger", &good.0)], "none of the keys"),
        (vec![changed], "none of the keys"),
        (vec![(good.0.clone(), b"x".to_vec())], "none of the keys"),
        (vec![sign(dir.path(), "key", &statement("example.com/team/app", &other))], "another image"),
        (vec![sign(dir.path(), "key", &statement("example.com/team/other", &image))], "another repository"),
        (vec![sign(dir.path(), "key", &statement("", &image))], "another repository"),
        (vec![sign(dir.path(), "key", &kind)], "not known"),
        (vec![sign(dir.path(), "key", "{}")], "cannot be read"),
    ];
    for (statements, why) in refused {
        let error =
            cosign::verify(&Memory::of(&statements), &app, &image, std::slice::from_ref(&key)).unwrap_err().to_string();
        assert!(error.contains(why), "{error} should say {why}");
    }
    // One that is good is enough.
    let all = [sign(dir.path(), "stranger", &good.0), good];
    cosign::verify(&Memory::of(&all), &app, &image, std::slice::from_ref(&key)).unwrap();
    assert!(cosign::verify(&Memory::default(), &app, &image, &[key]).is_err());
    let tag = cosign::signatures_of(&name(&format!("example.com/team/app@{other}")), &image);
    assert_eq!(tag.reference(), format!("sha256-{}.sig", image.hex()));
}

#[test]
fn policies() {
    let dir = tempfile::tempdir().unwrap();
    let (system, local) = (dir.path().join("system"), dir.path().join("local"));
    let read = || Policy::read([&system, &local]);
    assert!(!read().unwrap().demands_signed_files());
    fs::create_dir_all(system.join("trust.d")).unwrap();
    fs::create_dir_all(local.join("trust.d")).unwrap();
    make_key(&system.join("trust.d"), "team", P256);
    let policy = |dir: &Path, name: &str, rest: &str| {
        let text = format!("{{\"rktKind\": \"trust\", \"rktVersion\": \"v1\"{rest}}}");
        fs::write(dir.join("trust.d").join(name), text).unwrap();
    };
    policy(&system, "a.json", ", \"localFiles\": \"signed\"");
    let below = r#", "registries": [{"prefix": "example.com/team", "keys": ["team.pub"]}]"#;
    policy(&system, "b.json", below);
    let read_now = read().unwrap();
    assert!(read_now.demands_signed_files());
    for (image, demanded) in [
        ("example.com/team/app", true),
        ("example.com/team", true),
        ("example.com/teams/app", false),
        ("other.example.com/team/app", false),
        ("busybox", false),
    ] {
        assert_eq!(read_now.demands_signature_of(&name(image)), demanded, "{image}");
    }
    let image = Digest::of(b"a manifest");
    let good = || Ok(Memory::of(&[sign(&system.join("trust.d"), "team", &statement("example.com/team/app", &image))]));
    read_now.check(&name("example.com/team/app"), &image, |_| good()).unwrap();
    let error = read_now.check(&name("example.com/team/app"), &Digest::of(b"x"), |_| good()).unwrap_err();
    assert!(error.to_string().contains("another image"), "{error}");
    let nobody = |_| -> Result<Memory> { panic!("nothing is demanded") };
    read_now.check(&name("busybox"), &image, nobody).unwrap();

    // However the hub is called, and everywhere.
    for (prefix, images) in [
        ("docker.io/busybox", &["busybox", "docker.io/busybox/x", "docker.io/library/busybox:1"][..]),
        ("index.docker.io", &["busybox", "team/app"]),
        ("localhost:5000", &["localhost:5000/a/b"]),
        ("*", &["busybox", "example.com/a"]),
    ] {
        policy(&system, "c.json", &format!(r#", "registries": [{{"prefix": "{prefix}", "keys": ["team.pub"]}}]"#));
        let read_now = read().unwrap();
        for image in images {
            assert!(read_now.demands_signature_of(&name(image)), "{prefix} {image}");
        }
        assert_eq!(read_now.demands_signature_of(&name("other.example.com/x")), prefix == "*");
    }
    fs::remove_file(system.join("trust.d/c.json")).unwrap();

    // The host's configuration takes back what the system's demands, for some.
    policy(
        &local,
        "a.json",
        r#", "localFiles": "any", "registries": [{"prefix": "example.com/team/free", "keys": []}]"#,
    );
    let read_now = read().unwrap();
    assert!(!read_now.demands_signed_files());
    assert!(!read_now.demands_signature_of(&name("example.com/team/free/app")));
    assert!(read_now.demands_signature_of(&name("example.com/team/app")));

    for bad in [
        r#", "localfiles": "signed""#,
        r#", "localFiles": "maybe""#,
        r#", "registries": [{"prefix": "", "keys": []}]"#,
        r#", "registries": [{"prefix": "https://example.com", "keys": []}]"#,
        r#", "registries": [{"prefix": "busybox", "keys": []}]"#,
        r#", "registries": [{"prefix": "library/busybox", "keys": []}]"#,
        r#", "registries": [{"prefix": "example.com/*", "keys": []}]"#,
        r#", "registries": [{"prefix": "example.com/app:1.0", "keys": []}]"#,
        r#", "registries": [{"prefix": "example.com/Team", "keys": []}]"#,
        r#", "registries": [{"prefix": "example.com", "keys": ["missing.pub"]}]"#,
        r#", "registries": [{"prefix": "example.com", "keys": []}, {"prefix": "example.com", "keys": []}]"#,
    ] {
        policy(&local, "a.json", bad);
        assert!(read().is_err(), "{bad}");
    }
    fs::write(local.join("trust.d/a.json"), "{").unwrap();
    assert!(read().unwrap_err().to_string().contains("a.json"));
}

/// Says nothing.
struct Silent;

impl Reporter for Silent {
    fn bar(&self) -> Box<dyn Progress + '_> {
        Box::new(Quiet)
    }
}

#[test]
fn files_without_a_signature() {
    let (here, gpg) = (Fixture::new(), Gpg::new());
    gpg.simple("maker");
    let image = here.image("example.com/app", "", &[("file", "content")]);
    let config = here.dir.path().join("config");
    let options = fetch::Options { config_dirs: vec![config.clone()], ..fetch::Options::default() };
    let reference = Reference::from_word(image.to_str().unwrap()).unwrap();
    let get = |options: &fetch::Options| {
        let fetcher = Fetcher::new(&here.store, options.clone(), &Silent)?;
        // Who reads the file where it lies is told the same.
        let checked = fetcher.check(&reference).map_err(|e| e.to_string());
        let fetched = fetcher.fetch(&reference, None);
        assert_eq!(checked.map(drop), fetched.as_ref().map(drop).map_err(ToString::to_string));
        fetched
    };
    get(&options).unwrap();
    fs::create_dir_all(config.join("trust.d")).unwrap();
    let policy = r#"{"rktKind": "trust", "rktVersion": "v1", "localFiles": "signed"}"#;
    fs::write(config.join("trust.d/policy.json"), policy).unwrap();
    let error = get(&options).unwrap_err().to_string();
    assert!(error.contains(".aci.asc is not there") && error.contains("--insecure-options=image"), "{error}");
    get(&fetch::Options { insecure: Insecure { image: true, ..Insecure::default() }, ..options.clone() }).unwrap();
    let signature = gpg.sign("maker", &fs::read(&image).unwrap());
    fs::write(format!("{}.asc", image.display()), signature).unwrap();
    assert!(get(&options).unwrap_err().to_string().contains("unknown entity"));
    Keystore::open([&config]).trust(&Key::parse(&gpg.export("maker")).unwrap(), &Scope::Root).unwrap();
    get(&options).unwrap();
}
