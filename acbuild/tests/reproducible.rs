//! `acbuild verify-reproducible`.
#![allow(clippy::unwrap_used)] // The lint takes helpers of tests for code.

mod common;

use std::fs;

use common::{Ran, Scratch, finish};
use serde_json::Value;

/// Runs it with the time fixed; neither the directory nor that for temporary files is another afterwards.
fn verify(scratch: &Scratch, args: &[&str]) -> Ran {
    let temporary = tempfile::tempdir().unwrap();
    let before = scratch.state();
    let mut command = scratch.command(["verify-reproducible"].iter().chain(args));
    let ran = finish(command.env("TMPDIR", temporary.path()).env("SOURCE_DATE_EPOCH", "1000000000"));
    assert_eq!(scratch.state(), before, "{ran:#?}");
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0, "something was left: {ran:#?}");
    ran
}

const SHELL: &str = "#!/bin/sh\nset -e\nacbuild begin\ntrap 'acbuild end' EXIT\nacbuild set-name example.com/r\n";

#[test]
fn a_script_that_depends_on_nothing_around_it_is_reproducible() {
    let scratch = Scratch::new();
    scratch.file("tree/file", "content");
    scratch.file(
        "build.sh",
        &format!("{SHELL}acbuild copy tree /srv/tree\nacbuild label add version $1\nacbuild write r.aci"),
    );
    scratch.file("build", "begin ./tree\nset-name example.com/r\nlabel add version $1\nwrite r.aci");
    // A build of the user's is not in the way.
    scratch.ok(["begin"]);
    for script in ["build.sh", "build"] {
        let ran = verify(&scratch, &[script, "1.0"]);
        assert_eq!(ran.code, Some(0), "{ran:#?}");
        assert!(ran.stdout.starts_with("r.aci is the same in both runs: sha512-"), "{ran:#?}");
    }
    let ran = verify(&scratch, &["--format=json", "build", "1.0"]);
    let json: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&json[0]["file"], &json[0]["same"]), (&"r.aci".into(), &true.into()));
}

#[test]
fn what_differs_is_named() {
    let scratch = Scratch::new();
    let script = "acbuild label add where \"$(basename \"$(dirname \"$PWD\")\" | tr ' ' -)\"\n\
                  acbuild annotation add zone \"$TZ\"\nmkdir tree\necho same >tree/private\necho $HOME >tree/home\ntouch tree/file-$USER\n\
                  touch -d @7 tree/*\nacbuild copy tree /tree\nacbuild write r.aci";
    scratch.file("build.sh", &format!("{SHELL}{script}"));
    let ran = verify(&scratch, &["build.sh"]);
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    let lines: Vec<_> = ran.stdout.lines().collect();
    assert_eq!(lines[0], "r.aci differs:");
    for line in ["~ manifest labels[2].value: \"a\", then \"run-of-it\"", "- /tree/file-root", "+ /tree/file-someone"] {
        assert!(lines.contains(&line), "no {line:?} in {ran:#?}");
    }
    for (path, how) in [("/tree/private", "mode"), ("/tree/home", "content"), ("/tree ", "mode")] {
        let line = lines.iter().find(|line| line.starts_with(&format!("~ {path}")));
        assert!(line.is_some_and(|line| line.contains(how)), "no {how} of {path} in {ran:#?}");
    }
    assert!(ran.stdout.contains("UTC0") && ran.stdout.contains("XST-13:45"), "{ran:#?}");
    assert!(ran.stderr.ends_with("must not depend on what is around it\n"), "{ran:#?}");
}

