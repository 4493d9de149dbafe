//! Limits are real: in the kernel's files while a container lives, felt by what runs in it, and gone with it.
//! The same on cgroup v1, hybrid and v2 hosts.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{Cmd, HostState, Outcome, Scratch, busybox_image, needs, rootfs};

/// 100 MB, as `--memory 100m` has it elsewhere.
const MEMORY: u64 = 104_857_600;

/// A bundle whose configuration is the template with other arguments and limits.
struct Bundle {
    scratch: Scratch,
    /// `linux.cgroupsPath`, without the slash at its beginning.
    cgroup: String,
}

impl Bundle {
    fn new(script: &str, resources: Value) -> Self {
        let bundle = Self::plain(resources);
        bundle.set(|config| config["process"]["args"] = json!(["sh", "-c", script]));
        bundle
    }

    fn plain(resources: Value) -> Self {
        let scratch = Scratch::new();
        rootfs::busybox(&scratch.work().join("rootfs"));
        scratch.rkt_oci(["spec"]).ok();
        // The scratch folder's name is unique, so the cgroup's is too.
        let name = scratch.path().file_name().expect("it has a name").to_string_lossy().into_owned();
        let bundle = Self { scratch, cgroup: format!("{name}/inner") };
        bundle.set(|config| {
            config["process"]["terminal"] = json!(false);
            config["linux"]["cgroupsPath"] = json!(format!("/{}", bundle.cgroup));
            for (key, value) in resources.as_object().expect("an object") {
                config["linux"]["resources"][key] = value.clone();
            }
        });
        bundle
    }

    fn set(&self, change: impl FnOnce(&mut Value)) {
        let text = fs::read(self.scratch.work().join("config.json")).expect("spec wrote it");
        let mut config = serde_json::from_slice(&text).expect("spec writes JSON");
        change(&mut config);
        self.scratch.file("config.json", config.to_string());
    }

    fn command(&self) -> Cmd {
        let state = self.scratch.path().join("state");
        self.scratch.rkt_oci(["--root"]).arg(state).args(["run", "limited"])
    }

    fn kernel(&self, controller: &str, v1: &str, v2: &str) -> (String, bool) {
        kernel(&self.cgroup, controller, v1, v2)
    }

    /// Its directories in all hierarchies, and those of its parents.
    fn directories(&self) -> Vec<PathBuf> {
        let top = self.cgroup.split('/').next().expect("a name");
        let hierarchies = fs::read_dir("/sys/fs/cgroup").expect("there are cgroups").flatten().map(|e| e.path());
        hierarchies.chain(["/sys/fs/cgroup".into()]).map(|h| h.join(top)).filter(|d| d.exists()).collect()
    }
}

/// What the kernel says about the cgroup, and whether it is version 2 that does: where version 1 has no `controller`.
fn kernel(cgroup: &str, controller: &str, v1: &str, v2: &str) -> (String, bool) {
    let mount = Path::new("/sys/fs/cgroup");
    let is_v2 = !mount.join(controller).is_dir();
    let file = if is_v2 { mount.join(cgroup).join(v2) } else { mount.join(controller).join(cgroup).join(v1) };
    let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    (text.trim().to_owned(), is_v2)
}

fn says_why(outcome: &Outcome) {
    outcome.says(&["out of memory", "104857600"]);
}

#[test]
fn what_takes_more_memory_is_killed_and_told_so() {
    needs!(root, "busybox");
    // The first process of the container is the one that takes it all.
    let bundle = Bundle::plain(json!({"memory": {"limit": MEMORY}}));
    bundle.set(|config| config["process"]["args"] = json!(["tail", "/dev/zero"]));
    let host = HostState::new();
    says_why(&bundle.command().exits(137));
    host.check();
    assert_eq!(bundle.directories(), Vec::<PathBuf>::new());
}

#[test]
fn memory_of_a_child_and_of_a_tmpfs_counts_too() {
    needs!(root, "busybox");
    let host = HostState::new();
    let child = Bundle::new("tail /dev/zero; echo it ended with $?; exit 9", json!({"memory": {"limit": MEMORY}}));
    let outcome = child.command().exits(9);
    outcome.prints(&["it ended with 137"]);
    // It was not the container that was killed.
    outcome.says(&["ran out of memory (limit 104857600 bytes): processes of it were killed"]);
    says_why(&outcome);
    // /tmp of the template's root is a plain folder; /dev/shm is limited to 64 MB, /dev to 64 MB.
    let fill =
        "for d in /dev/shm /dev; do dd if=/dev/zero of=$d/fill bs=1M count=60 2>/dev/null || exit 137; done; exit 3";
    says_why(&Bundle::new(fill, json!({"memory": {"limit": MEMORY}})).command().exits(137));
    host.check();
}

