//! OCI images in the store: fetched once, extracted once, shared, and gone with the last image that has them.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use appc_image::archive::{CopyOptions, copy_tree};
use appc_image::convert::{Referrers, copy};
use appc_image::oci::{Descriptor, Digest, Index, Manifest, Platform, Source, media_type, read_image, small};
use appc_image::store::{ExtractOptions, Report, StoredImage, Untagged};
use appc_image::{Error, Quiet, render};
use appc_rooted::Root;
use serde_json::json;

mod memory;
mod support;
mod tarball;
use memory::Memory;
use support::Fixture;
use tarball::{Tar, snapshot};

fn import(f: &Fixture, source: &Memory, origin: &str) -> Result<StoredImage, Error> {
    f.store.import_oci(source, &Platform::host(), origin, &Quiet)
}

fn base() -> Vec<u8> {
    Tar::default().dir("bin").file("bin/app", b"program").dir("tmp").file("tmp/old", b"old").end()
}

fn upper() -> Vec<u8> {
    Tar::default().file("tmp/.wh.old", b"").file("tmp/new", b"new").end()
}

/// Everything below `store/` and `tmp/` that belongs to images.
fn left(f: &Fixture) -> Vec<String> {
    let mut names = f.names();
    for folder in ["store/blobs/sha256", "store/blobs/oci-sha512"] {
        let entries = fs::read_dir(f.data().join(folder)).into_iter().flatten();
        names.extend(entries.map(|entry| format!("{folder}/{}", entry.unwrap().file_name().to_str().unwrap())));
    }
    names
}

/// The root file system as a copy.
fn rendered(f: &Fixture, image: &StoredImage) -> tempfile::TempDir {
    let out = tempfile::tempdir().unwrap();
    for layer in render::layers(&f.store, image).unwrap().lower {
        let options = CopyOptions { layer: true, ..Default::default() };
        copy_tree(&Root::open(&layer).unwrap(), "", &Root::open(out.path()).unwrap(), "", &options).unwrap();
    }
    out
}

#[test]
fn an_image_comes_in_and_can_be_read_again() {
    let f = Fixture::new();
    let source = Memory::image(&[base(), upper()], "");
    let image = import(&f, &source, "docker://localhost:5000/some/app:1.0").unwrap();
    assert_eq!(image.manifest.name.as_str(), "localhost_5000/some/app");
    assert_eq!(image.manifest.labels.get("version"), Some("1.0"));
    assert_eq!(image.source, "docker://localhost:5000/some/app:1.0");
    assert_eq!(source.opened(), 4, "each blob once");
    let top = source.top().unwrap();
    let expected = ring::digest::digest(&ring::digest::SHA512, &source.blobs[&top.digest]);
    let hex: String = expected.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(image.id.hex(), hex);

    let out = rendered(&f, &image);
    let names: Vec<String> = snapshot(out.path()).keys().map(|path| path.display().to_string()).collect();
    assert_eq!(names, ["", "bin", "bin/app", "tmp", "tmp/new"]);
    let listed = f.store.list().unwrap();
    assert_eq!((listed.len(), listed[0].tree_size), (1, 7 + 3 + 3));
    assert_eq!(listed[0].size, source.blobs.values().map(|blob| blob.len() as u64).sum::<u64>());

    // Given out as it came in.
    let stored = f.store.oci(&image.id).unwrap().unwrap();
    let again = read_image(&stored, &Platform::host()).unwrap();
    for (digest, bytes) in &source.blobs {
        let descriptor = Descriptor::new("", digest.clone(), bytes.len() as u64);
        assert_eq!(&small(&stored, &descriptor).unwrap(), bytes);
    }
    assert_eq!(again.manifest.digest, top.digest);
    drop(stored);
    f.store.remove(&image.id).unwrap();
    assert_eq!(left(&f), Vec::<String>::new());
}

