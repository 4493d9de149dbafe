//! `begin` and `write`: what an image begins with, and what comes out at the end.
#![allow(clippy::unwrap_used)] // The lint takes helpers of tests for code.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Scratch, finish, is_root, listing, skip};

/// Runs `script` with `sh`, which must succeed.
fn sh(dir: &Path, script: &str) {
    let status = Command::new("sh").args(["-ec", script]).current_dir(dir).status().unwrap();
    assert!(status.success(), "{script}");
}

fn tree(scratch: &Scratch) -> PathBuf {
    let script = "mkdir -p tree/bin tree/etc; echo run > tree/bin/run; chmod 4755 tree/bin/run; ln tree/bin/run tree/bin/same; \
                  ln -s run tree/bin/link; mkfifo tree/fifo; touch -d @1234567890.987654321 tree/bin/run tree/etc";
    sh(&scratch.path(""), script);
    scratch.path("tree")
}

/// Begins with `start`, names the image when it has no name, and returns the ID of what is written.
fn write_from(scratch: &Scratch, start: &str, out: &str) -> String {
    scratch.ok(["begin", start]);
    if scratch.manifest()["name"] == "acbuild-unnamed" {
        scratch.ok(["set-name", "example.com/tree", "--no-history"]);
    }
    let id = scratch.ok(["write", out]);
    scratch.ok(["end"]);
    id
}

#[test]
fn a_directory_a_tar_and_an_image_all_give_the_same_image() {
    let scratch = Scratch::new();
    let before = listing(&tree(&scratch));
    scratch.ok(["begin", "./tree"]);
    assert_eq!(listing(&scratch.rootfs("")), before);
    scratch.ok(["end"]);
    let id = write_from(&scratch, "./tree", "one.aci");
    assert!(id.starts_with("sha512-") && id.len() == 135, "{id}");
    assert_eq!(write_from(&scratch, "./tree", "two.aci"), id);
    assert_eq!(fs::read(scratch.path("one.aci")).unwrap(), fs::read(scratch.path("two.aci")).unwrap());
    assert_eq!(write_from(&scratch, "./one.aci", "three.aci"), id);
    sh(&scratch.path(""), "gzip -dc three.aci | sha512sum | sed 's/ .*//; s/^/sha512-/' > id");
    assert_eq!(fs::read_to_string(scratch.path("id")).unwrap().trim(), id);

    sh(&scratch.path("tree"), "tar --format=pax --sort=name -cJf ../tree.tar.xz .");
    let ran = scratch.run(["begin", "./tree.tar.xz"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), NOT_ACI), "{ran:#?}");
    scratch.ok(["end"]);
    assert_eq!(write_from(&scratch, "./tree.tar.xz", "four.aci"), id);
}

#[test]
fn of_a_file_that_is_in_a_tar_twice_the_later_one_counts() {
    let scratch = Scratch::new();
    scratch.file("tree/etc/f", "first");
    scratch.file("tree/becomes", "a directory");
    symlink("f", scratch.path("tree/etc/l")).unwrap();
    let script = "ln tree/etc/f tree/etc/hard; tar -C tree --format=pax -cf t.tar .; echo later > tree/etc/f; rm tree/etc/l; echo file > tree/etc/l; \
                  rm tree/becomes; mkdir tree/becomes; touch tree/becomes/x; tar -C tree --format=pax -rf t.tar .";
    sh(&scratch.path(""), script);
    for mode in ["appc", "oci"] {
        scratch.ok(["begin", "--build-mode", mode, "./t.tar"]);
        assert_eq!(listing(&scratch.rootfs("etc")), listing(&scratch.path("tree/etc")));
        assert!(scratch.rootfs("becomes/x").is_file());
        scratch.ok(["end"]);
    }
    // Nothing is made through a link, and no directory goes.
    let refused = |make: &str, words: &str| {
        sh(&scratch.path(""), &format!("rm -rf x y; mkdir -p x y/a; touch y/a/f; {make}"));
        let ran = scratch.run(["begin", "./u.tar"]);
        assert!(ran.code == Some(1) && ran.stderr.contains(words), "no {words:?} in {ran:#?}");
        assert!(!scratch.path(".acbuild").exists(), "{ran:#?}");
    };
    let through = "tar -C x -cf u.tar a; tar -C y -rf u.tar a/f";
    refused(&format!("ln -s /tmp x/a; {through}"), "it leads through the symbolic link");
    refused(&format!("touch x/a; {through}"), "which is no directory");
    refused("tar -C y -cf u.tar a; touch x/a; tar -C x -rf u.tar a", "a directory is there already");
}

