//! `copy` and `copy-to-dir`: what is kept, what is merged, and what a hostile image cannot make them do.
#![allow(clippy::unwrap_used)] // The lint takes helpers of tests for code.

mod common;

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use common::{Scratch, as_nobody, is_root, listing, skip};
use rustix::fs::{CWD, FileType, Mode};

/// A directory with one of everything that an ordinary user can make.
fn odd_tree(at: &Path) {
    fs::create_dir_all(at.join("sub/deep")).unwrap();
    fs::write(at.join("file"), "content").unwrap();
    fs::hard_link(at.join("file"), at.join("sub/same")).unwrap();
    symlink("../file", at.join("sub/link")).unwrap();
    symlink("/nowhere", at.join("dangling")).unwrap();
    rustix::fs::mknodat(CWD, at.join("fifo"), FileType::Fifo, Mode::from(0o640), 0).unwrap();
    fs::write(at.join("sub/deep/suid"), "x").unwrap();
    fs::set_permissions(at.join("sub/deep/suid"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::set_permissions(at.join("sub"), fs::Permissions::from_mode(0o1777)).unwrap();
    let script = "touch -d @1000000000.123456789 file; touch -h -d @5.5 dangling; touch -d @7 sub/deep; \
                  setfattr -n user.note -v yes file 2>/dev/null; true";
    assert!(Command::new("sh").args(["-c", script]).current_dir(at).status().unwrap().success());
    if is_root() {
        rustix::fs::mknodat(
            CWD,
            at.join("null"),
            FileType::CharacterDevice,
            Mode::from(0o666),
            rustix::fs::makedev(1, 3),
        )
        .unwrap();
        fs::create_dir(at.join("closed")).unwrap();
        fs::set_permissions(at.join("closed"), fs::Permissions::from_mode(0o0)).unwrap();
        std::os::unix::fs::lchown(at.join("sub/link"), Some(3_000_000), Some(7)).unwrap();
        std::os::unix::fs::chown(at.join("fifo"), Some(12), Some(34)).unwrap();
        let script = "setfattr -n security.capability -v 0sAQAAAgAgAAAAAAAAAAAAAAAAAAA= file 2>/dev/null; true";
        assert!(Command::new("sh").args(["-c", script]).current_dir(at).status().unwrap().success());
    }
}

#[test]
fn a_tree_is_copied_with_everything() {
    let scratch = Scratch::begun();
    odd_tree(&scratch.path("tree"));
    let expected = listing(&scratch.path("tree"));
    scratch.ok(["copy", "tree", "/srv/tree"]);
    assert_eq!(listing(&scratch.rootfs("srv/tree")), expected);
    // A slash behind a source changes nothing, and the name in the target directory is the same.
    scratch.ok(["copy", "tree/", "/opt"]);
    assert_eq!(listing(&scratch.rootfs("opt")), expected);
    scratch.ok(["copy-to-dir", "tree/", "/usr/share/"]);
    assert_eq!(listing(&scratch.rootfs("usr/share/tree")), expected);
    assert_eq!(fs::metadata(scratch.rootfs("usr/share")).unwrap().mode() & 0o7777, 0o755);
    assert!(!scratch.path(".acbuild/staging").exists());
}

#[test]
fn files_land_where_they_are_told_to() {
    let scratch = Scratch::begun();
    scratch.file("hello", "1");
    scratch.file("other", "2");
    scratch.ok(["copy", "hello", "/bin/hello"]);
    scratch.ok(["copy", "hello", "bin/relative"]);
    scratch.ok(["copy", "other", "/bin/hello"]);
    scratch.ok(["copy-to-dir", "hello", "other", "/a/b"]);
    scratch.ok(["copy-to-dir", "other", "/"]);
    for (path, content) in
        [("bin/hello", "2"), ("bin/relative", "1"), ("a/b/hello", "1"), ("a/b/other", "2"), ("other", "2")]
    {
        assert_eq!(fs::read_to_string(scratch.rootfs(path)).unwrap(), content, "{path}");
    }
    // A link is copied as a link, unless a slash says that its directory is meant.
    symlink("hello", scratch.path("link")).unwrap();
    fs::create_dir(scratch.path("directory")).unwrap();
    symlink("directory", scratch.path("to-directory")).unwrap();
    scratch.ok(["copy", "link", "/link"]);
    scratch.ok(["copy", "to-directory/", "/made"]);
    assert_eq!(fs::read_link(scratch.rootfs("link")).unwrap(), Path::new("hello"));
    assert!(fs::symlink_metadata(scratch.rootfs("made")).unwrap().is_dir());
}

#[test]
fn directories_are_merged_and_keep_what_they_were() {
    let scratch = Scratch::begun();
    scratch.file("one/etc/a", "old");
    scratch.file("one/usr/lib/x", "x");
    scratch.file("two/etc/a", "new");
    scratch.file("two/etc/b", "b");
    scratch.file("two/lib/y", "y");
    symlink("usr/lib", scratch.path("one/lib")).unwrap();
    fs::set_permissions(scratch.path("one/etc"), fs::Permissions::from_mode(0o750)).unwrap();
    fs::set_permissions(scratch.path("two"), fs::Permissions::from_mode(0o700)).unwrap();
    scratch.ok(["copy", "one", "/"]);
    scratch.ok(["copy", "two", "/"]);
    let mode = |path: &str| fs::metadata(scratch.rootfs(path)).unwrap().mode() & 0o7777;
    assert_eq!((mode(""), mode("etc")), (0o755, 0o750));
    assert_eq!(fs::read_to_string(scratch.rootfs("etc/a")).unwrap(), "new");
    assert_eq!(fs::read_to_string(scratch.rootfs("etc/b")).unwrap(), "b");
    // Into the directory that the link leads to, not over the link.
    assert_eq!(fs::read_to_string(scratch.rootfs("usr/lib/y")).unwrap(), "y");
    assert_eq!(fs::read_link(scratch.rootfs("lib")).unwrap(), Path::new("usr/lib"));
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_moved() {
    let scratch = Scratch::begun();
    scratch.file("file", "f");
    scratch.file("tree/a", "a");
    scratch.file("tree/z/file", "z");
    scratch.file("clash/tree", "not a directory");
    scratch.file("late/z", "a file where there is a directory");
    scratch.file("late/new", "n");
    scratch.ok(["copy", "tree", "/"]);
    scratch.ok(["copy", "clash/tree", "/tree"]);
    symlink("z", scratch.rootfs("to-z")).unwrap();
    let cases: &[(&[&str], &str)] = &[
        (&["copy", "none", "/x"], "copy: no such file or directory: none"),
        (&["copy", "none/deep", "/x"], "copy: no such file or directory: none/deep"),
        (&["copy", "file/", "/x"], "copy: cannot"),
        (&["copy", "file", "/dir/"], "trailing path separator in the second operand"),
        (&["copy", "file", "/"], "/ is a directory in the image: use copy-to-dir"),
        (&["copy", "file", "/z"], "/z is a directory in the image: use copy-to-dir"),
        (&["copy", "file", "/to-z"], "/to-z is a directory in the image: use copy-to-dir"),
        (&["copy", "tree", "/a"], "/a exists in the image and is not a directory"),
        (&["copy", "file", "/a/b"], "copy: cannot copy to \"/a/b\""),
        (&["copy", "late", "/"], "/z is a directory in the image"),
        (&["copy-to-dir", "file", "/a"], "target \"/a\" is not a directory"),
        (&["copy-to-dir", "file", "tree", "/"], "/tree exists in the image and is not a directory"),
        (&["copy-to-dir", "file", "tree/../file", "/"], "two of the sources are named \"file\""),
        (&["copy-to-dir", "/", "/x"], "/ has no name"),
        (&["copy-to-dir", "file", "none", "/x"], "no such file or directory: none"),
    ];
    for (args, words) in cases {
        scratch.refused(*args, 1, words);
    }
    let _socket = UnixListener::bind(scratch.path("socket")).unwrap();
    let ran = scratch.run(["copy", "socket", "/socket"]);
    assert!(
        ran.code == Some(1) && ran.stderr.contains("copy: socket is a socket, a device 0:0 or the build itself"),
        "{ran:#?}"
    );
}

#[test]
fn links_in_the_image_do_not_lead_to_the_host() {
    let scratch = Scratch::begun();
    let host = scratch.path("host");
    scratch.file("host/passwd", "host");
    scratch.file("new", "new");
    scratch.file("tree/passwd", "new");
    let rootfs = scratch.rootfs("");
    symlink(&host, rootfs.join("etc")).unwrap();
    symlink(host.join("passwd"), rootfs.join("file")).unwrap();
    symlink("../../../host", rootfs.join("up")).unwrap();
    symlink("/proc/self/cwd", rootfs.join("magic")).unwrap();
    let before = listing(&host);
    for (args, _) in [
        (["copy", "new", "/etc/passwd"], ()),
        (["copy", "new", "/file"], ()),
        (["copy", "new", "/up/passwd"], ()),
        (["copy", "new", "../../../../host/passwd"], ()),
        (["copy", "new", "/magic/host/passwd"], ()),
        (["copy", "tree", "/etc"], ()),
        (["copy", "tree", "/up"], ()),
        (["copy-to-dir", "new", "/etc"], ()),
        (["copy-to-dir", "tree/passwd", "/up"], ()),
    ] {
        let ran = scratch.run(args);
        assert!(matches!(ran.code, Some(0 | 1)), "{ran:#?}");
        assert_eq!(listing(&host), before, "{ran:#?}");
    }
    // A file in the place of a link is the image's own.
    assert_eq!(fs::read_to_string(scratch.rootfs("file")).unwrap(), "new");
    assert!(fs::symlink_metadata(scratch.rootfs("file")).unwrap().is_file());
    assert_eq!(fs::read_to_string(scratch.rootfs("host/passwd")).unwrap(), "new", "`..` stops at the root");
    scratch.ok(["copy", "new", "/made/../../../beyond"]);
    assert_eq!(fs::read_to_string(scratch.rootfs("beyond")).unwrap(), "new", "after what is made on the way, too");
    let names: Vec<_> = fs::read_dir(scratch.path(".acbuild")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
}

#[test]
fn the_build_itself_is_never_copied() {
    let scratch = Scratch::new();
    scratch.file("sub/f", "f");
    scratch.ok(["begin", "."]);
    assert!(scratch.rootfs("sub/f").exists());
    assert!(!scratch.rootfs(".acbuild").exists());
    scratch.ok(["copy", ".", "/app"]);
    assert!(scratch.rootfs("app/sub/f").exists());
    assert!(!scratch.rootfs("app/.acbuild").exists());
    scratch.refused(["copy", ".acbuild", "/x"], 1, "copy: .acbuild is a socket, a device 0:0 or the build itself");
}

#[test]
fn sockets_are_left_out_with_a_warning() {
    let scratch = Scratch::begun();
    scratch.file("tree/f", "f");
    let _socket = UnixListener::bind(scratch.path("tree/socket")).unwrap();
    let ran = scratch.run(["copy", "tree", "/tree"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert!(ran.stderr.starts_with("warning: ") && ran.stderr.contains("socket"), "{ran:#?}");
    assert!(scratch.rootfs("tree/f").exists() && !scratch.rootfs("tree/socket").exists());
    // What lies there already is not a copy's business.
    rustix::fs::mknodat(CWD, scratch.rootfs("s"), FileType::Socket, Mode::from(0o600), 0).unwrap();
    scratch.ok(["copy", "tree/f", "/s"]);
    assert!(!fs::metadata(scratch.rootfs("s")).unwrap().file_type().is_socket());
}

#[test]
fn an_ordinary_user_builds_too() {
    let scratch = Scratch::new();
    if !is_root() {
        skip("an_ordinary_user_builds_too", "it is what every other test does when not run as root");
        return;
    }
    let program = Path::new(env!("CARGO_BIN_EXE_acbuild"));
    let reachable = Command::new("setpriv")
        .args(["--reuid=65534", "--clear-groups", "test", "-x"])
        .arg(program)
        .status()
        .is_ok_and(|status| status.success());
    if !reachable {
        skip("an_ordinary_user_builds_too", "an ordinary user cannot run the program where it was built");
        return;
    }
    scratch.file("tree/read-only/f", "f");
    fs::set_permissions(scratch.path(""), fs::Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(scratch.path("tree/read-only"), fs::Permissions::from_mode(0o555)).unwrap();
    let run = |args: &[&str]| {
        let ran = as_nobody(&scratch, args);
        assert_eq!(ran.code, Some(0), "{ran:#?}");
        ran
    };
    let begun = run(&["begin"]);
    // Unless this machine's nobody has subordinate ids.
    let lost = begun.stderr.contains("please run this as superuser to avoid filesystem permissions issues");
    assert!(lost && begun.stderr.contains("/etc/subuid") || begun.stderr.is_empty(), "{begun:#?}");
    run(&["copy", "tree/read-only", "/read-only"]);
    run(&["copy", "tree", "/"]);
    scratch.file("secret", "");
    fs::set_permissions(scratch.path("secret"), fs::Permissions::from_mode(0o600)).unwrap();
    let refused = as_nobody(&scratch, &["copy", "secret", "/secret"]);
    assert_eq!(refused.code, Some(1), "{refused:#?}");
    assert!(refused.stderr.starts_with("copy: cannot copy \"secret\": "), "{refused:#?}");
    assert!(!scratch.rootfs("secret").exists());
    run(&["set-name", "example.com/user"]);
    run(&["write", "user.aci"]);
    let copied = fs::metadata(scratch.rootfs("read-only")).unwrap();
    assert_eq!((copied.uid(), copied.mode() & 0o7777), (65534, 0o555));
    run(&["end"]);
    assert!(!scratch.path(".acbuild").exists());
    run(&["begin", "./user.aci"]);
    run(&["end"]);
}

#[test]
fn a_link_in_place_of_the_root_file_system_is_not_followed() {
    let scratch = Scratch::begun();
    scratch.file("hello", "1");
    fs::create_dir(scratch.path("victim")).unwrap();
    fs::remove_dir(scratch.rootfs("")).unwrap();
    symlink(scratch.path("victim"), scratch.path(".acbuild/currentaci/rootfs")).unwrap();
    scratch.refused(["copy", "hello", "/hello"], 1, "currentaci/rootfs");
    assert_eq!(fs::read_dir(scratch.path("victim")).unwrap().count(), 0);
}

#[test]
fn files_that_are_made_when_they_are_read_are_copied_with_their_content() {
    let scratch = Scratch::begun();
    for (path, name) in [("/proc/sys/kernel/ostype", "ostype"), ("/sys/kernel/uevent_seqnum", "seqnum")] {
        let content = fs::read(path).unwrap();
        assert!(!content.is_empty());
        scratch.ok(["copy", path, name]);
        let copy = fs::read(scratch.rootfs(name)).unwrap();
        assert!(copy == content || name == "seqnum" && copy.len() == content.len(), "{path}: {copy:?}");
    }
}
