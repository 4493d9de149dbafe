//! `acbuild` and the store in the hands of an ordinary user.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::PathBuf;

use support::{Cmd, Scratch, busybox_image, needs, programs};

const NOBODY: u32 = 65534;

struct User {
    scratch: Scratch,
    programs: PathBuf,
}

impl User {
    fn new() -> Self {
        let scratch = Scratch::new();
        let programs = programs::for_everyone(&scratch);
        chown(scratch.work(), Some(NOBODY), Some(NOBODY)).expect("we are root");
        Self { scratch, programs }
    }

    fn run<S: AsRef<std::ffi::OsStr>>(&self, program: &str, args: impl IntoIterator<Item = S>) -> Cmd {
        let home = self.scratch.work();
        let command = Cmd::new(self.programs.join(program))
            .args(args)
            .cwd(&home)
            .env("HOME", &home)
            .env("XDG_DATA_HOME", home.join("share"));
        programs::as_nobody(command)
    }
}

#[test]
fn builds_and_reads_an_image() {
    needs!(root, "busybox", "setpriv");
    let user = User::new();
    let file = user.scratch.file("hello", "hello");
    chown(&file, Some(NOBODY), Some(NOBODY)).expect("we are root");
    for command in
        ["begin", "set-name example.com/mine", "copy hello /srv/hello", "set-exec /srv/hello", "label add version 1"]
    {
        user.run("acbuild", command.split(' ')).ok();
    }
    let id = user.run("acbuild", ["write", "mine.aci"]).ok().text().to_owned();
    user.run("acbuild", ["end"]).ok();
    let fetched = user.run("rkt", ["fetch", "mine.aci"]).ok();
    fetched.require(id.starts_with(fetched.text()), "the image ID that acbuild printed");
    user.run("rkt", ["image", "list"]).ok().prints(&["example.com/mine:1"]);
    assert!(user.scratch.work().join("share/rkt/store").is_dir(), "the user's own data folder");
    user.run("rkt", ["image", "export", "example.com/mine", "out.aci"]).ok();
    let read = |name: &str| fs::read(user.scratch.work().join(name)).expect("there");
    assert_eq!(read("mine.aci"), read("out.aci"));
    user.run("rkt", ["image", "rm", "example.com/mine"]).ok();
}

#[test]
fn builds_on_an_image_of_root() {
    needs!(root, "busybox", "setpriv");
    let user = User::new();
    busybox_image(&user.scratch, "base", "example.com/base", &[]);
    user.run("acbuild", ["begin", "./base.aci"]).ok();
    let passwd = user.scratch.work().join(".acbuild/currentaci/rootfs/etc/passwd");
    assert_eq!(fs::metadata(passwd).expect("extracted").uid(), NOBODY);
    user.run("acbuild", ["set-name", "example.com/derived"]).ok();
    user.run("acbuild", ["write", "derived.aci"]).ok();
    user.run("acbuild", ["end"]).ok();
    assert!(!user.scratch.work().join(".acbuild").exists());
}

#[test]
fn what_may_not_be_read_is_named() {
    needs!(root, "setpriv");
    let user = User::new();
    let secret = user.scratch.file("secret", "secret");
    fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("we are root");
    user.run("acbuild", ["begin"]).ok();
    user.run("acbuild", ["copy", "secret", "/secret"]).refused(1, &["copy: ", "secret", "ermission denied"]);
    assert!(!user.scratch.work().join(".acbuild/currentaci/rootfs/secret").exists());
}

#[test]
fn a_folder_of_someone_else_is_refused() {
    needs!(root, "setpriv");
    let user = User::new();
    let theirs = user.scratch.path().join("theirs");
    fs::create_dir(&theirs).expect("we are root");
    user.run("acbuild", ["begin"]).ok();
    user.run("acbuild", ["--work-path"]).arg(&theirs).arg("begin").refused(1, &["begin: ", "ermission denied"]);
    assert_eq!(fs::read_dir(&theirs).expect("there").count(), 0);
}
