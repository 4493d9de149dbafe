//! A scratch directory with the built program in it.
// Each test file uses its part, and the lints take helpers of tests for code.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::print_stderr)]

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use appc_image::store::Store;
use serde_json::Value;
use support::rootfs;
use tempfile::TempDir;

/// A directory to build in.
pub struct Scratch {
    dir: TempDir,
}

/// What came of one run.
#[derive(Debug)]
pub struct Ran {
    pub what: String,
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Scratch {
    pub fn new() -> Scratch {
        Scratch { dir: tempfile::tempdir().unwrap() }
    }

    /// With a build begun in it.
    pub fn begun() -> Scratch {
        let scratch = Scratch::new();
        scratch.ok(["begin"]);
        scratch
    }

    /// With a build that can be written.
    pub fn named() -> Scratch {
        let scratch = Scratch::begun();
        scratch.ok(["set-name", "example.com/test"]);
        scratch
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn rootfs(&self, name: &str) -> PathBuf {
        self.path(".acbuild/currentaci/rootfs").join(name)
    }

    pub fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// The program, ready to run here.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_acbuild"));
        command.args(args).current_dir(self.dir.path()).stdin(Stdio::null());
        command.env("RKT_DIR", self.path("store")).env_remove("SOURCE_DATE_EPOCH");
        // No test asks a real host.
        command.env("HTTPS_PROXY", support::nowhere::nowhere());
        command
    }

    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Ran {
        finish(&mut self.command(args))
    }

    /// Runs a command that must succeed, and returns what it printed.
    pub fn ok<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, Some(0), "{ran:#?}");
        ran.stdout.trim_end().to_owned()
    }

    /// Runs a command that must be refused in one line with `words` in it, and change nothing.
    pub fn refused<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>, code: i32, words: &str) {
        let before = self.state();
        let ran = self.run(args);
        assert_eq!(ran.code, Some(code), "{ran:#?}");
        assert_eq!(ran.stdout, "", "{ran:#?}");
        assert_eq!(ran.stderr.lines().count(), 1, "one line: {ran:#?}");
        assert!(ran.stderr.contains(words), "no {words:?} in {ran:#?}");
        assert_eq!(self.state(), before, "something changed: {ran:#?}");
    }

    pub fn manifest(&self) -> Value {
        serde_json::from_str(&self.ok(["cat-manifest"])).unwrap()
    }

    /// The values of the history, in order.
    pub fn history(&self) -> Vec<String> {
        let manifest = self.manifest();
        let annotations = manifest["annotations"].as_array().cloned().unwrap_or_default();
        let is_history = |a: &&Value| a["name"].as_str().unwrap().starts_with("coreos.com/acbuild/command-");
        annotations.iter().filter(is_history).map(|a| a["value"].as_str().unwrap().to_owned()).collect()
    }

    /// Every path here with its mode, size and link target, and the manifest itself.
    pub fn state(&self) -> Vec<String> {
        let list = "find . ! -path ./.acbuild/lock ! -path ./.acbuild/measure -printf '%p %y %m %s %l\n' | grep -v '^\\./.acbuild d' | sort; \
                    cat .acbuild/currentaci/manifest 2>/dev/null";
        let out = Command::new("sh").args(["-c", list]).current_dir(self.dir.path()).output().unwrap();
        String::from_utf8_lossy(&out.stdout).lines().map(str::to_owned).collect()
    }
}

pub fn finish(command: &mut Command) -> Ran {
    let what = format!("{command:?}");
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ran { what, code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

/// What a tree consists of: kind, mode, owner, time, links, target and content of everything in it.
pub fn listing(tree: &Path) -> Vec<String> {
    let script = "find . -printf '%P %y %#m %U:%G %T@ %n %l\n' | sort; \
                  find . -type f -print0 | sort -z | xargs -0 -r sha256sum; \
                  getfattr -R -h -d -m - . 2>/dev/null; true";
    let out = Command::new("sh").args(["-c", script]).current_dir(tree).output().unwrap();
    assert!(out.status.success());
    String::from_utf8_lossy(&out.stdout).lines().map(str::to_owned).collect()
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Says loudly that a test did not run.
pub fn skip(test: &str, why: &str) {
    eprintln!("SKIPPED {test}: {why}");
}

/// An unprivileged way to run a command, for tests that run as root.
pub fn as_nobody(scratch: &Scratch, args: &[&str]) -> Ran {
    use std::os::unix::process::CommandExt;
    let mut command = scratch.command(args);
    if is_root() {
        command.uid(65534).gid(65534);
    }
    finish(&mut command)
}

/// Puts an image of `tree` into the scratch directory's store.
pub fn store(scratch: &Scratch, tree: &Path, name: &str, dependencies: &[&str]) {
    let work = tempfile::tempdir_in(scratch.path("")).unwrap();
    let image = work.path().join("image.aci");
    let acbuild = |words: &[&str]| {
        let mut command = scratch.command(words);
        let ran = finish(command.current_dir(work.path()));
        assert_eq!(ran.code, Some(0), "{ran:#?}");
    };
    acbuild(&["begin", tree.to_str().unwrap()]);
    acbuild(&["set-name", name]);
    dependencies.iter().for_each(|dependency| acbuild(&["dependency", "add", dependency]));
    acbuild(&["write", image.to_str().unwrap()]);
    let store = Store::open(scratch.path("store")).unwrap();
    store.import(fs::File::open(&image).unwrap(), name, &appc_image::Quiet).unwrap();
}

/// A build of nothing on a busybox with some files more.
pub fn on_busybox() -> Scratch {
    let scratch = Scratch::named();
    let base = scratch.path("base");
    rootfs::busybox(&base);
    fs::create_dir_all(base.join("usr/doc/x")).unwrap();
    fs::create_dir_all(base.join("srv/old")).unwrap();
    for file in ["usr/doc/x/a", "usr/doc/x/b", "usr/doc/c", "srv/old/f", "srv/meta"] {
        fs::write(base.join(file), file).unwrap();
    }
    store(&scratch, &base, "example.com/base", &[]);
    scratch.ok(["dependency", "add", "example.com/base"]);
    scratch
}

pub fn until(done: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < end, "it takes too long");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The cgroups of the `acbuild run` that had this process id.
pub fn cgroups(pid: u32) -> Vec<PathBuf> {
    let top = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(top).unwrap().flatten().map(|entry| entry.path());
    let places = hierarchies.chain([top.to_owned()]).map(|place| place.join(format!("acbuild-{pid}")));
    places.filter(|path| path.is_dir()).collect()
}
