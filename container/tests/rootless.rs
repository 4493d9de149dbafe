//! Containers of ordinary users, and user namespaces of root's.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use common::Bundle;
use serde_json::{Value, json};
use support::{Cmd, HostState, Terminal, needs, programs};

/// A bundle that belongs to the user nobody, and `XDG_RUNTIME_DIR`.
struct User {
    bundle: Bundle,
    programs: PathBuf,
    /// Whether there are ranges in /etc/subuid.
    ranges: bool,
}

impl User {
    fn new(script: &str) -> User {
        let bundle = Bundle::new(script);
        let programs = programs::for_everyone(&bundle.scratch);
        let work = bundle.scratch.work();
        fs::create_dir(work.join("run")).unwrap();
        let user = User { bundle, programs, ranges: false };
        Cmd::new("chown").args(["-R", "65534:65534"]).arg(&work).ok();
        user
    }

    /// The configuration of `spec --rootless`.
    fn rootless(script: &str) -> User {
        let mut user = User::new(script);
        let work = user.bundle.scratch.work();
        fs::remove_file(work.join("config.json")).unwrap();
        user.command(&["spec", "--rootless"]).ok();
        let mut config: Value = serde_json::from_slice(&fs::read(work.join("config.json")).unwrap()).unwrap();
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(["sh", "-c", script]);
        user.bundle.config = config;
        user
    }

    fn command(&self, args: &[&str]) -> Cmd {
        let work = self.bundle.scratch.work();
        let command = Cmd::new(self.programs.join("rkt-oci")).args(args).cwd(&work);
        let command = programs::as_nobody(command.env("XDG_RUNTIME_DIR", work.join("run")));
        if !self.ranges {
            return command;
        }
        programs::with_ids(command, &self.bundle.scratch)
    }

    fn with_config(&self, args: &[&str]) -> Cmd {
        self.bundle.scratch.file("config.json", self.bundle.config.to_string());
        self.command(args)
    }

    fn run(&self) -> Cmd {
        self.with_config(&["run", "one"])
    }

    #[track_caller]
    fn nothing_left(&self) {
        let root = self.bundle.scratch.work().join("run/rkt-oci");
        let names: Vec<_> = fs::read_dir(root).into_iter().flatten().flatten().map(|e| e.path()).collect();
        assert!(names.is_empty(), "state left behind: {names:?}");
        assert_eq!(self.bundle.scratch.processes(), Vec::<String>::new(), "processes left behind");
    }
}

impl Drop for User {
    fn drop(&mut self) {
        for id in ["one", "two"] {
            self.command(&["delete", "--force", id]).run();
        }
    }
}

#[test]
fn a_user_without_ranges_is_root_alone() {
    needs!(root, "busybox", "setpriv");
    let host = HostState::new();
    let user = User::rootless(
        "id -u; cat /proc/self/uid_map /proc/self/setgroups; echo lost >/dev/null; stat -c %t:%T /dev/null; \
         touch /sys/fs/cgroup/x 2>&1; ls /sys/fs/cgroup; touch /rootfs 2>&1; mknod /dev/disk b 8 0 2>&1; hostname",
    );
    let outcome = user.run().ok();
    assert!(!outcome.stdout.contains("lost"));
    assert_eq!(outcome.stderr, "");
    // Its caller's cgroup, of version 1 and 2.
    assert!(outcome.stdout.lines().any(|line| ["memory", "cgroup.procs"].contains(&line)), "{}", outcome.stdout);
    outcome.prints(&[
        "0\n",
        "0      65534          1\n",
        "deny\n",
        "1:3\n",
        "touch: /sys/fs/cgroup/x: Read-only file system\n",
        "touch: /rootfs: Read-only file system\n",
        "mknod: /dev/disk: Operation not permitted\n",
        "rkt-oci\n",
    ]);
    let root = fs::metadata(user.bundle.scratch.work().join("run/rkt-oci")).unwrap();
    assert_eq!((root.mode() & 0o7777, root.uid()), (0o1700, 65534));
    user.nothing_left();
    host.check();
}

