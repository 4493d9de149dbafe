//! Images built by an ordinary user with subordinate ids: the same to the last bit as root's.

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, XattrFlags, makedev, mknodat};
use support::{Cmd, Scratch, need, needs, programs};

const NOBODY: u32 = 65534;
/// Where the user's ids begin on the host: user 1 of an image.
const FIRST: u32 = 300_000;
/// `cap_net_raw=ep` as the file system keeps it: version 2 of capabilities(7), little-endian.
const NET_RAW: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Two who build the same in folders of their own, from the same inputs.
struct Builders {
    scratch: Scratch,
    programs: PathBuf,
}

impl Builders {
    fn new() -> Self {
        let scratch = Scratch::new();
        let programs = programs::for_everyone(&scratch);
        for name in ["root", "user"] {
            fs::create_dir(scratch.work().join(name)).expect("ours");
        }
        chown(scratch.work().join("user"), Some(NOBODY), Some(NOBODY)).expect("we are root");
        Self { scratch, programs }
    }

    fn command(&self, who: &str, program: &str) -> Cmd {
        let home = self.scratch.work().join(who);
        Cmd::new(self.programs.join(program))
            .cwd(&home)
            .env("HOME", &home)
            .env("XDG_DATA_HOME", home.join("share"))
            .env("SOURCE_DATE_EPOCH", "1000000000")
    }

    fn root(&self, line: &str) -> Cmd {
        let mut words = line.split(' ');
        self.command("root", words.next().expect("a program")).args(words).env("RKT_DIR", self.scratch.data())
    }

    fn user(&self, line: &str) -> Cmd {
        let mut words = line.split(' ');
        let command = self.command("user", words.next().expect("a program")).args(words);
        programs::with_ids(programs::as_nobody(command), &self.scratch)
    }

    /// Both do the same; returns what the last command printed.
    #[track_caller]
    fn both(&self, lines: &[&str]) -> [String; 2] {
        let mut last = [String::new(), String::new()];
        for line in lines {
            last = [self.root(line).ok().text().to_owned(), self.user(line).ok().text().to_owned()];
        }
        last
    }

    /// A path in the user's folder.
    fn users(&self, name: &str) -> PathBuf {
        self.scratch.work().join("user").join(name)
    }
}

/// A root file system with whatever takes root to make.
fn tree(top: &Path) {
    let write = |name: &str, owner: u32, mode: u32| {
        let path = top.join(name);
        fs::create_dir_all(path.parent().expect("below the top")).expect("ours");
        fs::write(&path, name).expect("ours");
        chown(&path, Some(owner), Some(owner + 1)).expect("we are root");
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("ours");
        path
    };
    write("bin/su", 0, 0o4755);
    write("bin/wall", 1000, 0o2755);
    let ping = write("bin/ping", 0, 0o755);
    rustix::fs::setxattr(&ping, "security.capability", &NET_RAW, XattrFlags::empty()).expect("we are root");
    let noted = write("srv/noted", 33, 0o600);
    rustix::fs::setxattr(&noted, "user.note", b"kept", XattrFlags::empty()).expect("ext4, xfs, btrfs or tmpfs");
    write("home/me/secret", 1000, 0o400);
    write("var/nobody", NOBODY - 1, 0o644);
    chown(top.join("var/nobody"), Some(NOBODY), Some(NOBODY)).expect("we are root");
    chown(top.join("home/me"), Some(1000), Some(1000)).expect("we are root");
    fs::set_permissions(top.join("home/me"), Permissions::from_mode(0o500)).expect("ours");
    symlink("su", top.join("bin/link")).expect("ours");
    lchown(top.join("bin/link"), Some(7), Some(8)).expect("we are root");
    fs::create_dir(top.join("dev")).expect("ours");
    for (name, kind, device, mode) in [
        ("dev/null", FileType::CharacterDevice, makedev(1, 3), 0o666),
        ("dev/disk", FileType::BlockDevice, makedev(4095, 70_000), 0o060),
        ("dev/hidden", FileType::CharacterDevice, makedev(0, 0), 0o600),
        ("dev/pipe", FileType::Fifo, 0, 0o620),
    ] {
        let path = top.join(name);
        mknodat(CWD, &path, kind, Mode::RWXU, device).expect("we are root");
        chown(&path, Some(5), Some(6)).expect("we are root");
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("ours");
    }
    fs::hard_link(top.join("dev/null"), top.join("dev/zero")).expect("ours");
}

