//! `run` by every engine, where no overlay can be had, on a terminal, and of programs for other machines.
#![allow(clippy::unwrap_used)] // The lint takes helpers of tests for code.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::{Ran, Scratch, finish, listing, on_busybox};
use support::guard::Mounted;
use support::{Cmd, Terminal, needs, rootfs};

/// Changes, additions and deletions in what is the image's own and in what is of a dependency.
const CHANGES: &str = "echo new > /srv/new; chmod 640 /srv/meta; rm -r /usr/doc/x; rm -r /srv/old; mkdir /srv/old; \
    echo g > /srv/old/g; ln /srv/new /srv/same; chown 7:8 /srv/same; mkfifo /srv/fifo; mkdir -m 1777 /srv/dir; \
    chown 1000:2000 /srv/dir; rm /own/gone; echo more >> /own/kept; touch -d @1000000000 /srv /srv/old /own; \
    test -d /proc/self && grep -q localhost /etc/hosts";

/// A build on busybox with files of its own, in which `run` with these flags has made the [`CHANGES`].
fn changed(flags: &[&str]) -> (Scratch, Ran) {
    let scratch = on_busybox();
    for name in ["own/gone", "own/kept"] {
        scratch.file(name, name);
    }
    scratch.ok(["copy", "own", "/own"]);
    let command = [&["run", "--no-history"], flags, &["--", "/bin/sh", "-ec", CHANGES]].concat();
    let ran = scratch.run(command);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    (scratch, ran)
}

/// For whoever runs systemd-nspawn: all of them use the same two cgroups below the one of the tests.
fn nspawn_alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn nspawn_left_a_cgroup() -> bool {
    ["unified", "systemd"].iter().any(|hierarchy| Path::new("/sys/fs/cgroup").join(hierarchy).join("payload").exists())
}

/// What a build writes when all of it is as old.
fn written(scratch: &Scratch) -> String {
    let ran = finish(scratch.command(["write", "out.aci", "--overwrite"]).env("SOURCE_DATE_EPOCH", "1000000000"));
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    ran.stdout
}

/// Files and what is deleted, without times.
fn whole(scratch: &Scratch) -> (Vec<String>, Vec<u8>) {
    let line = |line: String| line.split(' ').filter(|word| !word.contains('.')).collect::<Vec<_>>().join(" ");
    let deleted = fs::read(scratch.path(".acbuild/deleted")).unwrap();
    (listing(&scratch.rootfs("")).into_iter().map(line).collect(), deleted)
}

#[test]
fn every_engine_makes_the_same_image() {
    needs!(root, "busybox", "systemd-nspawn");
    let _alone = nspawn_alone();
    let (expected, _) = changed(&[]);
    // The first clears away what a systemd-nspawn has left that was killed before.
    for engine in ["--engine=systemd-nspawn", "--engine=chroot"] {
        let (scratch, _) = changed(&[engine]);
        assert_eq!(whole(&scratch), whole(&expected), "{engine}");
        assert_eq!(written(&scratch), written(&expected), "{engine}");
        let before = whole(&scratch);
        let ran = scratch.run(["run", engine, "--", "/bin/sh", "-c", "rm -r /srv; echo x > /new; exit 7"]);
        assert_eq!((ran.code, ran.stderr.lines().last()), (Some(7), Some("run: exit status 7")), "{ran:#?}");
        assert_eq!(whole(&scratch), before, "{engine}");
        let volume = scratch.path("volume");
        fs::create_dir(&volume).unwrap();
        let bind = format!("{}:/mnt/volume", volume.display());
        let script = "pwd; echo $A; echo out > /mnt/volume/out; cat";
        let words =
            ["run", engine, "--env=A=b c", "--working-dir=/usr/doc", "--volume", &bind, "--", "/bin/sh", "-c", script];
        fs::write(scratch.path("input"), "read\n").unwrap();
        let ran = finish(scratch.command(words).stdin(fs::File::open(scratch.path("input")).unwrap()));
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "/usr/doc\nb c\nread\n"), "{ran:#?}");
        assert_eq!(fs::read_to_string(volume.join("out")).unwrap(), "out\n");
        assert_eq!(whole(&scratch), before, "{engine}");
        assert!(!nspawn_left_a_cgroup(), "{engine}");
    }
}

