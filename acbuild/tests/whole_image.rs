//! The image with all it depends on: `squash`, `file remove` and `diff`.
#![allow(clippy::unwrap_used)] // The lint takes helpers of tests for code.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

use common::{Scratch, is_root, skip};
use serde_json::{Value, json};

/// Puts an image with these files into the store of `scratch`.
fn image(scratch: &Scratch, name: &str, files: &[(&str, &str)]) {
    let maker = Scratch::begun();
    maker.ok(["set-name", name]);
    for (path, content) in files {
        maker.file("f", content);
        maker.ok(["copy", "f", path]);
    }
    import(scratch, &maker);
}

/// Puts what `maker` builds into the store of `scratch`.
fn import(scratch: &Scratch, maker: &Scratch) {
    maker.ok(["write", "i.aci"]);
    let store = appc_image::store::Store::open(scratch.path("store")).unwrap();
    let file = fs::File::open(maker.path("i.aci")).unwrap();
    store.import(file, "i.aci", &appc_image::Quiet).unwrap();
}

/// A build on two images: of `/etc/x` both have one, of `/etc/y` the build has its own.
fn build() -> Scratch {
    let scratch = Scratch::new();
    image(&scratch, "example.com/low", &[("/etc/x", "low"), ("/etc/y", "low"), ("/doc/a", "a"), ("/doc/b", "b")]);
    image(&scratch, "example.com/high", &[("/etc/x", "high")]);
    scratch.ok(["begin"]);
    scratch.ok(["set-name", "example.com/top"]);
    scratch.ok(["dependency", "add", "example.com/low"]);
    scratch.ok(["dependency", "add", "example.com/high"]);
    scratch.file("f", "own");
    scratch.ok(["copy", "f", "/etc/y"]);
    scratch
}

fn read(scratch: &Scratch, path: &str) -> Option<String> {
    fs::read_to_string(scratch.rootfs(path)).ok()
}

fn root(test: &str) -> bool {
    if !is_root() {
        skip(test, "the trees of a store are the user's own");
    }
    is_root()
}

#[test]
fn a_squashed_image_is_the_same_without_dependencies() {
    if !root("a_squashed_image_is_the_same_without_dependencies") {
        return;
    }
    let scratch = build();
    scratch.ok(["write", "layered.aci"]);
    scratch.ok(["squash"]);
    let manifest = scratch.manifest();
    assert!(manifest.get("dependencies").is_none() && manifest.get("pathWhitelist").is_none(), "{manifest}");
    let found = ["etc/x", "etc/y", "doc/a", "doc/b"].map(|path| read(&scratch, path).unwrap());
    assert_eq!(found, ["high", "own", "a", "b"]);
    assert_eq!(scratch.history().last().unwrap(), "acbuild squash");
    assert!(!scratch.path(".acbuild/staging").exists());
    assert_eq!(scratch.ok(["diff", "./layered.aci"]), "");
    // What the store has is not what is changed from here on.
    fs::write(scratch.rootfs("doc/a"), "changed").unwrap();
    scratch.ok(["write", "squashed.aci"]);
    assert_eq!(scratch.ok(["diff", "./layered.aci", "./squashed.aci"]), "~ /doc/a (content)");
    scratch.ok(["squash"]);
    assert_eq!(read(&scratch, "doc/a").unwrap(), "changed");

    // Archives of other formats are known by what is in them.
    scratch.ok(["convert", "squashed.aci", "oci-archive:oci.tar"]);
    scratch.ok(["convert", "squashed.aci", "docker-archive:docker.tar:example.com/squashed:1"]);
    for archive in ["oci.tar", "./docker.tar"] {
        assert_eq!(scratch.ok(["diff", "./squashed.aci", archive]), "");
        assert_eq!(scratch.ok(["diff", archive, "./layered.aci"]), "~ /doc/a (content)");
    }
}

#[test]
fn directories_have_the_owner_that_the_topmost_gives_them() {
    if !root("directories_have_the_owner_that_the_topmost_gives_them") {
        return;
    }
    let scratch = Scratch::new();
    let maker = Scratch::begun();
    maker.ok(["set-name", "example.com/low"]);
    fs::create_dir(maker.rootfs("srv")).unwrap();
    chown(maker.rootfs("srv"), Some(2), Some(2)).unwrap();
    import(&scratch, &maker);
    scratch.ok(["begin"]);
    scratch.ok(["set-name", "example.com/top"]);
    scratch.ok(["dependency", "add", "example.com/low"]);
    fs::create_dir(scratch.rootfs("srv")).unwrap();
    scratch.ok(["squash"]);
    let srv = fs::metadata(scratch.rootfs("srv")).unwrap();
    assert_eq!((srv.uid(), srv.gid()), (0, 0));
}