/// An archive of a root file system with one more attribute on its only file.
fn tar(path: &Path, key: &str, value: &str, uid: u64) {
    let mut tar = tar::Builder::new(fs::File::create(path).expect("ours"));
    tar.append_pax_extensions([(key, value.as_bytes())]).expect("ours");
    let mut header = tar::Header::new_ustar();
    header.set_path("file").expect("short");
    header.set_mode(0o644);
    header.set_uid(uid);
    header.set_size(0);
    header.set_cksum();
    tar.append(&header, std::io::empty()).expect("ours");
    tar.finish().expect("ours");
}

#[test]
fn the_image_is_the_one_that_root_builds() {
    needs!(root, "busybox", "setpriv", "unshare", "newuidmap", "tar");
    let builders = Builders::new();
    let work = builders.scratch.work();
    tree(&work.join("tree"));
    let inputs = work.join("inputs");
    fs::create_dir_all(inputs.join("dir/below")).expect("ours");
    fs::write(inputs.join("dir/below/own"), "own").expect("ours");
    fs::write(inputs.join("of-root"), "of root").expect("ours");
    builders.root("acbuild begin ../tree").ok();
    builders.root("acbuild set-name example.com/base").ok();
    builders.root("acbuild write ../base.aci").ok();
    builders.root("acbuild end").ok();
    Cmd::new("tar")
        .args(["--numeric-owner", "-cf"])
        .arg(work.join("base.tar"))
        .args(["-C", "tree", "."])
        .cwd(&work)
        .ok();

    for start in ["../base.aci", "../base.tar"] {
        builders.both(&[&format!("acbuild begin {start}"), "acbuild set-name example.com/built"]);
        builders.root("acbuild copy ../inputs/dir /srv").ok();
        // What belongs to the user is root's in the image; what belongs to others of the host, too.
        Cmd::new("chown").args(["-R", "65534:65534"]).arg(inputs.join("dir")).ok();
        builders.user("acbuild copy ../inputs/dir /srv").ok();
        Cmd::new("chown").args(["-R", "0:0"]).arg(inputs.join("dir")).ok();
        let [root, user] = builders.both(&[
            "acbuild copy ../inputs/of-root /home/me/of-root",
            "acbuild copy /dev/full /dev/full",
            "acbuild copy-to-dir ../inputs/of-root /dev",
            "acbuild write built.aci --overwrite",
        ]);
        assert_eq!(root, user, "from {start}");
        let list = |who: &str| {
            let built = work.join(who).join("built.aci");
            Cmd::new("tar").args(["--numeric-owner", "-tvzf"]).arg(built).ok().stdout
        };
        assert_eq!(list("root"), list("user"));
        let listed = list("user").split_whitespace().collect::<Vec<_>>().join(" ");
        for words in ["crw-rw-rw- 5/6 1,3 ", "b---rw---- 5/6 4095,70000 ", "-rwsr-xr-x 0/1 ", "crw-rw-rw- 0/0 1,7 "] {
            assert!(listed.contains(words), "no {words:?} in {listed}");
        }
        // On the host it all belongs to the user's own ids, and is for the user's eyes only.
        let rootfs = builders.users(".acbuild/currentaci/rootfs");
        assert_eq!(fs::metadata(rootfs.join("home/me/secret")).expect("there").uid(), FIRST + 999);
        assert!(!fs::metadata(rootfs.join("dev/null")).expect("there").file_type().is_char_device());
        assert_eq!(fs::metadata(builders.users(".acbuild")).expect("there").mode() & 0o777, 0o700);
        builders.both(&["acbuild end"]);
        assert!(!builders.users(".acbuild").exists());
    }
}