#[test]
fn a_user_with_ranges_has_many_users() {
    needs!(root, "busybox", "setpriv", "newuidmap", "unshare");
    let mut user =
        User::new("cat /proc/self/uid_map; id -u; id -G; touch /tmp/mine; ls -ln /tmp/mine; ls -lnd /dev/pts");
    user.ranges = true;
    user.bundle.config["linux"]["cgroupsPath"].take();
    user.bundle.config["root"]["readonly"] = json!(false);
    user.bundle.config["process"]["user"] = json!({"uid": 1000, "gid": 2000, "additionalGids": [7, 8]});
    user.bundle.mount(json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]}));
    let outcome = user.run().ok();
    outcome.prints(&["0      65534          1\n", "1     300000      65536\n", "1000\n", "2000 7 8\n"]);
    assert!(outcome.stdout.contains(" 1000     2000 "), "{}", outcome.stdout);
    user.nothing_left();
}

#[test]
fn the_template_is_good_for_everyone() {
    needs!(root, "busybox", "setpriv");
    // No user namespace is asked for, group 5 of the terminals is not mapped, and there is a network namespace.
    let mut user = User::new(
        "id -u; cat /proc/self/uid_map; cat /sys/class/net/lo/operstate; echo >/dev/pts/ptmx 2>&1; ls /dev/pts",
    );
    user.bundle.config["linux"]["cgroupsPath"].take();
    user.run().ok().prints(&["0\n", "0      65534          1\n", "unknown\n", "ptmx\n"]);
    user.nothing_left();
}

