//! What words mean.
#![allow(clippy::unwrap_used)]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use appc_image::reference::{DOCKER_HUB, DockerName, Found, Reference, without_login};

/// What there is on the host of these tests.
fn found(path: &Path) -> Option<Found> {
    match path.to_str()? {
        "hello" | "sha512-notes" | "/x/a:b" | "odd:name" => Some(Found::File),
        "mybundle" | "/b" => Some(Found::Bundle),
        "/d" | "./d" | "example.com" | "/x:y" => Some(Found::Directory),
        _ => None,
    }
}

/// The variant, and what it prints.
fn meaning(word: &str) -> (&'static str, String) {
    let reference = Reference::parse(OsStr::new(word), found).unwrap();
    let kind = match &reference {
        Reference::File(_) => "file",
        Reference::Id(_) => "id",
        Reference::Name(_) => "name",
        Reference::Url(_) => "url",
        Reference::Docker(_) => "docker",
        Reference::OciLayout { .. } => "oci",
        Reference::OciArchive { .. } => "oci-archive",
        Reference::DockerArchive { .. } => "docker-archive",
        Reference::Bundle(_) => "bundle",
    };
    (kind, reference.to_string())
}

#[test]
fn words() {
    let digest = "sha256:".to_owned() + &"ab".repeat(32);
    let by_digest = format!("docker://example.com:5000/a/b@{digest}");
    let cases = [
        ("sha512-abcdef", "id", "sha512-abcdef"),
        ("sha512-notes", "file", "./sha512-notes"),
        ("/tmp/x", "file", "/tmp/x"),
        ("file:///tmp/x.aci", "file", "/tmp/x.aci"),
        ("file://x.aci", "file", "./x.aci"),
        ("./x", "file", "./x"),
        ("../x:y", "file", "../x:y"),
        ("x.aci", "file", "./x.aci"),
        ("hello", "file", "./hello"),
        ("odd:name", "file", "./odd:name"),
        ("hello:1", "name", "hello:1"),
        ("mybundle", "bundle", "bundle:mybundle"),
        ("/b", "bundle", "bundle:/b"),
        ("/d", "bundle", "bundle:/d"),
        ("bundle:none", "bundle", "bundle:none"),
        ("example.com", "name", "example.com"),
        ("example.com/hello:1.0,arch=amd64", "name", "example.com/hello:1.0,arch=amd64"),
        ("https://user:pw@example.com/x.aci", "url", "https://example.com/x.aci"),
        ("docker://busybox", "docker", "docker://busybox:latest"),
        ("docker:busybox", "docker", "docker://busybox:latest"),
        ("docker://docker.io/library/busybox:1", "docker", "docker://busybox:1"),
        ("docker://me/app", "docker", "docker://me/app:latest"),
        ("docker://localhost/app:v1", "docker", "docker://localhost/app:v1"),
        (&by_digest, "docker", &by_digest),
        ("oci:/x", "oci", "oci:/x"),
        ("oci:x:v1:2", "oci", "oci:x:v1:2"),
        ("oci:/x:y", "oci", "oci:/x:y"),
        ("oci-archive:x.tar:v1", "oci-archive", "oci-archive:x.tar:v1"),
        ("docker-archive:/x/a:b:busybox:1", "docker-archive", "docker-archive:/x/a:b:busybox:1"),
    ];
    for (word, kind, text) in cases {
        assert_eq!(meaning(word), (kind, text.to_owned()), "{word}");
        // What is printed means the same.
        assert_eq!(meaning(text), (kind, text.to_owned()), "{word}, printed");
    }
}

