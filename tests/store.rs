//! Images in the store: what goes in comes out, two at once are one, and a kill at any moment loses nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use support::{Scratch, Tree, busybox_image, needs, tree};

/// The names in a folder of the store.
fn names(folder: PathBuf) -> Vec<PathBuf> {
    let mut names: Vec<_> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name().into()).collect();
    names.sort();
    names
}

fn blobs(scratch: &Scratch) -> usize {
    names(scratch.data().join("store/blobs/sha512")).len()
}

fn trees(scratch: &Scratch) -> usize {
    names(scratch.data().join("store/trees")).len()
}

/// The full image ID of a file, found with programs of the machine.
fn id_of(image: &Path) -> String {
    let pipe = format!("gzip -dc {} | sha512sum", image.display());
    let sum = support::Cmd::new("sh").args(["-c", &pipe]).ok();
    format!("sha512-{}", sum.text().split(' ').next().unwrap_or_default())
}

#[test]
fn what_goes_in_comes_out() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    let image = busybox_image(&scratch, "a", "example.com/a", &["label add version 1.0"]);
    let id = id_of(&image);
    let printed = scratch.rkt(["fetch", "./a.aci"]).ok();
    printed.require(id.starts_with(printed.text()) && printed.text().len() == 7 + 32, "a short image ID");
    assert_eq!(scratch.rkt(["fetch", "--full", "a.aci"]).ok().text(), &id, "again, in full");
    assert_eq!((blobs(&scratch), trees(&scratch)), (1, 1));

    let list = scratch.rkt(["image", "list"]).ok();
    list.prints(&["ID", "NAME", "SIZE", "example.com/a:1.0", &id[..19]]);
    let json = scratch.rkt(["image", "list", "--format=json"]).ok().json();
    assert_eq!((json[0]["id"].as_str(), json[0]["name"].as_str()), (Some(id.as_str()), Some("example.com/a:1.0")));

    for name in [&id, &id[..23], "example.com/a", "example.com/a:1.0", "example.com/a:1.0,os=linux"] {
        scratch.rkt(["image", "cat-manifest", name]).ok().prints(&["\"example.com/a\""]);
        scratch.rkt(["image", "export", "--overwrite", name, "out.aci"]).ok();
        assert_eq!(
            fs::read(&image).expect("there"),
            fs::read(scratch.work().join("out.aci")).expect("exported"),
            "{name}"
        );
    }
    scratch.rkt(["image", "extract", &id, "whole"]).ok();
    assert!(scratch.work().join("whole/manifest").is_file());
    Tree::read(&scratch.path().join("busybox"))
        .assert_same(&Tree::read(&scratch.work().join("whole/rootfs")), "extract");

    scratch.rkt(["image", "rm", "example.com/a"]).ok().prints(&["successfully removed aci for image: "]);
    assert_eq!(scratch.rkt(["image", "list", "--no-legend"]).ok().stdout, "");
    assert_eq!((blobs(&scratch), trees(&scratch)), (0, 0), "a removed image takes no room");
}

/// Any image command makes the data folder, which may be named from the current one.
#[test]
fn a_data_folder_that_is_new_and_relative() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    busybox_image(&scratch, "a", "example.com/a", &["set-exec /bin/touch /data/x", "mount add data /data"]);
    scratch.rkt(["--dir", "first", "image", "cat-manifest", "./a.aci"]).ok().prints(&["\"example.com/a\""]);
    assert_eq!(names(scratch.work().join("first/store/images")).len(), 1);
    let run = ["--dir", "second", "run", "--volume=data,kind=empty", "./a.aci"];
    scratch.rkt(run).ok();
    scratch.rkt(["--dir", "second", "gc", "--grace-period=0s"]).ok();
}

#[test]
fn existing_files_are_not_overwritten() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    let id = id_of(&busybox_image(&scratch, "a", "example.com/a", &[]));
    scratch.rkt(["fetch", "a.aci"]).ok();
    scratch.file("there/file", "mine");
    scratch.file("there.aci", "mine");
    scratch.rkt(["image", "export", &id, "there.aci"]).refused(254, &["image", "there.aci", "--overwrite"]);
    scratch.rkt(["image", "extract", &id, "there"]).refused(254, &["image", "there", "--overwrite"]);
    assert_eq!(fs::read(scratch.work().join("there/file")).expect("kept"), b"mine");
    assert_eq!(fs::read(scratch.work().join("there.aci")).expect("kept"), b"mine");
    scratch.rkt(["image", "extract", "--overwrite", &id, "there"]).ok();
    assert!(!scratch.work().join("there/file").exists() && scratch.work().join("there/manifest").is_file());
    for here in [".", ".."] {
        scratch.rkt(["image", "extract", "--overwrite", &id, here]).refused(254, &["current directory", here]);
    }
    assert_eq!(fs::read(scratch.work().join("there.aci")).expect("kept"), b"mine");
}