const NOT_ACI: &str = "manifest is missing, assuming build is beginning with a tar of a rootfs\n";

#[test]
fn every_compression_holds_the_same_image() {
    let scratch = Scratch::named();
    let id = scratch.ok(["write", "default.aci"]);
    for kind in ["none", "gzip", "bzip2", "xz", "zstd"] {
        let out = format!("{kind}.aci");
        assert_eq!(scratch.ok(["write", "--compression", kind, &out]), id, "{kind}");
        let scratch_of_kind = Scratch::new();
        let start = scratch.path(&out);
        scratch_of_kind.ok(["begin", start.to_str().unwrap()]);
        assert_eq!(scratch_of_kind.ok(["write", "again.aci"]), id, "{kind}");
    }
    assert_eq!(scratch.ok(["write", "--compression=zstd", "--level=1", "level.aci"]), id);
    scratch.refused(["write", "--level", "900", "x.aci"], 1, "write: ");
    scratch.refused(["write", "--compression=none", "--level", "1", "x.aci"], 1, "write: ");
}

#[test]
fn times_are_clamped_and_a_bad_epoch_is_an_error() {
    let scratch = Scratch::named();
    fs::write(scratch.rootfs("f"), "x").unwrap();
    let write = |epoch: &str, out: &str| finish(scratch.command(["write", out]).env("SOURCE_DATE_EPOCH", epoch));
    let first = write("1000000000", "a.aci");
    sh(&scratch.rootfs(""), "touch f; touch .");
    let second = write("1000000000", "b.aci");
    assert_eq!((first.code, first.stdout), (Some(0), second.stdout));
    assert_eq!(fs::read(scratch.path("a.aci")).unwrap(), fs::read(scratch.path("b.aci")).unwrap());
    for bad in ["yesterday", "1.5", "-1", "99999999999999999999"] {
        let ran = write(bad, "c.aci");
        assert_eq!(ran.code, Some(1), "{ran:#?}");
        assert!(ran.stderr.starts_with("write: SOURCE_DATE_EPOCH must be a number of seconds"), "{ran:#?}");
    }
    assert!(!scratch.path("c.aci").exists());
    assert_eq!(write("", "c.aci").code, Some(0));
}

#[test]
fn writing_wants_a_name_and_a_place() {
    let scratch = Scratch::begun();
    scratch.refused(["write", "x.aci"], 1, "write: can't write ACI, name was never set - try \"acbuild set-name");
    scratch.ok(["set-name", "example.com/w"]);
    scratch.file("there.aci", "precious");
    fs::create_dir(scratch.path("folder")).unwrap();
    symlink("there.aci", scratch.path("link.aci")).unwrap();
    let exists = "write: ACI already exists: there.aci - use --overwrite to replace it";
    let cases: &[(&[&str], &str)] = &[
        (&["write", "there.aci"], exists),
        (&["write", "link.aci"], "write: ACI already exists: link.aci"),
        (&["write", "folder"], "write: ACI already exists: folder"),
        (&["write", "folder", "--overwrite"], "is a directory"),
        (&["write", "none/x.aci"], "write: cannot write to \"none\": no such file or directory"),
        (&["write", "x.aci/"], "is not the name of a file"),
        (&["write", "/dev/null", "--overwrite"], "is not a regular file and will not be replaced"),
        (&["write", ".acbuild/x.aci"], "write: .acbuild/x.aci is in the build itself: write the image elsewhere"),
        (&["write", "folder/../.acbuild/currentaci/rootfs/x"], "is in the build itself"),
    ];
    for (args, words) in cases {
        scratch.refused(*args, 1, words);
    }
    let id = scratch.ok(["write", "link.aci", "--overwrite"]);
    assert!(id.starts_with("sha512-"));
    assert!(fs::symlink_metadata(scratch.path("link.aci")).unwrap().is_symlink());
    assert_ne!(fs::read(scratch.path("there.aci")).unwrap(), b"precious");
    assert_eq!(fs::metadata(scratch.path("there.aci")).unwrap().mode() & 0o7777, 0o644);
    let left: Vec<_> = fs::read_dir(scratch.path("")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 4, "{left:?}");
    // Only its ID is lost when that cannot be printed, which is what is said.
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let said = scratch.command(["write", "new.aci"]).stdout(full).output().unwrap();
    let text = String::from_utf8(said.stderr).unwrap();
    assert!(said.status.code() == Some(1) && text.contains("write: new.aci is written, but not its ID: "), "{text}");
    assert_eq!(fs::read(scratch.path("new.aci")).unwrap(), fs::read(scratch.path("there.aci")).unwrap());
}

