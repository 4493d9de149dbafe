//! `--modify-appc`: image files that are changed where they lie, or not at all.
#![allow(clippy::unwrap_used)] // The lint takes helpers of tests for code.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use common::{Scratch, as_nobody, finish, is_root, listing, skip};
use serde_json::Value;

/// Writes `i.aci`, with some megabytes that no compression makes smaller, and ends the build. Returns its ID.
fn image(scratch: &Scratch, compression: &str) -> String {
    scratch.ok(["begin"]);
    scratch.ok(["set-name", "example.com/image"]);
    // Of xz, which is slow, a piece is longer in any case.
    let words = if compression == "xz" { 50_000_u32 } else { 1_500_000 };
    let noise: Vec<u8> = (0..words).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    fs::write(scratch.rootfs("noise"), noise).unwrap();
    fs::write(scratch.rootfs("file"), "content").unwrap();
    let id = scratch.ok(["write", "i.aci", "--compression", compression, "--overwrite"]);
    scratch.ok(["end"]);
    id
}

/// The ID of what `command` makes of the image when it is unpacked and written.
fn rewritten(scratch: &Scratch, start: &str, command: &[&str]) -> String {
    scratch.ok(["begin", start]);
    scratch.ok(command);
    let id = scratch.ok(["write", "rewritten.aci", "--overwrite"]);
    scratch.ok(["end"]);
    id
}

/// The ID of an archive by its definition.
fn id(scratch: &Scratch, file: &str) -> String {
    scratch.ok(["begin", &format!("./{file}")]);
    let id = scratch.ok(["write", "id.aci", "--overwrite"]);
    scratch.ok(["end"]);
    id
}

/// How long the end is that two files have in common.
fn common_end(a: &[u8], b: &[u8]) -> usize {
    a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count()
}

fn sh(dir: &Path, script: &str) {
    let status = Command::new("sh").args(["-ec", script]).current_dir(dir).status().unwrap();
    assert!(status.success(), "{script}");
}

#[test]
fn a_manifest_is_changed_and_the_files_stay_as_they_are_compressed() {
    for kind in ["gzip", "none", "bzip2", "zstd", "xz"] {
        let scratch = Scratch::new();
        image(&scratch, kind);
        let wanted = rewritten(&scratch, "./i.aci", &["label", "add", "version", "1.0"]);
        let before = fs::read(scratch.path("i.aci")).unwrap();
        fs::set_permissions(scratch.path("i.aci"), fs::Permissions::from_mode(0o604)).unwrap();
        let ran = scratch.run(["--modify-appc=i.aci", "label", "add", "version", "1.0"]);
        assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (Some(0), "", ""), "{kind}: {ran:#?}");
        let after = fs::read(scratch.path("i.aci")).unwrap();
        // The manifest is a piece by itself, of less than a hundredth.
        let same = common_end(&before, &after) * 100 / before.len();
        assert!(same >= 99, "{kind}: {same}");
        assert_eq!(fs::metadata(scratch.path("i.aci")).unwrap().mode() & 0o7777, 0o604);
        assert_eq!(id(&scratch, "i.aci"), wanted, "{kind}");
        assert_eq!(scratch.ok(["validate", "i.aci"]), "");
    }
}

#[test]
fn a_manifest_may_be_longer_than_what_is_decompressed_at_a_time() {
    let scratch = Scratch::new();
    image(&scratch, "gzip");
    let long = format!(
        r#"{{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/long","annotations":[{{"name":"long","value":"{}"}}]}}"#,
        "x".repeat(3 << 20)
    );
    scratch.file("long.json", &long);
    for command in [["replace-manifest", "long.json"].as_slice(), &["annotation", "remove", "long"]] {
        let wanted = rewritten(&scratch, "./i.aci", command);
        scratch.ok([command, &["--modify-appc", "i.aci"]].concat());
        assert_eq!(id(&scratch, "i.aci"), wanted, "{command:?}");
    }
}

#[test]
fn archives_of_others_are_compressed_anew_once_and_that_is_said() {
    let scratch = Scratch::new();
    image(&scratch, "gzip");
    sh(
        &scratch.path(""),
        "mkdir x; tar -C x -xzf i.aci; tar -C x -czf other.aci rootfs manifest; tar -C x -czf one.aci manifest rootfs",
    );
    sh(&scratch.path(""), "tar -C x --format=pax --pax-option=comment=hello -czf globals.aci ./rootfs ./manifest");
    for file in ["other.aci", "one.aci", "globals.aci"] {
        let set = ["--modify-appc", file, "set-user", "www"];
        let wanted = rewritten(&scratch, &format!("./{file}"), &["set-user", "www"]);
        let ran = scratch.run(set);
        assert_eq!(ran.code, Some(0), "{ran:#?}");
        // What is one short piece, with the manifest first, is compressed in any case.
        let said = ran.stderr.contains("was compressed anew: its manifest did not come first");
        assert_eq!(said, file != "one.aci", "{ran:#?}");
        assert_eq!(id(&scratch, file), wanted);
        assert_eq!(scratch.ok(["validate", file]), "");
        let again = scratch.run(["--modify-appc", file, "set-user", "nobody"]);
        assert_eq!((again.code, again.stderr.as_str()), (Some(0), ""), "{again:#?}");
        assert_eq!(scratch.ok(["validate", file]), "");
    }
}

