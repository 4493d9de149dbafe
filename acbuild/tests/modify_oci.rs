//! `--modify-oci`: OCI images that are changed where they lie, or not at all.
#![allow(clippy::unwrap_used)] // The lint takes helpers of tests for code.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use common::{Scratch, is_root, listing, skip};
use serde_json::{Value, json};

/// Writes an image of two layers called 1.0 to each of the `places`, and ends the build.
fn image(scratch: &Scratch, places: &[&str]) {
    scratch.ok(["begin", "--build-mode=oci"]);
    scratch.file("tree/noise", &"noise ".repeat(100_000));
    scratch.file("tree/file", "content");
    scratch.ok(["copy", "tree/noise", "/noise"]);
    scratch.ok(["layer"]);
    scratch.ok(["copy", "tree/file", "/file"]);
    scratch.ok(["set-tag", "1.0"]);
    places.iter().for_each(|place| drop(scratch.ok(["write", "--compression=zstd", place])));
    scratch.ok(["end"]);
}

fn sh(dir: &Path, script: &str) -> String {
    let out = Command::new("sh").args(["-ec", script]).current_dir(dir).output().unwrap();
    assert!(out.status.success(), "{script}: {out:?}");
    String::from_utf8(out.stdout).unwrap()
}

/// The documents of the images in a layout: the entry of the index, the manifest and the configuration of each.
fn documents(layout: &Path) -> Vec<(Value, Value, Value)> {
    let read = |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let blob = |digest: &Value| read(&layout.join("blobs").join(digest.as_str().unwrap().replace(':', "/")));
    let index = read(&layout.join("index.json"));
    let documents = |entry: &Value| {
        let manifest = blob(&entry["digest"]);
        let config = blob(&manifest["config"]["digest"]);
        (entry.clone(), manifest, config)
    };
    index["manifests"].as_array().unwrap().iter().map(documents).collect()
}

/// The same of the only image in an archive.
fn archived(scratch: &Scratch, archive: &str) -> (Value, Value, Value) {
    let dir = tempfile::tempdir_in(scratch.path("")).unwrap();
    let archive = scratch.path(archive).display().to_string();
    sh(dir.path(), &format!("tar -xf {archive}"));
    let documents = documents(dir.path());
    assert_eq!(documents.len(), 1);
    documents.into_iter().next().unwrap()
}

#[test]
fn what_is_said_is_changed_and_layers_stay_as_they_are() {
    let scratch = Scratch::new();
    image(&scratch, &["i.tar", "oci:i"]);
    fs::set_permissions(scratch.path("i.tar"), fs::Permissions::from_mode(0o604)).unwrap();
    symlink("i.tar", scratch.path("link.tar")).unwrap();
    let (_, before, _) = archived(&scratch, "i.tar");
    for place in ["link.tar", "i"] {
        let change = |words: &[&str]| {
            let ran = scratch.run([&["--modify-oci", place], words].concat());
            assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (Some(0), "", ""), "{ran:#?}");
        };
        change(&["set-user", "www"]);
        change(&["label", "add", "version", "2"]);
        change(&["set-stop-signal", "SIGQUIT"]);
        let shown: Value =
            serde_json::from_str(&scratch.ok(["--modify-oci", place, "cat-manifest", "--file=config"])).unwrap();
        assert_eq!(shown["config"]["User"], "www");
        change(&["set-tag", "2.0"]);
        let (entry, manifest, config) =
            if place == "i" { documents(&scratch.path("i")).remove(0) } else { archived(&scratch, "i.tar") };
        assert_eq!(entry["annotations"]["org.opencontainers.image.ref.name"], "2.0");
        assert_eq!(manifest["layers"], before["layers"]);
        assert_eq!((&config["config"]["User"], &config["config"]["StopSignal"]), (&json!("www"), &json!("SIGQUIT")));
        assert_eq!(config["config"]["Labels"], json!({"version": "2"}));
        let history = config["history"].as_array().unwrap();
        assert_eq!((history.len(), &history[2]["created_by"]), (6, &json!("acbuild set-user \"www\"")));
        assert!(history[2..].iter().all(|entry| entry["empty_layer"] == true));
    }
    assert_eq!(documents(&scratch.path("i")).len(), 1);
    assert!(fs::symlink_metadata(scratch.path("link.tar")).unwrap().is_symlink());
    assert_eq!(fs::metadata(scratch.path("i.tar")).unwrap().mode() & 0o7777, 0o604);
    let left: Vec<_> = fs::read_dir(scratch.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 4, "{left:?}");
}

