//! Unpacks an archive beside what it must not touch.

use appc_image::archive::{Kind, Limit, Ownership, UnpackOptions, unpack};
use appc_image::convert;
use appc_image::layer::{LayerOptions, unpack_layer};
use appc_image::layout::{DockerArchive, OciLayout};
use appc_image::oci::{Algorithm, Descriptor, Platform, Sink, read_image};
use appc_image::{Error, Quiet};
use appc_rooted::Root;

use crate::tarball::{assert_same, snapshot};

pub(crate) enum Expect {
    /// Refused with a message that has this in it.
    Refused(&'static str),
    /// Unpacked, harmlessly.
    Contained,
}
pub(crate) use Expect::{Contained, Refused};

/// Unpacks each case beside a tree that must not change, and checks the outcome and the tree.
pub(crate) fn check(cases: Vec<(&str, Vec<u8>, Expect)>) {
    for (name, archive, expect) in cases {
        check_one(name, &archive, expect, host(), Kind::Aci);
    }
}

/// What an attack would like to change.
pub(crate) fn host() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let host = dir.path().join("host");
    std::fs::create_dir_all(host.join("etc")).unwrap();
    std::fs::write(host.join("secret"), "secret").unwrap();
    std::fs::write(host.join("etc/passwd"), "root").unwrap();
    std::fs::create_dir(dir.path().join("target")).unwrap();
    dir
}

pub(crate) fn check_one(name: &str, archive: &[u8], expect: Expect, dir: tempfile::TempDir, kind: Kind) {
    let host = dir.path().join("host");
    let before = snapshot(&host);
    let root = Root::open(dir.path().join("target")).unwrap();
    let outcome = unpack(archive, &root, &UnpackOptions { kind, ..Default::default() }, &Quiet);
    assert_same(&before, &snapshot(&host));
    let beside = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(beside, 2, "{name}: something was made beside the target");
    as_anything_else(name, archive, &dir);
    assert_same(&before, &snapshot(&host));
    match (expect, outcome) {
        (Contained, outcome) => drop(outcome.unwrap_or_else(|e| panic!("{name}: {e}"))),
        (Refused(rule), Ok(_)) => panic!("{name}: unpacked, not refused as \"{rule}\""),
        (Refused(rule), Err(error)) => {
            let text = error.to_string();
            assert!(text.contains(rule), "{name}: \"{text}\" does not say \"{rule}\"");
            assert!(!text.contains(['\n', '\x1b']), "{name}: {text:?} is not one plain line");
            if let Error::Archive { offset, .. } = error {
                assert!(offset <= 64 << 20, "{name}: {offset}");
            }
        }
    }
}

/// Gives the archive to every other reader: whatever each makes of it stays where it belongs, and is one plain line if it
/// is a refusal.
fn as_anything_else(name: &str, archive: &[u8], dir: &tempfile::TempDir) {
    let plain = |error: Error| {
        let text = error.to_string();
        assert!(!text.contains(['\n', '\x1b']) && text.len() < 10_000, "{name}: {text:?} is not one plain line");
    };
    let place = dir.path().join("target/others");
    let _made = std::fs::create_dir(&place);
    let below = |name: &str| {
        let path = place.join(name);
        std::fs::create_dir(&path).unwrap();
        path
    };
    let options =
        LayerOptions { tee: None, ownership: Ownership::default(), algorithm: Algorithm::Sha256, limit: Limit::Usual };
    let layer = unpack_layer(archive, &Root::open(below("layer")).unwrap(), &options, &Quiet).map(drop);
    let options = convert::Options::new(&place);
    let bundle = convert::archive_to_bundle(archive, &below("bundle"), &options, &Quiet).map(drop);
    let file = place.join("archive");
    std::fs::write(&file, archive).unwrap();
    let host = Platform::host();
    let docker = DockerArchive::open(&file, None).and_then(|source| read_image(&source, &host)).map(drop);
    let oci = OciLayout::open_archive(&file, None).and_then(|source| read_image(&source, &host)).map(drop);
    let aci = std::fs::File::open(&file).unwrap();
    let layers = convert::to_oci(&aci, &[], &Nowhere, &options, &Quiet).map(drop);
    [layer, bundle, docker, oci, layers].into_iter().filter_map(Result::err).for_each(plain);
    std::fs::remove_dir_all(&place).unwrap();
}

/// Has everything already.
struct Nowhere;

impl Sink for Nowhere {
    fn has(&self, _: &Descriptor) -> appc_image::Result<bool> {
        Ok(true)
    }

    fn put(&self, _: &Descriptor, _: &mut dyn std::io::Read) -> appc_image::Result<()> {
        Ok(())
    }

    fn finish(&self, _: &Descriptor) -> appc_image::Result<()> {
        Ok(())
    }
}
