//! The life of pods: several apps, ends of all kinds, terminals, and what is left.
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::process::Stdio;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;
use serde_json::json;
use support::{Fixture, Running, ready, terminal};

/// A shell script as an image's own command.
fn script(fixture: &Fixture, name: &str, script: &str) {
    fixture.image(name, json!({"exec": ["/bin/sh", "-c", script], "user": "0", "group": "0"}));
}

fn wait_for_line(running: &mut Running) -> String {
    let mut line = String::new();
    let out = running.0.stdout.as_mut().unwrap();
    let mut byte = [0];
    while out.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
        line.push(byte[0].into());
    }
    line
}

fn start(fixture: &Fixture, args: &[&str]) -> Running {
    let mut command = fixture.rkt(args);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    Running::start(command)
}

#[test]
fn apps_share_what_a_pod_shares() {
    if !ready() {
        return;
    }
    let fixture = Fixture::new();
    let put = "echo shared >/dev/shm/x; echo shared >/common/x; ls -l /proc/self/ns/pid | grep -o 'pid:.*'; sleep 1";
    script(&fixture, "put", put);
    script(
        &fixture,
        "get",
        "while ! [ -s /common/x ]; do sleep 0.02; done; cat /dev/shm/x /common/x; ls -l /proc/self/ns/pid | grep -o 'pid:.*'; \
         grep -q ' /dev/shm tmpfs .*size=65536k' /proc/mounts || cat /proc/mounts",
    );
    let args = ["run", "--volume=common,kind=empty", "--mount=volume=common,target=/common", "put.aci", "get.aci"];
    let ended = fixture.run(&args).ok();
    let mut lines: Vec<&str> = ended.stdout.lines().collect();
    lines.sort_unstable();
    assert!(lines.len() == 4 && lines[0] == lines[1] && lines[0].starts_with("pid:"), "{ended:?}");
    assert_eq!(&lines[2..], ["shared", "shared"]);
}

#[test]
fn the_first_failure_is_the_pods() {
    if !ready() {
        return;
    }
    let fixture = Fixture::new();
    script(&fixture, "fine", "exit 0");
    script(&fixture, "bad", "sleep 0.2; exit 5");
    script(&fixture, "polite", "trap 'exit 6' TERM; while :; do sleep 0.05; done");
    fixture.run(&["run", "--uuid-file-save=uuid", "fine.aci", "polite.aci", "bad.aci"]).exits(5);
    let status = fixture.run(&["status", "--uuid-file=uuid"]).ok();
    for line in ["state=exited\n", "exited=true\n", "app-fine=0\n", "app-bad=5\n", "app-polite=6\n"] {
        assert!(status.stdout.contains(line), "{line}: {status:?}");
    }
    fixture.run(&["run", "fine.aci", "bad.aci", "--exec=/no/such"]).exits(254).says("/no/such");
    fixture.run(&["run", "fine.aci", "fine.aci"]).refused("multiple apps with name fine");
    fixture.run(&["run", "fine.aci", "fine.aci", "--name=other"]).ok();
}