#[test]
fn files_are_changed_in_a_layer_of_their_own() {
    if !is_root() {
        skip("files_are_changed_in_a_layer_of_their_own", "keeping owners takes root");
        return;
    }
    let scratch = Scratch::new();
    image(&scratch, &["i.tar", "oci:i"]);
    let (_, before, _) = archived(&scratch, "i.tar");
    let temporary = scratch.path("tmp");
    fs::create_dir(&temporary).unwrap();
    for place in ["i.tar", "i"] {
        let run = |words: &[&str]| {
            let mut command = scratch.command([&["--modify-oci", place], words].concat());
            let ran = common::finish(command.env("TMPDIR", &temporary));
            assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:#?}");
            assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
        };
        run(&["copy", "tree/file", "/etc/new"]);
        run(&["file", "remove", "/noise"]);
        let documents = |place: &str| {
            if place == "i" { documents(&scratch.path("i")).remove(0) } else { archived(&scratch, "i.tar") }
        };
        let (_, manifest, config) = documents(place);
        let layers = manifest["layers"].as_array().unwrap();
        assert_eq!((layers.len(), &layers[..2]), (4, &before["layers"].as_array().unwrap()[..]));
        assert!(layers.iter().all(|layer| layer["mediaType"].as_str().unwrap().ends_with("zstd")));
        assert_eq!(config["history"][2]["created_by"], "acbuild copy \"tree/file\" \"/etc/new\"");
        let start = if place == "i" { "oci:i".to_owned() } else { format!("./{place}") };
        scratch.ok(["begin", "--build-mode=oci", &start]);
        assert_eq!(fs::read_to_string(scratch.rootfs("etc/new")).unwrap(), "content");
        assert!(!scratch.rootfs("noise").exists() && scratch.rootfs("file").exists());
        let expected = listing(&scratch.rootfs(""));
        scratch.ok(["end"]);
        run(&["squash"]);
        let (_, manifest, _) = documents(place);
        assert_eq!(manifest["layers"].as_array().unwrap().len(), 1);
        scratch.ok(["begin", "--build-mode=oci", &start]);
        assert_eq!(listing(&scratch.rootfs("")), expected);
        scratch.ok(["end"]);
    }
}

#[test]
fn archives_for_docker_stay_such() {
    let scratch = Scratch::new();
    image(&scratch, &["docker-archive:i.tar:example/app:1.0"]);
    let (_, before, _) = archived(&scratch, "i.tar");
    scratch.ok(["--modify-oci=i.tar", "set-user", "www"]);
    scratch.ok(["--modify-oci=i.tar", "set-tag", "1.1"]);
    let saved: Value = serde_json::from_str(&sh(&scratch.path(""), "tar -xOf i.tar manifest.json")).unwrap();
    assert_eq!(saved[0]["RepoTags"], json!(["example/app:1.1"]));
    let (_, manifest, config) = archived(&scratch, "i.tar");
    assert_eq!((&manifest["layers"], &config["config"]["User"]), (&before["layers"], &json!("www")));
}

#[test]
fn other_images_of_a_layout_are_left_alone() {
    let scratch = Scratch::new();
    image(&scratch, &["oci:i:1.0", "oci:i:other"]);
    let digests = || -> Vec<(Value, Value)> {
        let name = |entry: &Value| entry["annotations"]["org.opencontainers.image.ref.name"].clone();
        documents(&scratch.path("i")).iter().map(|(entry, ..)| (name(entry), entry["digest"].clone())).collect()
    };
    let before = digests();
    scratch.ok(["--modify-oci=oci:i:1.0", "set-user", "www"]);
    scratch.ok(["--modify-oci=oci:i:1.0", "set-tag", "2.0"]);
    let after = digests();
    assert_eq!((after.len(), &after[0]), (2, &before[1]));
    assert_eq!(after[1].0, "2.0");
    assert_ne!(after[1].1, before[0].1);
    scratch.refused(["--modify-oci=i", "set-user", "x"], 1, "there are several images in it, say which: 2.0, other");
}

#[test]
fn what_fails_or_only_reads_changes_nothing() {
    let scratch = Scratch::new();
    image(&scratch, &["i.tar", "oci:i"]);
    for place in ["i.tar", "i"] {
        let refused: &[(&[&str], &str)] = &[
            (&["label", "remove", "none"], "label remove: no label with name"),
            (&["set-user", "a:b"], "user cannot contain"),
            (&["set-name", "example.com/x"], "only supported in appc builds"),
            (&["dependency", "add", "example.com/x"], "only supported in appc builds"),
            (&["copy", "missing", "/x"], "copy: no such file or directory: missing"),
            (&["file", "remove", "/missing"], "does not exist"),
            (&["squash", "--from=7"], "which has 2"),
        ];
        for (command, words) in refused {
            let before = scratch.state();
            let ran = scratch.run([&["--modify-oci", place], *command].concat());
            assert!(matches!(ran.code, Some(1 | 2)) && ran.stderr.contains(words), "no {words:?} in {ran:#?}");
            assert_eq!(scratch.state(), before, "{ran:#?}");
        }
        let facts = || fs::metadata(scratch.path(place)).map(|found| (found.ino(), found.ctime_nsec())).unwrap();
        let before = facts();
        let manifest: Value = serde_json::from_str(&scratch.ok(["--modify-oci", place, "cat-manifest"])).unwrap();
        assert_eq!(manifest["layers"].as_array().unwrap().len(), 2);
        assert_eq!(facts(), before);
    }
}

