//! A procfs that lies: item 9.

use std::fs;
use std::path::Path;

use serde_json::json;
use support::{Cmd, needs};

use crate::attack::Attack;

#[test]
fn item_09_settings_go_to_the_real_procfs() {
    needs!(root, "busybox", "nsenter");
    let mut attack = Attack::new("cat /proc/sys/net/ipv4/ip_forward; sleep 1000");
    // The image's own /proc is a tree of ordinary files, and no procfs covers it.
    attack.unmount("/proc");
    let settings = attack.rootfs("proc/sys/net/ipv4");
    fs::create_dir_all(&settings).unwrap();
    fs::write(settings.join("ip_forward"), "fake").unwrap();
    std::os::unix::fs::symlink(attack.tripwire(), attack.rootfs("proc/sys/net/ipv6")).unwrap();
    attack.config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
    attack.config["linux"]["maskedPaths"] = json!([]);
    attack.config["linux"]["readonlyPaths"] = json!([]);
    attack.command(["run", "-d", "--pid-file", "pid", "test"]).ok();
    let pid = fs::read_to_string(attack.scratch.work().join("pid")).unwrap();
    let real = Cmd::new("nsenter").args(["-t", &pid, "-n", "cat", "/proc/sys/net/ipv4/ip_forward"]).ok();
    attack.command(["delete", "-f", "test"]).ok();
    assert_eq!(real.text(), "1");
    assert_eq!(fs::read_to_string(settings.join("ip_forward")).unwrap(), "fake");
}

#[test]
fn item_09_settings_of_the_host_are_refused() {
    needs!(root, "busybox");
    for name in ["kernel.core_pattern", "kernel.sysrq", "vm.overcommit_memory", "net/../kernel/core_pattern", "../x"] {
        let mut attack = Attack::new("true");
        // Should it be written after all, it is what was there.
        let path = Path::new("/proc/sys").join(name.replacen("kernel.", "kernel/", 1).replacen("vm.", "vm/", 1));
        let value = fs::read_to_string(path).unwrap_or_default();
        attack.config["linux"]["sysctl"] = json!({name: value.trim()});
        attack.run().refused(1, &["linux.sysctl"]);
    }
}

#[test]
fn item_09_labels_are_set_or_the_container_is_not_made() {
    needs!(root, "busybox");
    // A volume that covers where labels are written.
    for destination in ["/proc/self/attr", "/proc/thread-self/attr", "/proc/1/attr"] {
        let mut attack = Attack::new("true");
        attack.mount(json!({"destination": destination, "type": "tmpfs", "source": "tmpfs"}));
        attack.run().refused(1, &["inside /proc"]);
    }
    let modules = fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    for (field, module) in [("apparmorProfile", "apparmor"), ("selinuxLabel", "selinux")] {
        if modules.contains(module) || Path::new("/sys/module").join(module).join("parameters/enabled").exists() {
            continue;
        }
        let mut attack = Attack::new("true");
        attack.config["process"][field] = json!("some_label");
        attack.run().refused(1, &[&format!("process.{field}")]);
    }
}