#[test]
fn what_is_there_is_neither_fetched_nor_extracted_again() {
    let f = Fixture::new();
    let one = Memory::image(&[base(), upper()], "one");
    let other_upper = Tar::default().dir("etc").file("etc/x", b"x").end();
    let two = Memory::image(&[base(), other_upper], "two");
    let first = import(&f, &one, "oci:one:latest").unwrap();
    one.opened();
    let again = import(&f, &one, "oci:elsewhere:latest").unwrap();
    assert_eq!((&again.id, again.imported, again.source.as_str()), (&first.id, first.imported, "oci:one:latest"));
    assert_eq!(one.opened(), 2, "only manifest and configuration");
    let second = import(&f, &two, "oci:two:latest").unwrap();
    assert_eq!(two.opened(), 3, "not the layer that the first image has");
    let lower = |image| render::layers(&f.store, image).unwrap().lower;
    assert_eq!(lower(&first)[0], lower(&second)[0]);

    // What is shared goes with the last of the two.
    let shared = lower(&first)[0].clone();
    f.store.remove(&first.id).unwrap();
    assert!(shared.exists());
    assert_eq!(f.store.gc(&[]).unwrap(), Report::default());
    assert!(rendered(&f, &second).path().join("etc/x").exists());
    f.store.remove(&second.id).unwrap();
    assert_eq!(left(&f), Vec::<String>::new());
}

/// A mount below this folder, which cannot be removed until it is unmounted, wherever it has been moved to.
struct InTheWay(PathBuf);

impl Drop for InTheWay {
    fn drop(&mut self) {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let below =
            mounts.lines().filter_map(|line| line.split(' ').nth(1)).filter(|at| Path::new(at).starts_with(&self.0));
        below.for_each(|at| drop(Command::new("umount").arg(at).status()));
    }
}

#[test]
fn half_a_removed_layer_is_not_taken_for_a_whole_one() {
    ::support::needs!(root);
    let f = Fixture::new();
    let source = Memory::image(&[base(), upper()], "");
    let image = import(&f, &source, "oci:one:latest").unwrap();
    let before = snapshot(rendered(&f, &image).path());
    for by_gc in [false, true] {
        // A removal that comes to an end in the middle.
        let bin = render::layers(&f.store, &image)
            .unwrap()
            .lower
            .iter()
            .map(|tree| tree.join("bin"))
            .find(|bin| bin.exists());
        let _in_the_way = InTheWay(f.data());
        assert!(Command::new("mount").args(["-t", "tmpfs", "none"]).arg(bin.unwrap()).status().unwrap().success());
        assert!(f.store.remove(&image.id).is_err());
        if by_gc {
            assert!(f.store.gc(&[]).is_err());
        }
        assert_eq!(import(&f, &source, "oci:one:latest").unwrap().id, image.id);
        assert_eq!(snapshot(rendered(&f, &image).path()), before);
        assert_eq!(f.store.verify(&image.id, &Quiet).unwrap().faults, []);
    }
    f.store.remove(&image.id).unwrap();
    f.store.gc(&[]).unwrap();
    assert_eq!(left(&f), Vec::<String>::new());
}

#[test]
fn a_layer_that_is_in_an_image_twice_is_fetched_once() {
    let f = Fixture::new();
    let source = Memory::image(&[base(), upper(), base()], "");
    let image = import(&f, &source, "oci:x:latest").unwrap();
    assert_eq!(source.opened(), 4);
    assert!(rendered(&f, &image).path().join("tmp/old").exists());
}

/// Takes its time, so that somebody else comes meanwhile.
struct Slow<'m>(&'m Memory);

impl Source for Slow<'_> {
    fn top(&self) -> Result<Descriptor, Error> {
        self.0.top()
    }

    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn std::io::Read + Send + '_>, Error> {
        std::thread::sleep(std::time::Duration::from_millis(200));
        self.0.open(descriptor)
    }

    fn describe(&self) -> String {
        self.0.describe()
    }
}

#[test]
fn two_who_want_the_same_layers_at_once_fetch_them_once() {
    let f = Fixture::new();
    let source = Memory::image(&[base(), upper()], "");
    let fetch = || f.store.import_oci(&Slow(&source), &Platform::host(), "oci:x:latest", &Quiet).unwrap().id;
    std::thread::scope(|scope| {
        let [one, two] = [scope.spawn(fetch), scope.spawn(fetch)];
        assert_eq!(one.join().unwrap(), two.join().unwrap());
    });
    assert_eq!(source.opened(), 6, "manifest and configuration by each, a layer by one of them");
    assert_eq!(f.store.gc(&[]).unwrap(), Report::default());
}