#[test]
fn where_no_overlay_can_be_had_a_copy_makes_the_same_image() {
    needs!(root, "busybox");
    let (expected, ran) = changed(&[]);
    assert_eq!(ran.stderr, "");
    // The kernel takes no upper layer on an overlay.
    let scratch = Scratch::new();
    let _mounted = Mounted::overlay(&scratch.path(".acbuild"));
    let base = on_busybox();
    fs::rename(base.path("store"), scratch.path("store")).unwrap();
    for words in [&["begin"][..], &["set-name", "example.com/test"], &["dependency", "add", "example.com/base"]] {
        scratch.ok(words);
    }
    for name in ["own/gone", "own/kept"] {
        scratch.file(name, name);
    }
    scratch.ok(["copy", "own", "/own"]);
    let run = |script: &str| scratch.run(["run", "--no-history", "--", "/bin/sh", "-ec", script]);
    let ran = run(CHANGES);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert!(
        ran.stderr.starts_with("warning: mount overlay of ") && ran.stderr.contains("copying the files"),
        "{ran:#?}"
    );
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:#?}");
    // Which of two ways to say what is deleted is taken is not part of the image.
    assert_eq!(whole(&scratch).0, whole(&expected).0);
    assert_eq!(written(&scratch), written(&expected));
    let before = whole(&scratch);
    assert_eq!(run("true").code, Some(0));
    assert_eq!(run("rm -r /srv; exit 7").code, Some(7));
    assert_eq!(whole(&scratch), before);
    assert!(!scratch.path(".acbuild/staging").exists());
}

#[test]
fn at_a_terminal_the_command_has_one_of_its_own() {
    needs!(root, "busybox", "setsid");
    let scratch = on_busybox();
    let store = scratch.path("store");
    let command = |script: &str| {
        let program = env!("CARGO_BIN_EXE_acbuild");
        let shell = format!("{program} run -- {script}");
        Cmd::new("sh").args(["-c", &shell]).cwd(scratch.path("")).env("RKT_DIR", &store).env("TERM", "vt220")
    };
    let mut shell = Terminal::start(&command("sh"));
    shell.send("tty; echo $TERM; stty size\n");
    shell.expect("/dev/pts/0\r\nvt220\r\n24 80\r\n");
    shell.resize(30, 90);
    shell.send("stty size\n");
    shell.expect("30 90\r\n");
    shell.send("sleep 987 &\n");
    // A shell's child that has not come to its program yet may ignore everything else, as an interactive shell does.
    shell.send("jobs; kill -9 %1; wait; echo gone-$((6 * 7))\n");
    let jobs = shell.expect("gone-42\r\n");
    assert!(jobs.contains("Running") && !jobs.contains("job control turned off"), "{jobs}");
    // It says so when it is in the foreground.
    shell.send("sh -c 'echo begun-$((6 * 7)); exec sleep 988'\n");
    shell.expect("begun-42\r\n");
    shell.send("\x03");
    shell.expect("/ # ");
    shell.send("echo after-$((6 * 7)); exit 7\n");
    shell.expect("after-42\r\n");
    let ended = shell.wait();
    ended.require(ended.code() == 7, "the exit code of the shell");

    // What is redirected stays apart, and the caller's terminal is not the command's to control.
    let mut apart = Terminal::start(&command("sh -c 'echo out; echo err >&2; cat </dev/tty || echo none >&2' >out"));
    apart.expect("err\r\n");
    apart.expect("none\r\n");
    let ended = apart.wait();
    ended.require(ended.code() == 0, "success");
    assert_eq!(fs::read_to_string(scratch.path("out")).unwrap(), "out\n");
}