#[test]
fn a_script_that_fails_or_writes_no_image_is_told() {
    let scratch = Scratch::new();
    scratch.file("fails", "begin\nset-name example.com/r\nlabel rm none");
    scratch.file("none", "begin\nset-name example.com/r\ncat-manifest");
    scratch.file("in-second.sh", "#!/bin/sh\n[ \"$USER\" = root ]");
    for (script, words) in [
        ("fails", "the script failed with exit code 2, with umask 022"),
        ("in-second.sh", "the script failed with exit code 1, with umask 077"),
        ("none", "the script wrote no image"),
        ("missing", "cannot read the script \"missing\": no such file or directory"),
    ] {
        let ran = verify(&scratch, &[script]);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran:#?}");
        let last = ran.stderr.lines().last().unwrap();
        assert!(last.starts_with("verify-reproducible: ") && last.contains(words), "{ran:#?}");
    }
}

#[test]
fn what_is_only_copied_needs_no_fixed_time() {
    let scratch = Scratch::new();
    scratch.file("tree/file", "content");
    scratch.file("build", "begin\nset-name example.com/r\ncopy tree /srv/a/b\ncopy tree/file /srv/file\ncopy-to-dir tree /opt\nwrite r.aci");
    let ran = finish(scratch.command(["verify-reproducible", "build"]).env_remove("SOURCE_DATE_EPOCH"));
    assert_eq!(ran.code, Some(0), "{ran:#?}");
}

#[test]
fn times_count_where_they_are_not_fixed() {
    let scratch = Scratch::new();
    scratch.file("build.sh", &format!("{SHELL}echo now >file\nacbuild copy file /file\nacbuild write r.aci"));
    let ran = finish(scratch.command(["verify-reproducible", "build.sh"]).env_remove("SOURCE_DATE_EPOCH"));
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    assert!(ran.stdout.contains("~ /file (") && ran.stdout.contains("time"), "{ran:#?}");
}

