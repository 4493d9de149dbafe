//! A real root file system through an image and back: nothing of it may change.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use support::{Cmd, Outcome, Scratch, Tree, needs, rootfs, tree};

/// Longer than any of this takes on a slow machine.
const LONG: Duration = Duration::from_secs(300);

fn begin(scratch: &Scratch, start: &Path) {
    scratch.acbuild(["begin"]).arg(start).timeout(LONG).ok();
    scratch.acbuild(["set-name", "example.com/tree"]).ok();
}

fn write(scratch: &Scratch, args: &[&str]) -> Outcome {
    scratch.acbuild(["write", "--overwrite"]).args(args).timeout(LONG).ok()
}

/// The part of the Debian tree that is odd, with busybox, for what is done many times.
fn odd_tree(scratch: &Scratch) -> PathBuf {
    let folder = scratch.path().join("odd");
    rootfs::busybox(&folder);
    Cmd::new("cp").arg("-a").arg(rootfs::debian().join("srv")).arg(folder.join("srv")).ok();
    Cmd::new("cp").arg("-a").arg(rootfs::debian().join("dev")).arg(folder.join("more-dev")).ok();
    folder
}

/// The digest of an archive's content, made by programs of the machine.
fn digest(archive: &Path, decompress: &str) -> String {
    let pipe = format!("{decompress} <{} | sha512sum", archive.display());
    let sum = Cmd::new("sh").args(["-c", &pipe]).timeout(LONG).ok();
    format!("sha512-{}", sum.text().split(' ').next().unwrap_or_default())
}

#[test]
fn debian_comes_back_as_it_was() {
    needs!(root, "debootstrap", "setcap", "gzip");
    let scratch = Scratch::new();
    let debian = rootfs::debian();
    let before = Tree::read(&debian);
    begin(&scratch, &debian);
    let context = scratch.work().join(".acbuild/currentaci/rootfs");
    before.assert_same(&Tree::read(&context), "begin from a folder");

    let id = write(&scratch, &["tree.aci"]).text().to_owned();
    let image = scratch.work().join("tree.aci");
    assert_eq!(digest(&image, "gzip -dc"), id, "the image ID is the digest of the uncompressed archive");
    let bytes = tree::sha512(&fs::read(&image).expect("just written"));
    assert_eq!(write(&scratch, &["again.aci"]).text(), id, "the same image ID every time");
    assert_eq!(
        tree::sha512(&fs::read(scratch.work().join("again.aci")).expect("just written")),
        bytes,
        "the same bytes every time"
    );
    scratch.acbuild(["end"]).timeout(LONG).ok();

    scratch.acbuild(["begin", "./tree.aci"]).timeout(LONG).ok();
    before.assert_same(&Tree::read(&context), "begin from an image");
    assert_eq!(write(&scratch, &["third.aci", "--no-history"]).text(), id, "an unchanged image keeps its ID");
    scratch.acbuild(["end"]).timeout(LONG).ok();

    let fetched = scratch.rkt(["fetch", "tree.aci"]).timeout(LONG).ok();
    fetched.require(id.starts_with(fetched.text()), "the image ID that acbuild printed");
    scratch.rkt(["image", "extract", "--rootfs-only", &id, "out"]).timeout(LONG).ok();
    before.assert_same(&Tree::read(&scratch.work().join("out")), "fetch and extract");
    before.assert_same(&Tree::read(&debian), "the source of it all");
}

#[test]
fn every_compression_holds_the_same_image() {
    needs!(root, "debootstrap", "gzip", "bzip2", "xz", "zstd", "busybox");
    let scratch = Scratch::new();
    let odd = odd_tree(&scratch);
    let before = Tree::read(&odd);
    begin(&scratch, &odd);
    let id = write(&scratch, &["default.aci"]).text().to_owned();
    for (name, tool) in
        [("none", "cat"), ("gzip", "gzip -dc"), ("bzip2", "bzip2 -dc"), ("xz", "xz -dc"), ("zstd", "zstd -dc")]
    {
        let file = format!("{name}.aci");
        assert_eq!(write(&scratch, &[&format!("--compression={name}"), &file]).text(), id, "{name}");
        assert_eq!(digest(&scratch.work().join(&file), tool), id, "{name}");
        let data = scratch.path().join(format!("data-{name}"));
        scratch.rkt(["fetch", &file]).env("RKT_DIR", &data).ok();
        scratch.rkt(["image", "extract", "--rootfs-only", &id, &format!("out-{name}")]).env("RKT_DIR", &data).ok();
        before.assert_same(&Tree::read(&scratch.work().join(format!("out-{name}"))), name);
    }
    let read = |name: &str| fs::read(scratch.work().join(name)).expect("written above");
    assert_eq!(read("default.aci"), read("gzip.aci"), "gzip by default");
    scratch
        .acbuild(["write", "--compression=rar", "x.aci"])
        .run()
        .require(!scratch.work().join("x.aci").exists(), "no file");
}