#[test]
fn ctrl_c_ends_a_command_that_does_not_listen() {
    needs!(root, "busybox", "setsid");
    let scratch = on_busybox();
    let start = |script: &str| {
        let command = Cmd::new(env!("CARGO_BIN_EXE_acbuild")).args(["run", "--", "sh", "-c", script]);
        Terminal::start(&command.cwd(scratch.path("")).env("RKT_DIR", scratch.path("store")))
    };
    let before = scratch.state();
    let mut deaf = start("trap '' INT TERM HUP; echo > /new; echo begun-$((6 * 7)); while :; do sleep 87654322; done");
    deaf.expect("begun-42\r\n");
    for _ in 0..2 {
        deaf.send("\x03");
        deaf.expect("^C");
    }
    deaf.send("\x03");
    let ended = deaf.wait();
    ended.require(ended.code() == 130, "the end that Ctrl-C makes");
    let lines = fs::read_dir("/proc").unwrap().flatten().flat_map(|p| fs::read(p.path().join("cmdline")));
    assert!(!lines.into_iter().any(|line| line.starts_with(b"sleep\087654322\0")));
    assert_eq!(scratch.state(), before);
    // One that has it as a key gets it.
    let mut editor = start("stty raw -echo; echo begun-$((6 * 7)); head -c 4 | od -c | head -n 1; exit 9");
    editor.expect("begun-42");
    editor.send("\x03\x03\x03\x03");
    editor.expect("003 003 003 003");
    let ended = editor.wait();
    ended.require(ended.code() == 9, "the end of the command itself");
}

/// A program for the 64-bit ARM architecture that says so: an ELF header with one segment, and eight instructions.
fn arm_program() -> Vec<u8> {
    const SAID: &[u8] = b"by an ARM\n";
    let instructions: [u32; 8] = [
        0xd280_0020,                            // mov x0, #1
        0x1000_00e1,                            // adr x1, behind these
        0xd280_0002 | (SAID.len() as u32) << 5, // mov x2, #length
        0xd280_0808,                            // mov x8, #64: write
        0xd400_0001,                            // svc #0
        0xd280_0000,                            // mov x0, #0
        0xd280_0ba8,                            // mov x8, #93: exit
        0xd400_0001,                            // svc #0
    ];
    let size = (64 + 56 + instructions.len() * 4 + SAID.len()) as u64;
    let mut program = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0\x01\0\0\0".to_vec();
    for word in [0x40_0078_u64, 64, 0] {
        program.extend(word.to_le_bytes());
    }
    program.extend(b"\0\0\0\0\x40\0\x38\0\x01\0\0\0\0\0\0\0");
    program.extend(b"\x01\0\0\0\x05\0\0\0");
    for word in [0, 0x40_0000, 0x40_0000, size, size, 0x1000] {
        program.extend(u64::to_le_bytes(word));
    }
    program.extend(instructions.iter().flat_map(|instruction| instruction.to_le_bytes()));
    program.extend(SAID);
    program
}

/// An emulator that is registered for as long as this lives, where none is.
struct Registered(Option<Mounted>, bool);

const BINFMT: &str = "/proc/sys/fs/binfmt_misc";
const NAME: &str = "appc-tests-aarch64";

impl Registered {
    fn new(emulator: &Path) -> Registered {
        let is_mounted = Path::new(BINFMT).join("register").exists();
        let mounted = (!is_mounted).then(|| Mounted::new("binfmt_misc", Path::new(BINFMT)));
        let known = ["qemu-aarch64", NAME].iter().any(|name| Path::new(BINFMT).join(name).exists());
        if !known {
            let magic = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00";
            let mask = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff";
            let line = format!(":{NAME}:M::{magic}:{mask}:{}:F", emulator.display());
            fs::write(Path::new(BINFMT).join("register"), line).unwrap();
        }
        Registered(mounted, !known)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        if self.1 {
            let _ = fs::write(Path::new(BINFMT).join(NAME), "-1");
        }
        self.0.take();
    }
}