#[test]
fn what_stays_below_the_limit_is_left_alone() {
    needs!(root, "busybox");
    let bundle =
        Bundle::new("dd if=/dev/zero of=/dev/null bs=40M count=3 2>/dev/null", json!({"memory": {"limit": MEMORY}}));
    let outcome = bundle.command().ok();
    assert_eq!(outcome.stderr, "");
}

#[test]
fn limits_are_in_the_kernels_files_while_it_lives() {
    needs!(root, "busybox");
    let limits = json!({
        "memory": {"limit": MEMORY},
        "cpu": {"shares": 512, "quota": 2_000_000, "period": 1_000_000, "cpus": "0"},
        "pids": {"limit": 77},
    });
    let bundle = Bundle::new("echo ready; exec sleep 1000", limits);
    let host = HostState::new();
    let mut running = bundle.command().spawn();
    running.expect("ready");

    let (memory, _) = bundle.kernel("memory", "memory.limit_in_bytes", "memory.max");
    assert_eq!(memory, MEMORY.to_string());
    let (shares, v2) = bundle.kernel("cpu", "cpu.shares", "cpu.weight");
    assert_eq!(shares, if v2 { "59" } else { "512" });
    let (quota, v2) = bundle.kernel("cpu", "cpu.cfs_quota_us", "cpu.max");
    assert_eq!(quota, if v2 { "2000000 1000000" } else { "2000000" });
    if !v2 {
        assert_eq!(bundle.kernel("cpu", "cpu.cfs_period_us", "").0, "1000000");
    }
    assert_eq!(bundle.kernel("cpuset", "cpuset.cpus", "cpuset.cpus").0, "0");
    assert_eq!(bundle.kernel("pids", "pids.max", "pids.max").0, "77");
    for controller in ["memory", "cpu", "cpuset", "pids"] {
        let (processes, _) = bundle.kernel(controller, "cgroup.procs", "cgroup.procs");
        assert_eq!(processes.lines().count(), 1, "{controller} holds {processes:?}");
    }

    // A TERM while it is being started, which the first words of the container's program may come before the end of, ends it.
    std::thread::sleep(Duration::from_millis(300));
    running.signal(rustix::process::Signal::TERM);
    // Init has no handler for TERM, and the kernel shields the first process of a pid namespace from it.
    std::thread::sleep(Duration::from_millis(100));
    let pid = bundle.kernel("pids", "cgroup.procs", "cgroup.procs").0;
    let pid = rustix::process::Pid::from_raw(pid.parse().expect("one number")).expect("a process id");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it lives");
    running.wait().require(true, "an end");
    host.check();
    assert_eq!(bundle.directories(), Vec::<PathBuf>::new());
}

#[test]
fn many_at_once_each_have_their_own() {
    needs!(root, "busybox");
    let host = HostState::new();
    std::thread::scope(|scope| {
        for i in 0..6_u64 {
            scope.spawn(move || {
                let limit = MEMORY + i * 4096;
                let bundle = Bundle::new("echo ready; cat", json!({"memory": {"limit": limit}, "pids": {"limit": 9}}));
                for _ in 0..3 {
                    // A terminal-less `cat` ends with its input, at once.
                    bundle.command().ok().prints(&["ready"]);
                }
                assert_eq!(bundle.directories(), Vec::<PathBuf>::new());
            });
        }
    });
    host.check();
}

#[test]
fn a_fork_bomb_is_held_and_swept_up() {
    needs!(root, "busybox");
    let bundle = Bundle::new("bomb() { bomb | bomb & }; bomb; sleep 1; exit 4", json!({"pids": {"limit": 30}}));
    let host = HostState::new();
    let began = Instant::now();
    // Either the shell gets to its end, or it cannot fork `sleep`.
    let outcome = bundle.command().run();
    outcome.require(outcome.code() != 0, "an exit code of the shell's own");
    outcome.require(began.elapsed() < Duration::from_secs(20), "an end within seconds");
    host.check();
    assert_eq!(bundle.scratch.processes(), Vec::<String>::new());
}

#[test]
fn a_path_with_dots_stays_below_the_mount() {
    needs!(root, "busybox");
    let bundle = Bundle::new("echo ready; exec cat /proc/self/cgroup", json!({"pids": {"limit": 9}}));
    let host = HostState::new();
    for dots in ["/../../../../", "/x/../../"] {
        bundle.set(|config| config["linux"]["cgroupsPath"] = json!(format!("{dots}{}", bundle.cgroup)));
        // With a cgroup namespace of its own it sees "/", without one the clean path.
        let outcome = bundle.command().ok();
        outcome.require(!outcome.stdout.contains(".."), "a clean path");
    }
    bundle.set(|config| config["linux"]["cgroupsPath"] = json!("/.."));
    bundle.command().refused(1, &["rkt-oci run failed: ", "linux.cgroupsPath"]);
    host.check();
    assert_eq!(bundle.directories(), Vec::<PathBuf>::new());
}