#[test]
fn what_would_lose_more_than_it_changes_is_refused() {
    let scratch = Scratch::new();
    image(&scratch, &["i.tar"]);
    scratch.ok(["begin"]);
    scratch.ok(["set-name", "example.com/x"]);
    scratch.ok(["write", "i.aci"]);
    scratch.ok(["write", "plain.aci", "--compression=none"]);
    scratch.ok(["end"]);
    let set = ["set-user", "www"];
    let refused = |words: &[&str], why: &str| scratch.refused(words.iter().copied().chain(set), 1, why);
    refused(&["--modify-oci=none.tar"], "image doesn't appear to exist: none.tar.");
    refused(&["--modify-oci=oci:i.tar"], "is not a directory");
    refused(&["--modify-oci=plain.aci"], "no archive of an OCI layout or for docker");
    refused(
        &["--modify-oci=i.tar", "--modify-appc=i.aci"],
        "can't modify an appc image and an oci image at the same time",
    );
    scratch.refused(["--modify-oci=i.tar", "status"], 1, "Can't use --modify flags with status.");
    sh(&scratch.path(""), "gzip -k i.tar");
    refused(&["--modify-oci=i.tar.gz"], "compressed as a whole");

    // An image for two platforms, and two images.
    for arch in ["amd64", "arm64"] {
        fs::create_dir(scratch.path(arch)).unwrap();
        scratch.ok(["--work-path", arch, "begin", "--build-mode=oci", "--arch", arch]);
    }
    scratch.ok(["--work-path=amd64", "write", "--index", "arm64", "both.tar"]);
    refused(&["--modify-oci=both.tar"], "for several platforms: copy the one to change out of it");
    sh(
        &scratch.path(""),
        "mkdir x; tar -C x -xf i.tar; sed -i 's/\"manifests\":\\[\\(.*\\)\\]/\"manifests\":[\\1,\\1]/; s/\"1.0\"/\"2.0\"/' x/index.json; \
         tar -C x -cf two.tar .",
    );
    refused(&["--modify-oci=oci-archive:two.tar:2.0"], "several images, or names of one: copy the one");
}

/// The names of the blobs in a layout.
fn blobs(layout: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(layout.join("blobs/sha256"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn what_only_the_old_image_had_leaves_a_layout() {
    let scratch = Scratch::new();
    image(&scratch, &["oci:i:1.0", "oci:i:2.0", "oci:alone:1.0"]);
    // Of the image, of another one that shares its layers, and of nobody who can be found.
    fs::write(scratch.path("alone/blobs/sha256").join("a".repeat(64)), "unknown").unwrap();
    scratch.ok(["--modify-oci", "oci:i:1.0", "set-user", "www"]);
    assert_eq!(blobs(&scratch.path("i")).len(), 6, "a manifest and a configuration more");
    for user in ["a", "b", "c"] {
        scratch.ok(["--modify-oci", "oci:alone", "set-user", user]);
        assert_eq!(blobs(&scratch.path("alone")).len(), 5, "those of one image, and the unknown one");
    }
    scratch.ok(["--modify-oci", "oci:i:2.0", "set-user", "other"]);
    let names = blobs(&scratch.path("i"));
    let both = documents(&scratch.path("i"));
    assert!(names.len() == 6 && both.len() == 2, "{names:?} {both:?}");
    // What cannot be understood is not taken for garbage.
    let index = scratch.path("alone/index.json");
    let mut with_unknown: Value = serde_json::from_slice(&fs::read(&index).unwrap()).unwrap();
    let mut unknown = with_unknown["manifests"][0].clone();
    unknown["digest"] = json!(format!("sha256:{}", "b".repeat(64)));
    unknown["annotations"]["org.opencontainers.image.ref.name"] = json!("missing");
    with_unknown["manifests"].as_array_mut().unwrap().push(unknown);
    fs::write(&index, with_unknown.to_string()).unwrap();
    scratch.ok(["--modify-oci", "oci:alone:1.0", "set-user", "d"]);
    assert_eq!(blobs(&scratch.path("alone")).len(), 7);
}
