//! The commands that edit the manifest: what each makes of it, and what each refuses.
#![allow(clippy::unwrap_used)] // The lint takes helpers of tests for code.

mod common;

use common::{Scratch, finish};
use serde_json::{Value, json};
use std::process::Stdio;

/// Commands in order, and what is then found where in the manifest.
type Case = (&'static [&'static [&'static str]], &'static str, Value);

fn run_cases(cases: &[Case]) {
    for (commands, pointer, expected) in cases {
        let scratch = Scratch::begun();
        for command in *commands {
            scratch.ok(*command);
        }
        let manifest = scratch.manifest();
        let found = manifest.pointer(pointer).unwrap_or(&Value::Null);
        assert_eq!(found, expected, "{commands:?}");
    }
}

#[test]
fn an_empty_image_has_a_name_a_system_and_nothing_to_run() {
    let scratch = Scratch::begun();
    let arch = if cfg!(target_arch = "x86_64") { "amd64" } else { "aarch64" };
    let expected = json!({"acKind": "ImageManifest", "acVersion": "0.8.11", "name": "acbuild-unnamed",
        "labels": [{"name": "arch", "value": arch}, {"name": "os", "value": "linux"}]});
    assert_eq!(scratch.ok(["cat-manifest"]), expected.to_string());
    assert!(scratch.ok(["cat-manifest", "--pretty-print"]).starts_with("{\n    \"acKind\": \"ImageManifest\",\n"));
}

#[test]
fn what_describes_the_image_is_set() {
    run_cases(&[
        (&[&["set-name", "example.com/hello"]], "/name", json!("example.com/hello")),
        (
            &[&["label", "add", "os", "linux"], &["label", "add", "version", "1"], &["label", "add", "arch", "amd64"]],
            "/labels",
            json!([{"name": "os", "value": "linux"}, {"name": "version", "value": "1"}, {"name": "arch", "value": "amd64"}]),
        ),
        (&[&["label", "remove", "arch"]], "/labels", json!([{"name": "os", "value": "linux"}])),
        (&[&["set-tag", "v2"]], "/labels/2", json!({"name": "version", "value": "v2"})),
        (
            &[
                &["--no-history", "annotation", "add", "authors", "A <a@example.com>"],
                &["--no-history", "annotation", "add", "homepage", "https://example.com"],
                &["--no-history", "annotation", "add", "authors", "B"],
            ],
            "/annotations",
            json!([{"name": "authors", "value": "B"}, {"name": "homepage", "value": "https://example.com"}]),
        ),
        (
            &[
                &["annotation", "add", "x", "1"],
                &["--no-history", "annotation", "remove", "coreos.com/acbuild/command-1"],
            ],
            "/annotations",
            json!([{"name": "x", "value": "1"}]),
        ),
        (
            &[
                &["dependency", "add", "example.com/a:1,os=linux", "--label", "arch=amd64", "--size", "7"],
                &["dependency", "add", "example.com/b"],
                &["dependency", "add", "--image-id", ID, "example.com/c"],
                &["dependency", "remove", "example.com/b"],
            ],
            "/dependencies",
            json!([
                {"imageName": "example.com/a", "labels": [{"name": "arch", "value": "amd64"},
                    {"name": "version", "value": "1"}, {"name": "os", "value": "linux"}], "size": 7},
                {"imageName": "example.com/c", "imageID": ID}
            ]),
        ),
        (
            &[&["dependency", "add", "example.com/a:1"], &["dependency", "add", "example.com/a"]],
            "/dependencies",
            json!([{"imageName": "example.com/a"}]),
        ),
    ]);
}

const ID: &str = concat!(
    "sha512-",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
);

#[test]
fn what_describes_the_process_is_set() {
    run_cases(&[
        (&[&["set-exec", "/bin/hello"]], "/app", json!({"exec": ["/bin/hello"], "user": "0", "group": "0"})),
        (&[&["set-exec", "--", "/bin/sh", "-c", "a b"]], "/app/exec", json!(["/bin/sh", "-c", "a b"])),
        (&[&["set-user", "www"]], "/app", json!({"exec": null, "user": "www", "group": "0"})),
        (&[&["set-group", "/etc/passwd"]], "/app/group", json!("/etc/passwd")),
        (&[&["set-supp-groups", "1"], &["set-supp-groups", "20", "30"]], "/app/supplementaryGIDs", json!([20, 30])),
        (&[&["set-working-directory", "/srv"]], "/app/workingDirectory", json!("/srv")),
        (
            &[
                &["set-event-handler", "pre-start", "/a"],
                &["set-event-handler", "post-stop", "--", "/b", "-x"],
                &["set-event-handler", "pre-start", "/c"],
            ],
            "/app/eventHandlers",
            json!([{"name": "post-stop", "exec": ["/b", "-x"]}, {"name": "pre-start", "exec": ["/c"]}]),
        ),
        (
            &[
                &["environment", "add", "A", "1"],
                &["environment", "add", "B", "<&>"],
                &["environment", "add", "A", "3"],
                &["environment", "add", "C", ""],
                &["environment", "remove", "C"],
            ],
            "/app/environment",
            json!([{"name": "A", "value": "3"}, {"name": "B", "value": "<&>"}]),
        ),
        (
            &[
                &["port", "add", "www", "tcp", "80"],
                &["port", "add", "--count", "10", "--socket-activated", "dns", "udp", "53"],
                &["port", "add", "www", "tcp", "8080"],
                &["port", "add", "more", "tcp", "1"],
                &["port", "remove", "1"],
            ],
            "/app/ports",
            json!([{"name": "dns", "protocol": "udp", "port": 53, "count": 10, "socketActivated": true},
                   {"name": "www", "protocol": "tcp", "port": 8080, "count": 1, "socketActivated": false}]),
        ),
        (
            &[
                &["mount", "add", "a", "/a"],
                &["mount", "add", "b", "/b", "--read-only"],
                &["mount", "add", "c", "/a"],
                &["mount", "add", "d", "/d"],
                &["mount", "remove", "/d"],
            ],
            "/app/mountPoints",
            json!([{"name": "b", "path": "/b", "readOnly": true}, {"name": "c", "path": "/a"}]),
        ),
    ]);
}

#[test]
fn isolators_come_from_a_file_or_standard_input() {
    let scratch = Scratch::begun();
    let file = scratch.file("memory.json", "{ \"limit\" : \"100M\" }\n");
    scratch.ok(["isolator", "add", "resource/memory", file.to_str().unwrap()]);
    let mut from_stdin = scratch.command(["isolator", "add", "os/linux/no-new-privileges", "-"]);
    from_stdin.stdin(Stdio::from(std::fs::File::open(scratch.file("true.json", "true")).unwrap()));
    assert_eq!(finish(&mut from_stdin).code, Some(0));
    let expected = json!([{"name": "resource/memory", "value": {"limit": "100M"}},
                          {"name": "os/linux/no-new-privileges", "value": true}]);
    assert_eq!(scratch.manifest()["app"]["isolators"], expected);
    scratch.ok(["isolator", "remove", "resource/memory"]);
    assert_eq!(scratch.manifest()["app"]["isolators"], json!([expected[1]]));
    scratch.refused(
        ["isolator", "remove", "resource/memory"],
        2,
        "isolator remove: element to be removed does not exist",
    );

    scratch.file("bad.json", "{");
    scratch.file("wrong.json", "\"lots\"");
    scratch.refused(["isolator", "add", "resource/memory", "bad.json"], 1, "isolator add: bad.json is not JSON");
    scratch.refused(["isolator", "add", "resource/memory", "wrong.json"], 1, "isolator add: ");
    scratch.refused(["isolator", "add", "resource/memory", "none.json"], 1, "no such file or directory: none.json");
    scratch.refused(["isolator", "add", "resource/memory", "."], 1, "is a directory");
    scratch.refused(["isolator", "add", "resource/beer", "memory.json"], 1, "unknown isolator name: resource/beer");
    scratch.refused(["isolator", "add", "Memory", "memory.json"], 1, "ACIdentifier");
}

#[test]
fn a_manifest_is_replaced_as_a_whole() {
    let scratch = Scratch::begun();
    scratch.ok(["set-exec", "/bin/old"]);
    scratch.file("new.json", r#"{"acKind":"ImageManifest","acVersion":"0.8.1","name":"example.com/new","x-more":[1]}"#);
    scratch.ok(["replace-manifest", "new.json", "--no-history"]);
    let expected = json!({"acKind": "ImageManifest", "acVersion": "0.8.1", "name": "example.com/new", "x-more": [1]});
    assert_eq!(scratch.manifest(), expected);

    scratch.file("bad.json", "{\"acKind\":\"ImageManifest\"}");
    scratch.refused(["replace-manifest", "bad.json"], 1, "replace-manifest: ");
    scratch.refused(["replace-manifest", "none.json"], 1, "replace-manifest: no such file or directory: none.json");
    scratch.refused(["replace-manifest", "."], 1, "is a directory");
    // No more than readers take.
    let long = json!({"acKind": "ImageManifest", "acVersion": "0.8.1", "name": "example.com/new",
        "annotations": [{"name": "long", "value": "x".repeat(4 << 20)}]});
    scratch.file("long.json", &long.to_string());
    scratch.refused(["replace-manifest", "long.json"], 1, "would be longer than 4194304 bytes: say less in it");

    // It is also the way out of a manifest that cannot be read.
    scratch.file(".acbuild/currentaci/manifest", "gone");
    scratch.refused(["set-name", "example.com/x"], 1, "set-name: error loading manifest: ");
    scratch.ok(["replace-manifest", "new.json"]);
    assert_eq!(scratch.history(), ["acbuild replace-manifest \"new.json\""]);
}

#[test]
fn what_breaks_a_rule_is_refused_and_changes_nothing() {
    let scratch = Scratch::begun();
    let cases: &[(&[&str], i32, &str)] = &[
        (&["set-name", ""], 1, "set-name: name cannot be empty"),
        (&["set-name", "Example.com/Hello"], 1, "set-name: ACIdentifier must contain only"),
        (&["set-user", ""], 1, "set-user: user cannot be empty"),
        (&["set-group", ""], 1, "set-group: group cannot be empty"),
        (&["set-supp-groups", "wheel"], 1, "set-supp-groups: error parsing group argument"),
        (&["set-supp-groups", "4294967296"], 1, "error parsing group argument"),
        (&["set-working-directory", "srv"], 1, "set-working-directory: "),
        (&["label", "add", "name", "x"], 1, "invalid label name: \"name\""),
        (&["label", "add", "arch", "nonsense"], 1, "bad arch \"nonsense\" for linux"),
        (&["label", "add", "os", "plan9"], 1, "bad os \"plan9\""),
        (&["label", "add", "Version", "1"], 1, "ACIdentifier"),
        (&["label", "remove", "version"], 2, "label remove: element to be removed does not exist in this ACI"),
        (&["annotation", "add", "created", "yesterday"], 1, "bad Date"),
        (&["annotation", "add", "homepage", "ftp://x"], 1, "bad URL scheme"),
        (&["annotation", "remove", "authors"], 2, "annotation remove: element to be removed does not exist"),
        (&["environment", "add", "1A", "x"], 1, "does not have valid identifier \"1A\""),
        (&["environment", "add", "", "x"], 1, "environment variable name must not be empty"),
        (&["environment", "remove", "A"], 2, "environment remove: element to be removed does not exist"),
        (&["port", "add", "www", "tcp", "70000"], 1, "port add: port must be a positive number between"),
        (&["port", "add", "www", "tcp", "0"], 1, "port must be a positive number between"),
        (&["port", "add", "www", "tcp", "eighty"], 1, "port must be a positive number between"),
        (&["port", "add", "www", "tcp", "65535", "--count", "2"], 1, "end of port range must be in 1-65535 range"),
        (&["port", "add", "WWW", "tcp", "80"], 1, "ACName"),
        (&["port", "remove", "80/tcp"], 1, "ACName"),
        (&["port", "remove", "80"], 2, "port remove: element to be removed does not exist"),
        (&["mount", "add", "/x", "/x"], 1, "ACName"),
        (&["mount", "remove", "x"], 2, "mount remove: element to be removed does not exist"),
        (&["dependency", "add", "docker://alpine"], 1, "is a URL, not an image name"),
        (&["dependency", "add", "x:1", "--label", "version=2"], 1, "multiple version labels specified"),
        (&["dependency", "add", "x", "--image-id", "md5-1"], 1, "dependency add: "),
        (&["dependency", "remove", "x"], 2, "dependency remove: element to be removed does not exist"),
        (&["cat-manifest", "--file", "config"], 1, "can't print config, appc has no image configs"),
        (&["begin"], 1, "begin: build already in progress in this working dir"),
    ];
    for (args, code, words) in cases {
        scratch.refused(*args, *code, words);
    }
}

#[test]
fn without_a_build_every_command_says_how_to_begin_one() {
    let scratch = Scratch::new();
    scratch.file("x", "");
    let cases: &[&[&str]] = &[
        &["end"],
        &["write", "x.aci"],
        &["copy", "x", "/x"],
        &["copy-to-dir", "x", "/"],
        &["set-name", "x"],
        &["set-exec", "x"],
        &["label", "add", "a", "b"],
        &["label", "remove", "a"],
        &["cat-manifest"],
    ];
    for args in cases {
        scratch.refused(*args, 1, "no build in progress in this working dir - try \"acbuild begin\"");
    }
}

#[test]
fn an_image_may_be_for_another_machine() {
    let scratch = Scratch::new();
    let labels = |scratch: &Scratch| scratch.manifest()["labels"].clone();
    for (args, arch, os) in [
        (&["--arch=arm64"][..], "aarch64", "linux"),
        (&["--arch", "386", "--os", "freebsd"], "i386", "freebsd"),
        (&["./tree", "--arch", "s390x"], "s390x", "linux"),
    ] {
        scratch.file("tree/file", "");
        scratch.ok(["begin"].iter().chain(args));
        let expected = serde_json::json!([{"name": "arch", "value": arch}, {"name": "os", "value": os}]);
        assert_eq!(labels(&scratch), expected, "{args:?}");
        scratch.ok(["set-name", "example.com/other"]);
        scratch.ok(["write", "--overwrite", "other.aci"]);
        scratch.ok(["end"]);
    }
    scratch.refused(["begin", "--arch", "riscv65"], 1, "begin: bad arch \"riscv65\" for linux");
    scratch.refused(["begin", "--os", "plan9"], 1, "begin: bad os \"plan9\"");
    scratch.refused(["begin", "./other.aci", "--arch=arm64"], 1, "begin: the image is for arch s390x, not aarch64");
    assert!(!scratch.path(".acbuild").exists());
    scratch.ok(["begin", "./other.aci", "--arch=s390x"]);
}
