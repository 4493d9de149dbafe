//! Files that images have in common are on the disk once, and nothing of an image changes by that.
#![allow(clippy::unwrap_used)] // Helpers of tests are tests.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use appc_image::Quiet;
use appc_image::archive::{self, WriteOptions};
use appc_image::oci::Platform;
use appc_image::store::{Store, StoredImage};
use appc_rooted::Root;

mod memory;
mod support;
mod tarball;
use memory::Memory;
use support::{Fixture, manifest};
use tarball::{Tar, snapshot};

/// Imports an image of the tree that `make` makes; all its times are the same.
fn import(store: &Store, name: &str, make: impl FnOnce(&Path)) -> StoredImage {
    import_of(1, store, name, make)
}

/// The same, of a time.
fn import_of(time: i64, store: &Store, name: &str, make: impl FnOnce(&Path)) -> StoredImage {
    let dir = tempfile::tempdir().unwrap();
    let (tree, file) = (dir.path().join("tree"), dir.path().join("image.aci"));
    fs::create_dir(&tree).unwrap();
    make(&tree);
    let options = WriteOptions { source_date_epoch: Some(time), ..Default::default() };
    let out = File::create(&file).unwrap();
    archive::write(manifest(name, "").as_bytes(), &Root::open(&tree).unwrap(), out, &options, &Quiet).unwrap();
    store.import(File::open(&file).unwrap(), name, &Quiet).unwrap()
}

fn put(tree: &Path, name: &str, content: &[u8]) {
    fs::create_dir_all(tree.join(name).parent().unwrap()).unwrap();
    fs::write(tree.join(name), content).unwrap();
}

fn inode(store: &Store, image: &StoredImage, name: &str) -> u64 {
    fs::symlink_metadata(store.tree(&image.id).join(name)).unwrap().ino()
}

/// Bytes that the file system of `path` has given away.
fn used(path: &Path) -> u64 {
    rustix::fs::syncfs(File::open(path).unwrap()).unwrap();
    let stat = rustix::fs::statvfs(path).unwrap();
    (stat.f_blocks - stat.f_bfree) * stat.f_frsize
}

fn clean(store: &Store, images: &[&StoredImage]) {
    for image in images {
        assert_eq!(store.verify(&image.id, &Quiet).unwrap().faults, []);
    }
}

#[test]
fn what_is_the_same_is_there_once_and_stays_when_one_image_goes() {
    let f = Fixture::new();
    let big = vec![7; 1 << 20];
    let fill = |tree: &Path, own: &[u8]| {
        put(tree, "lib/big", &big);
        put(tree, "lib/own", own);
        put(tree, "etc/crontab", b"the same");
    };
    let one = import(&f.store, "example.com/one", |tree| fill(tree, b"one"));
    let two = import(&f.store, "example.com/two", |tree| fill(tree, b"two"));
    let same = |name: &str| inode(&f.store, &one, name) == inode(&f.store, &two, name);
    assert!(same("lib/big") && !same("lib/own"));
    assert!(!same("etc/crontab"), "programs look at how many names these have");
    assert_eq!(fs::read_dir(f.store.tree(&two.id).join("lib")).unwrap().count(), 2, "nothing is left over");
    clean(&f.store, &[&one, &two]);
    let usage = f.store.usage().unwrap();
    assert!(usage.images.iter().all(|image| image.shared() == 1 << 20), "{usage:?}");
    f.store.remove(&one.id).unwrap();
    clean(&f.store, &[&two]);
    assert_eq!(fs::read(f.store.tree(&two.id).join("lib/big")).unwrap(), big);
    // The third finds what the second has.
    let three = import(&f.store, "example.com/three", |tree| fill(tree, b"three"));
    assert_eq!(inode(&f.store, &two, "lib/big"), inode(&f.store, &three, "lib/big"));
}

#[test]
fn what_differs_in_anything_is_not_shared() {
    let f = Fixture::new();
    let one = import(&f.store, "example.com/one", |tree| {
        put(tree, "mode", b"m");
        put(tree, "content", b"one");
        put(tree, "kind", b"a file");
    });
    let two = import(&f.store, "example.com/two", |tree| {
        put(tree, "mode", b"m");
        fs::set_permissions(tree.join("mode"), std::os::unix::fs::PermissionsExt::from_mode(0o4711)).unwrap();
        put(tree, "content", b"two");
        put(tree, "kind/of", b"a file");
    });
    assert_ne!(inode(&f.store, &one, "mode"), inode(&f.store, &two, "mode"));
    assert_ne!(inode(&f.store, &one, "content"), inode(&f.store, &two, "content"));
    clean(&f.store, &[&one, &two]);
}

