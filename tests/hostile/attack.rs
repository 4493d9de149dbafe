//! What every attack has: a bundle, something of the host's to attack, and a look at the host when it is over.

use std::fs;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use support::{HostState, Tree};

use crate::common::Bundle;

/// An attack out of a container. When it ends, and the test has not failed already, the host must be as it was.
pub(crate) struct Attack {
    pub(crate) bundle: Bundle,
    host: HostState,
    settings: Vec<(PathBuf, String)>,
    zombies: Vec<String>,
}

impl Attack {
    /// With a bundle that runs `script` in a shell.
    pub(crate) fn new(script: &str) -> Attack {
        let bundle = Bundle::new(script);
        let folder = bundle.scratch.path().join("tripwire");
        fs::create_dir_all(folder.join("sub")).unwrap();
        for name in ["null", "console", "ptmx", "passwd"] {
            fs::write(folder.join(name), "host").unwrap();
        }
        let host = HostState::new().of(&bundle.scratch).watch(&folder);
        Attack { bundle, host, settings: settings(), zombies: zombies() }
    }

    /// A folder of the host that must stay as it is, with files of the names that attacks aim at.
    pub(crate) fn tripwire(&self) -> PathBuf {
        self.scratch.path().join("tripwire")
    }

    /// Fails the test when the host is not as it was.
    #[track_caller]
    pub(crate) fn check(&self) {
        self.host.check();
        self.bundle.nothing_left();
        assert_eq!(settings(), self.settings, "the host's files and settings");
        let mut zombies = zombies();
        zombies.retain(|zombie| !self.zombies.contains(zombie));
        assert_eq!(zombies, Vec::<String>::new(), "zombies of the test");
    }
}

impl Deref for Attack {
    type Target = Bundle;

    fn deref(&self) -> &Bundle {
        &self.bundle
    }
}

impl DerefMut for Attack {
    fn deref_mut(&mut self) -> &mut Bundle {
        &mut self.bundle
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.check();
        }
    }
}

/// What attacks on the host usually aim at, each with what it is now.
fn settings() -> Vec<(PathBuf, String)> {
    let content = [
        "/etc/passwd",
        "/etc/shadow",
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/hostname",
        "/proc/sys/kernel/domainname",
        "/proc/sys/kernel/sysrq",
        "/proc/sys/net/ipv4/ip_forward",
    ];
    let nodes = ["/dev/null", "/dev/zero", "/dev/full", "/dev/tty", "/dev/console", "/dev/ptmx", "/tmp", "/etc", "/"];
    let mut found: Vec<(PathBuf, String)> =
        content.iter().map(|path| (path.into(), fs::read_to_string(path).unwrap_or_default())).collect();
    found.extend(nodes.iter().map(|path| {
        let shown = fs::metadata(path).map(|m| format!("{:o} {} {} {:x}", m.mode(), m.uid(), m.gid(), m.rdev()));
        (path.into(), shown.unwrap_or_default())
    }));
    found.push(program());
    found
}

/// The runtime's own executable must never change, whatever a container did with `/proc/self/exe`.
fn program() -> (PathBuf, String) {
    let program = support::programs::find("rkt-oci");
    let m = fs::metadata(&program).unwrap();
    let shown = format!("{} bytes, {}.{}", m.len(), m.mtime(), m.mtime_nsec());
    (program, shown)
}

/// Children of this process that ended and were not waited for. Those of commands that other tests run at this moment
/// are gone in an instant.
fn zombies() -> Vec<String> {
    let list = || -> Vec<String> {
        let own = format!("/proc/{0}/task", std::process::id());
        let threads = fs::read_dir(own).into_iter().flatten().flatten();
        let children = threads.flat_map(|t| {
            let text = fs::read_to_string(t.path().join("children")).unwrap_or_default();
            text.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        });
        children
            .filter(|pid| fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z ")))
            .collect()
    };
    let mut found = list();
    for _ in 0..50 {
        if found.is_empty() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
        let now = list();
        found.retain(|pid| now.contains(pid));
    }
    found
}

/// Removes what is there, whatever it is.
pub(crate) fn remove(path: &Path) {
    if path.is_dir() && !path.is_symlink() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
}

/// Waits until `met`, for a few seconds.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut met: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if met() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("not in 10 seconds: {what}");
}

#[test]
fn item_30_the_guard_sees_what_was_done_to_the_host() {
    support::needs!(root, "busybox");
    let attack = Attack::new("true");
    let cgroups = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(Path::new);
    let cgroup = cgroups.iter().find(|path| path.join("cgroup.procs").exists()).map_or(cgroups[1], |path| path);
    let name = attack.scratch.path().file_name().unwrap().to_owned();
    let place = attack.scratch.path().join("mounted");
    fs::create_dir(&place).unwrap();
    let node = Path::new("/dev").join(&name);
    let seen = |what: &str, harm: &dyn Fn(), mend: &dyn Fn()| {
        harm();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| attack.check()));
        mend();
        let said = outcome.expect_err(what);
        let said = said.downcast_ref::<String>().cloned().unwrap_or_default();
        assert!(said.contains(what), "{what}: {said}");
    };
    seen(
        "left behind on the host",
        &|| {
            fs::create_dir(cgroup.join(&name)).unwrap();
            fs::write(&node, "").unwrap();
            rustix::mount::mount_bind(&place, &place).unwrap();
        },
        &|| {
            rustix::mount::unmount(&place, rustix::mount::UnmountFlags::DETACH).unwrap();
            fs::remove_file(&node).unwrap();
        },
    );
    assert!(!cgroup.join(&name).exists(), "the guard removes an empty cgroup");
    let file = attack.tripwire().join("passwd");
    let before = fs::metadata(&file).unwrap().modified().unwrap();
    let mend = || {
        fs::write(&file, "host").unwrap();
        fs::File::options().write(true).open(&file).unwrap().set_modified(before).unwrap();
    };
    seen("tripwire changed", &|| fs::write(&file, "evil").unwrap(), &mend);
    let state = attack.state().join("left");
    seen("state left behind", &|| fs::create_dir_all(&state).unwrap(), &|| fs::remove_dir(&state).unwrap());
    assert_eq!(Tree::read(&attack.tripwire()).count(), 6);
}
