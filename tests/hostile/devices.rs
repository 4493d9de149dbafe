//! Devices that the container must not have: item 25.

use std::fs;
use std::path::Path;

use serde_json::json;
use support::needs;

use crate::attack::Attack;
use crate::common::bus::Calls;

fn may_make_nodes(attack: &mut Attack) {
    for set in ["bounding", "effective", "permitted"] {
        attack.config["process"]["capabilities"][set] = json!(["CAP_MKNOD", "CAP_DAC_OVERRIDE"]);
    }
    attack.config["root"]["readonly"] = json!(false);
}

/// Major and minor number of the disk that the host's root is on, or of a loop device: only ever opened for reading.
fn disk() -> (u32, u32) {
    let root = rustix::fs::stat("/").unwrap().st_dev;
    match (rustix::fs::major(root), rustix::fs::minor(root)) {
        (0, _) => (7, 0),
        numbers => numbers,
    }
}

#[test]
fn item_25_disks_are_denied() {
    needs!(root, "busybox");
    let (major, minor) = disk();
    for rules in
        [json!([{"allow": false, "access": "rwm"}]), json!([]), json!([{"allow": false, "type": "a", "access": "rwm"}])]
    {
        let mut attack = Attack::new(&format!(
            "mknod /tmp/disk b {major} {minor} 2>/dev/null && head -c 1 /tmp/disk >/dev/null 2>&1 && echo read; \
             mknod /tmp/mem c 1 1 2>/dev/null && head -c 1 /tmp/mem >/dev/null 2>&1 && echo memory; \
             mknod /tmp/kmsg c 1 11 2>/dev/null && head -c 1 /tmp/kmsg >/dev/null 2>&1 && echo log; \
             mknod /tmp/null c 1 3 && echo x >/tmp/null && echo allowed",
        ));
        may_make_nodes(&mut attack);
        attack.config["linux"]["resources"]["devices"] = rules;
        assert_eq!(attack.run().ok().stdout, "allowed\n");
    }
}

