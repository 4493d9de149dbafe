//! `--build-mode=oci`: what commands say of the image, its layers, and what is written.
#![allow(clippy::unwrap_used)] // The lint takes helpers of tests for code.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::{Scratch, finish, is_root, store};
use serde_json::{Value, json};
use support::{needs, rootfs};

fn sh(dir: &Path, script: &str) {
    let status = Command::new("sh").args(["-ec", script]).current_dir(dir).status().unwrap();
    assert!(status.success(), "{script}");
}

fn begun() -> Scratch {
    let scratch = Scratch::new();
    scratch.ok(["begin", "--build-mode=oci"]);
    scratch
}

fn config(scratch: &Scratch) -> Value {
    serde_json::from_str(&scratch.ok(["cat-manifest", "--file=config"])).unwrap()
}

fn blob(scratch: &Scratch, layout: &str, digest: &Value) -> Vec<u8> {
    fs::read(scratch.path(layout).join("blobs").join(digest.as_str().unwrap().replace(':', "/"))).unwrap()
}

/// Writes to `layout` and returns the two documents.
fn write(scratch: &Scratch, layout: &str) -> (Value, Value) {
    let digest = scratch.ok(["write", &format!("oci:{layout}")]);
    let manifest: Value = serde_json::from_slice(&blob(scratch, layout, &json!(digest))).unwrap();
    let config = serde_json::from_slice(&blob(scratch, layout, &manifest["config"]["digest"])).unwrap();
    (manifest, config)
}