#[test]
fn what_fails_or_only_reads_changes_nothing() {
    let scratch = Scratch::new();
    image(&scratch, "gzip");
    let facts = || {
        let metadata = fs::metadata(scratch.path("i.aci")).unwrap();
        (metadata.ino(), metadata.mtime_nsec(), metadata.ctime_nsec(), fs::read(scratch.path("i.aci")).unwrap())
    };
    let before = facts();
    let refused: &[(&[&str], i32, &str)] = &[
        (&["label", "remove", "none"], 2, "label remove: element to be removed does not exist in this ACI"),
        (&["label", "add", "arch", "nonsense"], 1, "label add: "),
        (&["set-name", ""], 1, "set-name: name cannot be empty"),
        (&["copy", "missing", "/x"], 1, "copy: no such file or directory: missing"),
    ];
    for (command, code, words) in refused {
        let ran = scratch.run([&["--modify-appc=i.aci"], *command].concat());
        assert_eq!(ran.code, Some(*code), "{ran:#?}");
        assert!(ran.stderr.starts_with(words) && ran.stderr.lines().count() == 1, "{ran:#?}");
        assert!(facts() == before, "{ran:#?}");
    }
    let shown: Value = serde_json::from_str(&scratch.ok(["--modify-appc=i.aci", "cat-manifest"])).unwrap();
    assert_eq!(shown["name"], "example.com/image");
    assert!(facts() == before);
    let left: Vec<_> = fs::read_dir(scratch.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["i.aci"]);
}

#[test]
fn what_is_damaged_behind_the_manifest_is_refused_as_it_is() {
    let scratch = Scratch::new();
    for compression in ["none", "gzip", "bzip2", "xz", "zstd"] {
        image(&scratch, compression);
        let whole = fs::read(scratch.path("i.aci")).unwrap();
        let long = [&whole[..], b"junk"].concat();
        for damaged in [&whole[..whole.len() - 600], &long] {
            fs::write(scratch.path("i.aci"), damaged).unwrap();
            scratch.refused(["--modify-appc=i.aci", "label", "add", "a", "b"], 1, "get or build the image anew");
            scratch.refused(["patch-manifest", "--name=example.com/x", "i.aci", "o.aci"], 1, "build the image anew");
        }
    }
}

#[test]
fn commands_that_change_no_image_are_refused() {
    let scratch = Scratch::new();
    image(&scratch, "gzip");
    let cases: &[(&[&str], &str)] = &[
        (&["begin"], "Can't use --modify flags with begin."),
        (&["write", "x.aci"], "Can't use --modify flags with write."),
        (&["end"], "Can't use --modify flags with end."),
        (&["version"], "Can't use --modify flags with version."),
        (&["status"], "Can't use --modify flags with status."),
    ];
    for (command, words) in cases {
        scratch.refused([&["--modify-appc=i.aci"], *command].concat(), 1, words);
    }
    fs::create_dir(scratch.path("folder")).unwrap();
    scratch.refused(["--modify-appc=none.aci", "cat-manifest"], 1, "image doesn't appear to exist: none.aci.");
    scratch.refused(["--modify-appc=folder", "set-user", "x"], 1, "image to modify is a directory: folder.");
    scratch.file("text", "no image\n");
    scratch.refused(["--modify-appc=text", "set-user", "x"], 1, "text, not a tar archive");
}

