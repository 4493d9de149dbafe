//! The store under processes that are killed, that race, that have no space left or may not write.
//!
//! The other processes are this program again: each test runs `child` in one, which does what its environment says.
#![allow(clippy::unwrap_used, clippy::print_stderr)] // Helpers of tests are tests.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use appc_image::store::{Report, Store, StoredImage};
use appc_image::{Error, Quiet, render};
use rustix::mount::{MountFlags, mount, mount_remount};

mod support;
use support::Fixture;

/// A command that runs this test program's `child` with the operation `what` on the store in `data`.
fn child_of(program: &Path, data: &Path, what: &str, argument: &str) -> Command {
    let mut command = Command::new(program);
    command.args(["--exact", "child", "--nocapture", "--test-threads=1"]);
    command.env("STORE_CHILD", what).env("STORE_DATA", data).env("STORE_ARGUMENT", argument);
    command.stdout(Stdio::null());
    command
}

fn child_process(data: &Path, what: &str, argument: &str) -> Command {
    child_of(&std::env::current_exe().unwrap(), data, what, argument)
}

/// Not a test by itself.
#[test]
fn child() {
    let Ok(what) = std::env::var("STORE_CHILD") else { return };
    let data = PathBuf::from(std::env::var_os("STORE_DATA").unwrap());
    let argument = std::env::var("STORE_ARGUMENT").unwrap();
    match what.as_str() {
        "import" => drop(import(&Store::open(data).unwrap(), argument.as_ref()).unwrap()),
        "remove" => Store::open(data).unwrap().remove(&argument.parse().unwrap()).unwrap(),
        "render" => {
            let store = Store::open(data).unwrap();
            render::layers(&store, &store.resolve(&argument.parse().unwrap()).unwrap()).unwrap();
        }
        "full-disk" => full_disk(&data, argument.as_ref()),
        "read-only" => read_only(&data, argument.as_ref()),
        "ordinary-user" => ordinary_user(&data, argument.as_ref()),
        other => panic!("{other}?"),
    }
}

fn import(store: &Store, path: &Path) -> Result<StoredImage, Error> {
    store.import(File::open(path).unwrap(), path.to_str().unwrap(), &Quiet)
}

/// Content that does not compress, different for each seed.
fn noise(seed: u64, length: usize) -> String {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b' ' + (state >> 32) as u8 % 95)
    };
    (0..length).map(|_| next()).collect()
}

fn big_image(f: &Fixture, name: &str, rest: &str) -> PathBuf {
    let files: Vec<(String, String)> =
        (0..300).map(|n| (format!("dir{}/file{n}", n % 17), noise(n + 1, 5000))).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(path, content)| (path.as_str(), content.as_str())).collect();
    f.image(name, rest, &files)
}

/// The number and the total size of the files of a tree, which tell a whole one from a part.
fn measure(tree: &Path) -> (u64, u64) {
    let mut sum = (0, 0);
    for entry in fs::read_dir(tree).unwrap() {
        let entry = entry.unwrap();
        let stat = entry.metadata().unwrap();
        let more = if stat.is_dir() { measure(&entry.path()) } else { (1, stat.len()) };
        sum = (sum.0 + more.0, sum.1 + more.1);
    }
    sum
}

fn assert_whole(store: &Store, image: &StoredImage, archive: &Path, tree: (u64, u64)) {
    let mut exported = Vec::new();
    store.export(&image.id, &mut exported, &Quiet).unwrap();
    assert!(exported == fs::read(archive).unwrap());
    assert_eq!(measure(&store.tree(&image.id)), tree);
}

#[test]
fn many_processes_import_the_same_image_at_once() {
    let f = Fixture::new();
    let path = big_image(&f, "app", "");
    let run = |_| child_process(&f.data(), "import", path.to_str().unwrap()).spawn().unwrap();
    let children: Vec<_> = (0..4).map(run).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(f.names().len(), 3, "{:?}", f.names());
    let image = f.store.resolve(&"app".parse().unwrap()).unwrap();
    assert_whole(&f.store, &image, &path, measure(&f.store.tree(&image.id)));
    assert_eq!(f.store.gc(&[]).unwrap(), Report::default());
}

