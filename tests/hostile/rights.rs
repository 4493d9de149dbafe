//! Capabilities, users, groups and keys: item 23.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

use serde_json::json;
use support::{Cmd, needs};

use crate::attack::Attack;

const STATUS: &str = "grep -E '^Cap(Inh|Prm|Eff|Amb)' /proc/self/status | tr -d '\\t\\n'";

#[test]
fn item_23_capabilities_that_cannot_be_had() {
    needs!(root, "busybox");
    let mut attack = Attack::new(STATUS);
    let kill = json!(["CAP_KILL"]);
    // Ambient without inheritable: an error, or not given; never given in silence.
    attack.config["process"]["capabilities"] =
        json!({"bounding": kill, "effective": kill, "permitted": kill, "ambient": kill});
    let outcome = attack.run().run();
    match outcome.code() {
        0 => outcome.prints(&["CapAmb:0000000000000000"]),
        _ => outcome.says(&["CAP_KILL"]),
    }
    // One that does not exist is left out, as runc does, and said with --debug.
    attack.config["process"]["capabilities"] =
        json!({"bounding": ["CAP_NONE"], "effective": ["CAP_NONE"], "permitted": ["CAP_NONE"]});
    let outcome = attack.command([]).args(["--debug", "run", "test"]).run();
    if outcome.code() == 0 {
        outcome.prints(&["CapPrm:0000000000000000CapEff:0000000000000000"]);
    }
    outcome.says(&["CAP_NONE"]);
}

#[test]
fn item_23_exec_leaves_nothing_inheritable() {
    needs!(root, "busybox");
    let attack = Attack::new("sleep 1000");
    attack.command(["run", "-d", "test"]).ok();
    let outcome = attack.command(["exec", "--cap", "CAP_NET_RAW", "test", "sh", "-c", STATUS]).ok();
    attack.command(["delete", "-f", "test"]).ok();
    outcome.prints(&["CapInh:0000000000000000"]);
    let permitted = outcome.stdout.split("CapPrm:").nth(1).unwrap();
    let permitted = u64::from_str_radix(&permitted[..16], 16).unwrap();
    assert_ne!(permitted & (1 << 13), 0, "CAP_NET_RAW was asked for");
}

/// Says who it is; busybox would drop what it gained first.
const WHO: &str =
    "#include <stdio.h>\n#include <unistd.h>\nint main(void) { printf(\"%d\\n\", geteuid()); return 0; }\n";

#[test]
fn item_23_setuid_programs_gain_nothing() {
    needs!(root, "busybox", "cc");
    for (no_new_privileges, nosuid, gained) in [(false, false, true), (true, false, false), (false, true, false)] {
        let mut attack = Attack::new("");
        let volume = attack.scratch.path().join("volume");
        fs::create_dir(&volume).unwrap();
        let source = attack.scratch.file("id.c", WHO);
        Cmd::new("cc").args(["-static", "-o"]).arg(volume.join("id")).arg(source).ok();
        chown(volume.join("id"), Some(0), Some(0)).unwrap();
        fs::set_permissions(volume.join("id"), PermissionsExt::from_mode(0o4755)).unwrap();
        let options = if nosuid { json!(["bind", "nosuid"]) } else { json!(["bind"]) };
        attack.mount(json!({"destination": "/vol", "source": volume, "options": options}));
        attack.config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        attack.config["process"]["noNewPrivileges"] = json!(no_new_privileges);
        attack.config["process"]["args"] = json!(["/vol/id"]);
        let outcome = attack.run().ok();
        assert_eq!(outcome.text() == "0", gained, "{no_new_privileges} {nosuid}: {}", outcome.stdout);
    }
}

/// Says which securebits it has, and tries to have others: 1 is noroot, 4 no_setuid_fixup, 64 no_cap_ambient_raise.
const BITS: &str = "#include <stdio.h>\n#include <sys/prctl.h>\nint main(void) {\n\
    int before = prctl(PR_GET_SECUREBITS), set = prctl(PR_SET_SECUREBITS, 1 | 4 | 64);\n\
    printf(\"%d %s %d\\n\", before, set ? \"refused\" : \"set\", prctl(PR_GET_SECUREBITS)); return 0; }\n";

/// With a program `bits` in the container.
fn with_bits(script: &str, capabilities: &[&str]) -> Attack {
    let mut attack = Attack::new(script);
    let source = attack.scratch.file("bits.c", BITS);
    Cmd::new("cc").args(["-static", "-o"]).arg(attack.rootfs("bin/bits")).arg(source).ok();
    for set in ["bounding", "effective", "permitted"] {
        attack.config["process"]["capabilities"][set] = json!(capabilities);
    }
    attack
}

