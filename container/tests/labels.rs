//! Fields for which this kernel has nothing: said by name, never silently left out.
//!
//! What security modules do with a label needs a kernel that was started with one; here it has none.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use common::Bundle;
use serde_json::json;
use support::needs;

fn kernel_has(file_system: &str) -> bool {
    std::fs::read_to_string("/proc/filesystems").unwrap().contains(file_system)
}

#[test]
fn labels_without_a_security_module() {
    needs!(root, "busybox");
    let mut bundle = Bundle::new("true");
    if !std::fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y")) {
        bundle.config["process"]["apparmorProfile"] = json!("docker-default");
        bundle.run().refused(1, &["process.apparmorProfile: config provided but apparmor is not enabled"]);
        bundle.config["process"].as_object_mut().unwrap().remove("apparmorProfile");
    }
    if !kernel_has("selinuxfs") {
        for (place, field) in [("process", "selinuxLabel"), ("linux", "mountLabel")] {
            bundle.config[place][field] = json!("system_u:object_r:container_file_t:s0");
            let field_path = format!("{place}.{field}: selinux label is specified in config, but selinux is disabled");
            bundle.run().refused(1, &[&field_path]);
            bundle.config[place].as_object_mut().unwrap().remove(field);
        }
    }
    // Empty ones ask for nothing.
    bundle.config["process"]["apparmorProfile"] = json!("");
    bundle.config["process"]["selinuxLabel"] = json!("");
    bundle.config["linux"]["mountLabel"] = json!("");
    bundle.run().ok();
    bundle.nothing_left();
}

#[test]
fn shares_of_a_machine_that_has_none_to_give() {
    needs!(root, "busybox");
    let mut bundle = Bundle::new("true");
    bundle.config["linux"]["intelRdt"] = json!({"closID": "gold"});
    let outcome = bundle.run().exits(1);
    outcome.says(&["linux.intelRdt"]);
    bundle.nothing_left();
}

#[test]
fn the_session_keyring_is_the_containers() {
    needs!(root, "busybox");
    let mut bundle = Bundle::new("cat /proc/keys");
    bundle.config["linux"]["maskedPaths"] = json!([]);
    // Names of its own, as keys of containers that have just ended may still be listed.
    let [first, second, third] = ["a", "b", "c"].map(|letter| format!("keys{}{letter}", std::process::id()));
    let keyring = |keys: &str, id: &str| {
        keys.lines().find(|line| line.contains(&format!("_ses.{id}"))).map(|line| line.to_owned())
    };
    // Possessed, and to be found by its owner: keyrings(7).
    let own = keyring(&bundle.command(["run", &first]).ok().stdout, &first).unwrap();
    assert!(own.contains(" 3f1b0000 "), "{own}");
    bundle.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    for name in ["uidMappings", "gidMappings"] {
        bundle.config["linux"][name] = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    }
    let own = keyring(&bundle.command(["run", &second]).ok().stdout, &second).unwrap();
    assert_eq!(own.split_ascii_whitespace().nth(5), Some("0"), "it is its root's: {own}");
    assert_eq!(keyring(&bundle.command(["run", "--no-new-keyring", &third]).ok().stdout, &third), None);
}