#[test]
fn labels_choose_among_images_of_a_name() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    for version in ["1", "2"] {
        busybox_image(&scratch, version, "example.com/a", &[&format!("label add version {version}")]);
        scratch.rkt(["fetch", &format!("{version}.aci")]).ok();
    }
    for version in ["1", "2"] {
        let found = scratch.rkt(["image", "cat-manifest", &format!("example.com/a:{version}")]).ok().json();
        let labels = found["labels"].as_array().expect("a list");
        assert!(labels.contains(&serde_json::json!({"name": "version", "value": version})), "{labels:?}");
    }
    scratch.rkt(["image", "cat-manifest", "example.com/a:3"]).refused(254, &["image", "example.com/a:3"]);
    scratch.rkt(["image", "rm", "example.com/nothing"]).exits(254).says(&["example.com/nothing"]);
}

#[test]
fn two_at_once_both_succeed_and_store_one() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    let image = busybox_image(&scratch, "a", "example.com/a", &[]);
    for round in 0..10 {
        let running: Vec<_> = (0..4).map(|_| scratch.rkt(["fetch", "--full", "a.aci"]).spawn()).collect();
        for one in running {
            let ended = one.wait();
            ended.require(ended.code() == 0 && ended.text() == id_of(&image), "the image ID");
        }
        assert_eq!((blobs(&scratch), trees(&scratch)), (1, 1), "round {round}");
        assert_eq!(names(scratch.data().join("tmp")), Vec::<PathBuf>::new(), "round {round}");
        scratch.rkt(["image", "rm", "example.com/a"]).ok();
    }
}

#[test]
fn a_kill_at_any_moment_of_a_fetch_loses_nothing() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    let noise: Vec<u8> =
        (0..2_000_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let noise = scratch.file("noise", noise).display().to_string();
    busybox_image(&scratch, "old", "example.com/old", &[]);
    busybox_image(&scratch, "new", "example.com/new", &[&format!("copy {noise} /noise")]);
    scratch.rkt(["fetch", "old.aci"]).ok();
    let old = fs::read(scratch.work().join("old.aci")).expect("just built");
    // How long an undisturbed fetch takes says where the moments to kill at lie.
    let start = Instant::now();
    scratch.rkt(["fetch", "new.aci"]).ok();
    let whole = start.elapsed();
    scratch.rkt(["image", "rm", "example.com/new"]).ok();

    let kills = support::kills(40);
    for number in 0..kills {
        let running = scratch.rkt(["fetch", "new.aci"]).spawn();
        running.ended_within(whole.mul_f64(f64::from(number) * 1.1 / f64::from(kills)));
        running.signal(rustix::process::Signal::KILL);
        let ended = running.wait();
        let listed = scratch.rkt(["image", "list", "--no-legend"]).ok();
        listed.prints(&["example.com/old"]);
        if ended.code() == 0 {
            listed.prints(&["example.com/new"]);
        }
        scratch.rkt(["image", "export", "--overwrite", "example.com/old", "out.aci"]).ok();
        assert_eq!(fs::read(scratch.work().join("out.aci")).expect("exported"), old, "after kill {number}");
        if number % 8 == 7 {
            // Whatever there was, a fetch now succeeds and brings the image whole.
            scratch.rkt(["fetch", "new.aci"]).ok();
            scratch.rkt(["image", "export", "--overwrite", "example.com/new", "out.aci"]).ok();
            let same = fs::read(scratch.work().join("out.aci")).expect("exported")
                == fs::read(scratch.work().join("new.aci")).expect("built");
            assert!(same, "after kill {number}");
            scratch.rkt(["image", "rm", "example.com/new"]).ok();
        }
    }
    scratch.rkt(["fetch", "new.aci"]).ok();
    scratch.rkt(["image", "extract", "--rootfs-only", "example.com/new", "extracted"]).ok();
    assert_eq!(
        tree::sha512(&fs::read(scratch.work().join("extracted/noise")).expect("extracted")),
        tree::sha512(&fs::read(scratch.work().join("noise")).expect("written above"))
    );
    scratch.rkt(["gc", "--grace-period=0s"]).ok();
    assert_eq!((blobs(&scratch), trees(&scratch)), (2, 2), "the rest is collected");
    assert_eq!(names(scratch.data().join("tmp")), Vec::<PathBuf>::new(), "the rest is collected");
}

#[test]
fn listing_is_quick() {
    let scratch = Scratch::new();
    // Not a measurement: a hundred times what it should take, to catch work that has no place here.
    scratch.rkt(["image", "list"]).timeout(Duration::from_secs(1)).ok();
    scratch.acbuild(["begin"]).timeout(Duration::from_secs(1)).ok();
}
