//! What is done with stored images: verified, compared, counted, rendered.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use appc_image::oci::{Platform, Source};
use appc_image::render::{self, Change, Rules};
use appc_image::store::{ExtractOptions, Repair, StoredImage};
use appc_image::{Error, Quiet};

mod memory;
mod support;
mod tarball;
use memory::Memory;
use support::Fixture;
use tarball::Tar;

/// What verifying finds, one line for each.
fn faults(f: &Fixture, image: &StoredImage) -> Vec<String> {
    let faults = f.store.verify(&image.id, &Quiet).unwrap().faults;
    faults
        .iter()
        .map(|fault| format!("{} {} {}", fault.part, fault.path.as_deref().unwrap_or("-"), fault.what))
        .collect()
}

/// Requires exactly one fault, with these words.
fn one_fault(f: &Fixture, image: &StoredImage, words: &[&str]) {
    let found = faults(f, image);
    assert!(found.len() == 1 && words.iter().all(|word| found[0].contains(word)), "{words:?}: {found:?}");
}

fn keep_times(path: &Path, change: impl FnOnce(&Path)) {
    let before = fs::metadata(path).unwrap();
    change(path);
    File::open(path).unwrap().set_modified(before.modified().unwrap()).unwrap();
}

fn oci(f: &Fixture, layers: &[Vec<u8>], origin: &str) -> StoredImage {
    f.store.import_oci(&Memory::image(layers, ""), &Platform::host(), origin, &Quiet).unwrap()
}

#[test]
fn an_image_without_layers_is_what_was_fetched() {
    let f = Fixture::new();
    let image = oci(&f, &[], "oci:empty");
    assert_eq!(faults(&f, &image), Vec::<String>::new());
}

#[test]
fn every_flipped_byte_of_an_archive_is_found() {
    let f = Fixture::new();
    let image = f.import("example.com/a", "", &[("etc/x", "x"), ("bin/app", "program")]);
    assert_eq!(faults(&f, &image), Vec::<String>::new());
    let blob = f.store.blob(&image.id);
    let good = fs::read(&blob).unwrap();
    for at in (0..good.len()).step_by(7).chain([4, 9, good.len() - 1]) {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        fs::write(&blob, bad).unwrap();
        one_fault(&f, &image, &["archive"]);
    }
    fs::write(&blob, &good[..good.len() - 1]).unwrap();
    one_fault(&f, &image, &["archive"]);
    fs::remove_file(&blob).unwrap();
    one_fault(&f, &image, &["archive", "missing"]);
    fs::write(&blob, &good).unwrap();
    let manifest = f.data().join(format!("store/images/{}/manifest", image.id));
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("example.com/a", "example.com/b")).unwrap();
    let found = faults(&f, &image);
    assert!(found.iter().any(|fault| fault.starts_with("manifest ")), "{found:?}");
}

#[test]
fn whatever_changes_in_a_tree_is_named() {
    let f = Fixture::new();
    let files = [("etc/x", "x"), ("etc/y", "y"), ("bin/app", "program"), ("link", "->etc/x"), ("dir/", "")];
    let image = f.import("example.com/a", "", &files);
    let tree = f.store.tree(&image.id);
    type Change<'c> = (&'c str, &'c str, &'c dyn Fn(&Path));
    let changes: &[Change<'_>] = &[
        ("etc/x", "content", &|path| fs::write(path, "X").unwrap()),
        ("etc/x", "mode", &|path| fs::set_permissions(path, Permissions::from_mode(0o4755)).unwrap()),
        ("dir", "mode", &|path| fs::set_permissions(path, Permissions::from_mode(0o700)).unwrap()),
    ];
    for (path, what, change) in changes {
        let f = Fixture::new();
        let image = f.import("example.com/a", "", &files);
        keep_times(&f.store.tree(&image.id).join(path), change);
        one_fault(&f, &image, &[&format!("/{path} "), what]);
    }
    fs::write(tree.join("dir/new"), "").unwrap();
    fs::remove_file(tree.join("etc/y")).unwrap();
    fs::remove_file(tree.join("link")).unwrap();
    std::os::unix::fs::symlink("etc/y", tree.join("link")).unwrap();
    let found = faults(&f, &image);
    for expected in ["tree /dir/new added", "tree /etc/y removed", "tree /link changed: target"] {
        assert!(found.iter().any(|fault| fault.starts_with(expected)), "{expected}: {found:?}");
    }
    // The directories of the three have other times now, too.
    assert!(found.iter().filter(|fault| !fault.contains("changed: time")).count() == 3, "{found:?}");
    fs::remove_dir_all(&tree).unwrap();
    one_fault(&f, &image, &["tree", "missing"]);
}