#[test]
fn levels_change_the_size_and_nothing_else() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    rootfs::busybox(&scratch.path().join("root"));
    begin(&scratch, &scratch.path().join("root"));
    let id = write(&scratch, &["default.aci"]).text().to_owned();
    for name in ["gzip", "bzip2", "xz", "zstd"] {
        let mut sizes = Vec::new();
        for level in ["1", "9"] {
            let file = format!("{name}-{level}.aci");
            let wrote = write(&scratch, &[&format!("--compression={name}"), "--level", level, &file]);
            assert_eq!(wrote.text(), id, "{name} {level}");
            sizes.push(fs::metadata(scratch.work().join(&file)).expect("just written").len());
        }
        assert!(sizes[1] <= sizes[0] && (sizes[1] < sizes[0] || name == "bzip2"), "{name}: {sizes:?}");
    }
    scratch
        .acbuild(["write", "--level", "900", "x.aci"])
        .run()
        .require(!scratch.work().join("x.aci").exists(), "no file");
}

#[test]
fn one_core_writes_the_same_bytes() {
    needs!(root, "debootstrap", "taskset", "busybox");
    let scratch = Scratch::new();
    begin(&scratch, &odd_tree(&scratch));
    for name in ["gzip", "xz", "zstd", "bzip2"] {
        let option = format!("--compression={name}");
        write(&scratch, &[&option, "all.aci"]);
        scratch.acbuild(["write", "--overwrite", &option, "one.aci"]).under("taskset", ["-c", "0"]).timeout(LONG).ok();
        let read = |file: &str| tree::sha512(&fs::read(scratch.work().join(file)).expect("just written"));
        assert_eq!(read("all.aci"), read("one.aci"), "{name}");
    }
}

#[test]
fn times_are_clamped_to_the_epoch() {
    needs!(root, "busybox", "tar");
    let scratch = Scratch::new();
    let root = scratch.path().join("root");
    rootfs::busybox(&root);
    Cmd::new("touch").args(["-d", "@1000000000.25"]).arg(root.join("etc/passwd")).ok();
    begin(&scratch, &root);
    scratch.acbuild(["write", "clamped.aci"]).env("SOURCE_DATE_EPOCH", "1500000000").ok();
    fs::create_dir(scratch.work().join("out")).expect("the folder is ours");
    Cmd::new("tar").args(["-xf", "clamped.aci", "-C", "out"]).cwd(scratch.work()).ok();
    let time = |name: &str| {
        let meta = fs::symlink_metadata(scratch.work().join("out").join(name)).expect("extracted");
        (meta.mtime(), meta.mtime_nsec())
    };
    assert_eq!(time("rootfs/etc/passwd"), (1_000_000_000, 250_000_000), "an older time stays");
    assert_eq!(time("rootfs/etc/group"), (1_500_000_000, 0));
    assert_eq!(time("rootfs/bin/sh"), (1_500_000_000, 0));
    assert!(time("manifest").0 <= 1_500_000_000);
}

#[test]
fn sockets_are_left_out_with_a_warning() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    let root = scratch.path().join("root");
    rootfs::busybox(&root);
    let _socket = UnixListener::bind(root.join("tmp/socket")).expect("the folder is ours");
    let before = Tree::read(&root);
    let begun = scratch.acbuild(["begin"]).arg(&root).ok();
    scratch.acbuild(["set-name", "example.com/socket"]).ok();
    let wrote = write(&scratch, &["socket.aci"]);
    let said = format!("{}{}", begun.stderr, wrote.stderr);
    assert!(said.contains("tmp/socket"), "a warning names the socket: {said:?}");
    let id = wrote.text().to_owned();
    scratch.rkt(["fetch", "socket.aci"]).ok();
    scratch.rkt(["image", "extract", "--rootfs-only", &id, "out"]).ok();
    before.without("tmp/socket").assert_same(&Tree::read(&scratch.work().join("out")), "all but the socket");
}

