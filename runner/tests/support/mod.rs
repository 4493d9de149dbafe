//! A data directory, small images made in place, and the built program.
#![allow(dead_code, clippy::unwrap_used, clippy::print_stderr, reason = "tests, and each file uses its part")]

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use appc_image::Quiet;
use appc_image::archive::{WriteOptions, write};
use appc_rooted::Root;
use serde_json::{Value, json};

/// Whether the tests can run here; says so when not.
pub(crate) fn ready() -> bool {
    let busybox = busybox().is_some();
    let ready = rustix::process::geteuid().is_root() && busybox;
    if !ready {
        assert!(std::env::var_os("APPC_TESTS_MUST_WORK").is_none(), "this test needs root and a static busybox");
        eprintln!("*** SKIPPED: this test needs root and a static busybox ***");
    }
    ready
}

fn busybox() -> Option<PathBuf> {
    ["/bin/busybox", "/usr/bin/busybox"].map(PathBuf::from).into_iter().find(|p| p.exists())
}

/// A data directory of its own. Dropping it checks that no pod left anything in the kernel.
pub(crate) struct Fixture {
    dir: tempfile::TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Fixture {
        Fixture { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The program on this data directory.
    pub(crate) fn rkt(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rkt"));
        command.env("RKT_DIR", self.path("data")).current_dir(self.dir.path()).args(args).stdin(Stdio::null());
        command
    }

    /// Runs it to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        Ended::of(self.rkt(args).output().unwrap(), args)
    }

    /// Runs a shell script as the only app of `sh.aci`, with pod flags before and app flags behind.
    pub(crate) fn script(&self, pod: &[&str], app: &[&str], script: &str) -> Ended {
        let mut args = vec!["run"];
        args.extend(pod);
        args.push("sh.aci");
        args.extend(app);
        args.extend(["--", "-c", script]);
        self.run(&args)
    }

    /// Makes `NAME.aci`: busybox, users, and the given `app` section.
    pub(crate) fn image(&self, name: &str, app: Value) {
        self.image_with(name, app, json!([]), |_| {});
    }

    /// The same with dependencies and more files.
    pub(crate) fn image_with(&self, name: &str, app: Value, dependencies: Value, fill: impl FnOnce(&Path)) {
        let rootfs = self.path(&format!("{name}.rootfs"));
        let _ = fs::remove_dir_all(&rootfs);
        fs::create_dir_all(rootfs.join("etc")).unwrap();
        if dependencies.as_array().is_none_or(Vec::is_empty) {
            fs::create_dir_all(rootfs.join("bin")).unwrap();
            fs::create_dir_all(rootfs.join("tmp")).unwrap();
            fs::copy(busybox().unwrap(), rootfs.join("bin/busybox")).unwrap();
            for tool in
                ["sh", "cat", "echo", "true", "id", "sleep", "env", "ls", "dd", "mount", "stat", "grep", "touch"]
            {
                std::os::unix::fs::symlink("busybox", rootfs.join("bin").join(tool)).unwrap();
            }
            fs::write(rootfs.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nweb:x:1000:100::/srv:/bin/sh\n").unwrap();
            fs::write(rootfs.join("etc/group"), "root:x:0:\nusers:x:100:\n").unwrap();
        }
        fill(&rootfs);
        let mut manifest = json!({
            "acKind": "ImageManifest", "acVersion": "0.8.11", "name": format!("example.com/{name}"),
            "labels": [{"name": "version", "value": "1.0"}, {"name": "os", "value": "linux"}],
            "dependencies": dependencies,
        });
        if !app.is_null() {
            manifest["app"] = app;
        }
        let out = fs::File::create(self.path(&format!("{name}.aci"))).unwrap();
        let root = Root::open(&rootfs).unwrap();
        write(manifest.to_string().as_bytes(), &root, out, &WriteOptions::default(), &Quiet).unwrap();
    }

    /// `sh.aci`: a shell that is given a script.
    pub(crate) fn shell() -> Fixture {
        let fixture = Fixture::new();
        fixture.image("sh", json!({"exec": ["/bin/sh"], "user": "0", "group": "0"}));
        fixture
    }

    /// The pods there are, as `list` tells.
    pub(crate) fn pods(&self) -> Vec<Value> {
        let listed = self.run(&["list", "--format=json"]).ok();
        serde_json::from_str::<Value>(&listed.stdout).unwrap().as_array().cloned().unwrap_or_default()
    }

    /// Waits until `check` holds.
    pub(crate) fn until(&self, what: &str, check: impl Fn() -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        while !check() {
            assert!(Instant::now() < end, "waited in vain: {what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The control groups of this fixture's pods that exist now.
    pub(crate) fn cgroups(&self) -> Vec<PathBuf> {
        let pods = ["run", "exited-garbage"].map(|place| self.path("data/pods").join(place));
        let uuids = pods.iter().filter_map(|p| fs::read_dir(p).ok()).flatten().flatten().map(|e| e.file_name());
        let hierarchies = fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|e| e.path());
        let roots: Vec<PathBuf> = hierarchies.chain([PathBuf::from("/sys/fs/cgroup")]).collect();
        let group = |uuid: std::ffi::OsString| format!("rkt-{}", uuid.to_string_lossy());
        uuids
            .map(group)
            .flat_map(|g| roots.iter().map(move |r| r.join(&g)).collect::<Vec<_>>())
            .filter(|p| p.exists())
            .collect()
    }

    /// Checks that nothing of this fixture's pods is mounted or grouped.
    pub(crate) fn nothing_left(&self) {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(&*self.dir.path().to_string_lossy()), "{mounts}");
        assert_eq!(self.cgroups(), Vec::<PathBuf>::new());
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.nothing_left();
            return;
        }
        // A failed test: take away what it left, pods first.
        let _ = self.rkt(&["gc", "--grace-period=0s"]).output();
    }
}

/// How the program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    args: Vec<String>,
}

impl Ended {
    fn of(output: Output, args: &[&str]) -> Ended {
        Ended {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into(),
            stderr: String::from_utf8_lossy(&output.stderr).into(),
            args: args.iter().map(ToString::to_string).collect(),
        }
    }

    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Ended {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Ended {
        self.exits(0)
    }

    #[track_caller]
    pub(crate) fn prints(self, text: &str) -> Ended {
        assert_eq!(self.stdout, text, "{self:?}");
        self
    }

    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Ended {
        assert!(self.stderr.contains(text), "{text:?}: {self:?}");
        self
    }

    /// One line on stderr, 254, and nothing else.
    #[track_caller]
    pub(crate) fn refused(self, text: &str) -> Ended {
        assert_eq!((self.stderr.lines().count(), self.stdout.as_str()), (1, ""), "{self:?}");
        self.exits(254).says(text)
    }
}

/// A running program that is killed when the test forgets it.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    pub(crate) fn start(mut command: Command) -> Running {
        Running(command.spawn().unwrap())
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A new terminal: what the program has, and what the test has of it.
pub(crate) fn terminal() -> (OwnedFd, OwnedFd) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
    let slave = rustix::fs::open(name, flags, rustix::fs::Mode::empty()).unwrap();
    (slave, master)
}