#[test]
fn what_the_user_s_cache_knows_is_the_same_image_too() {
    needs!(root, "busybox", "setpriv", "unshare", "newuidmap");
    let builders = Builders::new();
    tree(&builders.scratch.work().join("tree"));
    for line in ["begin ../tree", "set-name example.com/base", "write ../base.aci", "end"] {
        builders.root(&format!("acbuild {line}")).ok();
    }
    let inputs = builders.scratch.work().join("inputs");
    fs::create_dir_all(&inputs).expect("ours");
    fs::write(inputs.join("file"), "file").expect("ours");
    let build = |cache: &str| {
        let begin = format!("acbuild begin {cache}../base.aci");
        let ids = builders.both(&[
            &begin,
            "acbuild set-name example.com/built",
            "acbuild copy ../inputs/file /home/me/file",
            "acbuild copy /dev/full /dev/full",
            "acbuild file remove /bin/wall",
            "acbuild write built.aci --overwrite",
        ]);
        assert_eq!(ids[0], ids[1], "{cache}");
        let [_, history] = builders.both(&["acbuild history"]);
        // The files are made of what is stored.
        let again = builders.both(&["acbuild status", "acbuild write built.aci --overwrite --compression none"]);
        assert_eq!(again, ids, "{cache}");
        builders.both(&["acbuild end"]);
        (ids, history.matches(" hit ").count())
    };
    let plain = build("");
    assert_eq!(build("--cache ").1, 0);
    assert_eq!(build("--cache "), (plain.0, 4));
}

#[test]
fn a_device_is_never_made_of_an_attribute_in_an_archive() {
    needs!(root, "setpriv", "unshare", "newuidmap");
    let builders = Builders::new();
    tar(&builders.scratch.work().join("forged.tar"), "SCHILY.xattr.user.appc.device", "c 1 3", 0);
    for begun in [builders.root("acbuild begin ../forged.tar").ok(), builders.user("acbuild begin ../forged.tar").ok()]
    {
        begun.says(&["left out of file: attribute user.appc.device"]);
    }
    let [root, user] = builders.both(&["acbuild set-name example.com/forged", "acbuild write forged.aci"]);
    assert_eq!(root, user);
    // Nor does root make one of a file of the host that somebody has prepared.
    let prepared = builders.scratch.file("prepared", "");
    rustix::fs::setxattr(&prepared, "user.appc.device", b"b 8 0", XattrFlags::empty()).expect("ours");
    builders.root("acbuild copy ../prepared /prepared").ok();
    let rootfs = builders.scratch.work().join("root/.acbuild/currentaci/rootfs");
    assert!(fs::metadata(rootfs.join("prepared")).expect("there").is_file());
    builders.root("acbuild write prepared.aci").ok();
    let written = builders.scratch.work().join("root/prepared.aci");
    Cmd::new("tar").arg("-tvzf").arg(written).ok().prints(&["rootfs/prepared"]);
}

/// Programs of several owners in `dir`: the user's own, root's, and those of one who is neither.
fn programs_in(dir: &Path) {
    fs::create_dir_all(dir.join("shared")).expect("ours");
    for (name, uid, gid, mode) in [
        ("own", NOBODY, NOBODY, 0o4755),
        ("of-root", 0, 0, 0o6755),
        ("of-a-group", 0, 1234, 0o2755),
        ("strange", 1234, 1234, 0o6755),
        ("plain", 1234, 1234, 0o755),
        ("shared", 1234, 1234, 0o2755),
    ] {
        if name != "shared" {
            fs::write(dir.join(name), name).expect("ours");
        }
        chown(dir.join(name), Some(uid), Some(gid)).expect("we are root");
        fs::set_permissions(dir.join(name), Permissions::from_mode(mode)).expect("ours");
    }
}