#[test]
fn a_missing_exec_is_said_but_does_not_stop() {
    let scratch = Scratch::named();
    assert_eq!(scratch.run(["write", "no-app.aci"]).stderr, "");
    scratch.ok(["set-user", "www"]);
    let ran = scratch.run(["write", "no-exec.aci"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), "warning: exec command was never set.\n"), "{ran:#?}");
}

#[test]
fn a_full_disk_damages_nothing() {
    if !is_root() {
        skip("a_full_disk_damages_nothing", "mounting a small tmpfs takes root");
        return;
    }
    let scratch = Scratch::named();
    fs::write(scratch.rootfs("big"), vec![7; 4 << 20]).unwrap();
    fs::create_dir(scratch.path("small")).unwrap();
    // In a mount namespace of its own, which takes the tmpfs with it whatever happens.
    let script = r#"mount -t tmpfs -o size=1m none small; echo precious > small/old.aci
        if "$0" write --compression=none --overwrite small/old.aci; then exit 9; fi
        if "$0" write --compression=none small/new.aci; then exit 9; fi
        if "$0" begin "--work-path=small" .; then exit 9; fi
        ls -A small; cat small/old.aci
        "$0" begin --work-path=small; "$0" cat-manifest --work-path=small > before
        if "$0" copy --work-path=small .acbuild/currentaci/rootfs/big /big; then exit 9; fi
        "$0" cat-manifest --work-path=small | cmp - before; ls -A small/.acbuild/currentaci/rootfs"#;
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-ec", script, env!("CARGO_BIN_EXE_acbuild")]).current_dir(scratch.path(""));
    let ran = finish(&mut command);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "old.aci\nprecious\n"), "{ran:#?}");
    assert_eq!(ran.stderr.lines().count(), 4, "{ran:#?}");
}

#[test]
fn what_an_image_cannot_begin_with_is_refused_and_leaves_nothing() {
    let scratch = Scratch::new();
    let real = Scratch::named();
    real.ok(["write", "good.aci"]);
    let good = fs::read(real.path("good.aci")).unwrap();
    fs::write(scratch.path("short.aci"), &good[..good.len() / 2]).unwrap();
    fs::write(scratch.path("garbled.aci"), good.iter().map(|b| b ^ 0x55).collect::<Vec<_>>()).unwrap();
    scratch.file("text.aci", "this is not an archive\n");
    scratch.file("empty.aci", "");
    sh(
        &scratch.path(""),
        "mkdir -p m/rootfs; echo '{}' > m/manifest; tar -C m -cf bad-manifest.aci manifest rootfs; \
         tar -C m -cf no-rootfs.aci manifest; rm -r m",
    );
    sh(&scratch.path(""), "mkfifo fifo");
    let cases: &[(&[&str], &str)] = &[
        (&["begin", "./none"], "begin: no such file or directory: ./none"),
        (&["begin", "./short.aci"], "begin: "),
        (&["begin", "./garbled.aci"], "begin: "),
        (&["begin", "./text.aci"], "begin: "),
        (&["begin", "./empty.aci"], "begin: "),
        (&["begin", "./bad-manifest.aci"], "begin: ./bad-manifest.aci: bad image manifest: "),
        (&["begin", "./no-rootfs.aci"], "begin: ./no-rootfs.aci: at byte"),
        (&["begin", "./fifo"], "is neither a file nor a directory"),
        (&["begin", "example.com/absent"], "local path must begin with / or ."),
        (&["begin", "text.aci"], "begin: text.aci: "),
        (&["begin", "none.aci"], "begin: no such file or directory: none.aci"),
        (&["begin", "fifo"], "is neither a file nor a directory"),
        (&["begin", "NOT A NAME"], "path must begin with / or ."),
        (&["begin", "docker://alpine"], "begin: "),
    ];
    for (args, words) in cases {
        let ran = scratch.run(*args);
        assert_eq!(ran.code, Some(1), "{ran:#?}");
        let stderr = ran.stderr.strip_prefix(NOT_ACI).unwrap_or(&ran.stderr);
        assert_eq!(stderr.lines().count(), 1, "one line: {ran:#?}");
        assert!(stderr.contains(words), "no {words:?} in {ran:#?}");
        assert!(!scratch.path(".acbuild").exists(), "{ran:#?}");
    }
}

