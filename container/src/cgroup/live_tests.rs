//! On the cgroups of this machine; they need root, as the rest of the engine does.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command};

use oci_spec::runtime::LinuxResources;

use super::*;
use crate::cgroup::{CgroupPlan, Layout};

/// A cgroup of this machine that goes away with the test, and processes in it.
struct Fixture {
    cgroup: Cgroup,
    children: Vec<Child>,
}

impl Fixture {
    fn new(name: &str, resources: &str) -> Fixture {
        Fixture::on(&layout(), name, resources)
    }

    fn on(layout: &Layout, name: &str, resources: &str) -> Fixture {
        Fixture { cgroup: create_on(layout, name, resources).unwrap(), children: Vec::new() }
    }

    fn spawn(&mut self) -> i32 {
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = child.id().cast_signed();
        self.children.push(child);
        self.cgroup.add(pid).unwrap();
        pid
    }

    fn directories(&self) -> Vec<PathBuf> {
        self.cgroup.directories().map(|(_, dir)| dir).collect()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = self.cgroup.destroy();
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn layout() -> Layout {
    Layout::detect(Path::new("/sys/fs/cgroup")).unwrap()
}

/// `name` is made unique by the process and lies in a parent that exists only for it.
fn path(name: &str) -> PathBuf {
    format!("/appc-test-{}/{name}", std::process::id()).into()
}

/// This host, and where it is a hybrid one, as it would be without version 2.
fn layouts() -> Vec<Layout> {
    let mut layouts = vec![layout()];
    layouts.extend(layout().version_1_only().filter(|_| layout().version() == Version::Hybrid));
    layouts
}

fn create(name: &str, resources: &str) -> Result<Cgroup> {
    create_on(&layout(), name, resources)
}

fn create_on(layout: &Layout, name: &str, resources: &str) -> Result<Cgroup> {
    let resources: LinuxResources = serde_json::from_str(resources).unwrap();
    CgroupPlan::new(layout, &path(name), Some(&resources))?.create()
}

fn read(dir: &Path, file: &str) -> String {
    std::fs::read_to_string(dir.join(file)).unwrap().trim().to_owned()
}

fn find(cgroup: &Cgroup, controller: &str) -> PathBuf {
    let has = |controllers: &[String]| controllers.is_empty() || controllers.iter().any(|c| c == controller);
    let mut found: Vec<_> = cgroup.directories().filter(|(c, _)| has(c)).map(|(_, dir)| dir).collect();
    found.sort_by_key(|dir| dir.starts_with("/sys/fs/cgroup/unified"));
    found.swap_remove(0)
}

#[test]
fn limits_are_in_the_kernels_files_and_go_with_the_cgroup() {
    let limits = r#"{"memory": {"limit": 104857600}, "cpu": {"shares": 512, "quota": 2000000, "period": 1000000}}"#;
    let fixture = Fixture::new("limits", limits);
    let (memory, cpu) = (find(&fixture.cgroup, "memory"), find(&fixture.cgroup, "cpu"));
    if layout().version() == Version::V2 {
        assert_eq!(read(&memory, "memory.max"), "104857600");
        assert_eq!(read(&cpu, "cpu.weight"), "59");
        assert_eq!(read(&cpu, "cpu.max"), "2000000 1000000");
    } else {
        assert_eq!(read(&memory, "memory.limit_in_bytes"), "104857600");
        assert_eq!(read(&cpu, "cpu.shares"), "512");
        assert_eq!(read(&cpu, "cpu.cfs_quota_us"), "2000000");
        assert_eq!(read(&cpu, "cpu.cfs_period_us"), "1000000");
    }
    let directories = fixture.directories();
    drop(fixture);
    for dir in directories {
        assert!(!dir.exists(), "{dir:?}");
    }
}

#[test]
fn what_runs_is_listed_frozen_killed_and_found_again() {
    for layout in layouts() {
        let mut fixture = Fixture::on(&layout, "kill", "{}");
        let mut pids = [fixture.spawn(), fixture.spawn()];
        // Below, as a container with a cgroup namespace of its own would do it.
        let below = fixture.directories()[0].join("inner/most");
        std::fs::create_dir_all(&below).unwrap();
        std::fs::write(below.join("cgroup.procs"), pids[1].to_string()).unwrap();

        let saved = serde_json::to_string(&fixture.cgroup.saved()).unwrap();
        let again = Cgroup::reopen(&serde_json::from_str(&saved).unwrap()).unwrap();
        assert_eq!(again.version(), layout.version());
        let mut listed = again.pids().unwrap();
        listed.sort_unstable();
        pids.sort_unstable();
        assert_eq!(listed, pids);

        again.freeze().unwrap();
        assert!(again.is_frozen().unwrap());
        again.thaw().unwrap();
        assert!(!again.is_frozen().unwrap());

        again.freeze().unwrap();
        again.destroy().unwrap();
        for child in &mut fixture.children {
            assert_eq!(child.wait().unwrap().signal(), Some(9));
        }
        assert!(fixture.directories().iter().all(|dir| !dir.exists()));
        again.destroy().unwrap();
        assert!(again.pids().unwrap().is_empty());
    }
}

#[test]
fn a_process_enters_by_itself() {
    for layout in layouts() {
        let fixture = Fixture::on(&layout, "entry", r#"{"pids": {"limit": 9}}"#);
        let entry = fixture.cgroup.entry().unwrap();
        assert_eq!(entry.clone_into().is_some(), layout.version() != Version::V1);
        if layout.version() == Version::V2 {
            continue;
        }
        // A thread is as good as a process to the hierarchies of version 1.
        let entered = std::thread::spawn(move || {
            entry.enter().unwrap();
            std::fs::read_to_string("/proc/thread-self/cgroup").unwrap()
        });
        let entered = entered.join().unwrap();
        let name = path("entry").to_str().unwrap().to_owned();
        for controller in ["pids", "devices"] {
            assert!(entered.contains(&format!(":{controller}:{name}\n")), "{entered}");
        }
    }
}

#[test]
fn a_used_or_frozen_cgroup_is_refused_and_left_alone() {
    let mut fixture = Fixture::new("used", "{}");
    let pid = fixture.spawn();
    let text = create("used", "{}").unwrap_err().to_string();
    assert!(text.starts_with("container's cgroup is not empty: 1 process(es) found"), "{text}");
    assert_eq!(fixture.cgroup.pids().unwrap(), [pid]);

    let frozen = Fixture::new("frozen", "{}");
    frozen.cgroup.freeze().unwrap();
    let text = create("frozen/below", "{}").unwrap_err().to_string();
    assert!(text.starts_with("container's cgroup unexpectedly frozen"), "{text}");
    assert!(!frozen.directories()[0].join("below").exists());
    frozen.cgroup.thaw().unwrap();
}

#[test]
fn a_refused_value_names_the_field_and_leaves_nothing() {
    let text = create("refused", r#"{"cpu": {"cpus": "4000"}}"#).unwrap_err().to_string();
    assert!(text.starts_with("linux.resources.cpu.cpus: cannot write \"4000\" to "), "{text}");
    let text = create("refused", r#"{"hugepageLimits": [{"pageSize": "3MB", "limit": 0}]}"#).unwrap_err().to_string();
    assert!(text.starts_with("linux.resources.hugepageLimits[0]: the kernel has no "), "{text}");
    let hierarchies = std::fs::read_dir("/sys/fs/cgroup").unwrap().map(|e| e.unwrap().path());
    for hierarchy in hierarchies.chain(["/sys/fs/cgroup".into()]) {
        let left = hierarchy.join(path("refused").strip_prefix("/").unwrap());
        assert!(!left.exists(), "{left:?}");
    }
}

#[test]
fn many_come_and_go_in_one_parent() {
    let run = |i: usize| {
        for round in 0..20 {
            let name = format!("together/{i}-{round}");
            create(&name, r#"{"pids": {"limit": 10}, "cpu": {"cpus": "0"}}"#).unwrap().destroy().unwrap();
        }
    };
    std::thread::scope(|scope| (0..4).for_each(|i| drop(scope.spawn(move || run(i)))));
    let parent = find(&Fixture::new("probe", r#"{"pids": {"limit": 10}}"#).cgroup, "pids");
    assert!(!parent.with_file_name("together").exists());
}

#[test]
fn a_parent_that_was_there_stays() {
    let probe = Fixture::new("parent/probe", "{}");
    let existing = probe.directories()[0].with_file_name("existing");
    std::fs::create_dir(&existing).unwrap();
    create("parent/existing/container", "{}").unwrap().destroy().unwrap();
    let stayed = existing.exists();
    std::fs::remove_dir(&existing).unwrap();
    assert!(stayed);
}

#[test]
fn devices_are_denied_unless_allowed() {
    // 1:11 is kmsg, which no default rule allows.
    for (rules, allowed) in [
        (r#"[{"allow": false, "access": "rwm"}]"#, false),
        (
            r#"[{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"}]"#,
            true,
        ),
        (r#"[{"allow": true, "access": "rwm"}]"#, true),
    ] {
        let fixture = Fixture::new("devices", &format!(r#"{{"devices": {rules}}}"#));
        let entry = fixture.cgroup.entry().unwrap();
        let procs = find(&fixture.cgroup, "devices").join("cgroup.procs");
        let script = format!("echo $$ >{} && cat </dev/null && exec cat </dev/null 3</dev/kmsg", procs.display());
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        assert_eq!(output.status.success(), allowed, "{rules}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(layout().version() == Version::V1 || entry.clone_into().is_some());
    }
}
