//! User and time namespaces: item 24.

use std::fs;

use serde_json::{Value, json};
use support::{Cmd, needs};

use crate::attack::Attack;

fn with_users(script: &str, mappings: Value) -> Attack {
    let mut attack = Attack::new(script);
    attack.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    for name in ["uidMappings", "gidMappings"] {
        attack.config["linux"][name] = mappings.clone();
    }
    attack
}

#[test]
fn item_24_mappings_that_make_no_sense() {
    needs!(root, "busybox");
    let mapping =
        |inside: u64, outside: u64, size: u64| json!({"containerID": inside, "hostID": outside, "size": size});
    for mappings in [
        json!([mapping(0, 100_000, 1000), mapping(500, 300_000, 1000)]),
        json!([mapping(0, 100_000, 1000), mapping(1000, 100_500, 1000)]),
        json!([mapping(0, 100_000, 0)]),
        json!([mapping(0, 4_294_967_295, 1)]),
        json!([mapping(0, 4_294_967_000, 1000)]),
        json!([mapping(1, 100_000, 10)]),
        json!([]),
        json!((0..400).map(|n| mapping(n, 100_000 + n, 1)).collect::<Vec<_>>()),
    ] {
        let attack = with_users("true", mappings.clone());
        let outcome = attack.run().run();
        outcome.require(outcome.code() == 1, &format!("a refusal of {mappings}"));
    }
}

#[test]
fn item_24_a_user_that_is_not_mapped() {
    needs!(root, "busybox");
    let mapping = json!([{"containerID": 0, "hostID": 100_000, "size": 10}]);
    for user in [
        json!({"uid": 10, "gid": 0}),
        json!({"uid": 0, "gid": 10}),
        json!({"uid": 0, "gid": 0, "additionalGids": [10]}),
    ] {
        let mut attack = with_users("id", mapping.clone());
        attack.config["process"]["user"] = user;
        let outcome = attack.run().run();
        outcome.require(outcome.code() == 1 && outcome.stdout.is_empty(), "a refusal");
    }
}

#[test]
fn item_24_the_root_of_a_container_is_nobody_outside() {
    needs!(root, "busybox");
    let mut attack = with_users(
        "for f in passwd null; do (echo x >/host/$f) 2>/dev/null && echo written; done; touch /host/new 2>/dev/null; \
         chown 0 /host/passwd 2>/dev/null && echo owned; chmod 777 /host/passwd 2>/dev/null && echo opened; true",
        json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]),
    );
    let all = json!(["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE", "CAP_CHOWN", "CAP_FOWNER", "CAP_MKNOD"]);
    for set in ["bounding", "effective", "permitted"] {
        attack.config["process"]["capabilities"][set] = all.clone();
    }
    let folder = attack.tripwire();
    fs::create_dir(attack.rootfs("host")).unwrap();
    attack.mount(json!({"destination": "/host", "source": folder, "options": ["rbind", "rw"]}));
    assert_eq!(attack.run().ok().stdout, "");
}

#[test]
fn item_24_a_user_namespace_of_somebody_else() {
    needs!(root, "busybox");
    let first = with_users("sleep 1000", json!([{"containerID": 0, "hostID": 100_000, "size": 10}]));
    first.command(["run", "-d", "first"]).ok();
    let pid = first.command(["state", "first"]).ok().json()["pid"].to_string();
    let mut second = Attack::new("cat /proc/self/uid_map | tr -s ' '");
    let namespaces = second.config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.push(json!({"type": "user", "path": format!("/proc/{pid}/ns/user")}));
    let outcome = second.run().run();
    // It is joined or refused; the root of the second container is never the host's.
    if outcome.code() == 0 {
        outcome.prints(&["0 100000 10"]);
    }
    // Mappings are for a new namespace, not for one that has them.
    for name in ["uidMappings", "gidMappings"] {
        second.config["linux"][name] = json!([{"containerID": 0, "hostID": 0, "size": 10}]);
    }
    let outcome = second.run().run();
    outcome.require(outcome.code() == 1 || outcome.stdout.contains("0 100000 10"), "never the host's root");
    first.command(["delete", "-f", "first"]).ok();
}

#[test]
fn item_24_cgroups_are_not_writable_in_a_user_namespace() {
    needs!(root, "busybox");
    let mut attack = with_users(
        "cd /sys/fs/cgroup; for d in . */; do mkdir $d/new && echo made $d; echo 1 >$d/cgroup.procs && echo moved; \
         echo 1 >$d/notify_on_release && echo set; done 2>/dev/null; \
         find / -xdev -name release_agent 2>/dev/null; mount -o remount,rw /sys 2>/dev/null && echo remounted; true",
        json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]),
    );
    let all = json!(["CAP_DAC_OVERRIDE"]);
    for set in ["bounding", "effective", "permitted"] {
        attack.config["process"]["capabilities"][set] = all.clone();
    }
    assert_eq!(attack.run().ok().stdout, "");
}

#[test]
fn item_24_the_container_of_an_ordinary_user() {
    needs!(root, "busybox", "setpriv", "chown");
    let attack = Attack::new("");
    let work = attack.scratch.work();
    let program = attack.scratch.path().join("rkt-oci");
    fs::copy(support::programs::find("rkt-oci"), &program).unwrap();
    let rkt_oci = |args: &[&str]| {
        let command = Cmd::new(&program).args(args).cwd(&work).env("XDG_RUNTIME_DIR", &work);
        support::programs::as_nobody(command)
    };
    fs::remove_file(work.join("config.json")).unwrap();
    Cmd::new("chown").args(["-R", "65534:65534"]).arg(&work).ok();
    rkt_oci(&["spec", "--rootless"]).ok();
    let mut config: Value = serde_json::from_slice(&fs::read(work.join("config.json")).unwrap()).unwrap();
    config["process"]["terminal"] = json!(false);
    let script = "cat /proc/self/setgroups; cd /sys/fs/cgroup && for d in . */; do mkdir $d/new && echo made; \
        echo 1 >$d/cgroup.procs && echo moved; done 2>/dev/null; mount -o remount,rw /sys/fs/cgroup 2>/dev/null && echo writable; \
        (echo x >/host/passwd) 2>/dev/null && echo written; true";
    config["process"]["args"] = json!(["sh", "-c", script]);
    let bind = json!({"destination": "/host", "source": attack.tripwire(), "options": ["rbind"]});
    config["mounts"].as_array_mut().unwrap().push(bind);
    fs::write(work.join("config.json"), config.to_string()).unwrap();
    let outcome = rkt_oci(&["run", "one"]).run();
    rkt_oci(&["delete", "-f", "one"]).run();
    outcome.require(outcome.code() == 0 && outcome.stdout == "deny\n", "no more rights than its user has");
}

#[test]
fn item_24_clocks_that_run_backwards() {
    needs!(root, "busybox");
    if !fs::exists("/proc/self/ns/time").unwrap() {
        return;
    }
    let mut attack = Attack::new("cut -d . -f 1 /proc/uptime");
    attack.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "time"}));
    for (offset, code) in [(-1_000_000_000_000_i64, 1), (i64::MIN, 1), (i64::MAX, 1), (100_000, 0)] {
        attack.config["linux"]["timeOffsets"] = json!({"boottime": {"secs": offset, "nanosecs": 0}});
        attack.run().exits(code);
    }
}