#[test]
fn a_build_begins_with_an_image_of_the_store() {
    let scratch = Scratch::new();
    tree(&scratch);
    let id = write_from(&scratch, "./tree", "tree.aci");
    let store = appc_image::store::Store::open(scratch.path("store")).unwrap();
    let file = fs::File::open(scratch.path("tree.aci")).unwrap();
    assert_eq!(store.import(file, "tree.aci", &appc_image::Quiet).unwrap().id.to_string(), id);
    assert_eq!(write_from(&scratch, "example.com/tree", "a.aci"), id);
    assert_eq!(write_from(&scratch, &id, "b.aci"), id);
    assert_eq!(write_from(&scratch, &id[..20], "c.aci"), id);
    let elsewhere = scratch.run(["begin", &id, "--dir", "nowhere"]);
    assert_eq!(elsewhere.code, Some(1), "{elsewhere:#?}");
    assert!(!scratch.path("nowhere").exists());
}

#[test]
fn the_name_of_a_file_will_do_where_no_stored_image_has_it() {
    let scratch = Scratch::new();
    tree(&scratch);
    let id = write_from(&scratch, "./tree", "tree.aci");
    assert_eq!(write_from(&scratch, "tree.aci", "again.aci"), id);
    fs::copy(scratch.path("tree.aci"), scratch.path("tree-file")).unwrap();
    assert_eq!(write_from(&scratch, "tree-file", "third.aci"), id);
    // What a script means by a name is not what happens to lie there.
    let base = scratch.path("base");
    fs::create_dir(&base).unwrap();
    common::store(&scratch, &base, "tree-file", &[]);
    scratch.ok(["begin", "tree-file"]);
    assert_eq!(scratch.manifest()["name"], "tree-file");
    scratch.ok(["end"]);
    let ran = scratch.run(["begin", "tree"]);
    assert!(ran.code == Some(1) && ran.stderr.contains("local path must begin with / or ."), "{ran:#?}");
}