#[test]
fn gc_mends_nothing_it_cannot_know_and_removes_leftovers() {
    let f = Fixture::new();
    let source = Memory::image(&[base()], "");
    let image = import(&f, &source, "oci:x:latest").unwrap();
    fs::write(f.data().join(format!("store/blobs/sha256/{}", "0".repeat(64))), "left over").unwrap();
    fs::create_dir_all(f.data().join("store/trees/layer-sha256-00/rootfs")).unwrap();
    assert_eq!(f.store.gc(&[]).unwrap().leftovers, 2);
    // With unreadable metadata nobody knows whose the parts are: they stay.
    fs::write(f.data().join(format!("store/images/{}/metadata", image.id)), "{").unwrap();
    assert_eq!(f.store.gc(&[]).unwrap(), Report::default());
    let again = import(&f, &source, "oci:x:latest").unwrap();
    assert_eq!((again.id, source.opened()), (image.id.clone(), 3 + 2));
    fs::write(f.data().join(format!("store/images/{}/metadata", image.id)), "{").unwrap();
    f.store.remove(&image.id).unwrap();
    assert_eq!(left(&f), Vec::<String>::new());
}

#[test]
fn what_a_layer_does_not_say_is_taken_from_those_below() {
    let f = Fixture::new();
    let mode = |mode: &'static [u8; 4]| move |header: &mut [u8; 512]| header[103..107].copy_from_slice(mode);
    let low = Tar::default()
        .header(b'5', "tmp", 0, "", mode(b"1777"))
        .header(b'5', "srv", 0, "", mode(b"0700"))
        .header(b'5', "srv/deep", 0, "", mode(b"0710"))
        .file("srv/file", b"shared")
        .end();
    // Neither `tmp` nor `srv/deep` is described, `srv` is; a hard link leads to the layer below.
    let high = Tar::default()
        .file("tmp/x", b"x")
        .header(b'5', "srv", 0, "", mode(b"0750"))
        .file("srv/deep/y", b"y")
        .hard_link("srv/link", "srv/file")
        .file("new/z", b"z")
        .end();
    let source = Memory::image(&[low, high], "");
    let image = import(&f, &source, "oci:x:latest").unwrap();
    let out = rendered(&f, &image);
    let mode = |path: &str| fs::metadata(out.path().join(path)).unwrap().mode() & 0o7777;
    assert_eq!((mode("tmp"), mode("srv"), mode("srv/deep"), mode("new")), (0o1777, 0o750, 0o710, 0o755));
    assert_eq!(fs::read(out.path().join("srv/link")).unwrap(), b"shared");
    assert!(out.path().join("srv/deep/y").exists() && out.path().join("new/z").exists());
    f.store.gc(&[]).unwrap();
    assert!(rendered(&f, &image).path().join("srv/link").exists());
    f.store.remove(&image.id).unwrap();
    assert_eq!(left(&f), Vec::<String>::new());
}

#[test]
fn what_lies_below_links_of_lower_layers_is_where_these_lead() {
    let f = Fixture::new();
    let low = Tar::default().dir("usr").dir("usr/bin").file("usr/bin/x", b"x").file("usr/bin/gone", b"");
    let low = low.symlink("bin", "usr/bin").symlink("usr/bin/up", "../../etc").dir("etc").symlink("loop", "loop");
    let low = low.symlink("dangling", "/nowhere/x").file("plain", b"plain").end();
    let high = Tar::default().hard_link("bin/y", "bin/x").file("bin/z", b"z").file("bin/.wh.gone", b"");
    let high = high.file("bin/up/new", b"new").file("loop/in", b"").file("none/.wh.x", b"");
    let high = high.file("dangling/.wh.x", b"").file("dangling/y/.wh.z", b"").file("plain/.wh.x", b"").end();
    let image = import(&f, &Memory::image(&[low, high], ""), "oci:links:1").unwrap();
    let tree = rendered(&f, &image);
    let path = |name: &str| tree.path().join(name);
    assert!(fs::symlink_metadata(path("bin")).unwrap().is_symlink());
    for (name, content) in [("usr/bin/x", "x"), ("usr/bin/y", "x"), ("usr/bin/z", "z"), ("etc/new", "new")] {
        assert_eq!(fs::read_to_string(path(name)).unwrap(), content, "{name}");
    }
    assert!(!path("usr/bin/gone").exists() && !path("none").exists());
    assert!(path("loop/in").exists(), "a link that leads nowhere is replaced");
    // But not by marks for what is not there.
    assert_eq!(fs::read_link(path("dangling")).unwrap(), Path::new("/nowhere/x"));
    assert_eq!(fs::read_to_string(path("plain")).unwrap(), "plain");
    assert_eq!(f.store.verify(&image.id, &Quiet).unwrap().faults, []);
}

#[test]
fn an_opaque_root_hides_all_layers_below() {
    let f = Fixture::new();
    let source = Memory::image(&[base(), Tar::default().file(".wh..wh..opq", b"").file("only", b"").end()], "");
    let image = import(&f, &source, "oci:x:latest").unwrap();
    let names: Vec<_> = snapshot(rendered(&f, &image).path()).into_keys().collect();
    assert_eq!(names, [Path::new(""), Path::new("only")]);
}