#[test]
fn from_create_to_delete() {
    needs!(root, "busybox", "setpriv");
    let user = User::rootless("sleep 1000");
    user.with_config(&["create", "one"]).ok();
    assert_eq!(user.command(&["state", "one"]).ok().json()["status"], "created");
    user.command(&["start", "one"]).ok();
    let state = user.command(&["state", "one"]).ok().json();
    assert_eq!(state["status"], "running");
    let status = fs::read_to_string(format!("/proc/{}/status", state["pid"])).unwrap();
    assert!(status.contains("Uid:\t65534\t65534\t65534\t65534\n"), "{status}");
    user.command(&["exec", "one", "id"]).ok().prints(&["uid=0"]);
    user.command(&["pause", "one"]).refused(1, &["it has no cgroup of its own"]);
    user.command(&["kill", "one", "KILL"]).ok();
    while user.command(&["state", "one"]).ok().json()["status"] != "stopped" {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    user.command(&["delete", "one"]).ok();
    user.nothing_left();
}

#[test]
fn processes_are_found_without_a_cgroup() {
    needs!(root, "busybox");
    let user = User::rootless("sleep 1000 & sleep 1000; true");
    user.with_config(&["run", "--detach", "one"]).ok();
    let processes = || user.command(&["ps", "--format", "json", "one"]).ok().json().as_array().unwrap().len();
    // The shell may not have started the others yet.
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while processes() < 3 && std::time::Instant::now() < end {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(processes(), 3);
    user.command(&["exec", "--detach", "one", "sleep", "1000"]).ok();
    assert_eq!(processes(), 4);
    user.command(&["ps", "one", "-e", "-o", "pid,args"]).ok().prints(&["sleep 1000"]);
    user.command(&["delete", "--force", "one"]).ok();
    user.nothing_left();
}

#[test]
fn a_user_can_only_be_killed_sooner() {
    needs!(root, "busybox", "setpriv");
    let mut user = User::rootless("cat /proc/self/oom_score_adj");
    user.bundle.config["process"]["oomScoreAdj"] = json!(1000);
    assert_eq!(user.run().ok().stdout, "1000\n");
    user.bundle.config["process"]["oomScoreAdj"] = json!(-1000);
    user.run().refused(1, &["process.oomScoreAdj", "cannot be set to -1000", "can only raise the score of the caller"]);
    user.nothing_left();
}

#[test]
fn what_an_ordinary_user_cannot_have_is_said() {
    needs!(root, "busybox", "setpriv");
    let needs_none = "rootless needs no limits + no cgrouppath when no permission is granted for cgroups";
    let config = User::rootless("true").bundle.config.clone();
    let refused = |change: &dyn Fn(&mut Value), words: &[&str]| {
        let mut user = User::new("true");
        user.bundle.config = config.clone();
        change(&mut user.bundle.config);
        user.run().refused(1, words);
        user.nothing_left();
    };
    refused(&|c| c["linux"]["resources"] = json!({"pids": {"limit": 5}}), &[needs_none, "permission denied"]);
    let mut ruled = User::rootless("true");
    ruled.bundle.config["linux"]["resources"] = json!({"devices": [{"allow": false, "access": "rwm"}]});
    ruled.run().ok().says(&["rkt-oci: linux.resources.devices is not enforced: the container has no cgroup"]);
    refused(&|c| c["linux"]["cgroupsPath"] = json!("/mine"), &[needs_none, "permission denied"]);
    refused(&|c| c["process"]["user"]["uid"] = json!(1), &["process.user.uid: 1 is not mapped"]);
    refused(&|c| c["process"]["user"]["additionalGids"] = json!([0]), &["cannot set any additional groups"]);
    refused(&|c| c["linux"]["uidMappings"] = json!([]), &["linux.uidMappings: "]);
    refused(&|c| c["linux"]["uidMappings"][0]["size"] = json!(2), &["newuidmap: ", "/etc/subuid"]);
    refused(
        &|c| {
            let mount = json!({"destination": "/m", "source": "/tmp", "options": ["bind", "idmap"]});
            c["mounts"].as_array_mut().unwrap().push(mount);
        },
        &["id-mapped mounts are not supported for rootless containers"],
    );
}

#[test]
fn rootless_is_chosen() {
    needs!(root, "busybox", "setpriv");
    let user = User::rootless("true");
    user.with_config(&["--rootless", "false", "run", "one"]).refused(1, &["permission denied"]);
    user.with_config(&["--rootless", "true", "run", "one"]).ok();
    user.with_config(&["--rootless", "perhaps", "run", "one"]).refused(1, &["perhaps"]);
    let nowhere = user.with_config(&["run", "one"]).env("XDG_RUNTIME_DIR", "");
    nowhere.refused(1, &["set XDG_RUNTIME_DIR or use --root"]);
}

/// Root's containers, with users of their own.
fn with_users(script: &str) -> Bundle {
    let mut bundle = Bundle::new(script);
    let linux = &mut bundle.config["linux"];
    linux["uidMappings"] = json!([{"containerID": 0, "hostID": 400000, "size": 65536}]);
    linux["gidMappings"] = json!([{"containerID": 0, "hostID": 500000, "size": 65536}]);
    linux["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    bundle
}

#[test]
fn root_gives_users_of_their_own() {
    needs!(root, "busybox");
    let host = HostState::new();
    let mut bundle = with_users(
        "id -u; cat /proc/self/uid_map; stat -c '%n %t:%T %a' /dev/tty /dev/fuse0; ls /sys/class/net; \
         cat /source/file; ls -ln /tmp; umount /proc/acpi 2>&1; cat /sys/fs/cgroup/pids/pids.max 2>/dev/null || true",
    );
    // What the container's root may not even look for on the host.
    let hidden = bundle.scratch.work().join("hidden");
    fs::create_dir(&hidden).unwrap();
    fs::create_dir(hidden.join("source")).unwrap();
    fs::create_dir(bundle.rootfs("source")).unwrap();
    fs::write(hidden.join("source/file"), "found\n").unwrap();
    fs::set_permissions(&hidden, PermissionsExt::from_mode(0o700)).unwrap();
    bundle.mount(json!({"destination": "/source", "source": hidden.join("source"), "options": ["bind"]}));
    bundle.config["linux"]["devices"] =
        json!([{"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600, "uid": 7}]);
    let before = fs::metadata("/dev/null").unwrap();
    let outcome = bundle.run().run();
    outcome.prints(&["0\n", "0     400000      65536\n", "/dev/tty 5:0 666\n", "lo\n", "found\n"]);
    let after = fs::metadata("/dev/null").unwrap();
    assert_eq!((before.mode(), before.uid()), (after.mode(), after.uid()), "the host's /dev/null");
    bundle.nothing_left();
    host.check();
}

/// As podman does it: root of a user namespace, which is nobody outside of it, is who starts containers.
#[test]
fn root_of_somebodys_user_namespace_starts_containers() {
    needs!(root, "busybox", "setpriv", "unshare");
    let mut user = User::new("id -u; echo x >/dev/full; ls /sys/fs/cgroup; cat /proc/self/uid_map");
    user.bundle.config["linux"]["cgroupsPath"].take();
    let mounts = user.bundle.config["mounts"].as_array_mut().unwrap();
    for mount in mounts {
        mount["options"].as_array_mut().into_iter().for_each(|o| o.retain(|o| o != "gid=5"));
    }
    user.bundle.scratch.file("config.json", user.bundle.config.to_string());
    let work = user.bundle.scratch.work();
    let inner = Cmd::new(user.programs.join("rkt-oci")).args(["run", "one"]).cwd(&work);
    let inner = inner.env("XDG_RUNTIME_DIR", work.join("run"));
    let outer =
        programs::as_nobody(inner.under("unshare", ["--user", "--map-root-user", "--mount", "--propagation", "slave"]));
    let outcome = outer.run();
    outcome.prints(&["0\n", "0      65534          1\n"]);
    outcome.says(&["No space left on device"]);
    user.nothing_left();
}

#[test]
fn a_user_has_a_terminal() {
    needs!(root, "busybox", "setpriv");
    let mut user = User::rootless("tty; ls -l /dev/console; echo ready; read line; echo \"got $line\"");
    user.bundle.config["process"]["terminal"] = json!(true);
    let mut terminal = Terminal::start(&user.run());
    terminal.expect("/dev/pts/0");
    terminal.expect("ready");
    terminal.send("words\n");
    terminal.expect("got words");
    assert_eq!(terminal.wait().code(), 0);
    user.nothing_left();
}

/// What the host has forbidden on a mount stays forbidden, and other options can be set all the same.
#[test]
fn locked_flags_stay() {
    needs!(root, "busybox", "setpriv", "unshare");
    for (options, word) in [("rbind,rw", None), ("rbind,suid", None), ("rbind,nosymfollow", Some("nosymfollow"))] {
        let mut user = User::rootless("grep ' /tmp ' /proc/self/mountinfo");
        let locked = user.bundle.scratch.work().join("locked");
        fs::create_dir(&locked).unwrap();
        let options: Vec<&str> = options.split(',').collect();
        user.bundle.mount(json!({"destination": "/tmp", "source": locked, "options": options}));
        let script = "mount -t tmpfs -o nosuid,nodev,noexec,ro tmpfs locked && exec \"$@\"";
        let outcome = user.run().under("unshare", ["--mount", "sh", "-c", script, "sh"]).run();
        match word {
            Some(word) => outcome.prints(&["ro,nosuid,nodev,noexec,relatime", word]),
            None => outcome.says(&["cannot clear locked flags: operation not permitted"]),
        }
    }
}

/// As podman's `--pid host`: no procfs can be mounted, and none is needed.
#[test]
fn settings_without_a_pid_namespace() {
    needs!(root, "busybox", "setpriv");
    let mut user = User::new("cat /proc/sys/net/ipv4/ip_forward");
    user.bundle.config["linux"]["cgroupsPath"].take();
    user.bundle.config["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "pid");
    user.bundle.config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
    user.bundle.unmount("/proc");
    user.bundle.mount(json!({"destination": "/proc", "source": "/proc", "options": ["rbind"]}));
    // What is to be hidden of it belongs to the host.
    user.bundle.config["linux"]["maskedPaths"].take();
    user.bundle.config["linux"]["readonlyPaths"].take();
    user.run().ok().prints(&["1\n"]);
    user.nothing_left();
}