#[test]
fn programs_for_another_machine_run_by_way_of_an_emulator() {
    needs!(root, "qemu-aarch64-static");
    let program = arm_program();
    let build = |mode: &[&str]| {
        let scratch = Scratch::new();
        scratch.ok([&["begin", "--arch=aarch64"], mode].concat());
        fs::write(scratch.path("program"), &program).unwrap();
        fs::set_permissions(scratch.path("program"), fs::Permissions::from_mode(0o755)).unwrap();
        scratch.ok(["copy", "program", "/bin/program"]);
        scratch
    };
    let emulator = support::need::find_program("qemu-aarch64-static").unwrap();
    let (appc, oci) = (build(&[]), build(&["--build-mode=oci"]));
    if !Path::new(BINFMT).join("qemu-aarch64").exists() {
        appc.refused(
            ["run", "/bin/program"],
            1,
            "exec format error: the image is for aarch64 and this machine is amd64: have",
        );
        oci.refused(
            ["run", "/bin/program"],
            1,
            "exec format error: the image is for arm64 and this machine is amd64: have",
        );
    }
    let _registered = Registered::new(&emulator);
    for scratch in [appc, oci] {
        assert_eq!(scratch.ok(["run", "/bin/program"]), "by an ARM");
    }
}

#[test]
fn what_an_ordinary_engine_cannot_run_is_explained() {
    needs!(root, "busybox");
    let scratch = Scratch::named();
    rootfs::busybox(&scratch.path("base"));
    scratch.ok(["copy", "base", "/"]);
    fs::write(scratch.rootfs("bin/script"), "echo no first line\n").unwrap();
    fs::set_permissions(scratch.rootfs("bin/script"), fs::Permissions::from_mode(0o755)).unwrap();
    scratch.refused(
        ["run", "script"],
        1,
        "exec format error: it is for another kind of machine, or a script whose first line",
    );
}

#[test]
fn systemd_nspawn_is_led_nowhere_by_links() {
    needs!(root, "busybox", "systemd-nspawn");
    let _alone = nspawn_alone();
    for (name, leads) in [("run", "host"), ("dev", "../host")] {
        let scratch = Scratch::new();
        scratch.file("host/host/container-manager", "precious");
        rootfs::busybox(&scratch.path("tree"));
        let target = if leads == "host" { scratch.path("host") } else { "../../../host".into() };
        let place = scratch.path("tree").join(name);
        let _none = fs::remove_dir(&place);
        std::os::unix::fs::symlink(target, place).unwrap();
        let before = listing(&scratch.path("host"));
        scratch.ok(["begin", "./tree"]);
        let ran = scratch.run(["run", "--engine=systemd-nspawn", "--", "/bin/true"]);
        assert_eq!(ran.code, Some(1), "{ran:#?}");
        assert!(ran.stderr.contains(&format!("/{name} of the image is a symbolic link")), "{ran:#?}");
        assert_eq!(listing(&scratch.path("host")), before);
        scratch.ok(["run", "--", "/bin/true"]);
    }
}

#[test]
fn systemd_nspawn_ends_with_a_run_that_is_killed() {
    needs!(root, "busybox", "systemd-nspawn");
    let _alone = nspawn_alone();
    let scratch = on_busybox();
    let script = "echo > /srv/begun; trap '' HUP; sleep 87654321";
    let sleeps = || {
        let lines = fs::read_dir("/proc").unwrap().flatten().flat_map(|p| fs::read(p.path().join("cmdline")));
        lines.into_iter().any(|line| line.starts_with(b"sleep\087654321\0"))
    };
    for (signal, code) in [("-KILL", None), ("-TERM", Some(143)), ("-HUP", Some(129))] {
        let mut command = scratch.command(["run", "--engine=systemd-nspawn", "--", "/bin/sh", "-c", script]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        common::until(sleeps);
        Command::new("kill").arg(signal).arg(child.id().to_string()).status().unwrap();
        assert_eq!(child.wait().unwrap().code(), code, "{signal}");
        common::until(|| !sleeps());
    }
    // It clears away what the other has left.
    scratch.ok(["run", "--engine=systemd-nspawn", "--", "/bin/true"]);
    assert!(!nspawn_left_a_cgroup());
}
