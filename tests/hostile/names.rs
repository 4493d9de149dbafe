//! Names, state directories and configurations that are something else: items 13 and 29.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use support::needs;

use crate::attack::Attack;

#[test]
fn item_29_names_are_looked_at_first() {
    needs!(root, "busybox");
    let attack = Attack::new("true");
    for id in ["", ".", "..", "../x", "a/b", "a\nb"] {
        attack.command(["run", id]).refused(1, &["invalid container id"]);
    }
}

#[test]
fn item_29_configurations_that_are_no_file() {
    needs!(root, "busybox");
    let attack = Attack::new("true");
    let (config, line) = (attack.scratch.work().join("config.json"), attack.run().line());
    let run = || support::Cmd::new("sh").args(["-c", &line]).cwd(attack.scratch.work());
    fs::remove_file(&config).unwrap();
    for target in ["/dev/zero", "/dev/tty", "/", "/proc/self/fd"] {
        symlink(target, &config).unwrap();
        run().refused(1, &["config.json: "]);
        fs::remove_file(&config).unwrap();
    }
    support::Cmd::new("mkfifo").arg(&config).ok();
    run().refused(1, &["config.json: it is not a regular file"]);
    fs::remove_file(&config).unwrap();
    // No byte of it is on the disk.
    fs::File::create(&config).unwrap().set_len(1 << 40).unwrap();
    run().refused(1, &["config.json: it is longer than 16 MiB"]);
}

#[test]
fn item_13_names() {
    needs!(root, "busybox");
    let attack = Attack::new("true");
    let long = "x".repeat(5000);
    for id in ["", ".", "..", "../x", "a/b", "a\nb", "ü", "a b", "a:b", "\u{202e}", &long] {
        for command in ["run", "create", "state", "start", "kill", "delete"] {
            let outcome = attack.command([command, id]).run();
            outcome.require(outcome.code() == 1 && outcome.stderr.lines().count() == 1, "a refusal on one line");
        }
    }
    // It looks like a flag; after `--` it is a name.
    attack.command(["run", "-x"]).exits(1);
    attack.command(["run", "--", "-x"]).run();
    attack.nothing_left();
}

#[test]
fn item_13_state_directories() {
    needs!(root, "busybox");
    let attack = Attack::new("true");
    let folder = attack.scratch.path();
    let work = attack.scratch.work();
    drop(attack.command(["list"]));
    let run = |root: &Path, command: &[&str]| attack.scratch.rkt_oci(["--root"]).arg(root).args(command);
    // A link to a directory is the caller's own choice; a file, or a link to nowhere, is none.
    symlink(folder.join("real"), folder.join("link")).unwrap();
    run(&folder.join("link"), &["run", "test"]).exits(1);
    fs::create_dir(folder.join("real")).unwrap();
    run(&folder.join("link"), &["run", "test"]).ok();
    let file = attack.scratch.file("file", "");
    run(&file, &["run", "test"]).exits(1);
    for root in ["/", "", "../../../../../../../..", "/..", "//"] {
        run(Path::new(root), &["run", "test"]).refused(1, &["-root"]);
    }
    // In a directory that everybody may write to, somebody was there before.
    let open = folder.join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, PermissionsExt::from_mode(0o777)).unwrap();
    fs::create_dir(open.join("test")).unwrap();
    run(&open, &["run", "test"]).refused(1, &["already exists"]);
    fs::remove_dir(open.join("test")).unwrap();
    symlink(attack.tripwire(), open.join("test")).unwrap();
    run(&open, &["run", "test"]).refused(1, &["already exists"]);
    let outcome = run(&open, &["delete", "-f", "test"]).run();
    outcome.require(outcome.code() <= 1, "an answer");
    assert!(work.join("config.json").exists());
}