/// What is in a layer, in its order.
fn names(scratch: &Scratch, layout: &str, layer: &Value) -> Vec<String> {
    fs::write(scratch.path("layer.tar.gz"), blob(scratch, layout, &layer["digest"])).unwrap();
    let out = Command::new("tar").args(["-tzf", "layer.tar.gz"]).current_dir(scratch.path("")).output().unwrap();
    assert!(out.status.success(), "{out:?}");
    String::from_utf8(out.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// As before it was noted what commands change: the next layer looks at everything.
fn changed_by_hand(scratch: &Scratch, script: &str) {
    sh(&scratch.rootfs(""), script);
    fs::remove_file(scratch.path(".acbuild/touched")).unwrap();
}

fn count(document: &Value) -> usize {
    document.as_array().unwrap().len()
}

#[test]
fn every_command_writes_the_field_of_oci() {
    let scratch = begun();
    for words in [
        "set-exec -- /bin/app --flag x",
        "set-user www",
        "set-group 7",
        "set-working-directory /srv",
        "set-stop-signal SIGQUIT",
        "environment add A 1",
        "environment add B 2",
        "environment add A 3",
        "label add version 1.0",
        "label add arch aarch64",
        "port add www tcp 80",
        "mount add data /data",
        "annotation add org.example.Any value",
    ] {
        scratch.ok(words.split(' '));
    }
    let document = config(&scratch);
    let run = json!({
        "User": "www:7", "ExposedPorts": {"80/tcp": {}}, "Env": ["B=2", "A=3"], "Entrypoint": ["/bin/app"],
        "Cmd": ["--flag", "x"], "Volumes": {"/data": {}}, "WorkingDir": "/srv", "Labels": {"version": "1.0"},
        "StopSignal": "SIGQUIT",
    });
    assert_eq!(
        (&document["config"], &document["architecture"], &document["variant"]),
        (&run, &json!("arm64"), &json!("v8"))
    );
    let annotations = scratch.manifest()["annotations"].clone();
    assert_eq!(annotations["coreos.com/acbuild/port/www"], "number:80 protocol:tcp");
    assert_eq!(annotations["coreos.com/acbuild/mount/data"], "path:/data");
    assert_eq!(annotations["org.example.Any"], "value");
    assert_eq!(annotations["coreos.com/acbuild/command-2"], r#"acbuild set-user "www""#);

    for words in
        ["port rm 80/tcp", "mount rm data", "environment rm B", "label rm version", "annotation rm org.example.Any"]
    {
        scratch.ok(words.split(' '));
    }
    let run = config(&scratch)["config"].clone();
    assert_eq!(
        (&run["Env"], &run["ExposedPorts"], &run["Volumes"], &run["Labels"]),
        (&json!(["A=3"]), &json!(null), &json!(null), &json!(null))
    );
}

#[test]
fn what_oci_cannot_hold_is_refused() {
    let scratch = begun();
    scratch.ok(["port", "add", "www", "tcp", "80"]);
    scratch.ok(["mount", "add", "data", "/data"]);
    for (words, why) in [
        ("set-name example.com/x", "set-name: only supported in appc builds, and this is an oci build"),
        ("set-supp-groups 1", "only supported in appc builds"),
        ("set-event-handler pre-start /x", "only supported in appc builds"),
        ("dependency add example.com/x", "dependency add: only supported in appc builds"),
        ("isolator remove resource/memory", "only supported in appc builds"),
        ("port add many tcp 1 --count 2", "oci build mode does not support port counts"),
        ("port add own tcp 1 --socket-activated", "oci build mode does not support socket activated ports"),
        ("port add www tcp 81", "port with name \"www\" already exists"),
        ("port add odd quic 1", "protocols tcp, udp and sctp"),
        ("port remove other", "no such port \"other\""),
        ("mount add ro /x --read-only", "oci build mode does not support read only mounts"),
        ("mount add data /y", "mount with name \"data\" already exists"),
        ("mount remove /none", "no such mount: /none"),
        ("annotation remove none", "no annotation with name \"none\" to remove"),
        ("environment remove NONE", "element to be removed does not exist in this image"),
        ("label remove none", "no label with name \"none\" to remove"),
        ("set-user a:b", "user cannot contain a ':' character"),
        ("set-group a:b", "group cannot contain a ':' character"),
        ("set-working-directory srv", "must be an absolute path"),
        ("set-tag a/b", "is no tag"),
        ("squash", "--from must be a layer of the image, which has 0"),
        (
            "write oci:.acbuild/layers/new",
            "write: .acbuild/layers/new is in the build itself: write the image elsewhere",
        ),
    ] {
        scratch.refused(words.split(' '), 1, why);
    }
    let appc = Scratch::begun();
    for words in ["layer", "set-stop-signal SIGTERM"] {
        appc.refused(words.split(' '), 1, "only supported in oci builds, and this is an appc build");
    }
    appc.refused(["write", "oci:x"], 1, "acbuild convert");
}

#[test]
fn an_image_without_files_has_no_layer() {
    let scratch = begun();
    let (manifest, config) = write(&scratch, "out");
    assert_eq!((count(&manifest["layers"]), count(&config["rootfs"]["diff_ids"])), (0, 0));
    scratch.ok(["layer", "--no-history"]);
    scratch.ok(["layer", "--no-history"]);
    // It may be a second later.
    assert_eq!(write(&scratch, "out").0["layers"], manifest["layers"]);
}

#[test]
fn layers_hold_what_was_changed_over_those_below() {
    let scratch = Scratch::new();
    sh(
        &scratch.path(""),
        "mkdir -p tree/etc tree/gone/sub tree/keep; echo 1 > tree/etc/one; echo 2 > tree/etc/two; echo x > tree/gone/sub/x; \
         echo same > tree/keep/a; ln tree/keep/a tree/keep/b; ln -s one tree/etc/link; mkfifo tree/keep/fifo",
    );
    scratch.ok(["begin", "--build-mode=oci", "./tree"]);
    scratch.ok(["layer"]);
    changed_by_hand(
        &scratch,
        "rm -r gone; echo changed > etc/one; rm etc/link; mkdir etc/link; chmod 600 etc/two; ln keep/a keep/c; rm keep/fifo; : > keep/fifo",
    );
    scratch.ok(["layer"]);
    scratch.file("new", "new");
    scratch.ok(["copy", "new", "/new"]);
    let (manifest, config) = write(&scratch, "out");
    let layers = &manifest["layers"];
    assert_eq!((count(layers), count(&config["rootfs"]["diff_ids"]), count(&config["history"])), (3, 3, 3));
    assert_eq!(
        config["history"][2]["created_by"],
        r#"acbuild layer; acbuild copy "new" "/new""#.split("; ").nth(1).unwrap()
    );
    assert_eq!(
        names(&scratch, "out", &layers[1]),
        ["./", ".wh.gone", "etc", "etc/link", "etc/one", "etc/two", "keep", "keep/a", "keep/b", "keep/c", "keep/fifo"]
    );
    assert_eq!(names(&scratch, "out", &layers[2]), ["./", "new"]);

    // A second write is the same image, and so is one to an archive.
    let digest = scratch.ok(["write", "oci:again:x"]);
    assert_eq!(scratch.ok(["write", "out.tar"]), digest);
    scratch.refused(["write", "out.tar"], 1, "out.tar exists - use --overwrite");

    // What was begun with stays as it is, byte for byte.
    let first = Scratch::new();
    let start = format!("oci-archive:{}", scratch.path("out.tar").display());
    first.ok(["begin", "--build-mode=oci", &start]);
    assert_eq!(first.ok(["write", "oci:same"]), digest);
    assert_eq!(common::listing(&first.rootfs("")), common::listing(&scratch.rootfs("")));
    first.ok(["set-exec", "/bin/app"]);
    let (edited, config) = write(&first, "edited");
    assert_eq!(edited["layers"], manifest["layers"]);
    assert_eq!(config["history"][3]["empty_layer"], true);

    // As a path, it is found to be an image.
    first.ok(["end"]);
    first.ok(["begin", "--build-mode=oci", scratch.path("out.tar").to_str().unwrap()]);
    assert_eq!(count(&first.manifest()["layers"]), 3);
}

#[test]
fn a_closed_layer_is_what_it_was_while_it_was_open() {
    let scratch = Scratch::new();
    sh(&scratch.path(""), "mkdir -p tree/d tree/e; touch tree/a tree/z tree/d/b tree/d/y tree/e/x");
    scratch.ok(["begin", "--build-mode=oci", "./tree"]);
    scratch.ok(["layer"]);
    changed_by_hand(
        &scratch,
        "rm a z d/y; rm -r e; mkdir e; echo n > m; echo n > d/n; touch -d @7 m d/n d e .; ln -s m l; touch -h -d @7 l .",
    );
    let (open, _) = write(&scratch, "open");
    scratch.ok(["layer"]);
    let (closed, _) = write(&scratch, "closed");
    assert_eq!(names(&scratch, "open", &open["layers"][1])[..3], ["./", ".wh.a", ".wh.z"]);
    assert_eq!(open["layers"], closed["layers"]);
}

#[test]
fn squashed_layers_are_one() {
    let scratch = begun();
    for name in ["a", "b", "c"] {
        scratch.file(name, name);
        scratch.ok(["copy", name, &format!("/{name}")]);
        scratch.ok(["layer"]);
    }
    fs::remove_file(scratch.rootfs("b")).unwrap();
    let (before, _) = write(&scratch, "before");
    assert_eq!(count(&before["layers"]), 4);
    scratch.ok(["squash", "--from", "2"]);
    let (after, config) = write(&scratch, "after");
    assert_eq!((count(&after["layers"]), &after["layers"][0]), (2, &before["layers"][0]));
    assert_eq!(names(&scratch, "after", &after["layers"][1]), ["./", "c"]);
    assert_eq!((count(&config["history"]), count(&config["rootfs"]["diff_ids"])), (2, 2));
    assert_eq!(fs::read_dir(scratch.path(".acbuild/layers")).unwrap().count(), 1);

    // Layers of the image that the build began with are taken in as well.
    scratch.ok(["write", "before.tar"]);
    scratch.ok(["end"]);
    for (from, layers) in [("2", 2), ("1", 1)] {
        scratch.ok(["begin", "--build-mode=oci", "oci:before"]);
        scratch.refused(["squash", "--from", "5"], 1, "which has 4");
        scratch.ok(["squash", "--from", from]);
        let (manifest, config) = write(&scratch, from);
        assert_eq!((count(&manifest["layers"]), count(&config["history"])), (layers, layers));
        let mut all: Vec<String> =
            manifest["layers"].as_array().unwrap().iter().flat_map(|l| names(&scratch, from, l)).collect();
        all.retain(|name| name != "./");
        assert_eq!(all, ["a", "c"]);
        // In the store is the image that was begun with, and nothing else.
        assert_eq!(fs::read_dir(scratch.path("store/store/images")).unwrap().count(), 1);
        scratch.ok(["end"]);
    }
}

#[test]
fn times_are_those_of_source_date_epoch() {
    let build = |scratch: &Scratch| {
        let run = |args: &[&str]| {
            let ran = finish(scratch.command(args).env("SOURCE_DATE_EPOCH", "1000000000"));
            assert_eq!(ran.code, Some(0), "{ran:#?}");
            ran.stdout
        };
        scratch.file("f", "f");
        run(&["begin", "--build-mode=oci"]);
        run(&["copy", "f", "/a/f"]);
        run(&["layer"]);
        run(&["copy", "f", "/b/f"]);
        run(&["write", "out.tar"])
    };
    let (one, two) = (Scratch::new(), Scratch::new());
    let first = build(&one);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert_eq!(build(&two), first);
    assert_eq!(fs::read(one.path("out.tar")).unwrap(), fs::read(two.path("out.tar")).unwrap());
    let text = fs::read(one.path("out.tar")).unwrap();
    assert!(String::from_utf8_lossy(&text).contains(r#""created":"2001-09-09T01:46:40Z""#));
}

#[test]
fn the_config_is_replaced_as_a_whole_but_for_its_layers() {
    let scratch = Scratch::new();
    scratch.file("tree/f", "f");
    scratch.ok(["begin", "--build-mode=oci", "./tree"]);
    scratch.ok(["set-user", "www"]);
    scratch.file(
        "config.json",
        r#"{"architecture":"s390x","os":"linux","config":{"Cmd":["x"]},"rootfs":{"type":"layers","diff_ids":[]}}"#,
    );
    scratch.ok(["replace-manifest", "config.json"]);
    let document = config(&scratch);
    assert_eq!((&document["config"], &document["architecture"]), (&json!({"Cmd": ["x"]}), &json!("s390x")));
    let (manifest, config) = write(&scratch, "out");
    assert_eq!((count(&manifest["layers"]), count(&config["rootfs"]["diff_ids"])), (1, 1));
    scratch.file("bad.json", r#"{"os":"linux"}"#);
    scratch.refused(["replace-manifest", "bad.json"], 1, "missing field `architecture`");
    let pretty = scratch.ok(["cat-manifest", "--file=config", "--pretty-print"]);
    assert!(pretty.contains("\n    \"architecture\": \"s390x\""), "{pretty}");
}

#[test]
fn what_a_build_cannot_begin_with_leaves_nothing() {
    let scratch = Scratch::new();
    scratch.file("text", "this is not an archive\n");
    for (start, words) in [
        ("./none", "no such file or directory: ./none"),
        ("./text", "begin: "),
        ("oci:none", "none"),
        ("text", "begin: text: "),
        ("nothing", "local path must begin with / or ."),
    ] {
        let ran = scratch.run(["begin", "--build-mode=oci", start]);
        assert_eq!(ran.code, Some(1), "{ran:#?}");
        assert!(ran.stderr.contains(words), "no {words:?} in {ran:#?}");
        assert!(!scratch.path(".acbuild").exists(), "{ran:#?}");
    }
}

#[test]
fn a_build_whose_image_left_the_store_says_so() {
    let scratch = begun();
    scratch.file("f", "f");
    scratch.ok(["copy", "f", "/f"]);
    scratch.ok(["write", "base.tar"]);
    scratch.ok(["end"]);
    scratch.ok(["begin", "--build-mode=oci", "./base.tar"]);
    fs::rename(scratch.path("store"), scratch.path("elsewhere")).unwrap();
    scratch.ok(["annotation", "add", "a", "b"]);
    scratch.refused(["write", "out.tar"], 1, "is not in the store");
    fs::rename(scratch.path("elsewhere"), scratch.path("store")).unwrap();
    scratch.ok(["write", "out.tar"]);
}

#[test]
fn a_tar_is_a_root_file_system() {
    let scratch = Scratch::new();
    sh(&scratch.path(""), "mkdir -p tree/a; echo x > tree/a/x; tar -C tree -czf tree.tar.gz .");
    let ran = scratch.run(["begin", "--build-mode=oci", "./tree.tar.gz"]);
    let note = "oci-layout is missing, assuming build is beginning with a tar of a rootfs";
    assert_eq!((ran.code, ran.stderr.lines().next()), (Some(0), Some(note)), "{ran:#?}");
    assert_eq!(ran.stderr.lines().count(), if is_root() { 1 } else { 2 });
    let (manifest, _) = write(&scratch, "out");
    assert_eq!(names(&scratch, "out", &manifest["layers"][0]), ["./", "a", "a/x"]);
}

#[test]
fn an_image_is_for_any_architecture() {
    let scratch = Scratch::new();
    for (typed, os, platform) in [
        ("riscv64", "linux", ("riscv64", None)),
        ("loong64", "linux", ("loong64", None)),
        ("aarch64", "linux", ("arm64", Some("v8"))),
        ("arm64", "freebsd", ("arm64", None)),
    ] {
        scratch.ok(["begin", "--build-mode=oci", "--arch", typed, "--os", os]);
        let (_, config) = write(&scratch, "out");
        assert_eq!((config["architecture"].as_str().unwrap(), config["variant"].as_str()), platform);
        assert_eq!(config["os"], os);
        scratch.ok(["end"]);
    }
    scratch.refused(["begin", "--build-mode=oci", "--arch", "not a word"], 1, "bad arch \"not a word\"");
}

#[test]
fn of_an_image_for_several_platforms_the_one_that_is_asked_for_is_begun_with() {
    let scratch = Scratch::new();
    for arch in ["amd64", "arm64"] {
        fs::create_dir(scratch.path(arch)).unwrap();
        scratch.ok(["--work-path", arch, "begin", "--build-mode=oci", "--arch", arch]);
        scratch.file("file", arch);
        scratch.ok(["--work-path", arch, "copy", "file", "/file"]);
    }
    scratch.ok(["--work-path", "amd64", "write", "--index", "arm64", "both.tar"]);
    scratch.ok(["--work-path", "amd64", "write", "--index", "arm64", "oci:both"]);
    for (mode, start) in
        [("oci", "./both.tar"), ("oci", "./both"), ("oci", "oci:both"), ("oci", "oci-archive:both.tar")]
            .into_iter()
            .chain([("appc", "oci:both"), ("appc", "oci-archive:both.tar")])
    {
        for (typed, arch) in [("arm64", "arm64"), ("aarch64", "arm64"), ("x86_64", "amd64")] {
            scratch.ok(["begin", "--build-mode", mode, "--arch", typed, start]);
            assert_eq!(fs::read_to_string(scratch.rootfs("file")).unwrap(), arch, "{mode} {start} {typed}");
            scratch.ok(["end"]);
        }
        scratch.refused(
            ["begin", "--build-mode", mode, "--arch", "s390x", start],
            1,
            "it has no image for linux/s390x, only for linux/amd64, linux/arm64/v8",
        );
    }
    // Who says nothing of a variant means any.
    scratch.ok(["begin", "--build-mode=oci"]);
    scratch.ok(["label", "add", "arch", "arm64"]);
    scratch.ok(["write", "oci:plain"]);
    scratch.ok(["end"]);
    scratch.ok(["begin", "--build-mode=oci", "--arch=arm64", "oci:plain"]);
    assert_eq!((&config(&scratch)["architecture"], &config(&scratch)["variant"]), (&json!("arm64"), &Value::Null));
}

#[test]
fn commands_run_in_the_image_and_files_are_removed_from_it() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    rootfs::busybox(&scratch.path("base"));
    scratch.file("base/srv/old", "x");
    scratch.file("base/srv/other", "x");
    scratch.ok(["begin", "--build-mode=oci", "./base"]);
    scratch.ok(["layer"]);
    scratch.ok(["environment", "add", "WORD", "said"]);
    scratch.ok(["run", "--", "/bin/sh", "-c", "echo $WORD > /srv/new && rm /srv/old"]);
    scratch.ok(["file", "remove", "/srv/other"]);
    scratch.refused(["run", "--", "/bin/sh", "-c", "rm /srv/new; exit 7"], 7, "exit status 7");
    assert_eq!(fs::read_to_string(scratch.rootfs("srv/new")).unwrap(), "said\n");
    let (manifest, _) = write(&scratch, "layout");
    assert_eq!(count(&manifest["layers"]), 2);
    let mut names = names(&scratch, "layout", &manifest["layers"][1]);
    names.sort();
    names.retain(|name| name != "./");
    assert_eq!(names, ["srv", "srv/.wh.old", "srv/.wh.other", "srv/new"]);
}

#[test]
fn a_stop_signal_is_one_that_there_is() {
    let scratch = begun();
    for signal in ["SIGQUIT", "QUIT", "9", "SIGRTMIN+3", "RTMAX-1"] {
        scratch.ok(["set-stop-signal", signal]);
        assert_eq!(config(&scratch)["config"]["StopSignal"], signal);
    }
    for signal in ["FOO", "", "0", "65", "SIGRTMIN+99", "SIG", "-9x"] {
        scratch.refused(
            ["set-stop-signal", "--", signal],
            1,
            "is no signal: give a number from 1 to 64, or one of SIGHUP, ",
        );
    }
}

#[test]
fn places_and_indexes_that_cannot_be_say_what_can() {
    let scratch = begun();
    fs::create_dir(scratch.path("appc")).unwrap();
    scratch.ok(["--work-path", "appc", "begin"]);
    for (words, said) in [
        (&["write", "bundle:b"][..], "with \"acbuild convert FILE bundle:b\""),
        (&["--work-path", "appc", "write", "bundle:b"], "with \"acbuild convert FILE bundle:b\""),
        (&["write", "--index", "none", "i.tar"], "--index none: no build in progress"),
        (
            &["write", "--index", "appc", "i.tar"],
            "--index appc: only supported in oci builds, and this is an appc build",
        ),
        (&["write", "--index", "appc", "docker-archive:i.tar"], "write oci-archive:i.tar"),
        (&["--work-path", "appc", "write", "--index", ".", "i.aci"], "--index is for oci builds"),
    ] {
        scratch.refused(words, 1, said);
    }
}

#[test]
fn what_an_app_container_image_depends_on_is_layers_below_the_build() {
    let scratch = Scratch::new();
    scratch.file("base/low", "low");
    store(&scratch, &scratch.path("base"), "example.com/base", &[]);
    scratch.file("top", "top");
    for words in [
        "begin",
        "set-name example.com/top",
        "dependency add example.com/base",
        "copy top /top",
        "write top.aci",
        "end",
    ] {
        scratch.ok(words.split(' '));
    }
    let digest = scratch.ok(["convert", "top.aci", "oci:converted"]);
    scratch.ok(["begin", "--build-mode=oci", "./top.aci"]);
    assert!(scratch.rootfs("top").exists() && scratch.rootfs("low").exists());
    assert_eq!(scratch.ok(["write", "oci:same"]), digest);
    scratch.ok(["file", "remove", "/low"]);
    let (manifest, _) = write(&scratch, "layout");
    assert_eq!(count(&manifest["layers"]), 3);
    assert_eq!(names(&scratch, "layout", &manifest["layers"][2]), ["./", ".wh.low"]);
}

#[test]
fn an_appc_build_has_the_name_of_what_it_begins_with() {
    let scratch = begun();
    scratch.file("f", "f");
    scratch.ok(["copy", "f", "/f"]);
    for place in ["oci:one:1.0", "two.tar", "docker-archive:three.tar:example.com/three:2.0"] {
        scratch.ok(["write", place]);
    }
    scratch.ok(["end"]);
    fs::rename(scratch.path("two.tar"), scratch.path("other.tar")).unwrap();
    // All are one image in the store.
    for (start, name, version) in [
        ("oci:one:1.0", "one", json!("1.0")),
        ("./other.tar", "other", Value::Null),
        ("docker-archive:three.tar", "example.com/three", json!("2.0")),
        ("oci:one:1.0", "one", json!("1.0")),
    ] {
        scratch.ok(["begin", start]);
        let manifest = scratch.manifest();
        let labels = manifest["labels"].as_array().unwrap();
        let label = labels.iter().find(|label| label["name"] == "version").map_or(Value::Null, |l| l["value"].clone());
        assert_eq!((&manifest["name"], label), (&json!(name), version), "{start}");
        scratch.ok(["end"]);
    }
}

#[test]
fn a_build_is_compared_with_what_it_began_with() {
    let scratch = begun();
    scratch.file("f", "f");
    scratch.ok(["copy", "f", "/f"]);
    scratch.ok(["write", "oci:one:1.0"]);
    assert_eq!(scratch.ok(["diff", "oci:one:1.0"]), "");
    scratch.ok(["layer"]);
    scratch.ok(["copy", "f", "/g"]);
    scratch.ok(["file", "remove", "/f"]);
    assert_eq!(scratch.ok(["diff", "oci:one:1.0"]), "- /f\n+ /g");
}