#[test]
fn damaged_trees_are_made_again_of_what_was_fetched() {
    let f = Fixture::new();
    // The same inode in two trees, where the file system cannot share blocks.
    let files = [("bin/app", "program"), ("bin/sh", "shell")];
    let (image, twin) = (f.import("example.com/a", "", &files), f.import("example.com/b", "", &files));
    let dependencies = r#""dependencies":[{"imageName":"example.com/a"}],"pathWhitelist":["/bin/app"]"#;
    let merged = render::layers(&f.store, &f.import("example.com/top", dependencies, &[])).unwrap().lower.remove(0);
    let [app, sh] = ["bin/app", "bin/sh"].map(|path| f.store.tree(&image.id).join(path));
    keep_times(&app, |path| fs::write(path, "virus!!").unwrap());
    fs::remove_file(&sh).unwrap();

    let pin = f.store.pin([&image.id]).unwrap();
    let verify = |image: &StoredImage| f.store.verify(&image.id, &Quiet).unwrap();
    let found = verify(&image);
    assert!(found.faults.iter().all(|fault| fault.is_of_tree()) && found.repair == Some(Repair::InUse), "{found:?}");
    assert!(!sh.exists(), "a pod gets no other files under its feet");
    drop(pin);

    assert_eq!(verify(&image).repair, Some(Repair::Rebuilt));
    assert_eq!((fs::read(&app).unwrap(), fs::read(&sh).unwrap()), (b"program".into(), b"shell".into()));
    let found = verify(&image);
    assert_eq!((found.faults, found.repair), (Vec::new(), None));
    assert!(!merged.exists(), "it is made again when it is needed, of files that are good");
    verify(&twin);
    assert_eq!(fs::read(f.store.tree(&twin.id).join("bin/app")).unwrap(), b"program");
    assert_eq!(f.store.gc(&[]).unwrap(), appc_image::store::Report::default());
}

#[test]
fn damaged_layers_are_made_again_unless_another_image_uses_them() {
    let f = Fixture::new();
    let lower = Tar::default().dir("etc").file("etc/x", b"x").end();
    let upper = Tar::default().file("etc/y", b"y").end();
    let image = oci(&f, &[lower.clone(), upper], "oci:one");
    let other = oci(&f, &[lower], "oci:other");
    let trees: Vec<PathBuf> = fs::read_dir(f.data().join("store/trees")).unwrap().map(|e| e.unwrap().path()).collect();
    assert!(trees.iter().any(|tree| tree.file_name().unwrap().to_str().unwrap().starts_with("fix-")), "{trees:?}");
    for damage in [|tree: &Path| fs::remove_dir_all(tree.join("rootfs/etc")), |tree: &Path| fs::remove_dir_all(tree)] {
        trees.iter().for_each(|tree| damage(tree).unwrap());
        let pin = f.store.pin([&other.id]).unwrap();
        assert_eq!(f.store.verify(&image.id, &Quiet).unwrap().repair, Some(Repair::InUse));
        drop(pin);
        assert_eq!(f.store.verify(&image.id, &Quiet).unwrap().repair, Some(Repair::Rebuilt));
        assert_eq!((faults(&f, &image), faults(&f, &other)), (Vec::new(), Vec::new()));
    }
    assert_eq!(fs::read_dir(f.data().join("tmp")).unwrap().count(), 0);
}

