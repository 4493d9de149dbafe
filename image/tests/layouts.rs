//! OCI layouts and docker archives, read and written.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

mod tarball;

use std::fs;
use std::io::{Read, Write};
use std::path::Path;

use appc_image::layout::{DockerArchive, LayoutArchive, LayoutDir, OciLayout};
use appc_image::oci::{Descriptor, Digest, Manifest, Platform, Sink, Source, media_type, read_image, verified};
use tarball::Tar;

const PLATFORM: &str = "linux/amd64";

fn platform() -> Platform {
    PLATFORM.parse().unwrap()
}

fn layer(content: &str) -> Vec<u8> {
    Tar::default().file("file", content.as_bytes()).end()
}

fn config(layers: &[Vec<u8>]) -> Vec<u8> {
    let ids: Vec<String> = layers.iter().map(|layer| format!("\"{}\"", Digest::of(layer))).collect();
    let ids = ids.join(",");
    format!(r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":[{ids}]}}}}"#).into_bytes()
}

fn put(sink: &dyn Sink, media_type: &str, bytes: &[u8]) -> Descriptor {
    let descriptor = Descriptor::of(media_type, bytes);
    sink.put(&descriptor, &mut &bytes[..]).unwrap();
    assert!(sink.has(&descriptor).unwrap());
    descriptor
}

/// Puts an image with these layers, and names it.
fn image(sink: &dyn Sink, layers: &[Vec<u8>]) -> Descriptor {
    let descriptors = layers.iter().map(|layer| put(sink, media_type::LAYER_TAR, layer)).collect();
    let config = put(sink, media_type::CONFIG, &config(layers));
    let manifest = serde_json::to_vec(&Manifest::new(config, descriptors)).unwrap();
    let top = put(sink, media_type::MANIFEST, &manifest);
    sink.finish(&top).unwrap();
    top
}

/// Reads every blob of an image, verified.
fn check(source: &dyn Source, top: &Descriptor, layers: &[Vec<u8>]) {
    let image = read_image(source, &platform()).unwrap();
    assert_eq!(image.manifest.digest, top.digest);
    assert_eq!(image.config_bytes, config(layers));
    check_layers(source, layers);
}

fn check_layers(source: &dyn Source, layers: &[Vec<u8>]) {
    let image = read_image(source, &platform()).unwrap();
    assert_eq!(image.layers.len(), layers.len());
    for (layer, expected) in image.layers.iter().zip(layers) {
        let mut content = Vec::new();
        verified(source.open(&layer.descriptor).unwrap(), &layer.descriptor).read_to_end(&mut content).unwrap();
        assert_eq!(&content, expected);
        assert_eq!(layer.diff_id, Digest::of(expected));
    }
}

fn refused<T>(opened: appc_image::Result<T>, rule: &str) {
    let error = opened.map(drop).unwrap_err().to_string();
    assert!(error.contains(rule), "\"{error}\" does not say \"{rule}\"");
    assert!(!error.contains('\n'));
}

#[test]
fn directories_hold_several_images() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("layout");
    let (one, two) = (vec![layer("1")], vec![layer("1"), layer("2")]);
    let first = image(&LayoutDir::create(&path, Some("one")).unwrap(), &one);
    let second = image(&LayoutDir::create(&path, Some("two")).unwrap(), &two);
    check(&OciLayout::open(&path, Some("one")).unwrap(), &first, &one);
    check(&OciLayout::open(&path, Some("two")).unwrap(), &second, &two);
    refused(OciLayout::open(&path, None), "say which: one, two");
    refused(OciLayout::open(&path, Some("three")), "only one, two");
    image(&LayoutDir::create(&path, Some("one")).unwrap(), &two);
    check(&OciLayout::open(&path, Some("one")).unwrap(), &second, &two);
    let left: Vec<_> = fs::read_dir(&path).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "{left:?}");
}