#[test]
fn an_image_without_layers_has_an_empty_root() {
    let f = Fixture::new();
    let image = import(&f, &Memory::image(&[], ""), "oci:x:latest").unwrap();
    let lower = render::layers(&f.store, &image).unwrap().lower;
    assert_eq!((lower.len(), fs::read_dir(&lower[0]).unwrap().count()), (1, 0));
    f.store.remove(&image.id).unwrap();
    assert_eq!(left(&f), Vec::<String>::new());
}

#[test]
fn what_is_wrong_with_an_image_leaves_nothing() {
    let f = Fixture::new();
    let spoil = |change: &dyn Fn(&mut Memory, &Descriptor)| {
        let mut source = Memory::image(&[base(), upper()], "");
        let layer = read_image(&source, &Platform::host()).unwrap().layers[1].descriptor.clone();
        change(&mut source, &layer);
        let error = import(&f, &source, "oci:x:latest").unwrap_err().to_string();
        assert_eq!(left(&f), Vec::<String>::new(), "{error}");
        error
    };
    let error = spoil(&|source, layer| source.blobs.get_mut(&layer.digest).unwrap()[20] ^= 1);
    assert!(error.contains("sha256:"), "{error}");
    let error = spoil(&|source, layer| drop(source.blobs.insert(layer.digest.clone(), vec![])));
    assert!(error.contains("ends after 0 of"), "{error}");
    let error = spoil(&|source, layer| source.blobs.get_mut(&layer.digest).unwrap().extend([0; 5]));
    assert!(error.contains("longer than"), "{error}");

    // A layer that is intact, but not the one that the configuration names.
    let mut source = Memory::default();
    let layer = source.add(media_type::LAYER_TAR, base());
    let config = json!({"architecture": "amd64", "os": "linux", "rootfs": {"diff_ids": [Digest::of(b"other")]}});
    let config = source.add(media_type::CONFIG, config.to_string().into_bytes());
    let manifest = serde_json::to_vec(&Manifest::new(config, vec![layer])).unwrap();
    source.top = Some(source.add(media_type::MANIFEST, manifest));
    let error = import(&f, &source, "oci:x:latest").unwrap_err().to_string();
    assert!(error.contains("its plain tar is") && left(&f).is_empty(), "{error}");
}

#[test]
fn of_an_index_the_image_for_the_platform_is_taken() {
    let f = Fixture::new();
    let mut source = Memory::image(&[base()], "this one");
    let other = Memory::image(&[base(), upper()], "another");
    let mut here = source.top().unwrap();
    here.platform = Some(Platform::host());
    let mut there = other.top().unwrap();
    there.platform = Some(Platform::new("linux", "s390x"));
    source.blobs.extend(other.blobs);
    let index = serde_json::to_vec(&Index::new(vec![there, here])).unwrap();
    source.top = Some(source.add(media_type::INDEX, index));
    let image = import(&f, &source, "oci:x:latest").unwrap();
    assert_eq!(image.oci.unwrap().layers.len(), 1);
}

#[test]
fn several_names_lead_to_one_image() {
    let f = Fixture::new();
    let source = Memory::image(&[base()], "");
    let first = import(&f, &source, "docker://localhost:5000/app:1.0").unwrap();
    import(&f, &source, "docker://localhost:5000/app:latest").unwrap();
    let again = import(&f, &source, "docker://localhost:5000/app:1.0").unwrap();
    assert_eq!((&again.id, again.manifest.labels.get("version")), (&first.id, Some("1.0")), "the first name stays");
    let list = f.store.list().unwrap();
    assert_eq!(list.len(), 1);
    assert_eq!(list[0].names(), ["localhost_5000/app:1.0", "localhost_5000/app:latest"]);
    assert!(list[0].came_from("docker://localhost:5000/app:latest") && !list[0].came_from("docker://other/app"));
    let find = |name: &str| f.store.resolve(&name.parse().unwrap()).map(|image| image.id);
    for name in ["localhost_5000/app", "localhost_5000/app:1.0", "localhost_5000/app:latest"] {
        assert_eq!(find(name).unwrap(), first.id, "{name}");
    }
    assert!(find("localhost_5000/app:2.0").is_err());
    // A tag that moved is the image it was last fetched as.
    let other = import(&f, &Memory::image(&[upper()], ""), "docker://localhost:5000/app:latest").unwrap();
    assert_eq!(find("localhost_5000/app:latest").unwrap(), other.id);
    assert_eq!(find("localhost_5000/app:1.0").unwrap(), first.id);
    import(&f, &source, "docker://localhost:5000/app:latest").unwrap();
    assert_eq!(find("localhost_5000/app:latest").unwrap(), first.id);
}