#[test]
fn names_of_archives_are_split_from_what_exists() {
    let parse = |word: &str| Reference::parse(OsStr::new(word), found).unwrap();
    let layout = |dir: &str, name: Option<&str>| Reference::OciLayout { dir: dir.into(), name: name.map(Into::into) };
    assert_eq!(parse("oci:/x:y"), layout("/x:y", None));
    assert_eq!(parse("oci:/x:y:z"), layout("/x:y", Some("z")));
    assert_eq!(parse("oci:/d:v1"), layout("/d", Some("v1")));
    assert_eq!(parse("oci:new:v1:w"), layout("new", Some("v1:w")));
    assert_eq!(parse("oci:new:"), layout("new", None));
    let word = OsStr::from_bytes(b"\xff.aci");
    assert_eq!(Reference::parse(word, found).unwrap(), Reference::File(word.into()));
}

#[test]
fn names_in_registries() {
    let name: DockerName = "busybox".parse().unwrap();
    assert_eq!((name.registry.as_str(), name.repository.as_str()), (DOCKER_HUB, "library/busybox"));
    assert_eq!(name.reference(), "latest");
    let name: DockerName = "[::1]:5000/a__b/c.d-e:V_1".parse().unwrap();
    assert_eq!((name.registry.as_str(), name.repository.as_str()), ("[::1]:5000", "a__b/c.d-e"));
    assert_eq!(name.reference(), "V_1");
    let digest = format!("sha512:{}", "0f".repeat(64));
    let name: DockerName = format!("example.com/x:1@{digest}").parse().unwrap();
    assert_eq!((name.reference(), name.tag.as_deref()), (digest.as_str(), Some("1")));
}

#[test]
fn what_is_refused_says_why() {
    let cases = [
        ("", "an empty word"),
        ("oci:", "a path must follow oci:"),
        ("file://", "a path must follow"),
        ("sha512-zz", "sha512"),
        ("https:///x.aci", "address"),
        ("ftp://example.com/x.aci", "not fetched by ftp"),
        ("docker://", "bad repository"),
        ("docker://Busybox", "lower case"),
        ("docker://a//b", "bad repository"),
        ("docker://a/../b", "bad repository"),
        ("docker://a@sha256:12", "bad digest"),
        ("docker://a:b c", "bad tag"),
        ("docker://example.com:0/a", "bad registry"),
        ("docker://-x.com/a", "bad registry"),
        ("UPPER", "as the name of an image"),
        ("a:b:c", "as the name of an image"),
    ];
    for (word, why) in cases {
        let error = Reference::parse(OsStr::new(word), found).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{word}: ")) && error.contains(why), "{word:?}: {error}");
    }
}

#[test]
fn a_login_in_a_word_is_not_told() {
    for word in ["docker://user@example.com/a", "docker://me:sekrit@example.com/a:1", "docker:me:s/ekrit@example.com/a"]
    {
        let error = Reference::parse(OsStr::new(word), found).unwrap_err().to_string();
        assert!(
            error.starts_with("docker://example.com/a") && error.contains("no part of it: `docker login`"),
            "{error}"
        );
        assert!(!error.contains("ekrit") && !error.contains("user@"), "{error}");
    }
    for word in ["ftp://me:pass@example.com/x", "https://me:pass@/x"] {
        let error = Reference::parse(OsStr::new(word), found).unwrap_err().to_string();
        assert!(!error.contains("pass"), "{error}");
    }
    let shown = Reference::parse(OsStr::new("https://me:pass@example.com/x.aci?token=pass#part"), found).unwrap();
    assert_eq!(shown.to_string(), "https://example.com/x.aci?…");
    assert_eq!(without_login("http://example.com?pass"), "http://example.com?…");
    let kept = ["docker://a@sha256:12", "docker://example.com/a@sha256:12", "a@b", "oci:d:1@2"];
    assert_eq!(kept.map(without_login), kept);
}

#[test]
fn a_place_is_the_same_with_and_without_a_slash() {
    let origin = |word: &str| Reference::parse(OsStr::new(word), found).unwrap().origin().unwrap();
    for (word, slash) in [("bundle:/b", "bundle:/b/"), ("oci:/d", "oci:/d/"), ("oci:/d:1.0", "oci:/d/.:1.0")] {
        assert_eq!(origin(word), origin(slash), "{word}");
    }
}