#[test]
fn archives_are_the_same_each_time_and_may_be_compressed() {
    let dir = tempfile::tempdir().unwrap();
    let layers = vec![layer("1"), layer("2")];
    let [a, b, gz] = ["a.tar", "b.tar", "c.tar.gz"].map(|name| dir.path().join(name));
    let top = image(&LayoutArchive::create(&a, Some("latest")).unwrap(), &layers);
    image(&LayoutArchive::create(&b, Some("latest")).unwrap(), &layers);
    assert_eq!(fs::read(&a).unwrap(), fs::read(&b).unwrap());
    for name in [None, Some("latest")] {
        check(&OciLayout::open_archive(&a, name).unwrap(), &top, &layers);
    }
    let mut encoder = flate2::write::GzEncoder::new(fs::File::create(&gz).unwrap(), flate2::Compression::fast());
    encoder.write_all(&fs::read(&a).unwrap()).unwrap();
    encoder.finish().unwrap();
    check(&OciLayout::open_archive(&gz, None).unwrap(), &top, &layers);
    // From a pipe, nothing can be read twice.
    for from in [&a, &gz] {
        let fifo = dir.path().join("fifo");
        let _ = fs::remove_file(&fifo);
        let mode = 0o600.into();
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| fs::write(&fifo, fs::read(from).unwrap()).unwrap());
            check(&OciLayout::open_archive(&fifo, None).unwrap(), &top, &layers);
        });
    }
}

#[test]
fn what_is_not_what_it_should_be_is_not_put() {
    let dir = tempfile::tempdir().unwrap();
    let wrong = Descriptor::of(media_type::LAYER_TAR, b"right");
    let layout = LayoutDir::create(&dir.path().join("layout"), None).unwrap();
    assert!(layout.put(&wrong, &mut &b"wrong"[..]).is_err());
    assert!(!layout.has(&wrong).unwrap());
    drop(layout);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    let file = dir.path().join("archive.tar");
    let archive = LayoutArchive::create(&file, None).unwrap();
    assert!(archive.put(&wrong, &mut &b"wrong"[..]).is_err());
    assert!(archive.put(&wrong, &mut &b"right and more"[..]).is_err());
    let layers = vec![layer("1")];
    let top = image(&archive, &layers);
    check(&OciLayout::open_archive(&file, None).unwrap(), &top, &layers);
}

#[test]
fn what_is_not_finished_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let archive = LayoutArchive::create(&dir.path().join("archive.tar"), None).unwrap();
    put(&archive, media_type::CONFIG, b"{}");
    drop(archive);
    let path = dir.path().join("made/with/it");
    // Two at once: the one that ends with nothing leaves the other what it has.
    let layouts = [LayoutDir::create(&path, None).unwrap(), LayoutDir::create(&path, Some("x")).unwrap()];
    let [first, second] = layouts;
    put(&first, media_type::CONFIG, b"{}");
    put(&second, media_type::CONFIG, b"{}");
    drop(first);
    let layers = vec![layer("1")];
    let top = image(&second, &layers);
    drop(second);
    check(&OciLayout::open(&path, Some("x")).unwrap(), &top, &layers);
    put(&LayoutDir::create(&path, None).unwrap(), media_type::CONFIG, b"left over");
    assert_eq!(fs::read_dir(path.join("blobs/sha256")).unwrap().count(), 4);
    fs::remove_dir_all(dir.path().join("made")).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    refused(LayoutDir::create(dir.path(), Some("a b")), "no name for an image");
    fs::write(dir.path().join("file"), "").unwrap();
    refused(LayoutDir::create(dir.path(), None), "no OCI layout");
}