#[test]
fn oci_images_are_compared_in_archives_and_layouts() {
    let scratch = Scratch::new();
    scratch.file("tree/file", "content");
    let begin = "#!/bin/sh\nset -e\nacbuild begin --build-mode=oci\ntrap 'acbuild end' EXIT\nacbuild copy tree /srv/tree\nacbuild layer\n";
    let write = "acbuild write out.tar\nacbuild write oci:layout:a\nacbuild write oci:layout:b";
    scratch.file("same.sh", &format!("{begin}{write}"));
    let ran = verify(&scratch, &["same.sh"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    let lines: Vec<_> = ran.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{ran:#?}");
    for (line, start) in lines.iter().zip(["layout a is", "layout b is", "out.tar is"]) {
        assert!(line.starts_with(start) && line.contains("the same in both runs: sha256:"), "{ran:#?}");
    }

    let differ = "rm .acbuild/currentaci/rootfs/srv/tree/file\necho $USER >tree/file\nacbuild copy tree/file /new\n\
                  acbuild label add zone \"$TZ\"\n";
    scratch.file("differs.sh", &format!("{begin}{differ}acbuild write out.tar\nacbuild write oci:layout:$USER"));
    let ran = verify(&scratch, &["differs.sh"]);
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    for line in [
        "layout root was written by the first run only",
        "layout someone was written by the second run only",
        "out.tar differs:",
        "~ config config.Labels.zone: \"UTC0\", then \"XST-13:45\"",
    ] {
        assert!(ran.stdout.lines().any(|found| found == line), "no {line:?} in {ran:#?}");
    }
    assert!(ran.stdout.contains("~ manifest layers[1].digest") && !ran.stdout.contains("layers[0]"), "{ran:#?}");
    assert!(ran.stdout.contains("~ /new (") && !ran.stdout.contains("/srv"), "{ran:#?}");

    // Without a fixed time, that of the files counts, and it differs for what is made on the way.
    let unfixed =
        |script: &str| finish(scratch.command(["verify-reproducible", script]).env_remove("SOURCE_DATE_EPOCH"));
    scratch.file("copied.sh", &format!("{begin}acbuild set-user www\nacbuild write out.tar"));
    let ran = unfixed("copied.sh");
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    scratch.file("now.sh", &format!("{begin}umask 022; echo same >new\nacbuild copy new /new\nacbuild write out.tar"));
    let ran = unfixed("now.sh");
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    assert!(ran.stdout.contains("~ config created: ") && ran.stderr.contains("only times do"), "{ran:#?}");
}

/// Two directories with the same files, which are of 2001, 2004 and 2100.
fn alike() -> [Scratch; 2] {
    let scratches = [Scratch::new(), Scratch::new()];
    for scratch in &scratches {
        for (name, seconds) in
            [("f", 1_000_000_000), ("tree/newer", 1_100_000_000), ("tree/sub/x", 0), ("later", 4_102_444_800)]
        {
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            let path = scratch.file(name, name);
            fs::File::open(path).unwrap().set_modified(time).unwrap();
        }
        for directory in ["tree/sub", "tree"] {
            fs::File::open(scratch.path(directory)).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        }
    }
    scratches
}

/// The times in the configuration of the image in a layout: of the image, and of what its history tells of.
fn times(scratch: &Scratch, layout: &str) -> (Value, Vec<Value>) {
    let read =
        |path: &str| -> Value { serde_json::from_slice(&fs::read(scratch.path(layout).join(path)).unwrap()).unwrap() };
    let blob = |of: &Value| read(&format!("blobs/{}", of["digest"].as_str().unwrap().replace(':', "/")));
    let config = blob(&blob(&read("index.json")["manifests"][0])["config"]);
    let history = config["history"].as_array().unwrap();
    (config["created"].clone(), history.iter().map(|entry| entry["created"].clone()).collect())
}

#[test]
fn an_oci_image_is_as_old_as_its_files() {
    let build = |scratch: &Scratch| -> Vec<String> {
        let cached = |words: &str| {
            let ran = finish(scratch.command(words.split(' ')).env("ACBUILD_CACHE", "1"));
            assert_eq!(ran.code, Some(0), "{ran:#?}");
            ran.stdout
        };
        let mut said = Vec::new();
        for words in [
            "begin --build-mode=oci",
            "set-user www",
            "write oci:empty",
            "copy tree /srv/a/b",
            "layer",
            "copy f /f",
            "file remove /srv/a/b/sub",
            "write oci:one",
            "write oci:again",
            "squash --from 1",
            "write oci:squashed",
            "end",
            "begin --build-mode=oci oci:one",
            "set-user root",
            "write oci:edited",
            "copy later /later",
            "write oci:two",
            "end",
            "--modify-oci oci:two label add version 2",
            "--modify-oci oci:two file remove /f",
        ] {
            // The second time round the layers come from the cache.
            said.push(cached(words));
        }
        said.push(fs::read_to_string(scratch.path("two/index.json")).unwrap());
        scratch.ok(["convert", "oci:one", "one.aci"]);
        scratch.ok(["convert", "one.aci", "oci:back"]);
        scratch.ok(["begin"]);
        scratch.ok(["set-name", "example.com/r"]);
        scratch.ok(["copy", "tree", "/tree"]);
        said.push(scratch.ok(["write", "r.aci"]));
        said.push(scratch.ok(["convert", "r.aci", "oci:converted"]));
        said.push(fs::read_to_string(scratch.path("converted/index.json")).unwrap());
        said
    };
    let [one, two] = alike();
    let first = build(&one);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert_eq!(build(&two), first);

    let [begun, of_2001, of_2004, of_2100] =
        ["1970-01-01T00:00:00Z", "2001-09-09T01:46:40Z", "2004-11-09T11:33:20Z", "2100-01-01T00:00:00Z"];
    for (layout, created, history) in [
        ("empty", begun, &[begun][..]),
        ("one", of_2004, &[of_2004, of_2001]),
        ("again", of_2004, &[of_2004, of_2001]),
        ("back", of_2004, &[of_2004, of_2001]),
        ("squashed", of_2004, &[of_2004]),
        ("edited", of_2004, &[of_2004, of_2001, of_2004]),
        ("two", of_2100, &[of_2004, of_2001, of_2100, of_2100, begun]),
    ] {
        assert_eq!(
            times(&one, layout),
            (created.into(), history.iter().map(|time| (*time).into()).collect()),
            "{layout}"
        );
    }
}