#[test]
fn what_the_kernel_cannot_give_is_refused_by_name() {
    needs!(root, "busybox");
    let host = HostState::new();
    for (resources, field) in [
        (json!({"hugepageLimits": [{"pageSize": "3MB", "limit": 0}]}), "linux.resources.hugepageLimits[0]"),
        (json!({"cpu": {"cpus": "4000"}}), "linux.resources.cpu.cpus"),
        (json!({"rdma": {"mlx5_1": {"hcaHandles": 3}}}), "linux.resources.rdma.mlx5_1"),
        (json!({"memory": {"limit": MEMORY, "swap": 1000}}), "linux.resources.memory.swap"),
        (json!({"unified": {"../x.y": "1"}}), "linux.resources.unified"),
        (json!({"devices": [{"allow": true, "type": "c", "access": "x"}]}), "linux.resources.devices[0].access"),
    ] {
        let bundle = Bundle::new("exit 0", resources);
        bundle.command().refused(1, &["rkt-oci run failed: ", field]);
        assert_eq!(bundle.directories(), Vec::<PathBuf>::new(), "{field}");
    }
    host.check();
}

#[test]
fn devices_that_are_not_allowed_cannot_be_opened() {
    needs!(root, "busybox");
    // 1:11 is /dev/kmsg. The node may be made, as with other runtimes, but not opened.
    let script = "mknod /dev/log1 c 1 11 && true </dev/null && true >/dev/log1 && exit 5; exit 6";
    let bundle = Bundle::new(script, json!({"devices": [{"allow": false, "access": "rwm"}]}));
    bundle.set(|config| {
        for set in ["bounding", "effective", "permitted"] {
            config["process"]["capabilities"][set] = json!(["CAP_MKNOD"]);
        }
    });
    let host = HostState::new();
    bundle.command().exits(6);
    let allowed = json!([{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "rw"}]);
    bundle.set(|config| config["linux"]["resources"]["devices"] = allowed);
    bundle.command().exits(5);
    host.check();
}

/// The command that puts a resource isolator into an image.
fn isolator(scratch: &Scratch, name: &str, value: &Value) -> String {
    let file = scratch.file(name, value.to_string());
    format!("isolator add resource/{name} {}", file.display())
}

#[test]
fn an_app_that_takes_more_than_its_isolator_allows_is_killed_and_told_so() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    let host = HostState::new();
    let memory = isolator(&scratch, "memory", &json!({"limit": MEMORY.to_string()}));
    busybox_image(&scratch, "greedy", "example.com/greedy", &["set-exec -- /bin/tail /dev/zero", &memory]);
    says_why(&scratch.rkt(["run", "greedy.aci"]).exits(137));
    host.check();
}

#[test]
fn the_isolators_of_an_app_are_in_the_kernels_files_while_it_lives() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    let host = HostState::new();
    let memory = isolator(&scratch, "memory", &json!({"limit": "100Mi"}));
    let cpu = isolator(&scratch, "cpu", &json!({"request": "500m", "limit": "2"}));
    let script = "set-exec -- /bin/sh -c trap\t'exit\t5'\tTERM;\techo\tready;\twhile\t:;\tdo\tsleep\t0.05;\tdone";
    busybox_image(&scratch, "limited", "example.com/limited", &[script, &memory, &cpu]);
    let mut running = scratch.rkt(["run", "limited.aci"]).spawn();
    running.expect("ready");

    let pods = scratch.rkt(["list", "--format=json"]).ok().json();
    let cgroup = format!("rkt-{}/limited", pods[0]["name"].as_str().expect("the pod's UUID"));
    assert_eq!(kernel(&cgroup, "memory", "memory.limit_in_bytes", "memory.max").0, MEMORY.to_string());
    let (shares, v2) = kernel(&cgroup, "cpu", "cpu.shares", "cpu.weight");
    assert_eq!(shares, if v2 { "59" } else { "512" });
    let (quota, v2) = kernel(&cgroup, "cpu", "cpu.cfs_quota_us", "cpu.max");
    assert_eq!(quota, if v2 { "200000 100000" } else { "200000" });

    running.signal(rustix::process::Signal::TERM);
    let ended = running.wait();
    ended.require(ended.code() == 5, "the app's own exit code");
    host.check();
}