#[test]
fn two_files_of_an_image_never_become_one() {
    let f = Fixture::new();
    let linked = import(&f.store, "example.com/linked", |tree| {
        put(tree, "a", b"content");
        fs::hard_link(tree.join("a"), tree.join("b")).unwrap();
    });
    let apart = import(&f.store, "example.com/apart", |tree| {
        put(tree, "a", b"content");
        put(tree, "b", b"content");
    });
    let again = import(&f.store, "example.com/again", |tree| {
        put(tree, "a", b"content");
        fs::hard_link(tree.join("a"), tree.join("b")).unwrap();
        put(tree, "c", b"");
    });
    assert_ne!(inode(&f.store, &apart, "a"), inode(&f.store, &apart, "b"));
    assert_eq!(inode(&f.store, &again, "a"), inode(&f.store, &again, "b"));
    clean(&f.store, &[&linked, &apart, &again]);
}

#[test]
fn layers_share_with_trees_and_with_layers() {
    let f = Fixture::new();
    let content = vec![3; 100_000];
    let layer = |own: &[u8]| Tar::default().dir("lib").file("lib/x", &content).file("own", own).end();
    let import = |own: &[u8]| {
        let source = Memory::image(&[layer(own)], "");
        f.store.import_oci(&source, &Platform::host(), "oci:x:1", &Quiet).unwrap()
    };
    let (one, two) = (import(b"one"), import(b"two"));
    let tree = |image| appc_image::render::layers(&f.store, image).unwrap().lower[0].clone();
    let stat = |image| fs::metadata(tree(image).join("lib/x")).unwrap();
    assert_eq!(stat(&one).ino(), stat(&two).ino());
    let (a, mut b) = (snapshot(&tree(&one)), snapshot(&tree(&two)));
    b.retain(|path, _| path != Path::new("own"));
    assert!(b.iter().all(|(path, what)| a[path] == *what), "times and all: {a:?} {b:?}");
    clean(&f.store, &[&one, &two]);
}

#[test]
fn layers_of_an_image_share_among_themselves() {
    let f = Fixture::new();
    let content = vec![4; 100_000];
    let layer = |own: &[u8]| Tar::default().dir("lib").file("lib/x", &content).file("own", own).end();
    let source = Memory::image(&[layer(b"one"), layer(b"two"), layer(b"three")], "");
    let image = f.store.import_oci(&source, &Platform::host(), "oci:x:1", &Quiet).unwrap();
    let layers = appc_image::render::layers(&f.store, &image).unwrap().lower;
    let inodes: Vec<u64> = layers.iter().map(|tree| fs::metadata(tree.join("lib/x")).unwrap().ino()).collect();
    assert_eq!(inodes, [inodes[0]; 3]);
    clean(&f.store, &[&image]);
}

/// A small file system of its own, unmounted at the end.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// A new xfs in `dir`; nothing when the kernel has none.
fn xfs(dir: &Path) -> Option<Mounted> {
    let (disk, mount) = (dir.join("disk"), dir.join("mount"));
    File::create(&disk).unwrap().set_len(320 << 20).unwrap();
    fs::create_dir(&mount).unwrap();
    let run = |program: &str, args: &[&Path]| Command::new(program).args(args).output().unwrap();
    let made = run("mkfs.xfs", &["-q".as_ref(), "-m".as_ref(), "reflink=1".as_ref(), &disk]);
    assert!(made.status.success(), "{made:?}");
    let mounted = run("mount", &["-o".as_ref(), "loop".as_ref(), &disk, &mount]);
    ::support::need::check(mounted.status.success(), "a kernel with xfs and loop devices").then_some(Mounted(mount))
}

