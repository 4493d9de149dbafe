//! Cgroups outside of the container's own: item 12.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use support::needs;

use crate::attack::Attack;

/// Where containers are listed and killed: the unified hierarchy, or the freezer's.
fn hierarchy() -> PathBuf {
    let places = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup/freezer"].map(PathBuf::from);
    places.into_iter().find(|p| p.join("cgroup.procs").exists()).unwrap_or_else(|| "/sys/fs/cgroup".into())
}

/// A directory in that hierarchy, removed with what is in it.
struct Group(PathBuf);

impl Group {
    fn new(path: PathBuf) -> Group {
        fs::create_dir(&path).unwrap();
        Group(path)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for _ in 0..100 {
            match fs::remove_dir(&self.0) {
                Err(e) if e.kind() == std::io::ErrorKind::ResourceBusy => {
                    std::thread::sleep(std::time::Duration::from_millis(20));
                }
                _ => return,
            }
        }
    }
}

fn name(attack: &Attack) -> String {
    attack.scratch.path().file_name().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn item_12_paths_that_lead_up() {
    needs!(root, "busybox");
    for path in ["../../../../NAME", "/../../NAME", "/NAME/a/../b", "NAME/../../NAME", "/NAME"] {
        let mut attack = Attack::new("cat /proc/1/cgroup");
        let name = name(&attack);
        attack.config["linux"]["cgroupsPath"] = json!(path.replace("NAME", &name));
        attack.config["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "cgroup");
        let outcome = attack.run().ok();
        outcome.prints(&[&name]);
        outcome.require(!outcome.stdout.contains(".."), "a cgroup below the root");
    }
    for path in ["..", "/", "/..", "a/.."] {
        let mut attack = Attack::new("true");
        attack.config["linux"]["cgroupsPath"] = json!(path);
        attack.run().refused(1, &["linux.cgroupsPath"]);
    }
}

#[test]
fn item_12_delete_removes_nothing_above_or_beside() {
    needs!(root, "busybox");
    let mut attack = Attack::new("sleep 1000");
    let name = name(&attack);
    let parent = Group::new(hierarchy().join(&name));
    let sibling = Group::new(parent.0.join("sibling"));
    attack.config["linux"]["cgroupsPath"] = json!(format!("/{name}/inner"));
    for command in ["run", "kept"] {
        attack.command(["run", "-d", "test"]).ok();
        // A state file that names something else was written by somebody else, and still leads nowhere above the root.
        if command == "kept" {
            let path = attack.state().join("test/state.json");
            let text = fs::read_to_string(&path).unwrap();
            fs::write(&path, text.replace(&format!("{name}/inner"), &format!("{name}/inner/../../{name}/inner")))
                .unwrap();
        }
        attack.command(["delete", "-f", "test"]).ok();
        assert!(sibling.0.is_dir() && !parent.0.join("inner").exists());
    }
}

#[test]
fn item_12_the_container_removes_and_renames_its_cgroup() {
    needs!(root, "busybox");
    // With the hierarchy writable inside: it makes cgroups in its own, and tries to leave and to remove it.
    let mut attack = Attack::new(
        "cd /sys/fs/cgroup; for d in . */; do mkdir -p $d/one/two && echo $$ >$d/one/two/cgroup.procs; \
         mv $d/one $d/other; rmdir $d; echo $$ >$d/../cgroup.procs; done 2>/dev/null; \
         echo ready; sleep 1000",
    );
    for mount in attack.config["mounts"].as_array_mut().unwrap() {
        if mount["type"] == "cgroup" {
            mount["options"] = json!(["nosuid", "noexec", "nodev", "rw"]);
        }
    }
    for end in [&["delete", "-f", "test"][..], &["kill", "test", "KILL"]] {
        let mut running = attack.command(["run", "test"]).spawn();
        running.expect("ready");
        let end = attack.command([]).args(end).ok();
        drop(end);
        running.wait();
        attack.command(["delete", "-f", "test"]).ok();
        attack.nothing_left();
    }
}

#[test]
fn item_12_a_process_escapes_to_another_cgroup() {
    needs!(root, "busybox");
    let mut attack = Attack::new("echo $$ >/host/sibling/cgroup.procs && echo escaped; sleep 1000");
    let name = name(&attack);
    let parent = Group::new(hierarchy().join(&name));
    let _sibling = Group::new(parent.0.join("sibling"));
    attack.config["linux"]["cgroupsPath"] = json!(format!("/{name}/inner"));
    // The whole hierarchy of the host, writable: then it can leave, but `delete` still knows the process.
    attack.mount(json!({"destination": "/host", "source": parent.0, "options": ["rbind", "rw"]}));
    let mut running = attack.command(["run", "test"]).spawn();
    running.expect("escaped");
    attack.command(["delete", "-f", "test"]).ok();
    running.wait();
    attack.nothing_left();
}

#[test]
fn item_12_a_cgroup_that_is_in_use() {
    needs!(root, "busybox");
    let mut attack = Attack::new("true");
    let name = name(&attack);
    attack.config["linux"]["cgroupsPath"] = json!(format!("/{name}"));
    let group = Group::new(hierarchy().join(&name));
    let freeze = [("cgroup.freeze", "1", "0"), ("freezer.state", "FROZEN", "THAWED")];
    let (file, frozen, thawed) = *freeze.iter().find(|(file, ..)| group.0.join(file).exists()).unwrap();
    fs::write(group.0.join(file), frozen).unwrap();
    attack.run().refused(1, &["container's cgroup unexpectedly frozen"]);
    fs::write(group.0.join(file), thawed).unwrap();
    let other = support::Cmd::new("sleep").arg("1000").spawn();
    fs::write(group.0.join("cgroup.procs"), other.pid().to_string()).unwrap();
    attack.run().refused(1, &["container's cgroup is not empty: 1 process(es) found"]);
    assert!(Path::new("/proc").join(other.pid().to_string()).exists(), "the other process lives");
    other.signal(rustix::process::Signal::KILL);
    assert!(other.ended_within(std::time::Duration::from_secs(5)));
}

#[test]
fn item_12_annotations_move_no_cgroup() {
    needs!(root, "busybox");
    let mut attack = Attack::new("cat /proc/1/cgroup");
    let name = name(&attack);
    attack.config["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "cgroup");
    for place in ["inner", "../../../../elsewhere", "/elsewhere"] {
        attack.config["annotations"] = json!({"run.oci.delegate-cgroup": place, "run.oci.systemd.subgroup": place});
        let outcome = attack.run().ok();
        outcome.prints(&[&name]);
        outcome.require(!outcome.stdout.contains("inner") && !outcome.stdout.contains("elsewhere"), "its own cgroup");
    }
}

#[test]
fn item_12_exec_goes_only_below() {
    needs!(root, "busybox");
    let attack = Attack::new("sleep 1000");
    attack.command(["run", "-d", "test"]).ok();
    let name = name(&attack);
    for path in ["../..", "..", "/", "a/../..", &format!("../{name}-sibling"), "nonesuch", "nonesuch:/", "memory:../.."]
    {
        let outcome = attack.command(["exec", "--cgroup", path, "test", "cat", "/proc/self/cgroup"]).run();
        let outside = outcome.stdout.lines().any(|line| line.contains("..") || line.contains("sibling"));
        outcome.require(outcome.code() == 255 || outcome.code() == 0 && path == "/" && !outside, "a refusal");
    }
    attack.command(["delete", "-f", "test"]).ok();
}