#[test]
fn item_23_securebits_are_not_the_containers_to_change() {
    needs!(root, "busybox", "cc", "setpriv");
    let strange = |command: Cmd| command.under("setpriv", ["--securebits=+no_setuid_fixup,+no_setuid_fixup_locked"]);
    // Of another user the shell has none.
    for (uid, kept) in [(0, "20"), (1000, "00")] {
        let mut attack = with_bits("bits", &["CAP_KILL"]);
        attack.config["process"]["user"] = json!({"uid": uid, "gid": uid});
        // None from keeping capabilities while the user changed, and none of the caller's.
        assert_eq!(attack.run().ok().text(), "0 refused 0");
        let changed = attack.run().under("setpriv", ["--securebits=+no_setuid_fixup"]);
        assert_eq!(changed.ok().text(), "0 refused 0");
        // Locked they stay, and still nobody has more than the configuration says.
        attack.config["process"]["args"] = json!(["sh", "-c", format!("bits; {STATUS}")]);
        let outcome = strange(attack.run()).ok();
        outcome.prints(&["12 refused 12", &format!("CapPrm:00000000000000{kept}CapEff:00000000000000{kept}")]);
    }
}

#[test]
fn item_23_securebits_that_a_container_may_change_are_its_own() {
    needs!(root, "busybox", "cc");
    // Whoever has CAP_SETPCAP may: but nobody gains by it what is not in the bounding set, nor does who joins have them.
    let mut attack = with_bits("", &["CAP_SETPCAP"]);
    attack.config["process"]["args"] = json!(["sh", "-c", format!("bits; {STATUS}; sleep 1000")]);
    let mut running = attack.command(["run", "test"]).spawn();
    running.expect("CapAmb");
    let said = running.output().0;
    assert!(said.contains("0 set 69") && said.contains("CapPrm:0000000000000100"), "{said}");
    let joined = attack.command(["exec", "test", "sh", "-c", &format!("bits; {STATUS}")]).ok();
    joined.prints(&["0 set 69", "CapPrm:0000000000000100CapEff:0000000000000100"]);
    attack.command(["delete", "-f", "test"]).ok();
    running.wait();
}

#[test]
fn item_23_users_that_do_not_exist() {
    needs!(root, "busybox");
    for user in [
        json!({"uid": -1, "gid": 0}),
        json!({"uid": 4_294_967_295_u32, "gid": 0}),
        json!({"uid": 0, "gid": 4_294_967_295_u32}),
        json!({"uid": 4_294_967_296_u64, "gid": 0}),
        json!({"uid": "0", "gid": 0}),
    ] {
        let mut attack = Attack::new("id");
        attack.config["process"]["user"] = user;
        let outcome = attack.run().run();
        outcome.require(outcome.code() == 1 && outcome.stdout.is_empty(), "a refusal");
    }
    let attack = Attack::new("sleep 1000");
    attack.command(["run", "-d", "test"]).ok();
    for user in ["0:bad", "bad", ":", "-1", "4294967295", "0:0:0", "1 "] {
        let outcome = attack.command(["exec", "--user", user, "test", "id"]).run();
        outcome.require(outcome.code() != 0 && outcome.stdout.is_empty(), &format!("no user {user:?}"));
    }
    attack.command(["delete", "-f", "test"]).ok();
}

#[test]
fn item_23_as_many_groups_as_there_can_be() {
    needs!(root, "busybox");
    for (count, code) in [(65536, 0), (65537, 1)] {
        let mut attack = Attack::new("id -G | wc -w");
        attack.config["process"]["user"] =
            json!({"uid": 0, "gid": 0, "additionalGids": (1..=count).collect::<Vec<u32>>()});
        attack.run().exits(code);
    }
    let mut attack = Attack::new("true");
    attack.config["process"]["user"] = json!({"uid": 0, "gid": 0, "additionalGids": [4_294_967_295_u32]});
    attack.run().exits(1);
}

/// Adds a key to the session's keyring, or looks for one: nobody else's is to be found.
const KEYS: &str = "#include <stdio.h>\n#include <sys/syscall.h>\n#include <unistd.h>\n\
    int main(int argc, char **argv) { if (argc > 1)\n\
    return syscall(SYS_add_key, \"user\", \"tripwire\", \"secret\", 6, -3) < 0;\n\
    puts(syscall(SYS_keyctl, 10, -3, \"user\", \"tripwire\", 0) < 0 ? \"none\" : \"found\"); return 0; }\n";

#[test]
fn item_23_containers_do_not_share_keys() {
    needs!(root, "busybox", "cc");
    let mut first = Attack::new("/bin/key add && /bin/key; sleep 1000");
    let source = first.scratch.file("key.c", KEYS);
    Cmd::new("cc").args(["-static", "-o"]).arg(first.rootfs("bin/key")).arg(source).ok();
    first.config["process"]["capabilities"] = json!({});
    let mut second = Attack::new("/bin/key");
    second.config["process"]["capabilities"] = json!({});
    fs::copy(first.rootfs("bin/key"), second.rootfs("bin/key")).unwrap();
    let mut running = first.command(["run", "first"]).spawn();
    running.expect("found");
    assert_eq!(second.run().ok().text(), "none");
    first.command(["delete", "-f", "first"]).ok();
    running.wait();
}
