//! What is refused, and how.

use serde_json::{Value, json};

use super::*;

/// The template of `rkt-oci spec` without a terminal.
fn template() -> Value {
    let mut config: Value = serde_json::from_str(include_str!("../bin/commands/spec.json")).unwrap();
    config["process"]["terminal"] = json!(false);
    config["root"]["path"] = json!("/");
    config["linux"]["resources"] = json!({});
    config
}

fn plan(config: Value) -> Result<Plan> {
    let spec: Spec = serde_json::from_value(config).map_err(|e| Error::Other(e.to_string()))?;
    Plan::new(&spec, Setup::new("test", "/"))
}

/// The field that a change of the template is refused with.
fn refused(path: &str, value: Value) -> String {
    let mut config = template();
    *config
        .pointer_mut(path.rsplit_once('/').unwrap().0)
        .unwrap()
        .get_mut_or_insert(path.rsplit_once('/').unwrap().1) = value;
    match plan(config) {
        Err(Error::Refused { field, .. }) => field,
        Err(e) => panic!("{path}: {e}"),
        Ok(_) => panic!("{path} is not refused"),
    }
}

trait GetOrInsert {
    fn get_mut_or_insert(&mut self, key: &str) -> &mut Value;
}

impl GetOrInsert for Value {
    fn get_mut_or_insert(&mut self, key: &str) -> &mut Value {
        match self {
            Value::Array(list) => {
                let at: usize = key.parse().unwrap();
                if at == list.len() {
                    list.push(Value::Null);
                }
                &mut list[at]
            }
            other => &mut other[key],
        }
    }
}

#[test]
fn what_means_nothing_here_is_refused_by_name() {
    assert_eq!(refused("/process/commandLine", json!("x")), "process.commandLine");
    assert_eq!(refused("/process/user/umask", json!(0o1000)), "process.user.umask");
    assert_eq!(refused("/annotations", json!({"": "x"})), "annotations");
    for foreign in ["windows", "solaris", "vm", "zos"] {
        let value = match foreign {
            "vm" => json!({"kernel": {"path": "/x"}}),
            "windows" => json!({"layerFolders": ["x"]}),
            _ => json!({}),
        };
        assert_eq!(refused(&format!("/{foreign}"), value), foreign);
    }
}

#[test]
fn wrong_values_are_refused_with_their_place() {
    for (path, value, field) in [
        ("/ociVersion", json!("2.0.0"), "ociVersion"),
        ("/process/args", json!([]), "process.args"),
        ("/process/args", json!([""]), "process.args"),
        ("/process/args", json!(["a", "b\u{0}"]), "process.args[1]"),
        ("/process/env", json!(["A=1", "B"]), "process.env[1]"),
        ("/process/env", json!(["=1"]), "process.env[0]"),
        ("/process/cwd", json!("relative"), "process.cwd"),
        ("/process/user", json!({"uid": u32::MAX, "gid": 0}), "process.user.uid"),
        ("/process/oomScoreAdj", json!(1001), "process.oomScoreAdj"),
        ("/process/terminal", json!(true), "process.terminal"),
        ("/process/rlimits", json!([{"type": "RLIMIT_NOFILE", "soft": 2, "hard": 1}]), "process.rlimits[0]"),
        ("/root/path", json!("/no/such/root"), "root.path"),
        ("/root/path", json!(""), "root.path"),
        ("/root/path", json!("/etc/passwd"), "root.path"),
        ("/linux/rootfsPropagation", json!("sideways"), "linux.rootfsPropagation"),
        ("/linux/namespaces", json!([{"type": "user"}]), "linux.namespaces"),
        ("/linux/namespaces", json!([{"type": "mount"}, {"type": "mount"}]), "linux.namespaces[1]"),
        ("/linux/namespaces", json!([{"type": "mount", "path": "/proc/self/ns/net"}]), "linux.namespaces[0].path"),
        ("/linux/namespaces", json!([{"type": "mount", "path": "/proc/self/stat"}]), "linux.namespaces[0].path"),
        ("/linux/netDevices", json!({"eth0": {"name": "a/b"}}), "linux.netDevices[\"eth0\"]"),
        ("/linux/timeOffsets", json!({"boottime": {"secs": 1, "nanosecs": 0}}), "linux.timeOffsets"),
        ("/linux/namespaces", json!([{"type": "mount"}, {"type": "user"}]), "linux.uidMappings"),
        ("/linux/namespaces", json!([{"type": "mount"}]), "hostname"),
        ("/linux/uidMappings", json!([{"containerID": 0, "hostID": 0, "size": 1}]), "linux.uidMappings"),
        ("/linux/sysctl", json!({"kernel.panic": "1"}), "linux.sysctl[\"kernel.panic\"]"),
        ("/linux/sysctl", json!({"net/../../sysrq-trigger": "1"}), "linux.sysctl[\"net/../../sysrq-trigger\"]"),
        ("/linux/devices", json!([{"path": "../x", "type": "c", "major": 1, "minor": 3}]), "linux.devices[0].path"),
        ("/linux/devices", json!([{"path": "/dev/x", "type": "a", "major": 1, "minor": 3}]), "linux.devices[0].type"),
        ("/linux/devices", json!([{"path": "/dev/x", "type": "c", "major": -1, "minor": 3}]), "linux.devices[0].major"),
        ("/linux/maskedPaths", json!(["x"]), "linux.maskedPaths[0]"),
        ("/linux/cgroupsPath", json!("/x"), "linux.cgroupsPath"),
        ("/mounts/7", json!({"destination": "/", "type": "tmpfs"}), "mounts[7].destination"),
        ("/mounts/7", json!({"destination": "/x"}), "mounts[7].type"),
        ("/mounts/7", json!({"destination": "/x", "type": "tmpfs", "options": ["idmap"]}), "mounts[7].options"),
        ("/mounts/7", json!({"destination": "/x", "type": "bind"}), "mounts[7].source"),
        ("/mounts/7", json!({"destination": "/x", "type": "bind", "source": "/none"}), "mounts[7].source"),
        ("/hooks", json!({"poststop": [{"path": "x"}]}), "hooks.poststop[0].path"),
        ("/hooks", json!({"prestart": [{"path": "/x", "timeout": 0}]}), "hooks.prestart[0].timeout"),
    ] {
        assert_eq!(refused(path, value), field, "{path}");
    }
}