#[test]
fn listing_waiting_removing() {
    if !ready() {
        return;
    }
    let fixture = Fixture::new();
    script(&fixture, "nap", "echo up; cat");
    let mut command = fixture.rkt(&["run", "--hostname=bed", "nap.aci", "--name=sleeper"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut running = Running::start(command);
    assert_eq!(wait_for_line(&mut running), "up");
    let pods = fixture.pods();
    let uuid = pods[0]["name"].as_str().unwrap();
    assert_eq!((&pods[0]["state"], &pods[0]["app_names"]), (&json!("running"), &json!(["sleeper"])));
    assert_eq!(pods[0]["apps"][0]["state"], "running");
    let list = fixture.run(&["list", "--full"]).ok().stdout;
    assert!(list.contains(uuid) && list.contains("example.com/nap:1.0") && list.contains("sha512-"), "{list}");
    let short = fixture.run(&["list", "--no-legend"]).ok().stdout;
    assert!(short.starts_with(&uuid[..8]) && !short.contains(uuid), "{short}");

    fixture.run(&["rm", uuid]).exits(254).says("is currently running");
    fixture.run(&["gc", "--grace-period=0s"]).ok().prints("");
    let waited = fixture.run(&["status", "--wait=50ms", uuid]).ok();
    assert!(waited.stdout.contains("state=running\n") && waited.stdout.contains("exited=false\n"), "{waited:?}");
    let waiting = start(&fixture, &["status", "--wait", &uuid[..6]]);
    drop(running.0.stdin.take());
    assert!(running.0.wait().unwrap().success());
    let mut waiting = waiting;
    let mut shown = String::new();
    waiting.0.stdout.take().unwrap().read_to_string(&mut shown).unwrap();
    assert!(shown.contains("state=exited\n") && shown.contains("app-sleeper=0\n"), "{shown}");

    fixture.run(&["rm", "zz"]).refused("no matches found for \"zz\"");
    fixture.run(&["rm", ""]).refused("UUID cannot be empty");
    fixture.run(&["rm"]).exits(254);
    fixture.run(&["rm", uuid]).ok().prints(&format!("\"{uuid}\"\n"));
    assert!(fixture.pods().is_empty());
    assert_eq!(fs::read_dir(fixture.path("data/pods/exited-garbage")).unwrap().count(), 0);
}

#[test]
fn gc_keeps_for_a_while_and_then_removes() {
    if !ready() {
        return;
    }
    let fixture = Fixture::new();
    script(&fixture, "fine", "exit 0");
    fixture.run(&["run", "fine.aci"]).ok();
    fixture.run(&["gc", "--mark-only"]).ok().prints("").says("moving pod");
    assert_eq!(fixture.pods()[0]["state"], "exited garbage");
    fixture.run(&["gc"]).ok().prints("");
    assert_eq!(fixture.pods().len(), 1);
    let removed = fixture.run(&["gc", "--grace-period=0s"]).ok();
    assert!(removed.stdout.starts_with("Garbage collecting pod \""), "{removed:?}");
    assert!(fixture.pods().is_empty());
    // What a killed prepare leaves.
    for place in ["embryo", "prepare"] {
        fs::create_dir(fixture.path("data/pods").join(place).join("11111111-2222-4333-8444-555555555555")).unwrap();
        fixture.run(&["gc"]).ok();
    }
    for place in ["embryo", "prepare", "garbage"] {
        assert_eq!(fs::read_dir(fixture.path("data/pods").join(place)).unwrap().count(), 0, "{place}");
    }
}

#[test]
fn signals_stop_a_pod_and_then_kill_it() {
    if !ready() {
        return;
    }
    let fixture = Fixture::new();
    script(&fixture, "polite", "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done");
    script(&fixture, "deaf", "trap '' TERM; echo up; while :; do sleep 0.05; done");
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let mut running = start(&fixture, &["run", "polite.aci"]);
        assert_eq!(wait_for_line(&mut running), "up");
        running.signal(signal);
        assert_eq!(wait_for_line(&mut running), "bye");
        assert_eq!(running.0.wait().unwrap().code(), Some(0), "{signal:?}");
    }
    let mut running = start(&fixture, &["run", "deaf.aci"]);
    assert_eq!(wait_for_line(&mut running), "up");
    running.signal(Signal::TERM);
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(running.0.try_wait().unwrap().is_none());
    running.signal(Signal::TERM);
    assert_eq!(running.0.wait().unwrap().code(), Some(137));
}

#[test]
fn a_killed_rkt_takes_everything_along() {
    if !ready() {
        return;
    }
    let fixture = Fixture::new();
    script(&fixture, "tree", "echo up; (sleep 1000 & sleep 1000) & sleep 1000");
    let mut running = start(&fixture, &["run", "tree.aci", "--memory=32Mi"]);
    assert_eq!(wait_for_line(&mut running), "up");
    let uuid = fixture.pods()[0]["name"].as_str().unwrap().to_string();
    let of_pod = || fixture.cgroups().iter().any(|group| processes(group) > 0);
    assert!(of_pod());
    running.signal(Signal::KILL);
    running.0.wait().unwrap();
    fixture.until("the pod's processes die", || !of_pod());
    assert_eq!(fixture.pods()[0]["state"], "exited");
    assert!(!fixture.cgroups().is_empty(), "nobody was there to remove it");
    fixture.run(&["rm", &uuid]).ok();
    let left = format!("rkt-{uuid}");
    let groups = fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|e| e.path().join(&left));
    assert_eq!(groups.filter(|g| g.exists()).count(), 0);
    assert!(fixture.pods().is_empty());
}

/// The processes that run `rkt run` on this fixture's data, by their environment; the pod's first one has it, too.
fn of_fixture(fixture: &Fixture) -> Vec<String> {
    let wanted = format!("RKT_DIR={}", fixture.path("data").display());
    let is_ours = |pid: &String| {
        let environment = fs::read_to_string(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split('\0').any(|variable| variable == wanted)
    };
    let numbers = fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().into_string().ok());
    numbers.filter(is_ours).collect()
}

