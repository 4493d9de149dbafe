//! `rkt-oci` in the hands of an ordinary user to whom a part of the cgroups is delegated, as systemd does it.
//!
//! With version 2 alone its containers have limits there. On a hybrid host the controllers are elsewhere and not
//! delegated, so that a container without limits runs in its caller's cgroup, and one with limits does not.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use support::{Cmd, Outcome, Scratch, needs, programs, rootfs};

const NOBODY: u32 = 65534;

/// A bundle of the user nobody, and a cgroup that belongs to it.
struct Delegated {
    scratch: Scratch,
    programs: PathBuf,
    cgroup: PathBuf,
    config: Value,
}

impl Delegated {
    fn new(script: &str) -> Delegated {
        let scratch = Scratch::new();
        let programs = programs::for_everyone(&scratch);
        rootfs::busybox(&scratch.work().join("rootfs"));
        let name = scratch.path().file_name().expect("it has a name").to_owned();
        let cgroup = hierarchy().join(name);
        fs::create_dir_all(cgroup.join("shell")).expect("we are root");
        if alone() {
            fs::write(hierarchy().join("cgroup.subtree_control"), "+pids").expect("the kernel counts processes");
            fs::write(cgroup.join("cgroup.subtree_control"), "+pids").expect("its parent has it");
        }
        for directory in [cgroup.clone(), cgroup.join("shell")] {
            chown(&directory, Some(NOBODY), Some(NOBODY)).expect("we are root");
            for file in ["cgroup.procs", "cgroup.subtree_control", "cgroup.threads"] {
                chown(directory.join(file), Some(NOBODY), Some(NOBODY)).expect("we are root");
            }
        }
        let mut delegated = Delegated { scratch, programs, cgroup, config: Value::Null };
        chown(delegated.scratch.work(), Some(NOBODY), Some(NOBODY)).expect("we are root");
        delegated.command("spec --rootless").ok();
        let text = fs::read(delegated.scratch.work().join("config.json")).expect("spec wrote it");
        delegated.config = serde_json::from_slice(&text).expect("spec writes JSON");
        delegated.config["process"]["terminal"] = json!(false);
        delegated.config["process"]["args"] = json!(["sh", "-c", script]);
        delegated
    }

    /// `rkt-oci ARGS` by nobody, from the delegated cgroup.
    fn command(&self, args: &str) -> Cmd {
        let (shell, program) = (self.cgroup.join("shell/cgroup.procs"), self.programs.join("rkt-oci"));
        let inner = format!("cd {0}; XDG_RUNTIME_DIR={0} {1} {args}", self.scratch.work().display(), program.display());
        let outer = format!("echo $$ >{} && exec su nobody -s /bin/sh -c '{inner}'", shell.display());
        Cmd::new("/bin/sh").args(["-c", &outer]).cwd(self.scratch.work())
    }

    fn run(&self) -> Outcome {
        self.scratch.file("config.json", self.config.to_string());
        self.command("run one").run()
    }

    /// The container's cgroup is removed with it; its name has a suffix, as its state is not where root's is.
    fn only_ours_is_left(&self) {
        let entries = fs::read_dir(&self.cgroup).expect("it is there").flatten();
        let directories = entries.filter(|entry| entry.path().is_dir()).map(|entry| entry.file_name());
        assert_eq!(directories.collect::<Vec<_>>(), ["shell"]);
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        self.command("delete --force one").run();
        for directory in [self.cgroup.join("shell"), self.cgroup.clone()] {
            // What is left is seen by the test, or by whoever looks after it.
            let _gone = fs::remove_dir(directory);
        }
    }
}

/// Where version 2 is.
fn hierarchy() -> &'static Path {
    if alone() { Path::new("/sys/fs/cgroup") } else { Path::new("/sys/fs/cgroup/unified") }
}

/// Whether there is no other version.
fn alone() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.procs").exists()
}

#[test]
fn limits_where_they_are_delegated() {
    needs!(root, "busybox", "su");
    if !hierarchy().exists() {
        return;
    }
    let script = "cat /sys/fs/cgroup/pids.max; touch /sys/fs/cgroup/x 2>&1; cat /proc/self/cgroup";
    let mut delegated = Delegated::new(script);
    delegated.config["linux"]["resources"] = json!({"pids": {"limit": 7}});
    // As engines do; without a program the rule cannot be kept, and is not needed.
    delegated.config["linux"]["resources"]["devices"] = json!([{"allow": false, "access": "rwm"}]);
    let outcome = delegated.run();
    if !alone() {
        return outcome.says(&["rootless needs no limits + no cgrouppath when no permission is granted for cgroups"]);
    }
    let name = delegated.cgroup.file_name().expect("it has a name").to_string_lossy();
    outcome.prints(&["7\n", "touch: /sys/fs/cgroup/x: Read-only file system\n", &format!("\n0::/{name}/one-")]);
    let namespaces = delegated.config["linux"]["namespaces"].as_array_mut().expect("a list");
    namespaces.push(json!({"type": "cgroup"}));
    delegated.run().prints(&["7\n", "touch: /sys/fs/cgroup/x: Read-only file system\n", "0::/\n"]);
    delegated.only_ours_is_left();
}

#[test]
fn no_limits_anywhere() {
    needs!(root, "busybox", "su");
    if !hierarchy().exists() {
        return;
    }
    let delegated = Delegated::new("cat /proc/self/cgroup; touch /sys/fs/cgroup/x 2>&1; true");
    let outcome = delegated.run();
    let name = delegated.cgroup.file_name().expect("it has a name").to_string_lossy();
    let place = if alone() { "one-" } else { "shell\n" };
    outcome.prints(&[&format!("0::/{name}/{place}"), "touch: /sys/fs/cgroup/x: Read-only file system\n"]);
    delegated.only_ours_is_left();
}