#[test]
fn docker_archives_old_and_new() {
    let dir = tempfile::tempdir().unwrap();
    let layers = vec![layer("1"), layer("2")];
    let new = dir.path().join("new.tar");
    let top = image(&LayoutArchive::create_docker(&new, Some("example/app:1")).unwrap(), &layers);
    for name in [None, Some("example/app:1"), Some("@0")] {
        check(&DockerArchive::open(&new, name).unwrap(), &top, &layers);
    }
    refused(DockerArchive::open(&new, Some("example/app")), "only example/app:1");

    // As docker before 25 writes: the second image shares its layer by a link.
    let [config, one] = [config(&layers), config(&layers[..1])];
    let hex = |bytes: &[u8]| Digest::of(bytes).hex().to_owned();
    let names = [format!("{}.json", hex(&config)), format!("{}.json", hex(&one))];
    let manifest = format!(
        r#"[{{"Config":"{}","RepoTags":["app:two"],"Layers":["a/layer.tar","b/layer.tar"]}},
            {{"Config":"{}","RepoTags":["app:latest"],"Layers":["c/layer.tar"]}}]"#,
        names[0], names[1]
    );
    // Such names are as long as the header takes.
    let tar = Tar::default()
        .dir("a/")
        .file("a/layer.tar", &layers[0])
        .file("b/layer.tar", &layers[1])
        .symlink("c/layer.tar", "../a/layer.tar")
        .file(&names[0], &config)
        .file(&names[1], &one)
        .file("manifest.json", manifest.as_bytes());
    let old = dir.path().join("old.tar");
    fs::write(&old, tar.end()).unwrap();
    check_layers(&DockerArchive::open(&old, Some("app:two")).unwrap(), &layers);
    check_layers(&DockerArchive::open(&old, Some("app")).unwrap(), &layers[..1]);
    refused(DockerArchive::open(&old, None), "say which: app:two, app:latest");
}

#[test]
fn hostile_archives_are_refused() {
    let manifest = |layer: &str| format!(r#"[{{"Config":"c.json","RepoTags":null,"Layers":["{layer}"]}}]"#);
    let open = |tar: Tar| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("archive.tar");
        fs::write(&path, tar.end()).unwrap();
        DockerArchive::open(&path, None).and_then(|source| read_image(&source, &platform()))
    };
    let with = |layer: &str| {
        Tar::default().file("manifest.json", manifest(layer).as_bytes()).file("c.json", &config(&[vec![]]))
    };
    refused(open(Tar::default().file("x", b"")), "no manifest.json");
    refused(open(Tar::default().file("repositories", b"{}")), "before 1.10");
    refused(open(with("/etc/passwd")), "not there");
    refused(open(with("../../etc/passwd")), "not there");
    refused(open(with("l").symlink("l", "/etc/passwd")), "leads out of the archive");
    refused(open(with("l").symlink("l", "../../etc/passwd")), "leads out of the archive");
    refused(open(with("l").symlink("l", "m").symlink("m", "l")), "in a circle");
    refused(open(with("l").file("l", b"").file("l", b"x")), "twice");
    refused(open(Tar::default().file("../manifest.json", b"[]")), "`..`");
    refused(open(Tar::default().file("manifest.json", "[".repeat(100_000).as_bytes())), "invalid type");
}

#[test]
fn hostile_layouts_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| fs::write(dir.path().join(name), content).unwrap();
    let open = || OciLayout::open(dir.path(), None).and_then(|source| read_image(&source, &platform()));
    refused(open(), "no OCI layout");
    write("oci-layout", r#"{"imageLayoutVersion":"2.0.0"}"#);
    refused(open(), "version 2.0.0");
    write("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
    refused(open(), "no index.json");
    let digest = Digest::of(b"secret");
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{}","digest":"{digest}","size":6}}]}}"#,
        media_type::MANIFEST
    );
    write("index.json", &index);
    refused(open(), "it is not there");
    fs::create_dir_all(dir.path().join("blobs/sha256")).unwrap();
    let blob = dir.path().join("blobs/sha256").join(digest.hex());
    // A link out of the layout is resolved below the layout, where there is nothing.
    let outside = tempfile::NamedTempFile::new().unwrap();
    fs::write(outside.path(), "secret").unwrap();
    std::os::unix::fs::symlink(outside.path(), &blob).unwrap();
    refused(open(), "it is not there");
    replace(&blob, b"longer than it should be");
    refused(open(), "instead of 6");
    replace(&blob, b"secreT");
    refused(open(), "its content is another");
}

fn replace(path: &Path, content: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, content).unwrap();
}