#[test]
fn a_pod_that_is_being_made_is_taken_along() {
    if !ready() {
        return;
    }
    let fixture = Fixture::new();
    script(&fixture, "nap", "sleep 1000");
    fixture.run(&["fetch", "nap.aci"]).ok();
    for round in 0..10 {
        // The first process asks to die with its parent, here so late that the parent may be dead by then.
        let mut command = std::process::Command::new("strace");
        command.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=prctl", "-e", "inject=prctl:delay_enter=60000"]);
        let rkt = fixture.rkt(&["run", "example.com/nap"]);
        command.arg(rkt.get_program()).args(rkt.get_args()).env("RKT_DIR", fixture.path("data"));
        let mut tracer = Running::start(command);
        fixture.until("the pod is there", || !in_place(&fixture, "run").is_empty());
        std::thread::sleep(std::time::Duration::from_millis(round * 10));
        let tracer_pid = tracer.0.id().to_string();
        for pid in of_fixture(&fixture).into_iter().filter(|pid| *pid != tracer_pid && is_outside(pid)) {
            let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
            let _ended = rustix::process::kill_process(pid, Signal::KILL);
        }
        fixture.until("the pod's processes die", || of_fixture(&fixture).iter().all(|pid| *pid == tracer_pid));
        tracer.0.wait().unwrap();
        fixture.run(&["gc", "--grace-period=0s"]).ok();
        fixture.run(&["gc", "--grace-period=0s"]).ok();
        for place in ["embryo", "prepare", "run", "exited-garbage", "garbage"] {
            assert_eq!(in_place(&fixture, place), Vec::<String>::new(), "{place}");
        }
    }
}

/// The pods in one place.
fn in_place(fixture: &Fixture, place: &str) -> Vec<String> {
    let pods = fs::read_dir(fixture.path("data/pods").join(place)).into_iter().flatten().flatten();
    pods.filter_map(|pod| pod.file_name().into_string().ok()).collect()
}

/// Whether the process is no pod's: it is in the pid namespace of this one.
fn is_outside(pid: &str) -> bool {
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid"));
    namespace(pid).is_ok_and(|theirs| namespace("self").is_ok_and(|ours| theirs == ours))
}

/// Processes in a control group and those below it.
fn processes(group: &std::path::Path) -> usize {
    let own = fs::read_to_string(group.join("cgroup.procs")).map_or(0, |text| text.lines().count());
    let below = fs::read_dir(group).into_iter().flatten().flatten().filter(|e| e.path().is_dir());
    own + below.map(|e| processes(&e.path())).sum::<usize>()
}

#[test]
fn a_terminal_goes_through() {
    if !ready() {
        return;
    }
    let fixture = Fixture::shell();
    let (slave, mut master) = {
        let (slave, master) = terminal();
        (slave, fs::File::from(master))
    };
    appc_container::console::set_size(&slave, 97, 31).unwrap();
    let mut command =
        fixture.rkt(&["run", "sh.aci", "--", "-c", "tty; busybox stty size; read x; echo got $x; sleep 1000"]);
    for set in [std::process::Command::stdin, std::process::Command::stdout, std::process::Command::stderr] {
        set(&mut command, Stdio::from(slave.try_clone().unwrap()));
    }
    let mut running = Running::start(command);
    drop(slave);
    let mut seen = String::new();
    let mut expect = |master: &mut fs::File, text: &str| {
        let mut buffer = [0; 256];
        while !seen.contains(text) {
            let mut fds = [PollFd::new(master, PollFlags::IN)];
            let minute = Timespec { tv_sec: 60, tv_nsec: 0 };
            assert_eq!(poll(&mut fds, Some(&minute)), Ok(1), "{text:?} is not in {seen:?}");
            let length = master.read(&mut buffer).unwrap_or(0);
            assert!(length > 0, "{text:?} is not in {seen:?}");
            seen.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
    };
    expect(&mut master, "31 97");
    master.write_all(b"words\n").unwrap();
    expect(&mut master, "got words");
    master.write_all(b"\x03").unwrap();
    assert_eq!(running.0.wait().unwrap().code(), Some(130));
}

#[test]
fn who_is_not_root_is_told() {
    if !ready() {
        return;
    }
    let fixture = Fixture::shell();
    let nobody = |args: &[&str]| {
        use std::os::unix::process::CommandExt;
        let mut command = fixture.rkt(args);
        command.uid(65534).gid(65534);
        command.output()
    };
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(fixture.path(""), open).unwrap();
    // The program itself may lie where others may not go.
    let Ok(output) = nobody(&["run", "sh.aci"]) else { return };
    assert_eq!(output.status.code(), Some(254));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("run: must be run as root"), "{output:?}");
    for args in [&["gc"][..], &["rm", "x"]] {
        assert_eq!(nobody(args).unwrap().status.code(), Some(254), "{args:?}");
    }
    for args in [&["list"][..], &["version"]] {
        assert_eq!(nobody(args).unwrap().status.code(), Some(0), "{args:?}");
    }
}

#[test]
fn many_at_once() {
    if !ready() {
        return;
    }
    let fixture = Fixture::new();
    script(&fixture, "fine", "exit 3");
    let running: Vec<Running> = (0..8).map(|_| start(&fixture, &["run", "fine.aci"])).collect();
    for mut one in running {
        assert_eq!(one.0.wait().unwrap().code(), Some(3));
    }
    assert_eq!(fixture.pods().len(), 8);
}
