//! The build cache: what is found in it, what is not, and that images are the same with it and without.
#![allow(clippy::unwrap_used, unreachable_pub)] // The lints take helpers of tests for code.

mod broken;
#[path = "../common/mod.rs"]
mod common;
mod keys;
mod random;
mod trust;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use common::{Ran, Scratch, finish, listing};
use serde_json::Value;
use support::{needs, rootfs};

/// A time of files that were not made just now.
pub(crate) const LONG_AGO: u64 = 100_000_000;
/// Later than that, and earlier than now: what `run` writes gets it in images.
pub(crate) const EPOCH: &str = "1000000000";

/// A folder to build in. All of a scratch directory have one store.
pub(crate) struct Place<'s> {
    scratch: &'s Scratch,
    pub(crate) dir: PathBuf,
}

impl<'s> Place<'s> {
    pub(crate) fn new(scratch: &'s Scratch, name: &str) -> Place<'s> {
        let dir = scratch.path(name);
        fs::create_dir_all(&dir).unwrap();
        Place { scratch, dir }
    }

    pub(crate) fn command(&self, line: &[&str]) -> std::process::Command {
        let mut command = self.scratch.command(line);
        command.current_dir(&self.dir).env("SOURCE_DATE_EPOCH", EPOCH);
        command
    }

    pub(crate) fn run(&self, line: &[&str]) -> Ran {
        finish(&mut self.command(line))
    }

    pub(crate) fn ok(&self, line: &[&str]) -> String {
        let ran = self.run(line);
        assert_eq!(ran.code, Some(0), "{ran:#?}");
        ran.stdout.trim_end().to_owned()
    }

    /// The same, with words between spaces.
    pub(crate) fn say(&self, line: &str) -> String {
        self.ok(&line.split(' ').collect::<Vec<_>>())
    }

    /// A shell script, in the image.
    pub(crate) fn sh(&self, script: &str) -> String {
        self.ok(&["run", "--", "/bin/sh", "-c", script])
    }

    pub(crate) fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        age(&path);
        path
    }

    /// Whether each step that changes files was found in the cache.
    pub(crate) fn hits(&self) -> Vec<bool> {
        let steps: Vec<Value> = serde_json::from_str(&self.say("history --format=json")).unwrap();
        steps.iter().filter_map(|step| step["cached"].as_bool()).collect()
    }

    /// The ID of the image that the build is now.
    pub(crate) fn written(&self) -> String {
        self.say("write --overwrite out.aci")
    }

    /// Begins anew.
    pub(crate) fn begin(&self, line: &str) {
        self.run(&["end"]);
        self.say(format!("begin {line}").trim());
        self.say("set-name example.com/test");
    }
}

/// Makes a file one of long ago.
pub(crate) fn age(path: &Path) {
    let then = std::time::UNIX_EPOCH + std::time::Duration::from_secs(LONG_AGO);
    fs::File::open(path).unwrap().set_modified(then).unwrap();
}

/// A folder with busybox in it, beside the places.
pub(crate) fn base(scratch: &Scratch) {
    rootfs::busybox(&scratch.path("base"));
}

/// A few steps of every kind on busybox.
fn steps(place: &Place<'_>) {
    place.begin("--cache ../base");
    place.file("tree/sub/a", "a");
    place.file("tree/b", "b");
    for folder in ["tree/sub", "tree"] {
        age(&place.dir.join(folder));
    }
    place.say("copy tree /srv/tree");
    place.say("environment add A 1");
    place.sh("echo $A > /etc/a; ln /etc/a /etc/hard; mkfifo /etc/fifo; chown 7:8 /etc/hard; chmod 4711 /etc/a");
    place.say("file remove /srv/tree/b");
    place.say("copy-to-dir tree/b /opt/x");
    place.sh("rm -r /srv/tree/sub; mkdir /srv/tree/sub; echo new > /srv/tree/sub/c");
}