#[test]
fn names_are_taken_away_one_by_one() {
    let f = Fixture::new();
    let source = Memory::image(&[base()], "");
    let origin = |tag: &str| format!("docker://localhost:5000/app:{tag}");
    let id = import(&f, &source, &origin("1.0")).unwrap().id;
    import(&f, &source, &origin("latest")).unwrap();
    let names = || f.store.list().unwrap()[0].names();
    let untag = |tag: &str| f.store.untag(&id, |_, source| source == origin(tag)).unwrap();
    let used = f.store.list().unwrap()[0].last_used;
    assert!(matches!(untag("2.0"), Untagged::Nothing));
    // The first one, which the manifest has.
    assert!(matches!(untag("1.0"), Untagged::Left(_)));
    assert_eq!((names(), f.store.list().unwrap()[0].last_used), (vec!["localhost_5000/app:latest".to_owned()], used));
    let find = |name: &str| f.store.resolve(&name.parse().unwrap());
    assert!(find("localhost_5000/app:1.0").is_err() && !f.store.list().unwrap()[0].came_from(&origin("1.0")));
    assert_eq!(find("localhost_5000/app").unwrap().manifest.labels.get("version"), Some("latest"));
    assert!(f.store.verify(&id, &Quiet).unwrap().faults.is_empty());
    assert!(matches!(untag("latest"), Untagged::Last));
    assert_eq!(names(), ["localhost_5000/app:latest"]);
    // It is fetched by that name again.
    import(&f, &source, &origin("1.0")).unwrap();
    assert_eq!(names(), ["localhost_5000/app:1.0", "localhost_5000/app:latest"]);
    assert!(matches!(
        f.store.untag(&id, |name, _| name.labels.get("version") == Some("latest")),
        Ok(Untagged::Left(_))
    ));
    assert_eq!(names(), ["localhost_5000/app:1.0"]);
    assert!(matches!(f.store.untag(&id, |_, _| true).unwrap(), Untagged::Last));
    // The same name from several places is several.
    let labelled = Memory::image(&[base()], "another");
    let id = import(&f, &labelled, "oci:/a/app:1").unwrap().id;
    for origin in ["oci:/b/app:1", "oci:/a/app:1"] {
        assert_eq!(import(&f, &labelled, origin).unwrap().id, id);
    }
    for (origin, left) in [("oci:/a/app:1", true), ("oci:/b/app:1", false)] {
        let done = f.store.untag(&id, |_, source| source == origin).unwrap();
        assert_eq!(matches!(done, Untagged::Left(_)), left, "{origin}");
    }
}

#[test]
fn it_is_exported_as_an_archive_and_extracted_merged() {
    let f = Fixture::new();
    let source = Memory::image(&[base(), upper()], "");
    let image = import(&f, &source, "docker://localhost:5000/app:1.0").unwrap();
    let file = f.dir.path().join("out.tar");
    let oci = f.store.oci(&image.id).unwrap().unwrap();
    let sink = appc_image::layout::LayoutArchive::create(&file, Some("1.0")).unwrap();
    copy(&oci, &sink, None, Referrers::LeftOut, &Quiet).unwrap();
    let archive = appc_image::layout::OciLayout::open_archive(&file, Some("1.0")).unwrap();
    assert_eq!(archive.top().unwrap().digest, source.top().unwrap().digest);

    let dir = f.dir.path().join("out");
    let extract = |rootfs_only, overwrite| {
        let options = ExtractOptions { rootfs_only, overwrite };
        f.store.extract(&image.id, &dir, options, &Quiet)
    };
    extract(false, false).unwrap();
    assert_eq!(fs::read(dir.join("manifest")).unwrap(), f.store.manifest_bytes(&image.id).unwrap());
    assert_eq!(fs::read(dir.join("rootfs/tmp/new")).unwrap(), b"new");
    assert!(fs::symlink_metadata(dir.join("rootfs/tmp/old")).is_err(), "hidden by the upper layer");
    assert!(matches!(extract(true, false), Err(Error::Exists(_))));
    extract(true, true).unwrap();
    assert!(dir.join("bin/app").exists() && !dir.join("manifest").exists());
}
