//! The store: what comes in comes out again, and nothing else is left.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;

use appc_image::archive::Compression;
use appc_image::store::{ExtractOptions, Query, Report, Store};
use appc_image::{Error, Quiet};

mod support;
use support::{Fixture, write_image};

const LABELS: &str = r#""labels":[{"name":"version","value":"1.0"},{"name":"os","value":"linux"}]"#;
const FILES: [(&str, &str); 3] = [("bin/app", "program"), ("etc/empty/", ""), ("lib", "->usr/lib")];

fn query(text: &str) -> Query {
    text.parse().unwrap()
}

fn set_changed_long_ago(path: &std::path::Path) {
    // A change time cannot be set; files count as settled after two seconds.
    let changed = fs::metadata(path).unwrap().ctime();
    while std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64 - changed <= 2 {
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

#[test]
fn an_image_is_found_listed_exported_and_removed() {
    let f = Fixture::new();
    let path = f.image("example.com/app", LABELS, &FILES);
    let image = f.store.import(File::open(&path).unwrap(), "somewhere", &Quiet).unwrap();
    assert_eq!((image.manifest.name.as_str(), image.source.as_str()), ("example.com/app", "somewhere"));
    assert_eq!(image.size, fs::metadata(&path).unwrap().len());
    assert_eq!(fs::read(f.store.tree(&image.id).join("bin/app")).unwrap(), b"program");
    assert_eq!(f.store.manifest_bytes(&image.id).unwrap(), support::manifest("example.com/app", LABELS).as_bytes());

    let id = image.id.to_string();
    for text in ["example.com/app", "example.com/app:1.0", "example.com/app,os=linux", &id, &id[..9], &id[..71]] {
        assert_eq!(f.store.resolve(&query(text)).unwrap().id, image.id, "{text}");
    }
    for text in ["example.com/other", "example.com/app:2.0", "example.com/app,arch=amd64"] {
        assert!(matches!(f.store.resolve(&query(text)), Err(Error::NotStored(_))), "{text}");
    }
    let listed = f.store.list().unwrap();
    assert_eq!((listed.len(), listed[0].name_and_version().as_str()), (1, "example.com/app:1.0"));

    let mut exported = Vec::new();
    f.store.export(&image.id, &mut exported, &Quiet).unwrap();
    assert!(exported == fs::read(&path).unwrap());

    f.store.remove(&image.id).unwrap();
    assert!(f.store.list().unwrap().is_empty() && f.names().is_empty());
    assert!(matches!(f.store.remove(&image.id), Err(Error::NotStored(_))));
}

#[test]
fn importing_again_stores_nothing_twice_and_exports_what_came_first() {
    let f = Fixture::new();
    let plain = write_image(f.dir.path(), "a", "", &FILES, Compression::None);
    let first = f.store.import(File::open(&plain).unwrap(), "plain", &Quiet).unwrap();
    let bytes = fs::read(&plain).unwrap();
    let packed = write_image(f.dir.path(), "a", "", &FILES, Compression::Gzip);
    let again = f.store.import(File::open(&packed).unwrap(), "packed", &Quiet).unwrap();
    assert_eq!((&again.id, again.imported, again.source.as_str()), (&first.id, first.imported, "packed"));
    assert!(again.last_used >= first.last_used);
    let mut exported = Vec::new();
    f.store.export(&again.id, &mut exported, &Quiet).unwrap();
    assert!(exported == bytes && again.size == bytes.len() as u64);
    assert_eq!(f.names().len(), 3);
}

#[test]
fn an_unchanged_file_is_not_read_again_and_a_changed_one_is() {
    let f = Fixture::new();
    let path = f.image("a", "", &FILES);
    let import = || f.store.import(File::open(&path).unwrap(), path.to_str().unwrap(), &Quiet).unwrap();
    set_changed_long_ago(&path);
    let first = import();
    let inode = |id| fs::metadata(f.store.dir().join(format!("store/images/{id}/metadata"))).unwrap().ino();
    let before = inode(&first.id);
    assert_eq!(import().id, first.id);
    assert_eq!(inode(&first.id), before);
    // A lost tree is made again.
    fs::remove_dir_all(f.store.tree(&first.id)).unwrap();
    import();
    assert!(f.store.tree(&first.id).join("bin/app").exists());
    f.image("a", "", &[("other", "")]);
    assert_ne!(import().id, first.id);
}

#[test]
fn of_several_images_the_one_for_this_machine_and_then_the_newest_is_meant() {
    let f = Fixture::new();
    let version = |v: &str, arch: &str| {
        format!(
            r#""labels":[{{"name":"version","value":"{v}"}},{{"name":"os","value":"linux"}},{{"name":"arch","value":"{arch}"}}]"#
        )
    };
    let here = appc_spec::host_arch();
    let other = if here == "amd64" { "aarch64" } else { "amd64" };
    f.import("a", &version("1", here), &[]);
    let second = f.import("a", &version("2", here), &[]);
    let foreign = f.import("a", &version("3", other), &[]);
    assert_eq!(f.store.resolve(&query("a")).unwrap().id, second.id);
    assert_eq!(f.store.resolve(&query(&format!("a,arch={other}"))).unwrap().id, foreign.id);
    assert_eq!(f.store.find(&query("a")).unwrap().len(), 3);
}

#[test]
fn an_ambiguous_id_is_answered_with_the_candidates() {
    let f = Fixture::new();
    // 257 images have two whose IDs share two digits.
    let mut seen = std::collections::HashMap::new();
    for n in 0..=256 {
        let image = f.import(&format!("image{n}"), "", &[]);
        let prefix = image.id.to_string()[..9].to_owned();
        if let Some(other) = seen.insert(prefix.clone(), n) {
            let Err(Error::Ambiguous { candidates, .. }) = f.store.resolve(&query(&prefix)) else { panic!() };
            let text = candidates.join(" ");
            assert!(text.contains(&format!("(image{n})")) && text.contains(&format!("(image{other})")), "{text}");
            return;
        }
    }
    unreachable!("256 IDs have different first bytes");
}

#[test]
fn a_pinned_image_stays() {
    let f = Fixture::new();
    let image = f.import("a", "", &FILES);
    let pin = f.store.pin([&image.id]).unwrap();
    let shared = f.store.pin([&image.id]).unwrap();
    assert_eq!(f.store.get(&image.id).unwrap().last_used, image.last_used);
    pin.mark_used();
    assert!(f.store.get(&image.id).unwrap().last_used > image.last_used);
    drop(pin);
    assert!(matches!(Store::open(f.data()).unwrap().remove(&image.id), Err(Error::InUse(_))));
    assert!(f.store.get(&image.id).is_ok());
    drop(shared);
    f.store.remove(&image.id).unwrap();
    assert!(matches!(f.store.pin([&image.id]), Err(Error::NotStored(_))));
}

#[test]
fn an_image_is_taken_back_only_by_its_first_import_and_unless_somebody_has_it() {
    let f = Fixture::new();
    let image = f.import("a", "", &FILES);
    f.store.take_back(&image).unwrap();
    assert!(f.names().is_empty());
    f.store.take_back(&image).unwrap();

    let path = f.image("a", "", &FILES);
    let import = || f.store.import(File::open(&path).unwrap(), "somewhere", &Quiet).unwrap();
    let image = import();
    let pin = f.store.pin([&image.id]).unwrap();
    f.store.take_back(&image).unwrap();
    drop(pin);
    assert!(f.store.get(&image.id).is_ok());
    // For all that the first one knows, somebody was told that it is there.
    import();
    f.store.take_back(&image).unwrap();
    assert!(f.store.get(&image.id).is_ok());

    let used = f.import("b", "", &FILES);
    f.store.pin([&used.id]).unwrap().mark_used();
    f.store.take_back(&used).unwrap();
    assert!(f.store.get(&used.id).is_ok());
}

#[test]
fn gc_removes_what_belongs_to_no_image() {
    let f = Fixture::new();
    let image = f.import("a", "", &FILES);
    let before = f.names();
    assert_eq!(f.store.gc(&[]).unwrap(), Report::default());
    fs::create_dir_all(f.data().join("store/trees/sha512-00/rootfs")).unwrap();
    fs::write(f.data().join("store/blobs/sha512/00"), "").unwrap();
    fs::create_dir(f.data().join("store/images").join(format!("sha512-{}", "0".repeat(128)))).unwrap();
    fs::create_dir_all(f.data().join("tmp/store-0-0/tree")).unwrap();
    assert_eq!(f.store.list().unwrap().len(), 1);
    assert_eq!(f.store.gc(&[]).unwrap(), Report { abandoned: 1, leftovers: 3, rendered: 0 });
    assert_eq!(f.names(), before);
    assert!(f.store.get(&image.id).is_ok());
}

#[test]
fn leftovers_do_not_stand_in_the_way_of_an_import() {
    let f = Fixture::new();
    let image = f.import("a", "", &FILES);
    fs::remove_file(f.data().join(format!("store/images/{}/metadata", image.id))).unwrap();
    fs::write(f.store.tree(&image.id).join("leftover"), "").unwrap();
    assert!(f.store.list().unwrap().is_empty());
    f.import("a", "", &FILES);
    assert!(!f.store.tree(&image.id).join("leftover").exists());
    assert!(f.store.tree(&image.id).join("bin/app").exists());
}

#[test]
fn fetching_again_mends_a_damaged_manifest() {
    let f = Fixture::new();
    let image = f.import("a", "", &FILES);
    let manifest = f.data().join(format!("store/images/{}/manifest", image.id));
    for damaged in ["", "no JSON"] {
        fs::write(&manifest, damaged).unwrap();
        let error = f.store.get(&image.id).unwrap_err().to_string();
        assert!(error.contains("fetch it again"), "{error}");
        f.import("a", "", &FILES);
        assert_eq!(fs::read_to_string(&manifest).unwrap(), support::manifest("a", ""));
    }
}

#[test]
fn what_is_no_image_leaves_nothing() {
    let f = Fixture::new();
    let good = fs::read(f.image("a", "", &[("file", &"x".repeat(100_000))])).unwrap();
    let mut corrupt = good.clone();
    let middle = corrupt.len() / 2;
    corrupt[middle] ^= 0xff;
    let bad_manifest = fs::read(f.image("b", r#""labels":[{"name":"name","value":"x"}]"#, &[])).unwrap();
    let cases: [&[u8]; 5] = [b"", b"not an archive", &good[..middle], &corrupt, &bad_manifest];
    for (case, bytes) in cases.iter().enumerate() {
        let path = f.dir.path().join("bad.aci");
        fs::write(&path, bytes).unwrap();
        let error = f.store.import(File::open(&path).unwrap(), "bad.aci", &Quiet).unwrap_err().to_string();
        assert!(!error.contains('\n'), "{error}");
        assert!(f.names().is_empty(), "case {case}: {error}");
    }
}

#[test]
fn extracting_gives_the_files_and_replaces_only_when_told() {
    let f = Fixture::new();
    let image = f.import("a", LABELS, &FILES);
    let dir = f.dir.path().join("out");
    let extract =
        |rootfs_only, overwrite| f.store.extract(&image.id, &dir, ExtractOptions { rootfs_only, overwrite }, &Quiet);
    extract(false, false).unwrap();
    assert_eq!(fs::read_to_string(dir.join("manifest")).unwrap(), support::manifest("a", LABELS));
    assert_eq!(fs::read_link(dir.join("rootfs/lib")).unwrap().to_str(), Some("usr/lib"));
    assert!(matches!(extract(true, false), Err(Error::Exists(_))));
    extract(true, true).unwrap();
    assert_eq!(fs::read(dir.join("bin/app")).unwrap(), b"program");
    assert!(!dir.join("manifest").exists());
    let names = fs::read_dir(f.dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    assert!(names.into_iter().all(|name| !name.starts_with(".extract")));
    fs::remove_dir_all(&dir).unwrap();
    extract(true, true).unwrap();
}

#[test]
fn directories_that_nobody_means_are_not_replaced() {
    let f = Fixture::new();
    let image = f.import("a", "", &FILES);
    let link = f.dir.path().join("link");
    std::os::unix::fs::symlink("/", &link).unwrap();
    let options = ExtractOptions { overwrite: true, ..Default::default() };
    for dir in ["/".as_ref(), link.as_path(), "/usr/..".as_ref(), f.dir.path(), &f.data(), &f.store.tree(&image.id)] {
        let error = f.store.extract(&image.id, dir, options, &Quiet).unwrap_err();
        assert!(error.to_string().ends_with("Refusing."), "{}: {error}", dir.display());
    }
    assert!(f.store.tree(&image.id).join("bin/app").exists());
}

#[test]
fn a_damaged_archive_is_not_given_out() {
    let f = Fixture::new();
    let image = f.import("a", "", &FILES);
    let good = fs::read(f.store.blob(&image.id)).unwrap();
    let mut flipped = good.clone();
    // In a header that no decompressor looks at.
    flipped[4] ^= 1;
    for bad in [b"short".to_vec(), flipped] {
        fs::write(f.store.blob(&image.id), bad).unwrap();
        let error = f.store.export(&image.id, Vec::new(), &Quiet).unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "{error}");
        // Fetching it again, as the message says, mends it.
        f.import("a", "", &FILES);
        let mut exported = Vec::new();
        f.store.export(&image.id, &mut exported, &Quiet).unwrap();
        assert!(exported == good);
    }
    // Of an image of older versions nobody has noted the checksum.
    let other = fs::read(f.store.blob(&f.import("b", "", &FILES).id)).unwrap();
    let metadata = f.data().join(format!("store/images/{}/metadata", image.id));
    for (content, whole) in [(good, true), (other, false)] {
        let mut known: serde_json::Value = serde_json::from_slice(&fs::read(&metadata).unwrap()).unwrap();
        known.as_object_mut().unwrap().shift_remove("checksum");
        known["size"] = content.len().into();
        fs::write(&metadata, known.to_string()).unwrap();
        fs::write(f.store.blob(&image.id), content).unwrap();
        assert_eq!(f.store.export(&image.id, Vec::new(), &Quiet).is_ok(), whole);
    }
}