#[test]
fn steps_are_known_in_other_folders_and_builds() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    base(&scratch);
    let (one, two) = (Place::new(&scratch, "one"), Place::new(&scratch, "deep/er/two"));
    fs::create_dir_all(scratch.path("deep/base")).unwrap();
    fs::remove_dir(scratch.path("deep/base")).unwrap();
    std::os::unix::fs::symlink("../../base", scratch.path("deep/er/base")).unwrap();
    steps(&one);
    assert_eq!(one.hits(), [false; 6]);
    let id = one.written();
    steps(&two);
    assert_eq!(two.hits(), [true; 6]);
    // Nothing is unpacked before it is needed.
    assert_eq!(fs::read_dir(two.dir.join(".acbuild/currentaci/rootfs")).unwrap().count(), 0);
    assert_eq!(two.written(), id);
    assert_eq!(fs::read_dir(two.dir.join(".acbuild/currentaci/rootfs")).unwrap().count(), 0);
    assert_eq!(fs::read(one.dir.join("out.aci")).unwrap(), fs::read(two.dir.join("out.aci")).unwrap());
    // And when it is, everything is as it was.
    two.say("status");
    let rootfs = |place: &Place<'_>| listing(&place.dir.join(".acbuild/currentaci/rootfs"));
    assert_eq!(rootfs(&one), rootfs(&two));
    two.say("file remove /opt/x/b");
    two.sh("test -u /etc/a && test /etc/a -ef /etc/hard && test -p /etc/fifo && test ! -e /opt/x/b");
    let steps: Vec<Value> = serde_json::from_str(&two.say("history --format=json")).unwrap();
    assert_eq!(steps[2]["command"], r#"acbuild copy "tree" "/srv/tree""#);
    assert!(steps[2]["size"].as_u64() > Some(0) && steps[3]["cached"].is_null() && steps[2]["number"] == 3);
    let table = two.say("history");
    assert!(table.contains(" hit ") && table.contains(" miss ") && table.starts_with("NUMBER"), "{table}");
}

#[test]
fn of_twenty_steps_those_from_a_changed_file_on_are_done() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    base(&scratch);
    let place = Place::new(&scratch, "work");
    let mut script = "begin --cache ../base\nset-name example.com/twenty\n".to_owned();
    for n in 1..=9 {
        place.file(&format!("src/{n}"), &format!("{n}"));
        script += &format!("copy src/{n} /srv/{n}\nrun -- /bin/sh -c \"wc -c < /srv/{n} > /srv/count-{n}\"\n");
    }
    script += "file remove /srv/1\nenvironment add A 1\nwrite --overwrite out.aci\nhistory --format=json\n";
    place.file("build", &script);
    let run = || {
        let out = place.say("script build");
        let (id, json) = out.split_once('\n').unwrap();
        let steps: Vec<Value> = serde_json::from_str(json).unwrap();
        let hits: Vec<bool> = steps.iter().filter_map(|step| step["cached"].as_bool()).collect();
        (id.to_owned(), hits)
    };
    let (id, hits) = run();
    assert_eq!(hits, [false; 20]);
    assert_eq!(run(), (id.clone(), vec![true; 20]));
    // As long as before and as old: only its content tells.
    place.file("src/5", "x");
    let (other, hits) = run();
    let expected: Vec<bool> = (0..20).map(|step| step < 9).collect();
    assert_eq!(hits, expected);
    assert_ne!(other, id);
    place.file("src/5", "5");
    assert_eq!(run(), (id.clone(), vec![true; 20]));
    place.file("build", &script.replace(" --cache", ""));
    let uncached = place.say("script build");
    assert!(uncached.starts_with(&id), "{uncached}");
}

#[test]
fn what_is_deleted_of_dependencies_is_known_too() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    base(&scratch);
    let place = Place::new(&scratch, "work");
    place.file("../base/usr/doc/a", "a");
    place.file("../base/usr/doc/b", "b");
    dependency(&place, "1");
    let build = |cache: &str, squash: bool| {
        place.begin(cache);
        place.say("dependency add example.com/base");
        place.sh("rm /usr/doc/a; echo x > /etc/new");
        place.say("file remove /usr/doc/b");
        if squash {
            place.say("squash");
        }
        (place.written(), place.say("cat-manifest"), place.hits())
    };
    for squash in [false, true] {
        let without = build("", squash);
        let first = build("--cache", squash);
        let second = build("--cache", squash);
        assert_eq!(first.0, without.0);
        assert_eq!((&second.0, &second.1), (&first.0, &first.1));
        assert!(second.2.iter().all(|hit| *hit), "{:?}", second.2);
        place.say("status");
        assert_eq!(place.written(), first.0);
    }
    // Another image of that name: other files to see.
    place.file("../base/usr/doc/c", "c");
    dependency(&place, "2");
    assert_eq!(build("--cache", false).2, [false; 2]);
}

/// Puts the base into the store as an image of this version.
fn dependency(place: &Place<'_>, version: &str) {
    place.begin("../base");
    place.say("set-name example.com/base");
    place.say(&format!("label add version {version}"));
    place.written();
    place.say("end");
    let store = appc_image::store::Store::open(place.scratch.path("store")).unwrap();
    let image = fs::File::open(place.dir.join("out.aci")).unwrap();
    store.import(image, "example.com/base", &appc_image::Quiet).unwrap();
}