#[test]
fn whether_an_image_elsewhere_is_asked_for_is_the_caller_s_to_say() {
    let scratch = Scratch::new();
    appc_image::store::Store::open(scratch.path("store")).unwrap();
    let begin = |flags: &[&'static str]| [&["begin"], flags, &["docker://images.example.com/app:1"]].concat();
    scratch.refused(begin(&["--pull-policy=never"]), 1, "no image docker://images.example.com/app:1 in the store");
    scratch.refused(begin(&[]), 1, "https://images.example.com/v2/app/manifests/1");
    scratch.refused(begin(&["--pull-policy=x"]), 3, "none of never, new and update");
}

#[test]
fn the_script_of_the_tutorial_works_word_by_word() {
    let scratch = Scratch::new();
    scratch.file("hello", "#!/bin/sh\n");
    let bin = Path::new(env!("CARGO_BIN_EXE_acbuild")).parent().unwrap();
    let script = r#"
        acbuild begin
        acbuild set-name example.com/hello
        acbuild dep add quay.io/coreos/alpine-sh
        acbuild copy hello /bin/hello
        acbuild set-exec /bin/hello
        acbuild port add www tcp 5000
        acbuild label add version 0.0.1
        acbuild label add arch amd64
        acbuild label add os linux
        acbuild annotation add authors "Carly Container <carly@example.com>"
        acbuild write hello-0.0.1-linux-amd64.aci
        acbuild end"#;
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let ran = finish(Command::new("sh").args(["-ec", script]).env("PATH", path).current_dir(scratch.path("")));
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert!(!scratch.path(".acbuild").exists());
    scratch.ok(["begin", "./hello-0.0.1-linux-amd64.aci"]);
    assert_eq!(scratch.history().len(), 9);
    assert_eq!(scratch.history()[8], r#"acbuild annotation add "authors" "Carly Container <carly@example.com>""#);
}

#[test]
fn files_made_in_the_image_do_not_depend_on_the_umask() {
    let scratch = Scratch::new();
    scratch.file("f", "f");
    fs::set_permissions(scratch.path("f"), fs::Permissions::from_mode(0o644)).unwrap();
    sh(&scratch.path(""), &format!("umask 077; a={}; $a begin; $a copy f /a/b/f", env!("CARGO_BIN_EXE_acbuild")));
    for (path, mode) in [("", 0o755), ("a", 0o755), ("a/b", 0o755), ("a/b/f", 0o644)] {
        assert_eq!(fs::metadata(scratch.rootfs(path)).unwrap().mode() & 0o7777, mode, "{path}");
    }
}

#[test]
fn an_image_of_any_format_begins_a_build_of_either_kind() {
    let scratch = Scratch::named();
    scratch.file("x", "x");
    for words in ["copy x /x", "write app.aci", "end"] {
        scratch.ok(words.split(' '));
    }
    for place in ["oci:layout", "oci-archive:archive.tar", "docker-archive:docker.tar", "bundle:bundle"] {
        scratch.ok(["convert", "app.aci", place]);
    }
    for start in
        ["./app.aci", "./layout", "layout", "./archive.tar", "archive.tar", "./docker.tar", "./bundle", "bundle"]
    {
        for mode in ["appc", "oci"] {
            for begin in
                [&["begin", start, "--build-mode", mode][..], &["begin", start, "--build-mode", mode, "--cache"]]
            {
                scratch.ok(begin);
                assert_eq!(scratch.ok(["file", "remove", "/x"]), "", "{begin:?}");
                scratch.ok(["end"]);
            }
        }
    }
    // As older programs wrote it, and what only looks like that.
    scratch.file("old/manifest.json", r#"[{"Config":"c.json","Layers":["l/layer.tar"]}]"#);
    scratch.file("tree/bin/manifest.json", r#"[{"name":"a web application"}]"#);
    scratch.file("tree/config.json", r#"{"root": "of a web application"}"#);
    for dir in ["old", "tree"] {
        sh(&scratch.path(dir), &format!("tar -cf ../{dir}.tar ."));
    }
    scratch.refused(["begin", "./old.tar"], 1, "begin: docker-archive:./old.tar");
    for start in ["./tree.tar", "./tree"] {
        scratch.ok(["begin", start]);
        assert!(scratch.rootfs("config.json").exists());
        scratch.ok(["end"]);
    }
}

#[test]
fn nobody_else_can_look_into_a_build() {
    let scratch = Scratch::new();
    let tree = tree(&scratch);
    sh(&scratch.path(""), "tar cf tree.tar -C tree .");
    let build = scratch.path(".acbuild");
    let is_closed = || {
        let found = fs::metadata(&build).unwrap();
        (found.mode() & 0o7777, found.uid()) == (0o700, rustix::process::geteuid().as_raw())
    };
    let oci = "--build-mode=oci";
    for words in
        [&["begin"][..], &["begin", "./tree"], &["begin", "./tree.tar"], &["begin", oci], &["begin", "--cache"]]
    {
        scratch.ok(words);
        assert!(is_closed(), "{words:?}");
        scratch.ok(["copy", "tree", "/"]);
        scratch.ok(["end"]);
    }
    // One that a killed command has left, or somebody else.
    fs::create_dir(&build).unwrap();
    fs::set_permissions(&build, fs::Permissions::from_mode(0o777)).unwrap();
    if is_root() {
        std::os::unix::fs::chown(&build, Some(65534), None).unwrap();
    }
    scratch.ok(["begin", tree.to_str().unwrap()]);
    assert!(is_closed());
    scratch.ok(["end"]);
    // A link would have another directory closed.
    fs::create_dir(scratch.path("elsewhere")).unwrap();
    fs::set_permissions(scratch.path("elsewhere"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("elsewhere", &build).unwrap();
    assert_eq!(scratch.run(["begin"]).code, Some(1));
    assert_eq!(fs::metadata(scratch.path("elsewhere")).unwrap().mode() & 0o7777, 0o755);
}

#[test]
fn what_is_no_image_is_named() {
    let scratch = Scratch::new();
    scratch.file("zero", "");
    for words in [&["convert", "zero", "y.aci"][..], &["convert", "zero", "oci:y"], &["diff", "zero", "zero"]] {
        scratch.refused(words, 1, ": zero: not an image archive: it is empty - get or build the image anew");
    }
}