#[test]
fn squashing_leaves_out_what_a_whitelist_leaves_out() {
    if !root("squashing_leaves_out_what_a_whitelist_leaves_out") {
        return;
    }
    let scratch = build();
    let mut manifest = scratch.manifest();
    manifest["pathWhitelist"] = json!(["/etc/y", "/doc/b", "/new/"]);
    scratch.file("m.json", &manifest.to_string());
    scratch.ok(["replace-manifest", "m.json"]);
    scratch.ok(["squash"]);
    let found = ["etc/x", "etc/y", "doc/a", "doc/b"].map(|path| read(&scratch, path));
    assert_eq!(found, [None, Some("own".into()), None, Some("b".into())]);
    assert!(scratch.rootfs("new").is_dir());
    assert!(scratch.manifest().get("pathWhitelist").is_none());
}

#[test]
fn files_are_removed() {
    if !root("files_are_removed") {
        return;
    }
    let scratch = build();
    scratch.file("tree/in/it", "");
    scratch.ok(["copy", "tree", "/own"]);
    std::os::unix::fs::symlink("/own/in", scratch.rootfs("link")).unwrap();
    scratch.ok(["file", "remove", "/link/it", "/own/in/"]);
    assert!(!scratch.rootfs("own/in").exists() && scratch.rootfs("own").is_dir());
    assert!(fs::symlink_metadata(scratch.rootfs("link")).is_ok());
    scratch.ok(["file", "rm", "link"]);
    assert!(fs::symlink_metadata(scratch.rootfs("link")).is_err());
    scratch.ok(["file", "remove", "/etc/y", "../doc", "/doc/a"]);
    assert!(!scratch.rootfs("etc/y").exists() && !scratch.rootfs("doc").exists());
    assert_eq!(scratch.history().last().unwrap(), r#"acbuild file remove "/etc/y" "../doc" "/doc/a""#);
    // Removing only the build's own would have brought back the one below.
    scratch.refused(["file", "remove", "/etc/y"], 2, "file \"/etc/y\"");
    assert!(!scratch.path(".acbuild/staging").exists());
    let differences = "- /doc\n- /doc/a\n- /doc/b\n~ /etc/x (content)\n- /etc/y\n+ /own";
    assert_eq!(scratch.ok(["diff", "example.com/low"]), differences);
    scratch.ok(["write", "removed.aci"]);
    assert_eq!(scratch.ok(["diff", "example.com/low", "./removed.aci"]), differences);
    scratch.ok(["squash"]);
    assert!(scratch.rootfs("etc/x").exists() && !scratch.rootfs("doc").exists());
    assert!(!scratch.path(".acbuild/deleted").exists());
    assert_eq!(scratch.ok(["diff", "example.com/low"]), differences);
}

#[test]
fn what_cannot_be_removed_changes_nothing() {
    let scratch = Scratch::begun();
    scratch.file("outside", "precious");
    let outside = scratch.path("");
    std::os::unix::fs::symlink(&outside, scratch.rootfs("out")).unwrap();
    scratch.ok(["copy", "outside", "/here"]);
    let cases: &[(&[&str], i32, &str)] = &[
        (&["/here", "/missing"], 2, "file \"/missing\""),
        (&["/"], 1, "is the root of the image, which stays"),
        (&["/here/../.."], 1, "is the root of the image, which stays"),
        (&["/out/outside"], 2, "does not exist in this ACI"),
        (&["../../outside"], 2, "does not exist in this ACI"),
    ];
    for (paths, code, words) in cases {
        scratch.refused([&["file", "remove"], *paths].concat(), *code, words);
    }
    assert!(Path::new(&scratch.path("outside")).exists());
}

#[test]
fn images_differ_from_each_other_and_from_the_build() {
    if !root("images_differ_from_each_other_and_from_the_build") {
        return;
    }
    let scratch = build();
    let lines = scratch.ok(["diff", "example.com/low"]);
    assert_eq!(lines, "~ /etc/x (content)\n~ /etc/y (content)");
    let found: Value = serde_json::from_str(&scratch.ok(["diff", "--format=json", "example.com/high"])).unwrap();
    let added = |path: &str| json!({"path": path, "change": "added"});
    let changed = json!({"path": "/etc/y", "change": "added"});
    assert_eq!(found, json!([added("/doc"), added("/doc/a"), added("/doc/b"), changed]));
    assert_eq!(scratch.ok(["diff", "example.com/high", "example.com/high"]), "");
    scratch.refused(["diff", "example.com/none"], 1, "diff: ");
    scratch.ok(["end"]);
    scratch.refused(["diff", "example.com/low"], 1, "diff: no build in progress");
}

/// The content of files of the image in the archive `name`, when it is rendered.
fn rendered(scratch: &Scratch, name: &str, paths: &[&str]) -> Vec<Option<String>> {
    let reader = Scratch::new();
    let link = std::os::unix::fs::symlink(scratch.path("store"), reader.path("store"));
    link.unwrap();
    reader.ok(["begin", scratch.path(name).to_str().unwrap()]);
    reader.ok(["squash"]);
    paths.iter().map(|path| read(&reader, path)).collect()
}

/// Writes an image with a path whitelist to `listed.aci`, of which `/etc/y` and `/lib`, a link to `/usr/lib`, can be seen.
fn listed() -> Scratch {
    let scratch = build();
    fs::create_dir_all(scratch.rootfs("usr/lib")).unwrap();
    std::os::unix::fs::symlink("usr/lib", scratch.rootfs("lib")).unwrap();
    let mut manifest = scratch.manifest();
    manifest["pathWhitelist"] = json!(["/etc/y", "/lib", "/usr/lib"]);
    scratch.file("m.json", &manifest.to_string());
    scratch.ok(["replace-manifest", "m.json"]);
    scratch.ok(["write", "listed.aci"]);
    scratch.ok(["end"]);
    scratch.file("tree/in/it", "copied");
    scratch.file("new", "new");
    scratch
}

#[test]
fn what_is_copied_into_an_image_with_a_whitelist_can_be_seen() {
    if !root("what_is_copied_into_an_image_with_a_whitelist_can_be_seen") {
        return;
    }
    let scratch = listed();
    image(&scratch, "example.com/more", &[("/more/a", "more")]);
    let paths = ["etc/x", "etc/y", "srv/in/it", "usr/lib/new", "doc/new", "doc/a", "more/a"];
    let seen = |own: &str, more: Option<&str>| {
        [None, Some(own), Some("copied"), Some("new"), Some("new"), None, more].map(|text| text.map(str::to_owned))
    };
    for cache in [&["begin", "./listed.aci"][..], &["begin", "--cache", "./listed.aci"]] {
        scratch.ok(cache);
        scratch.ok(["copy", "tree", "/srv"]);
        scratch.ok(["copy", "new", "/lib/new"]);
        scratch.run(["copy-to-dir", "new", "/doc"]);
        scratch.ok(["write", "--overwrite", "copied.aci"]);
        assert_eq!(rendered(&scratch, "copied.aci", &paths), seen("own", None));
        scratch.ok(["dependency", "add", "example.com/more"]);
        scratch.ok(["write", "--overwrite", "copied.aci"]);
        assert_eq!(rendered(&scratch, "copied.aci", &paths), seen("own", Some("more")));
        scratch.ok(["end"]);
    }
    for words in [&["copy", "tree", "/srv"][..], &["copy", "new", "/lib/new"], &["copy", "new", "/doc/new"]] {
        scratch.ok([&["--modify-appc", "listed.aci"], words].concat());
    }
    scratch.ok(["--modify-appc", "listed.aci", "dependency", "add", "example.com/more"]);
    scratch.ok(["--modify-appc", "listed.aci", "copy", "new", "/etc/y"]);
    assert_eq!(rendered(&scratch, "listed.aci", &paths), seen("new", Some("more")));
}

#[test]
fn what_is_compared_does_not_come_into_the_store() {
    if !root("what_is_compared_does_not_come_into_the_store") {
        return;
    }
    let scratch = build();
    scratch.ok(["write", "top.aci"]);
    scratch.ok(["end"]);
    scratch.ok(["begin", "--build-mode=oci"]);
    scratch.ok(["copy", "f", "/etc/y"]);
    scratch.ok(["write", "oci:layout"]);
    scratch.ok(["end"]);
    image(&scratch, "example.com/unlisted", &[]);
    let store = || {
        let names =
            std::process::Command::new("find").arg(scratch.path("store")).args(["-printf", "%P %s %T@\n"]).output();
        String::from_utf8(names.unwrap().stdout).unwrap()
    };
    let before = store();
    let temporary = scratch.path("tmp");
    fs::create_dir(&temporary).unwrap();
    let diff = |a: &str, b: &str| {
        let mut command = scratch.command(["diff", a, b]);
        let ran = common::finish(command.env("TMPDIR", &temporary));
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:#?}");
        ran.stdout
    };
    assert_eq!(diff("example.com/low", "./top.aci"), "~ /etc/x (content)\n~ /etc/y (content)\n");
    assert_eq!(diff("./top.aci", "oci:layout"), "- /doc\n- /doc/a\n- /doc/b\n- /etc/x\n");
    assert_eq!(store(), before);
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
}