#[test]
fn layers_of_oci_images_are_known() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    base(&scratch);
    let place = Place::new(&scratch, "work");
    place.file("a", "a");
    let build = |cache: &str| {
        place.run(&["end"]);
        place.say(&format!("begin --build-mode=oci{cache} ../base"));
        place.say("layer");
        place.say("copy a /srv/a");
        place.say("layer");
        place.sh("rm /srv/a; mkdir /srv/b");
        place.say("layer");
        place.say("layer");
        let hits = place.hits();
        let whole = place.say("write --overwrite out.oci");
        place.say("squash --from 2");
        // Whether the files had to be made, or all layers were known as they are written.
        let made = place.dir.join(".acbuild/currentaci/rootfs/bin").exists();
        place.say("copy a /srv/c");
        place.say("layer");
        ((whole, place.say("write --overwrite out.oci")), hits, made)
    };
    let without = build("");
    let first = build(" --cache");
    let second = build(" --cache");
    assert_eq!((&first.0, &second.0), (&without.0, &without.0));
    assert_eq!((first.1, &second.1), (vec![false; 7], &vec![true; 7]));
    assert_eq!((without.2, first.2, second.2), (true, true, false));
    // A layer that was kept and is damaged is compressed again.
    let results = fs::read_dir(scratch.path("store/cache/0/results")).unwrap();
    for result in results.map(|result| result.unwrap().path()) {
        let bytes = fs::read(&result).unwrap();
        if bytes.starts_with(b"\x1f\x8b") {
            fs::write(&result, [&bytes[..bytes.len() - 1], b"x"].concat()).unwrap();
        }
    }
    let third = build(" --cache");
    assert_eq!((third.0, third.1, third.2), (without.0, vec![true; 7], true));
}

#[test]
fn the_example_is_done_once() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    let place = Place::new(&scratch, "work");
    let example = rootfs::folder().join("../examples/cached");
    let copied = std::process::Command::new("cp").arg("-R").arg(example.join(".")).arg(&place.dir).status().unwrap();
    assert!(copied.success());
    let busybox = support::need::find_program("busybox").unwrap();
    let words = ["script", "build.acbuild", busybox.to_str().unwrap()];
    let first = place.ok(&words);
    assert_eq!((first.matches(" miss ").count(), first.matches(" hit ").count()), (12, 0), "{first}");
    let second = place.ok(&words);
    assert_eq!((second.matches(" miss ").count(), second.matches(" hit ").count()), (0, 12), "{second}");
    assert_eq!(first.lines().next(), second.lines().next());
    place.file("pages/index.txt", "changed\n");
    let third = place.ok(&words);
    assert_eq!((third.matches(" miss ").count(), third.matches(" hit ").count()), (6, 6), "{third}");
}

#[test]
fn a_user_alone_may_begin_with_a_folder_that_is_read_only() {
    needs!(root);
    let scratch = Scratch::new();
    fs::create_dir_all(scratch.path("tree/sub")).unwrap();
    scratch.file("tree/sub/a", "a");
    fs::set_permissions(scratch.path("tree"), fs::Permissions::from_mode(0o555)).unwrap();
    let script = "chown -R 65534:65534 . && chmod 755 .";
    let owned = std::process::Command::new("sh").args(["-c", script]).current_dir(scratch.path("")).status().unwrap();
    assert!(owned.success());
    let say = |line: &str| {
        let ran = common::as_nobody(&scratch, &line.split(' ').collect::<Vec<_>>());
        assert_eq!(ran.code, Some(0), "{ran:#?}");
        ran.stdout
    };
    let mut ids = Vec::new();
    for begin in ["begin ./tree", "begin --cache ./tree", "begin --cache ./tree"] {
        say(begin);
        say("set-name example.com/test");
        assert!(say("status").contains("1 bytes in 2 files"));
        ids.push(say("write --overwrite out.aci"));
        say("end");
    }
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[test]
fn without_a_cache_there_is_none() {
    let scratch = Scratch::new();
    let place = Place::new(&scratch, "work");
    place.file("a", "a");
    place.begin("");
    place.say("copy a /a");
    assert_eq!(place.hits(), [false; 0]);
    let steps: Vec<Value> = serde_json::from_str(&place.say("history --format=json")).unwrap();
    assert_eq!((steps.len(), &steps[1]["milliseconds"]), (2, &Value::Null));
    assert!(!scratch.path("store/cache").exists() && !place.dir.join(".acbuild/cache").exists());
    assert_eq!(place.say("cache list --format=json"), "[]");
    place.say("cache gc");
    // The variable says it for all builds.
    let begin = |value: &str, line: &[&str]| {
        place.run(&["end"]);
        let ran = finish(place.command(line).env("ACBUILD_CACHE", value));
        (ran.code, place.dir.join(".acbuild/cache").exists())
    };
    assert_eq!(begin("1", &["begin"]), (Some(0), true));
    assert_eq!(begin("", &["begin"]), (Some(0), false));
    assert_eq!(begin("0", &["begin", "--cache"]), (Some(0), false));
    assert_eq!(begin("yes", &["begin"]), (Some(1), false));
}