#[test]
fn what_a_stranger_s_program_may_do_does_not_become_what_root_may() {
    needs!(root, "setpriv", "unshare", "newuidmap", "tar");
    let builders = Builders::new();
    let dir = builders.scratch.work().join("inputs");
    programs_in(&dir);
    let listed = |who: &str| {
        let built = builders.scratch.work().join(who).join("built.aci");
        let listed = Cmd::new("tar").args(["--numeric-owner", "-tvzf"]).arg(built).ok().stdout;
        listed.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let lost = |path: &str| format!("left out of {path}: set-user-ID or set-group-ID bit, ");
    let build = |begin: &str, copies: &[&str], losses: usize| {
        builders.user(begin).ok();
        builders.user("acbuild set-name example.com/built").ok();
        for copy in copies {
            let ran = builders.user(&format!("acbuild {copy}")).ok();
            let said =
                [ran.stderr.matches("left out of").count(), ran.stderr.matches(&lost("../inputs/strange")).count()];
            assert_eq!(said, [losses; 2], "{copy}: {}", ran.stderr);
        }
        let id = builders.user("acbuild write built.aci --overwrite").ok().text().to_owned();
        let hits = builders.user("acbuild history").ok().text().matches(" hit ").count();
        builders.user("acbuild end").ok();
        (id, hits)
    };
    let (copy, begin, cached) = ("copy ../inputs /srv", "acbuild begin", "acbuild begin --cache");
    build(begin, &[copy, "copy ../inputs/strange /bin/strange", "copy-to-dir ../inputs /opt"], 1);
    let (built, modes) = (listed("user"), ["-rwsr-xr-x 0/0 3 ", "-rwsr-sr-x 0/0 7 ", "-rwxr-sr-x 0/0 10 "]);
    for (mode, count) in modes.iter().map(|mode| (*mode, 2)).chain([("-rwxr-xr-x 0/0 7 ", 3), ("drwxr-sr-x 0/0 0 ", 2)])
    {
        assert_eq!(built.matches(mode).count(), count, "{mode:?} in {built}");
    }
    builders.user("acbuild begin ../inputs").ok().says(&[&lost("../inputs/strange")]);
    builders.user("acbuild end").ok();
    let layout = builders.scratch.work().join("layout");
    fs::create_dir(&layout).expect("ours");
    let manifest = r#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/layout"}"#;
    fs::write(layout.join("manifest"), manifest).expect("ours");
    programs_in(&layout.join("rootfs"));
    builders.user("acbuild build ../layout built.aci --overwrite").ok().says(&[&lost("strange")]);
    assert_eq!(listed("user").matches("-rwsr-sr-x 0/0 7 ").count(), 1, "{}", listed("user"));

    // The cache knows it: bits that nobody gets are not looked at, those that somebody gets are.
    let (plain, _) = build(begin, &[copy], 1);
    assert_eq!(build(cached, &[copy], 1), (plain.clone(), 0));
    fs::set_permissions(dir.join("strange"), Permissions::from_mode(0o755)).expect("ours");
    assert_eq!(build(cached, &[copy], 0), (plain.clone(), 1));
    chown(dir.join("strange"), Some(0), Some(0)).expect("we are root");
    fs::set_permissions(dir.join("strange"), Permissions::from_mode(0o6755)).expect("ours");
    let (of_root, hits) = build(cached, &[copy], 0);
    assert!(of_root != plain && hits == 0);

    // Root keeps owners, and so what is theirs.
    programs_in(&dir);
    builders.root("acbuild begin ../inputs").ok();
    builders.root("acbuild set-name example.com/built").ok();
    builders.root("acbuild write built.aci").ok();
    assert!(listed("root").contains("-rwsr-sr-x 1234/1234 7"), "{}", listed("root"));
}

#[test]
fn ids_beyond_the_user_s_are_named() {
    needs!(root, "setpriv", "unshare", "newuidmap");
    let builders = Builders::new();
    tar(&builders.scratch.work().join("far.tar"), "comment", "", 70_000);
    let refused = builders.user("acbuild begin ../far.tar").exits(1);
    refused.says(&["begin: ", "file", "70000:0", "/etc/subuid"]);
    assert!(!builders.users(".acbuild").exists());
}

#[test]
fn the_store_keeps_owners() {
    needs!(root, "setpriv", "unshare", "newuidmap");
    let builders = Builders::new();
    tree(&builders.scratch.work().join("tree"));
    builders.root("acbuild begin ../tree").ok();
    builders.root("acbuild set-name example.com/base").ok();
    let id = builders.root("acbuild write ../base.aci").ok().text().to_owned();
    builders.root("acbuild end").ok();

    builders.user("rkt fetch ../base.aci").ok();
    let stored = builders.users("share/rkt/store/trees").join(&id).join("rootfs");
    let (su, wall) = (fs::metadata(stored.join("bin/su")).expect("there"), stored.join("bin/wall"));
    assert_eq!((su.uid(), su.gid(), su.mode() & 0o7777), (NOBODY, FIRST, 0o4755));
    assert_eq!(fs::metadata(wall).expect("there").uid(), FIRST + 999);
    builders.user("rkt image verify example.com/base").ok();
    let begun = |line: &str| {
        builders.user(line).ok();
        let written = builders.user("acbuild write again.aci --overwrite").ok().text().to_owned();
        builders.user("acbuild end").ok();
        written
    };
    assert_eq!(begun("acbuild begin example.com/base"), begun("acbuild begin ../base.aci"));
    // What leaves the store is the user's own, who could not remove it otherwise.
    builders.user("rkt image extract example.com/base out").ok();
    assert_eq!(fs::metadata(builders.users("out/rootfs/bin/wall")).expect("there").uid(), NOBODY);
    assert!(!builders.users("out/rootfs/dev/disk").exists());
    builders.user("rkt image rm example.com/base").ok();
    assert!(!stored.exists());
}

#[test]
fn a_folder_is_built_as_root_builds_it() {
    needs!(root, "setpriv", "unshare", "newuidmap");
    let builders = Builders::new();
    for who in ["root", "user"] {
        let layout = builders.scratch.work().join(who).join("layout");
        fs::create_dir_all(layout.join("rootfs/bin")).expect("ours");
        fs::write(layout.join("rootfs/bin/x"), "x").expect("ours");
        let manifest = r#"{"acKind":"ImageManifest","acVersion":"0.8.11","name":"example.com/layout"}"#;
        fs::write(layout.join("manifest"), manifest).expect("ours");
        if who == "user" {
            for path in ["", "manifest", "rootfs", "rootfs/bin", "rootfs/bin/x"] {
                chown(layout.join(path), Some(NOBODY), Some(NOBODY)).expect("we are root");
            }
        }
    }
    builders.both(&["acbuild build layout layout.aci", "acbuild begin ./layout.aci"]);
    let [root, user] = builders.both(&["acbuild write again.aci"]);
    assert_eq!(root, user);
    let ids = builders.command("user", "acbuild").args(["build", "layout", "alone.aci"]).env("PATH", "/nowhere");
    let setpriv = need::find_program("setpriv").expect("it was looked for");
    ids.under(&setpriv, ["--reuid", "65534", "--regid", "65534", "--clear-groups"]).ok();
    let read = |name: &str| fs::read(builders.users(name)).expect("there");
    assert_eq!(read("layout.aci"), read("alone.aci"), "without subordinate ids too");
}

#[test]
fn without_ids_a_user_is_told_what_is_lost() {
    needs!(root, "setpriv");
    let builders = Builders::new();
    let setpriv = need::find_program("setpriv").expect("it was looked for");
    // No newuidmap is found.
    let nobody = |line: &str| {
        let command = builders.command("user", "acbuild").args(line.split(' ')).env("PATH", "/nowhere");
        command.under(&setpriv, ["--reuid", "65534", "--regid", "65534", "--clear-groups"])
    };
    nobody("begin").ok().says(&["warning: ", "run this as superuser", "newuidmap", "/etc/subuid"]);
    nobody("run -- true")
        .exits(1)
        .says(&["run: the run subcommand must be run as root, or by a user with subordinate ids"]);
    nobody("end").ok();
}

/// Whatever a command does to files that shows in an image.
const STEP: &str = r#"set -e
test "$(id -u)" = 0 && test -c /dev/null && test -d /proc/self && test -e /sys/class && grep -q localhost /etc/hosts
mkdir -p /srv; echo new > /srv/new; chown 7:8 /srv/new; chmod 4755 /srv/new; ln /srv/new /srv/same; ln -s new /srv/link; mkfifo /srv/fifo
mkdir -m 1777 /srv/dir; chown 1000:2000 /srv/dir; chmod 600 /etc/group; chown 33 /etc/passwd
rm /gone; rm -r /old; mkdir /old; echo kept > /old/kept
! mknod /srv/disk b 8 0 2>/dev/null || rm /srv/disk
"#;

#[test]
fn a_command_runs_for_the_user_as_for_root() {
    needs!(root, "busybox", "setpriv", "unshare", "newuidmap");
    let builders = Builders::new();
    let base = builders.scratch.work().join("base");
    support::rootfs::busybox(&base);
    fs::create_dir_all(base.join("old/dir")).expect("ours");
    for (name, content) in [("step", STEP), ("gone", ""), ("old/dir/x", "")] {
        fs::write(base.join(name), content).expect("ours");
    }
    let begin = format!("acbuild begin {}", base.display());
    let made = builders.both(&[
        &begin,
        "acbuild set-name example.com/base",
        "acbuild write base.aci",
        "acbuild end",
        "rkt fetch base.aci",
        "acbuild begin",
        "acbuild set-name example.com/ran",
        "acbuild dependency add example.com/base",
        "acbuild run -- /bin/sh /step",
        "acbuild run --net=none --engine=chroot -- /bin/sh -c true",
        "acbuild run --user 33 -- /bin/true",
        "acbuild write ran.aci",
    ]);
    assert_eq!(made[0], made[1]);
    builders.user("acbuild run -- /bin/false").exits(1).says(&["run: exit status 1"]);
    // More than the range that the tests give.
    builders
        .user("acbuild run --user 4000000 -- /bin/true")
        .exits(1)
        .says(&["process.user.uid: 4000000 is not mapped"]);
    builders
        .user("acbuild run --engine=systemd-nspawn -- /bin/true")
        .exits(1)
        .says(&["must be run by root of the host"]);
    // Without dependencies what is deleted is only gone.
    let made = builders.both(&[
        "acbuild end",
        &begin,
        "acbuild set-name example.com/alone",
        "acbuild run -- /bin/sh /step",
        "acbuild write alone.aci",
        "acbuild end",
        "acbuild begin --build-mode=oci",
        &format!("acbuild copy {} /", base.display()),
        "acbuild layer",
        "acbuild run -- /bin/sh /step",
        "acbuild write ran.tar",
    ]);
    assert_eq!(made[0], made[1]);
}

#[test]
fn a_user_sees_what_differs_as_root_does() {
    needs!(root, "setpriv", "unshare", "newuidmap");
    let builders = Builders::new();
    let node = |path: PathBuf, minor, mode| {
        fs::create_dir_all(path.parent().expect("below the top")).expect("ours");
        mknodat(CWD, &path, FileType::CharacterDevice, Mode::RWXU, makedev(1, minor)).expect("we are root");
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("ours");
    };
    let trees = ["a", "b"].map(|name| builders.scratch.work().join(name));
    for (tree, minor, mode) in [(&trees[0], 3, 0o4755), (&trees[1], 5, 0o755)] {
        node(tree.join("dev/other"), minor, 0o600);
        node(tree.join("dev/same"), 3, 0o600);
        node(tree.join("dev/mode"), 3, mode & 0o777 | minor);
        fs::write(tree.join("su"), "").expect("ours");
        fs::set_permissions(tree.join("su"), Permissions::from_mode(mode)).expect("ours");
    }
    node(trees[0].join("dev/file"), 3, 0o600);
    fs::write(trees[1].join("dev/file"), "").expect("ours");
    for (tree, name) in trees.iter().zip(["a", "b"]) {
        builders.root(&format!("acbuild begin {}", tree.display())).ok();
        builders.root("acbuild set-name example.com/x").ok();
        builders.root(&format!("acbuild write {name}.aci")).ok();
        builders.root("acbuild end").ok();
    }
    let [root, user] = builders.both(&["acbuild diff ../root/a.aci ../root/b.aci"]);
    assert_eq!(root, "~ /dev/file (type)\n~ /dev/mode (mode)\n~ /dev/other (device)\n~ /su (mode)");
    assert_eq!(user, root);
}

#[test]
fn an_image_that_is_edited_stays_whose_it_is() {
    needs!(root);
    let builders = Builders::new();
    builders.user("acbuild begin").ok();
    builders.user("acbuild set-name example.com/edited").ok();
    builders.user("acbuild write edited.aci").ok();
    builders.user("acbuild end").ok();
    fs::write(builders.users("f"), "f").expect("ours");
    // Strangers are nobody in the user's namespace, and nobody is one of its subordinate ids there.
    for (uid, gid, after) in
        [(NOBODY, 0, (NOBODY, NOBODY)), (0, 0, (NOBODY, NOBODY)), (NOBODY, NOBODY, (NOBODY, NOBODY))]
    {
        chown(builders.users("edited.aci"), Some(uid), Some(gid)).expect("we are root");
        fs::set_permissions(builders.users("edited.aci"), Permissions::from_mode(0o664)).expect("ours");
        builders.user("acbuild --modify-appc edited.aci copy f /f").ok();
        let found = fs::metadata(builders.users("edited.aci")).expect("it is there");
        assert_eq!(((found.uid(), found.gid()), found.mode() & 0o7777), (after, 0o664));
    }
}