#[test]
fn item_25_rules_for_one_device_allow_no_other() {
    needs!(root, "busybox");
    let (major, minor) = disk();
    let mut attack = Attack::new(&format!(
        "mknod /tmp/disk b {major} {minor}; head -c 1 /tmp/disk >/dev/null 2>&1 && echo read; \
         mknod /tmp/kmsg c 1 11 && echo node; head -c 1 /tmp/kmsg >/dev/null 2>&1 && echo log; true",
    ));
    may_make_nodes(&mut attack);
    attack.config["linux"]["resources"]["devices"] = json!([
        {"allow": true, "type": "a", "access": "rwm"},
        {"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "m"},
    ]);
    assert_eq!(attack.run().ok().stdout, "node\n");
}

/// What systemd was told of devices: the policy, and the list of what is allowed.
fn told(description: &str) -> (String, Vec<[String; 2]>) {
    let words: Vec<&str> = description.split(|c: char| c.is_control()).filter(|word| !word.is_empty()).collect();
    let after = |name: &str| words.iter().position(|word| word.ends_with(name)).unwrap() + 1;
    let policy = words[after("DevicePolicy")..].iter().find(|word| ["strict", "auto", "closed"].contains(*word));
    let list = words[after("DeviceAllow")..].windows(2);
    let list = list.filter(|pair| ["/dev/", "char-", "block-"].iter().any(|start| pair[0].starts_with(start)));
    (policy.unwrap().to_string(), list.map(|pair| [pair[0].to_owned(), pair[1].to_owned()]).collect())
}

/// What systemd does to a group of version 1 whenever it is reloaded: denies everything, then allows its list.
/// (Filters of version 2 are the runtime's own, and stay.)
fn reload(group: &Path, list: &[[String; 2]]) {
    if !group.exists() {
        return;
    }
    let drivers = fs::read_to_string("/proc/devices").unwrap();
    let major = |name: &str| {
        let found = drivers.lines().find_map(|line| line.trim().strip_suffix(&format!(" {name}")).map(str::to_owned));
        format!("{}:*", found.unwrap_or_else(|| "*".to_owned()))
    };
    fs::write(group.join("devices.deny"), "a").unwrap();
    for [node, access] in list {
        let (kind, numbers) = match node.strip_prefix("/dev/").and_then(|rest| rest.split_once('/')) {
            Some((kind, numbers)) => (&kind[..1], numbers.to_owned()),
            None => (&node[..1], major(node.split_once('-').unwrap().1)),
        };
        fs::write(group.join("devices.allow"), format!("{kind} {numbers} {access}")).unwrap();
    }
}

#[test]
fn item_25_a_reload_of_systemd_changes_no_rule() {
    needs!(root, "busybox");
    let (major, minor) = disk();
    let mut attack = Attack::new("sleep 1000");
    may_make_nodes(&mut attack);
    let bus = attack.scratch.path().join("bus");
    let calls = Calls::listen(&bus, false);
    let name = attack.scratch.path().file_name().unwrap().to_str().unwrap().to_lowercase().replace(['.', '-'], "");
    attack.config["linux"]["cgroupsPath"] = json!(format!("{name}.slice:pre:{name}"));
    attack.config["linux"]["resources"]["devices"] = json!([
        {"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"},
    ]);
    let command = |arguments: &[&str]| {
        let address = format!("unix:path={}", bus.display());
        attack.command(["--systemd-cgroup"]).args(arguments).env("DBUS_SYSTEM_BUS_ADDRESS", address)
    };
    command(&["run", "-d", "test"]).ok();
    let (policy, list) = told(&calls.of("StartTransientUnit")[0]);
    assert_eq!(policy, "strict");
    let about = |node: &str| list.iter().find(|[n, _]| n == node).map(|[_, access]| access.as_str());
    assert_eq!((about("/dev/char/10:229"), about("/dev/char/1:3")), (Some("rw"), Some("rwm")));
    // Of all devices only nodes may be made.
    assert_eq!((about("char-*"), about("block-*")), (Some("m"), Some("m")));
    assert_eq!(about(&format!("/dev/block/{major}:{minor}")), None);
    let open = format!(
        "mknod /tmp/disk b {major} {minor}; mknod /tmp/mem c 1 1; mknod /tmp/fuse c 10 229; \
         for name in disk mem fuse; do (: </tmp/$name) 2>/dev/null && echo $name; done; rm /tmp/disk /tmp/mem /tmp/fuse; \
         (: </dev/null) && (: </dev/urandom) && echo usual"
    );
    let opened = || command(&["exec", "test", "sh", "-c", &open]).ok().stdout;
    let before = opened();
    assert!(before == "fuse\nusual\n" || !Path::new("/dev/fuse").exists(), "{before}");
    let group = format!("/sys/fs/cgroup/devices/{name}.slice/pre-{name}.scope");
    reload(Path::new(&group), &list);
    assert_eq!(opened(), before);
    // An update tells of its limits alone: lists are added to, and an empty one would be an end to all rules.
    command(&["update", "--pids-limit", "30", "test"]).ok();
    let updated = &calls.of("SetUnitProperties")[0];
    assert!(updated.contains("TasksMax") && !updated.contains("Device"), "{updated}");
    reload(Path::new(&group), &list);
    assert_eq!(opened(), before);
    command(&["delete", "-f", "test"]).ok();
}

#[test]
fn item_25_places_of_devices() {
    needs!(root, "busybox");
    for path in ["../../dev/evil", "/../../tripwire/evil", "/dev/null/x", "/out/evil", "dev/x", "/dev/../../evil"] {
        let mut attack = Attack::new("true");
        std::os::unix::fs::symlink(attack.tripwire(), attack.rootfs("out")).unwrap();
        attack.config["linux"]["devices"] = json!([{"path": path, "type": "c", "major": 1, "minor": 3}]);
        let outcome = attack.run().run();
        outcome.require(outcome.code() <= 1, "made inside, or refused");
        if path == "/dev/null/x" {
            outcome.require(outcome.code() == 1, "a refusal");
        }
    }
}

#[test]
fn item_25_modes_of_devices() {
    needs!(root, "busybox");
    for mode in [0o4666, 0o20666, 0o7777, 0o170_666, u32::MAX] {
        let mut attack = Attack::new("stat -c %a /dev/extra");
        attack.config["linux"]["devices"] =
            json!([{"path": "/dev/extra", "type": "c", "major": 1, "minor": 3, "fileMode": mode}]);
        let outcome = attack.run().run();
        // No more than a node can mean: a set-user-id bit is refused or left out.
        if outcome.code() == 0 {
            let given = u32::from_str_radix(outcome.text(), 8).unwrap();
            assert_eq!(given & !0o777, 0, "{mode:o} became {given:o}");
        }
    }
}

#[test]
fn item_25_nodes_of_the_host_keep_their_owner() {
    needs!(root, "busybox");
    let mut attack = Attack::new("chmod 600 /dev/full && echo changed; chown 5 /dev/full && echo owned; true");
    attack.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    for name in ["uidMappings", "gidMappings"] {
        attack.config["linux"][name] = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    }
    attack.config["linux"]["devices"] =
        json!([{"path": "/dev/full", "type": "c", "major": 1, "minor": 7, "fileMode": 384, "uid": 7, "gid": 7}]);
    // It is the host's own node there, shown by a bind: [`Attack`] sees whether it is another one afterwards.
    let node = fs::metadata("/dev/full").unwrap();
    let outcome = attack.run().run();
    outcome.require(outcome.code() <= 1 && outcome.stdout.is_empty(), "nothing changed from inside");
    assert_eq!(fs::metadata("/dev/full").unwrap().permissions(), node.permissions());
}