/// `STORE_KILLS` says how often; more than the default is for soaking.
#[test]
fn killing_loses_nothing() {
    let kills: u64 = std::env::var("STORE_KILLS").map_or(60, |kills| kills.parse().unwrap());
    let f = Fixture::new();
    let kept = f.import("kept", r#""pathWhitelist":["/dir1/file1","/file"]"#, &[("file", "kept")]);
    let kept_path = f.dir.path().join("kept.aci");
    let list: Vec<String> = (0..300).map(|n| format!("\"/dir{}/file{n}\"", n % 17)).collect();
    let path = big_image(&f, "app", &format!("\"pathWhitelist\":[{}]", list.join(",")));
    let operations: [(&str, &str); 3] = [("import", path.to_str().unwrap()), ("render", "app"), ("remove", "")];

    let image = import(&f.store, &path).unwrap();
    let tree = measure(&f.store.tree(&image.id));
    let mut longest = [Duration::from_millis(20); 3];
    let mut killed = [0; 3];
    for round in 0..kills {
        let which = (round % 3) as usize;
        let (what, argument) = operations[which];
        let id = image.id.to_string();
        // Each operation begins from where it has something to do.
        match what {
            "import" => f.store.remove(&image.id).or_else(absent_is_fine).unwrap(),
            _ => drop(import(&f.store, &path).unwrap()),
        }
        f.store.gc(&[]).unwrap();
        let started = Instant::now();
        let argument = if what == "remove" { &id } else { argument };
        let mut child = child_process(&f.data(), what, argument).stderr(Stdio::null()).spawn().unwrap();
        let wait = longest[which].mul_f64(f64::from(noise(round + 7, 1).as_bytes()[0] - b' ') / 90.0);
        std::thread::sleep(wait);
        child.kill().unwrap();
        match child.wait().unwrap().success() {
            true => longest[which] = started.elapsed(),
            false => killed[which] += 1,
        }

        let store = Store::open(f.data()).unwrap();
        assert_whole(&store, &kept, &kept_path, (1, 4));
        let listed = store.list().unwrap().len();
        match store.get(&image.id) {
            Ok(image) => assert_whole(&store, &image, &path, tree),
            Err(e) => absent_is_fine(e).unwrap(),
        }
        if let Ok(image) = store.get(&image.id) {
            let merged = render::layers(&store, &image).unwrap();
            assert_eq!(measure(&merged.lower[0]), tree, "round {round}: {what}");
        }
        store.gc(&[]).unwrap();
        assert_eq!(f.names().len(), 3 * listed, "round {round}: {what}: {:?}", f.names());
    }
    assert!(killed.iter().all(|&n| n > 0), "the kills came too late: {killed:?}");
}

fn absent_is_fine(error: Error) -> Result<(), Error> {
    if matches!(error, Error::NotStored(_)) { Ok(()) } else { Err(error) }
}

/// Runs `child` as root in a mount namespace of its own, whose mounts end with it.
fn in_mount_namespace(f: &Fixture, what: &str, argument: &Path) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED {what}: needs root to mount");
        return;
    }
    let data = f.dir.path().join("mounted");
    fs::create_dir(&data).unwrap();
    let child = child_process(&data, what, argument.to_str().unwrap());
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation=private"]).arg(child.get_program()).args(child.get_args());
    command.envs(child.get_envs().filter_map(|(name, value)| Some((name, value?)))).stdout(Stdio::null());
    assert!(command.status().unwrap().success());
}

fn mount_tmpfs(at: &Path, options: &str) {
    let options = std::ffi::CString::new(options).unwrap();
    mount("tmpfs", at, "tmpfs", MountFlags::empty(), options.as_c_str()).unwrap();
}

