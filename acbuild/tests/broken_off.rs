//! What is left of a build when its manifest is damaged, its disk is full, or any of its commands is killed.
#![allow(clippy::unwrap_used)] // The lint takes helpers of tests for code.

mod common;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{Scratch, is_root, skip};
use support::guard::Mounted;

/// One of each command that changes a build that is begun, as words between spaces.
const CHANGES: [&str; 22] = [
    "set-name example.com/other",
    "set-exec /bin/sh",
    "set-user www",
    "set-group www",
    "set-supp-groups 1 2",
    "set-working-directory /srv",
    "set-event-handler pre-start /bin/sh",
    "set-tag 2",
    "annotation add authors me",
    "annotation remove note",
    "label add tier web",
    "label remove tag",
    "environment add A 1",
    "environment remove B",
    "port add www tcp 80",
    "port remove old",
    "mount add data /data",
    "mount remove old",
    "isolator add resource/memory memory.json",
    "dependency add example.com/base",
    "dependency remove example.com/old",
    "copy tree /copied",
];

/// A build in which each of those has something to do.
fn prepare(scratch: &Scratch) {
    scratch.file("memory.json", r#"{"limit": "1G"}"#);
    for n in 0..20 {
        scratch.file(&format!("tree/{n}/file"), &"content ".repeat(n * 100));
    }
    let commands = [
        "begin",
        "set-name example.com/one",
        "set-exec /bin/true",
        "annotation add note text",
        "label add tag 1",
        "environment add B 2",
        "port add old tcp 1",
        "mount add old /old",
        "dependency add example.com/old",
    ];
    for command in commands {
        scratch.ok(command.split(' '));
    }
}

#[test]
fn an_empty_manifest_is_told_and_can_be_replaced() {
    let scratch = Scratch::new();
    prepare(&scratch);
    let good = scratch.file("good.json", &scratch.ok(["cat-manifest"]));
    File::create(scratch.path(".acbuild/currentaci/manifest")).unwrap();
    for command in CHANGES.iter().chain(&["cat-manifest", "write out.aci"]) {
        let words = ["manifest", "replace-manifest"];
        let before = scratch.state();
        let ran = scratch.run(command.split(' '));
        assert!(ran.code == Some(1) && ran.stderr.lines().count() == 1, "{ran:#?}");
        assert!(words.iter().all(|word| ran.stderr.contains(word)), "what is wrong and what to do: {ran:#?}");
        assert_eq!(scratch.state(), before, "{ran:#?}");
    }
    scratch.refused(["begin"], 1, "build already in progress");
    scratch.ok(["replace-manifest", good.to_str().unwrap(), "--no-history"]);
    assert_eq!(scratch.ok(["cat-manifest"]), fs::read_to_string(good).unwrap());
    for command in CHANGES {
        scratch.ok(command.split(' '));
    }
    File::create(scratch.path(".acbuild/currentaci/manifest")).unwrap();
    scratch.ok(["end"]);
    assert!(!scratch.path(".acbuild").exists());
}

#[test]
fn on_a_full_disk_a_command_is_done_or_the_build_is_as_it_was() {
    if !is_root() {
        skip("on_a_full_disk_a_command_is_done_or_the_build_is_as_it_was", "it mounts a small file system");
        return;
    }
    let scratch = Scratch::new();
    let _disk = Mounted::tmpfs(&scratch.path(""), "1m");
    prepare(&scratch);
    scratch.file("good.json", &scratch.ok(["cat-manifest"]));
    fill(&scratch);
    for command in CHANGES.iter().chain(&["write out.aci", "replace-manifest good.json"]) {
        let before = scratch.state();
        let ran = scratch.run(command.split(' '));
        assert!(ran.code == Some(1) && ran.stderr.lines().count() == 1, "{ran:#?}");
        let said = ran.stderr.to_lowercase();
        assert!(said.contains("no space left") && said.contains("make room"), "{ran:#?}");
        assert_eq!(scratch.state(), before, "{ran:#?}");
    }
    scratch.ok(["cat-manifest"]);
    fs::remove_file(scratch.path("fill")).unwrap();
    for command in CHANGES.iter().chain(&["write out.aci"]) {
        scratch.ok(command.split(' '));
    }
    fill(&scratch);
    scratch.ok(["end"]);
    assert!(!scratch.path(".acbuild").exists(), "ending a build makes room");
}

/// Writes until not a byte more fits.
fn fill(scratch: &Scratch) {
    let mut file = File::create(scratch.path("fill")).unwrap();
    for size in [4096, 1] {
        while file.write_all(&vec![7; size]).is_ok() {}
    }
}

/// How long the command takes when nobody stops it.
fn usual(scratch: &Scratch, command: &str) -> Duration {
    let started = Instant::now();
    scratch.run(command.split(' '));
    started.elapsed()
}

/// Starts a command and kills it after a while; whether it was still running.
fn kill_after(scratch: &Scratch, command: &str, delay: Duration) -> bool {
    let mut child = scratch.command(command.split(' ')).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(delay);
    let _ended = child.kill();
    child.wait().unwrap().signal().is_some()
}

/// Moments from the start of a command to its end.
fn moments(whole: Duration) -> impl Iterator<Item = Duration> {
    (1..=6).map(move |part| whole * part / 7)
}

#[test]
fn a_kill_in_any_command_that_changes_a_build_leaves_one_that_can_be_used() {
    let mut killed = 0;
    for command in CHANGES {
        let scratch = Scratch::new();
        prepare(&scratch);
        let whole = usual(&scratch, command);
        for delay in moments(whole) {
            killed += usize::from(kill_after(&scratch, command, delay));
            scratch.manifest();
        }
        // The next commands find nothing in their way.
        for next in ["copy tree /again", "label add last 1", "set-name example.com/last"] {
            scratch.ok(next.split(' '));
        }
        assert!(!scratch.path(".acbuild/staging").exists() && !scratch.path(".acbuild/manifest.new").exists());
        assert!(scratch.rootfs("again/19/file").exists());
        scratch.ok(["end"]);
    }
    assert!(killed > CHANGES.len(), "only {killed} commands were killed before they had ended");
}

#[test]
fn a_kill_in_begin_write_or_end_leaves_nothing_half_done() {
    let scratch = Scratch::new();
    prepare(&scratch);
    let whole = usual(&scratch, "write first.aci");
    for (number, delay) in moments(whole).enumerate() {
        let name = format!("out{number}.aci");
        kill_after(&scratch, &format!("write {name}"), delay);
        if scratch.path(&name).exists() {
            assert_eq!(fs::read(scratch.path(&name)).unwrap(), fs::read(scratch.path("first.aci")).unwrap());
        }
    }
    scratch.ok(["write", "--overwrite", "first.aci"]);
    scratch.ok(["end"]);

    let whole = usual(&scratch, "begin ./first.aci");
    for delay in moments(whole) {
        scratch.ok(["end"]);
        kill_after(&scratch, "begin ./first.aci", delay);
        // Whether there is a build or not, one can be ended and begun.
        scratch.run(["end"]);
        scratch.ok(["begin", "./first.aci"]);
        kill_after(&scratch, "end", delay / 2);
        if scratch.run(["cat-manifest"]).code == Some(0) {
            scratch.ok(["write", "--overwrite", "first.aci"]);
            continue;
        }
        scratch.ok(["begin"]);
    }
}

/// The names in a directory and below.
fn names(dir: &Path) -> Vec<String> {
    let all = common::listing(dir);
    all.into_iter().filter(|line| line.contains(".tmp-")).collect()
}

/// Starts a command, kills it as soon as it has written a good part of an image, and tells whether it was still running.
fn kill_while_it_writes(scratch: &Scratch, words: &[&str]) -> bool {
    let mut child = scratch.command(words).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let written = || {
        let io = fs::read_to_string(format!("/proc/{}/io", child.id())).unwrap_or_default();
        let count = io.lines().find_map(|line| line.strip_prefix("wchar: ")?.parse::<u64>().ok());
        count.is_none_or(|count| count > 3 << 20)
    };
    common::until(written);
    let _ended = child.kill();
    child.wait().unwrap().signal().is_some()
}

#[test]
fn a_kill_while_an_oci_image_is_written_leaves_nothing() {
    let scratch = Scratch::new();
    scratch.ok(["begin", "--build-mode=oci"]);
    // Two layers that no compression makes small.
    for name in ["one", "two"] {
        let (mut noise, mut random) = (vec![0; 24 << 20], File::open("/dev/urandom").unwrap());
        random.read_exact(&mut noise).unwrap();
        fs::write(scratch.path(name), noise).unwrap();
        scratch.ok(["copy", name, &format!("/{name}")]);
        scratch.ok(["layer"]);
    }
    scratch.ok(["write", "--compression=none", "whole.tar"]);
    scratch.ok(["write", "--compression=none", "oci:layout:1"]);
    let whole = fs::read(scratch.path("whole.tar")).unwrap();
    let layout = common::listing(&scratch.path("layout"));
    for words in [
        &["write", "--compression=none", "new.tar"][..],
        &["write", "--compression=none", "--overwrite", "whole.tar"],
        &["write", "--compression=none", "docker-archive:docker.tar"],
        &["write", "--compression=none", "oci:new"],
        &["write", "--compression=none", "oci:layout:2"],
        &["--modify-oci", "whole.tar", "set-user", "www"],
    ] {
        if words.last() == Some(&"oci:layout:2") {
            // What is there already is not written again.
            scratch.ok(["copy", "two", "/three"]);
        }
        assert!(kill_while_it_writes(&scratch, words), "it had ended: {words:?}");
        assert_eq!(names(&scratch.path("")), [""; 0], "{words:?}");
    }
    assert!(["new.tar", "docker.tar", "new/index.json"].iter().all(|name| !scratch.path(name).exists()));
    assert!(fs::read(scratch.path("whole.tar")).unwrap() == whole);
    assert_eq!(common::listing(&scratch.path("layout")), layout);
    // And what replaces an archive is in its place at once, with nothing beside it.
    for place in ["new.tar", "whole.tar", "oci:new", "oci:layout:2"] {
        scratch.ok(["write", "--compression=none", "--overwrite", place]);
    }
    assert_eq!(names(&scratch.path("")), [""; 0]);
    let (new, whole) = (fs::read(scratch.path("new.tar")).unwrap(), fs::read(scratch.path("whole.tar")).unwrap());
    assert!(new == whole && scratch.path("new/index.json").exists());
}