#[test]
fn owners_and_attributes_count() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let f = Fixture::new();
    let image = f.import("example.com/a", "", &[("etc/x", "x"), ("etc/y", "x")]);
    let tree = f.store.tree(&image.id);
    std::os::unix::fs::chown(tree.join("etc/x"), Some(7), None).unwrap();
    one_fault(&f, &image, &["/etc/x", "owner"]);
    std::os::unix::fs::chown(tree.join("etc/x"), Some(0), None).unwrap();
    assert_eq!(faults(&f, &image), Vec::<String>::new());
    rustix::fs::setxattr(tree.join("etc"), "trusted.mark", b"1", rustix::fs::XattrFlags::empty()).unwrap();
    one_fault(&f, &image, &["/etc", "attributes"]);
}

#[test]
fn layers_are_verified_one_by_one() {
    let f = Fixture::new();
    let base = Tar::default().dir("bin").file("bin/app", b"program").dir("tmp").file("tmp/old", b"old").end();
    // What lies in a directory that the layer does not describe.
    let upper = Tar::default().file("tmp/.wh.old", b"").file("tmp/new", b"new").end();
    let source = Memory::image(&[base, upper], "");
    let image = f.store.import_oci(&source, &Platform::host(), "oci:x:1", &Quiet).unwrap();
    assert_eq!(faults(&f, &image), Vec::<String>::new());
    for digest in source.blobs.keys() {
        let blob = f.store.oci_blob(digest);
        let good = fs::read(&blob).unwrap();
        let mut bad = good.clone();
        bad[good.len() / 2] ^= 1;
        fs::write(&blob, bad).unwrap();
        let found = faults(&f, &image);
        assert!(found.len() == 1 && found[0].contains(&digest.to_string()), "{found:?}");
        fs::write(&blob, good).unwrap();
    }
    let lower = render::layers(&f.store, &image).unwrap().lower;
    keep_times(&lower[0].join("bin/app"), |path| fs::write(path, "PROGRAM").unwrap());
    one_fault(&f, &image, &["layer sha256:", "/bin/app", "content"]);
    keep_times(&lower[0].join("bin/app"), |path| fs::write(path, "program").unwrap());
    let fix = lower.last().unwrap();
    assert!(fix.to_str().unwrap().contains("/fix-"));
    fs::set_permissions(fix.join("tmp"), Permissions::from_mode(0o700)).unwrap();
    one_fault(&f, &image, &["tree", "/tmp", "mode"]);
    assert!(source.top().is_ok());
}

#[test]
fn differences_are_those_that_programs_see() {
    let f = Fixture::new();
    let base = |content: &[u8]| Tar::default().dir("etc").file("etc/a", content).file("etc/b", b"b").end();
    let one = oci(&f, &[base(b"a")], "oci:x:1");
    let upper = Tar::default().dir("etc").file("etc/.wh.b", b"").file("etc/c/d", b"d").end();
    let two = oci(&f, &[base(b"A"), upper], "oci:x:2");
    let diff = |a, b| {
        let found = render::diff(&f.store, a, b, Rules::Seen).unwrap();
        found.into_iter().map(|d| (d.path.to_str().unwrap().to_owned(), d.change)).collect::<Vec<_>>()
    };
    let path = |path: &str, change| (path.to_owned(), change);
    assert_eq!(
        diff(&one, &two),
        [
            path("/etc/a", Change::Changed(vec!["content"])),
            path("/etc/b", Change::Removed),
            path("/etc/c", Change::Added),
            path("/etc/c/d", Change::Added),
        ]
    );
    assert_eq!(diff(&two, &one).iter().filter(|(_, change)| *change == Change::Removed).count(), 2);
    assert_eq!(diff(&two, &two), []);
    // A directory that hides what is below, against the same made in one layer.
    let hidden = oci(&f, &[base(b"a"), Tar::default().dir("etc").file("etc/.wh..wh..opq", b"").end()], "oci:x:3");
    let plain = oci(&f, &[Tar::default().dir("etc").end()], "oci:x:4");
    assert_eq!(diff(&hidden, &plain), []);
}