#[test]
fn a_full_disk_is_said_and_leaves_nothing() {
    let f = Fixture::new();
    f.image("small", "", &[("file", "small")]);
    big_image(&f, "big", r#""pathWhitelist":["/dir1/file1"]"#);
    in_mount_namespace(&f, "full-disk", f.dir.path());
}

fn full_disk(at: &Path, images: &Path) {
    let limits = (1..16).map(|n| format!("size={}k", 300 * n)).chain((1..16).map(|n| format!("nr_inodes={}", 30 * n)));
    let mut failures = 0;
    for limit in limits {
        mount_tmpfs(at, &limit);
        let Ok(store) = Store::open(at.join("data")) else { continue };
        let small = import(&store, &images.join("small.aci")).unwrap();
        let abandoned = || fs::read_dir(at.join("data/tmp")).unwrap().count();
        match import(&store, &images.join("big.aci")) {
            Ok(big) => drop(render::layers(&store, &big)),
            Err(e) => {
                failures += 1;
                assert!(e.to_string().contains("No space left on device"), "{limit}: {e}");
                assert_eq!((store.list().unwrap().len(), abandoned()), (1, 0), "{limit}");
                assert_eq!(store.gc(&[]).unwrap(), Report::default(), "{limit}");
            }
        }
        // Removing makes space, hence must not need any.
        let _ = fs::write(at.join("filler"), noise(1, 5_000_000));
        assert_eq!(store.get(&small.id).unwrap().id, small.id);
        store.remove(&small.id).unwrap();
        assert!(abandoned() == 0);
    }
    assert!(failures > 10, "only {failures} of the limits were too small");
}

#[test]
fn a_read_only_store_can_be_read() {
    let f = Fixture::new();
    f.image("small", "", &[("file", "small")]);
    f.image("other", "", &[("file", "other")]);
    in_mount_namespace(&f, "read-only", f.dir.path());
}

fn read_only(at: &Path, images: &Path) {
    mount_tmpfs(at, "");
    let small = images.join("small.aci");
    let image = import(&Store::open(at).unwrap(), &small).unwrap();
    mount_remount(at, MountFlags::RDONLY, c"").unwrap();
    let store = Store::open(at).unwrap();
    assert_whole(&store, &image, &small, (1, 5));
    assert_eq!(store.resolve(&"small".parse().unwrap()).unwrap().id, image.id);
    assert_eq!(render::layers(&store, &image).unwrap().lower, [store.tree(&image.id)]);
    for error in [import(&store, &images.join("other.aci")).unwrap_err(), store.remove(&image.id).unwrap_err()] {
        assert!(error.to_string().contains("Read-only file system"), "{error}");
    }
    let missing = Store::open(at.join("deeper")).unwrap_err().to_string();
    assert!(missing.contains("Read-only file system") && missing.contains("deeper"), "{missing}");
    assert!(store.gc(&[]).is_err());
}

#[test]
fn an_ordinary_user_is_told_what_is_left_out_and_can_remove_it_all() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED an_ordinary_user: needs root to become somebody else");
        return;
    }
    const NOBODY: u32 = 65534;
    let f = Fixture::new();
    let tree = f.dir.path().join("tree");
    support::make_tree(&tree, &[("closed/file", "x"), ("bin/su", "x")]);
    fs::set_permissions(tree.join("bin/su"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::set_permissions(tree.join("closed"), fs::Permissions::from_mode(0o500)).unwrap();
    let null = rustix::fs::makedev(1, 3);
    rustix::fs::mknodat(rustix::fs::CWD, tree.join("null"), rustix::fs::FileType::CharacterDevice, 0o666.into(), null)
        .unwrap();
    let path = f.dir.path().join("app.aci");
    let root = appc_rooted::Root::open(&tree).unwrap();
    let manifest = support::manifest("app", r#""pathWhitelist":["/closed/file"]"#);
    let out = File::create(&path).unwrap();
    appc_image::archive::write(manifest.as_bytes(), &root, out, &Default::default(), &Quiet).unwrap();

    // Where nobody can get at it.
    let home = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir_in("/tmp").unwrap();
    let (program, image) = (home.path().join("program"), home.path().join("app.aci"));
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::copy(&path, &image).unwrap();
    chown(home.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    let mut child = child_of(&program, &home.path().join("data"), "ordinary-user", image.to_str().unwrap());
    assert!(child.uid(NOBODY).gid(NOBODY).current_dir("/").status().unwrap().success());
}

fn ordinary_user(data: &Path, image: &Path) {
    let store = Store::open(data).unwrap();
    let image = import(&store, image).unwrap();
    let omitted: Vec<&str> = image.omitted.iter().map(|(path, _)| path.trim_start_matches('/')).collect();
    assert!(omitted.contains(&"null") && omitted.contains(&"bin/su"), "{omitted:?}");
    assert_eq!(fs::metadata(store.tree(&image.id).join("bin/su")).unwrap().mode() & 0o7777, 0o755);
    let rendered = render::layers(&store, &image).unwrap();
    assert_eq!(fs::metadata(rendered.lower[0].join("closed")).unwrap().mode() & 0o7777, 0o500);
    drop(rendered);
    store.remove(&image.id).unwrap();
    for folder in ["store/trees", "store/images", "store/blobs/sha512", "tmp"] {
        assert_eq!(fs::read_dir(data.join(folder)).unwrap().count(), 0, "{folder}");
    }
}