#[test]
fn a_build_in_the_same_folder_is_left_alone() {
    let scratch = Scratch::new();
    image(&scratch, "gzip");
    scratch.ok(["begin"]);
    let before = scratch.state();
    symlink("i.aci", scratch.path("link.aci")).unwrap();
    scratch.ok(["--modify-appc=link.aci", "set-exec", "/bin/x"]);
    assert!(fs::symlink_metadata(scratch.path("link.aci")).unwrap().is_symlink());
    fs::remove_file(scratch.path("link.aci")).unwrap();
    let manifest: Value = serde_json::from_str(&scratch.ok(["cat-manifest", "i.aci"])).unwrap();
    assert_eq!(manifest["app"]["exec"][0], "/bin/x");
    let history = manifest["annotations"].as_array().unwrap().last().unwrap();
    assert_eq!(history["value"], r#"acbuild set-exec "/bin/x""#);
    let image = |line: &String| line.contains("./i.aci") || line.starts_with(". d");
    let without = |state: Vec<String>| state.into_iter().filter(|line| !image(line)).collect::<Vec<_>>();
    assert_eq!(without(scratch.state()), without(before));
}

#[test]
fn files_are_changed_too() {
    if !is_root() {
        skip("files_are_changed_too", "keeping owners takes root");
        return;
    }
    for kind in ["gzip", "xz"] {
        let scratch = Scratch::new();
        image(&scratch, kind);
        scratch.file("new", "new");
        let wanted = rewritten(&scratch, "./i.aci", &["copy", "new", "/etc/new"]);
        let magic = fs::read(scratch.path("i.aci")).unwrap()[..2].to_vec();
        // The directory is as old as the copy: only that differs.
        scratch.ok(["--modify-appc=i.aci", "copy", "new", "/etc/new"]);
        assert_eq!(fs::read(scratch.path("i.aci")).unwrap()[..2], magic);
        assert!(wanted.starts_with("sha512-"));
        scratch.ok(["begin", "./i.aci"]);
        assert_eq!(fs::read_to_string(scratch.rootfs("etc/new")).unwrap(), "new");
        assert_eq!(fs::read_to_string(scratch.rootfs("file")).unwrap(), "content");
        assert_eq!(scratch.history().last().unwrap(), r#"acbuild copy "new" "/etc/new""#);
        let changed = listing(&scratch.rootfs(""));
        scratch.ok(["end"]);
        scratch.ok(["begin", "./rewritten.aci"]);
        let fresh = listing(&scratch.rootfs(""));
        assert_eq!(changed.len(), fresh.len());
        scratch.ok(["end"]);
    }
}

#[test]
fn layers_of_an_oci_image_stay_when_only_its_manifest_is_edited() {
    let scratch = Scratch::new();
    scratch.file("f", "content");
    for command in
        ["begin --build-mode=oci", "copy f /a", "layer", "copy f /b", "set-exec -- /a", "write oci:layers", "end"]
    {
        scratch.ok(command.split(' '));
    }
    let manifest = |dir: &str| -> Value {
        let read = |file: &str| fs::read(scratch.path(dir).join(file)).unwrap();
        let index: Value = serde_json::from_slice(&read("index.json")).unwrap();
        let digest = index["manifests"][0]["digest"].as_str().unwrap().replace("sha256:", "blobs/sha256/");
        serde_json::from_slice(&read(&digest)).unwrap()
    };
    scratch.ok(["convert", "oci:layers", "x.aci"]);
    scratch.ok(["--modify-appc=x.aci", "set-user", "www"]);
    scratch.ok(["patch-manifest", "--replace", "--exec=/b", "x.aci"]);
    let ran = scratch.run(["convert", "x.aci", "oci:edited"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:#?}");
    assert_eq!(manifest("edited")["layers"], manifest("layers")["layers"]);
    assert_eq!(manifest("edited")["layers"].as_array().unwrap().len(), 2);
    let config = scratch.ok(["--modify-oci=edited", "cat-manifest", "--file=config"]);
    assert!(config.contains("\"User\":\"www:0\"") && config.contains("[\"/b\"]"), "{config}");

    // Where they cannot stay that is said.
    scratch.ok(["convert", "oci:layers", "bundle:bundle"]);
    scratch.ok(["convert", "--no-originals", "oci:layers", "small.aci"]);
    for from in ["bundle:bundle", "small.aci"] {
        let ran = scratch.run(["convert", from, &format!("oci:of-{}", from.split([':', '.']).next().unwrap())]);
        assert!(ran.code == Some(0) && ran.stderr.starts_with("warning: left out: the layers "), "{ran:#?}");
        assert_eq!(ran.stderr.lines().count(), 1, "{ran:#?}");
    }
}

#[test]
fn many_changes_at_once_all_count_and_none_is_half() {
    let scratch = Scratch::new();
    image(&scratch, "gzip");
    let mut running: Vec<_> = (0..12)
        .map(|n| scratch.command(["--modify-appc=i.aci", "label", "add", &format!("l{n}"), "x"]).spawn().unwrap())
        .collect();
    for child in &mut running {
        assert!(child.wait().unwrap().success());
    }
    let manifest: Value = serde_json::from_str(&scratch.ok(["cat-manifest", "i.aci"])).unwrap();
    assert_eq!(manifest["labels"].as_array().unwrap().len(), 2 + 12);
    // However far a command came that is killed.
    for n in 0..20_u64 {
        let mut command = scratch.command(["--modify-appc=i.aci", "set-user", &n.to_string()]);
        let mut child = command.spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_micros(n * 700));
        let _ = child.kill();
        child.wait().unwrap();
        scratch.ok(["validate", "i.aci"]);
    }
}

#[test]
fn an_ordinary_user_may_change_the_manifest() {
    let scratch = Scratch::new();
    image(&scratch, "gzip");
    sh(&scratch.path(""), "chmod 777 .; chmod 666 i.aci; chown 65534:65534 i.aci 2>/dev/null || true");
    let ran = as_nobody(&scratch, &["--modify-appc=i.aci", "set-user", "www"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran:#?}");
    assert_eq!(finish(scratch.command(["validate", "i.aci"]).env("LC_ALL", "C")).code, Some(0));
}
