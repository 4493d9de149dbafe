//! Descriptors that the container must not get: item 18.

use std::fs;

use serde_json::json;
use support::needs;

use crate::attack::Attack;

#[test]
fn item_18_descriptors_do_not_leak() {
    needs!(root, "busybox", "bash");
    let attack = Attack::new("ls /proc/$$/fd; true");
    let line = attack.run().line();
    let many = (3..50).map(|n| format!("{n}</")).collect::<Vec<_>>().join(" ");
    let outcome =
        support::Cmd::new("bash").args(["-c", &format!("exec {many}; {line}")]).cwd(attack.scratch.work()).ok();
    let fds: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(fds, ["0", "1", "2"]);
    let line = attack.command(["run", "--preserve-fds", "1", "test"]).line();
    let bash = |script: String| support::Cmd::new("bash").args(["-c", &script]).cwd(attack.scratch.work());
    bash(format!("exec {line} 3<&-")).refused(1, &["unable to stat preserved-fd 3 (of 1)"]);
    let outcome = bash(format!("exec {line} 3</etc/passwd 4</")).ok();
    assert_eq!(outcome.stdout, "0\n1\n2\n3\n");
}

#[test]
fn item_18_what_a_created_container_holds_leads_nowhere() {
    needs!(root, "busybox");
    let mut attack = Attack::new("sleep 1000");
    for set in ["bounding", "effective", "permitted"] {
        attack.config["process"]["capabilities"][set] = json!(["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE"]);
    }
    for own_user in [false, true] {
        if own_user {
            attack.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
            for name in ["uidMappings", "gidMappings"] {
                attack.config["linux"][name] = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
            }
        }
        attack.command(["create", "test"]).ok();
        // Whoever joins it may trace init, and so go where its descriptors lead: here to the files to aim at.
        let look = "for fd in /proc/1/fd/*; do cat $fd/../../tripwire/passwd $fd/../tripwire/passwd; \
                    echo x >>$fd/state.json; done 2>/dev/null; ls /proc/1/fd | wc -l";
        let seen = attack.command(["exec", "test", "sh", "-c", look]).ok();
        seen.require(!seen.stdout.contains("host"), "no way to the host");
        // Where users are mapped nobody may look at all.
        seen.require(own_user || seen.text().parse::<u32>().is_ok_and(|count| count > 3), "descriptors to look at");
        attack.command(["start", "test"]).ok();
        assert_eq!(attack.command(["state", "test"]).ok().json()["status"], "running");
        attack.command(["delete", "-f", "test"]).ok();
    }
}

#[test]
fn item_18_a_directory_of_the_host_is_not_passed_on() {
    needs!(root, "busybox", "python3");
    let attack = Attack::new("ls -l /proc/self/fd | sed 's/.* //'; ls /proc/self/fd/3/ 2>/dev/null; true");
    let line = attack.run().line();
    // An O_PATH descriptor of the host's root as 3, and a socket as 4.
    let open = "import os, socket, sys; s = socket.socket(); os.dup2(s.fileno(), 9); os.dup2(os.open('/', os.O_PATH), 3); os.dup2(9, 4); \
                os.set_inheritable(3, True); os.set_inheritable(4, True); os.execvp('sh', ['sh', '-c', sys.argv[1]])";
    let outcome = support::Cmd::new("python3").args(["-c", open, &line]).cwd(attack.scratch.work()).ok();
    outcome.require(!outcome.stdout.contains("etc") && !outcome.stdout.contains("socket"), "nothing of the host's");
}

#[test]
fn item_18_standard_descriptors_that_are_closed() {
    needs!(root, "busybox", "bash");
    let attack = Attack::new("ls -l /proc/$$/fd >/tmp/fds 2>&1; true");
    let mut attack = attack;
    attack.config["root"]["readonly"] = json!(false);
    let line = attack.run().line();
    for closed in ["0<&-", "0<&- 1>&-", "0<&- 1>&- 2>&-"] {
        let script = format!("exec {line} {closed}");
        support::Cmd::new("bash").args(["-c", &script]).cwd(attack.scratch.work()).exits(0);
        let seen = fs::read_to_string(attack.rootfs("tmp/fds")).unwrap();
        // Neither the channel nor a directory of the host came in the place of what was closed.
        let leaked = seen.lines().filter(|l| !l.contains("/dev/null") && !l.contains("/tmp/fds"));
        let leaked: Vec<&str> =
            leaked.filter(|l| l.contains("socket:") || l.contains("pidfd") || l.contains("-> /")).collect();
        assert!(leaked.iter().all(|l| l.contains("appc-test") || l.contains("/tmp/")), "{closed}: {seen}");
    }
}

#[test]
fn item_18_counts_of_descriptors_that_lie() {
    needs!(root, "busybox", "bash");
    // Without a pipe, whose ends the shell itself has for an instant.
    let attack = Attack::new("echo $LISTEN_FDS $LISTEN_PID; ls /proc/$$/fd; true");
    let run = |variables: &str, redirections: &str| {
        let line = format!("{variables} exec {} {redirections}", attack.run().line());
        support::Cmd::new("bash").args(["-c", &line]).cwd(attack.scratch.work()).run()
    };
    // Nobody passed these: it must not become what the runtime has open itself.
    for count in ["3", "4294967296", "-1", "many", "1000000"] {
        let outcome = run(&format!("LISTEN_FDS={count}"), "");
        outcome.require(outcome.code() <= 1, "an end without a signal");
        if outcome.code() == 0 {
            outcome.require(outcome.stdout.ends_with("\n0\n1\n2\n"), "no descriptor more");
        }
    }
    for count in ["1000000", "4294967295"] {
        let outcome = attack.command(["run", "--preserve-fds", count, "test"]).run();
        outcome.require(outcome.code() == 1, "the exit code 1");
        outcome.says(&["preserved-fd"]);
    }
}