#[test]
fn rendering_has_the_dependencies_and_extracting_has_not() {
    let f = Fixture::new();
    f.import("example.com/base", "", &[("etc/x", "base"), ("etc/y", "base")]);
    let rest = "\"dependencies\":[{\"imageName\":\"example.com/base\"}]";
    let app = f.import("example.com/app", rest, &[("etc/x", "app")]);
    let dir = f.dir.path().join("out");
    let render = |rootfs_only, overwrite| f.store.render(&app, &dir, ExtractOptions { rootfs_only, overwrite }, &Quiet);
    render(false, false).unwrap();
    let read = |path: &str| fs::read_to_string(dir.join(path)).unwrap();
    assert_eq!((read("rootfs/etc/x"), read("rootfs/etc/y")), ("app".into(), "base".into()));
    assert!(matches!(render(true, false), Err(Error::Exists(_))));
    render(true, true).unwrap();
    assert_eq!((read("etc/x"), read("etc/y")), ("app".into(), "base".into()));
    // A copy of its own: whoever changes it changes nothing in the store.
    fs::write(dir.join("etc/x"), "mine").unwrap();
    assert_eq!(faults(&f, &app), Vec::<String>::new());

    let outline = f.store.outline(&app).unwrap();
    assert_eq!((outline.name.as_str(), outline.below.len()), ("example.com/app", 1));
    assert_eq!(outline.below[0].tree_size, 8);
    f.store.remove(&outline.below[0].id.as_ref().unwrap().parse().unwrap()).unwrap();
    let outline = f.store.outline(&app).unwrap();
    assert!(outline.below[0].id.is_none() && outline.below[0].note.as_ref().unwrap().contains("not in the store"));
    assert!(render(true, true).is_err());
    assert_eq!(read("etc/x"), "mine", "what was there stays");
}

#[test]
fn usage_says_what_removing_frees() {
    let f = Fixture::new();
    let big = vec![7; 1 << 20];
    let base = Tar::default().file("big", &big).end();
    let one = oci(&f, &[base.clone(), Tar::default().file("one", &big[..1 << 19]).end()], "oci:x:1");
    let two = oci(&f, &[base, Tar::default().file("two", b"2").end()], "oci:x:2");
    let aci = f.import("example.com/a", "", &[("file", "content")]);
    let usage = f.store.usage().unwrap();
    let of = |id: &appc_spec::ImageId| usage.images.iter().find(|usage| usage.image.id == *id).unwrap();
    assert!(of(&one.id).shared() >= 1 << 20 && of(&two.id).shared() == of(&one.id).shared());
    assert!(of(&one.id).freed >= 1 << 19 && of(&two.id).freed < 1 << 19);
    assert_eq!(of(&aci.id).shared(), 0);
    let sum: u64 = usage.images.iter().map(|usage| usage.freed).sum();
    assert_eq!(usage.total, sum + of(&one.id).shared());
    // What it promises is what happens.
    let freed = of(&one.id).freed;
    f.store.remove(&one.id).unwrap();
    assert_eq!(f.store.usage().unwrap().total, usage.total - freed);
    let now = f.store.usage().unwrap();
    assert_eq!(now.images.iter().map(|usage| usage.freed).sum::<u64>(), now.total);
}

#[test]
fn a_pipe_in_the_place_of_a_file_makes_nobody_wait() {
    let f = Fixture::new();
    let image = f.import("example.com/a", "", &[("file", "content")]);
    let other = f.import("example.com/b", "", &[("file", "content")]);
    let fifo = |path: PathBuf| {
        fs::remove_file(&path).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o644.into(), 0).unwrap();
    };
    let folder = f.data().join(format!("store/images/{}", image.id));
    fifo(folder.join("manifest"));
    assert!(f.store.get(&image.id).is_err());
    fifo(f.store.blob(&image.id));
    assert!(f.store.export(&image.id, Vec::new(), &Quiet).is_err());
    fifo(folder.join("metadata"));
    let (images, damaged) = f.store.list_all().unwrap();
    assert_eq!((images.len(), images[0].id.clone(), damaged.len()), (1, other.id, 1));
    f.store.remove(&image.id).unwrap();
    assert!(fs::metadata(f.data()).unwrap().dev() > 0 && f.store.list_all().unwrap().1.is_empty());
}