fn noise() -> Vec<u8> {
    (0..5_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// What importing `image` took of the disk of which `before` had been given away is its archive and little more.
fn took_its_archive_alone(store: &Store, mounted: &Mounted, before: u64, image: &StoredImage) {
    let blob = fs::metadata(store.blob(&image.id)).unwrap().len();
    let mut grown = used(&mounted.0) - before;
    // What was removed is given back some time later.
    for _ in 0..400 {
        if grown < blob + (1 << 20) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
        grown = used(&mounted.0) - before;
    }
    assert!(grown < blob + (1 << 20), "grown by {grown}, of which the archive is {blob}");
}

#[test]
fn blocks_are_shared_where_the_file_system_can() {
    ::support::needs!(root, "mkfs.xfs", "mount");
    let dir = tempfile::tempdir().unwrap();
    let Some(mounted) = xfs(dir.path()) else { return };
    let store = Store::open(mounted.0.join("data")).unwrap();
    let noise = noise();
    let fill = |tree: &Path, own: &[u8]| {
        put(tree, "bin/big", &noise);
        fs::set_permissions(tree.join("bin/big"), std::os::unix::fs::PermissionsExt::from_mode(0o4755)).unwrap();
        put(tree, "own", own);
    };
    let one = import(&store, "example.com/one", |tree| fill(tree, b"one"));
    let before = used(&mounted.0);
    let two = import(&store, "example.com/two", |tree| fill(tree, b"two"));
    took_its_archive_alone(&store, &mounted, before, &two);
    assert_ne!(inode(&store, &one, "bin/big"), inode(&store, &two, "bin/big"));
    assert_eq!(fs::metadata(store.tree(&two.id).join("bin/big")).unwrap().nlink(), 1);
    clean(&store, &[&one, &two]);
}

#[test]
fn blocks_are_shared_under_any_name_also_within_an_image() {
    ::support::needs!(root, "mkfs.xfs", "mount");
    let dir = tempfile::tempdir().unwrap();
    let Some(mounted) = xfs(dir.path()) else { return };
    let store = Store::open(mounted.0.join("data")).unwrap();
    // Between what stands for a file it differs.
    let mut other = noise();
    let middle = other.len() / 2;
    other[middle] ^= 1;
    let one = import(&store, "example.com/one", |tree| put(tree, "bin/big", &noise()));
    let before = used(&mounted.0);
    let two = import(&store, "example.com/two", |tree| {
        put(tree, "lib/large", &noise());
        put(tree, "lib/too", &noise());
    });
    took_its_archive_alone(&store, &mounted, before, &two);
    let three = import(&store, "example.com/three", |tree| put(tree, "lib/other", &other));
    let before = used(&mounted.0);
    let four = import(&store, "example.com/four", |tree| {
        put(tree, "a", &other);
        put(tree, "b", &other);
    });
    took_its_archive_alone(&store, &mounted, before, &four);
    assert_eq!(fs::read(store.tree(&four.id).join("b")).unwrap(), other);
    assert_eq!(fs::metadata(store.tree(&two.id).join("lib/too")).unwrap().nlink(), 1);
    clean(&store, &[&one, &two, &three, &four]);
}

#[test]
fn blocks_are_shared_by_what_differs_in_time_mode_and_owner() {
    ::support::needs!(root, "mkfs.xfs", "mount");
    let dir = tempfile::tempdir().unwrap();
    let Some(mounted) = xfs(dir.path()) else { return };
    let store = Store::open(mounted.0.join("data")).unwrap();
    let one = import_of(1, &store, "example.com/one", |tree| put(tree, "bin/big", &noise()));
    let before = used(&mounted.0);
    let two = import_of(1_000_000_000, &store, "example.com/two", |tree| {
        put(tree, "bin/big", &noise());
        std::os::unix::fs::chown(tree.join("bin/big"), Some(7), Some(8)).unwrap();
        fs::set_permissions(tree.join("bin/big"), std::os::unix::fs::PermissionsExt::from_mode(0o4711)).unwrap();
    });
    took_its_archive_alone(&store, &mounted, before, &two);
    let about = |image: &StoredImage| {
        let file = fs::metadata(store.tree(&image.id).join("bin/big")).unwrap();
        (file.mtime(), file.mode() & 0o7777, file.uid(), file.gid(), file.nlink())
    };
    assert_eq!(about(&one), (1, 0o644, 0, 0, 1));
    assert_eq!(about(&two), (1_000_000_000, 0o4711, 7, 8, 1));
    clean(&store, &[&one, &two]);
}