#[test]
fn what_other_programs_packed_is_read() {
    needs!(root, "debootstrap", "tar", "xz", "bzip2", "zstd", "busybox");
    let scratch = Scratch::new();
    let layout = scratch.path().join("layout");
    fs::create_dir(&layout).expect("the folder is ours");
    fs::rename(odd_tree(&scratch), layout.join("rootfs")).expect("the folder is ours");
    // GNU tar keeps the hard links of regular files only.
    fs::remove_file(layout.join("rootfs/srv/odd/fifo-too")).expect("the folder is ours");
    let manifest = r#"{"acKind":"ImageManifest","acVersion":"0.8.5","name":"example.com/other","labels":[{"name":"os","value":"linux"},{"name":"arch","value":"amd64"}]}"#;
    fs::write(layout.join("manifest"), manifest).expect("the folder is ours");
    let before = Tree::read(&layout.join("rootfs"));
    // PAX keeps everything; the GNU format has neither nanoseconds nor attributes, and is checked for being read at all.
    let cases: &[(&str, &[&str], bool)] = &[
        ("pax", &["--format=pax", "--xattrs", "--xattrs-include=*", "-z"], true),
        ("sparse", &["--format=pax", "--xattrs", "--xattrs-include=*", "-S", "-J"], true),
        ("sparse-0.1", &["--format=pax", "--sparse-version=0.1", "--xattrs", "--xattrs-include=*", "-S", "-j"], true),
        ("gnu", &["--format=gnu", "-S", "--zstd"], false),
    ];
    for (name, options, exact) in cases {
        let archive = scratch.work().join(format!("{name}.aci"));
        // With the dot, names are spelt `./manifest`.
        Cmd::new("tar").args(*options).arg("-cf").arg(&archive).arg("-C").arg(&layout).arg(".").ok();
        let id = scratch.rkt(["fetch", "--full", &format!("{name}.aci")]).ok().text().to_owned();
        let out = scratch.work().join(format!("out-{name}"));
        scratch.rkt(["image", "extract", "--rootfs-only", &id]).arg(&out).ok();
        let after = Tree::read(&out);
        if *exact {
            before.assert_same(&after, name);
        } else {
            assert_eq!(before.count(), after.count(), "{name}");
        }
    }
}

#[test]
fn a_build_begins_from_a_plain_archive_of_a_root_file_system() {
    needs!(root, "tar", "busybox");
    let scratch = Scratch::new();
    let root = scratch.path().join("root");
    rootfs::busybox(&root);
    Cmd::new("tar")
        .args(["--format=pax", "-czf"])
        .arg(scratch.work().join("root.tar.gz"))
        .arg("-C")
        .arg(&root)
        .arg(".")
        .ok();
    scratch.acbuild(["begin", "./root.tar.gz"]).ok();
    Tree::read(&root).assert_same(&Tree::read(&scratch.work().join(".acbuild/currentaci/rootfs")), "begin from a tar");
    scratch.acbuild(["cat-manifest"]).ok().prints(&["\"name\":\"acbuild-unnamed\""]);
}

#[test]
fn other_programs_read_what_we_packed() {
    needs!(root, "debootstrap", "tar", "busybox");
    let scratch = Scratch::new();
    let odd = odd_tree(&scratch);
    begin(&scratch, &odd);
    write(&scratch, &["tree.aci"]);
    let out = scratch.work().join("out");
    fs::create_dir(&out).expect("the folder is ours");
    let tar =
        Cmd::new("tar").args(["--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpzf", "tree.aci", "-C", "out"]);
    tar.cwd(scratch.work()).ok();
    Tree::read(&odd).assert_same(&Tree::read(&out.join("rootfs")), "GNU tar");
    let list = Cmd::new("tar").args(["-tzf", "tree.aci"]).cwd(scratch.work()).ok();
    assert_eq!(list.stdout.lines().next(), Some("manifest"), "a reader knows the image at once");
}
