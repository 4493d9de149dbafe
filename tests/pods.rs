//! Pods: one and several apps, their surroundings, their ends, and what is left of them.

use std::time::Duration;

use serde_json::Value;
use support::guard::Mounted;
use support::{Cmd, HostState, Outcome, Scratch, Terminal, busybox_image, needs};

/// An image whose app is a shell script; `\t` stands for a space inside of a word of the further commands.
fn script_image(scratch: &Scratch, file: &str, script: &str, commands: &[&str]) {
    let exec = format!("set-exec -- /bin/sh -c {}", script.replace(' ', "\t"));
    let mut all = vec![exec.as_str()];
    all.extend(commands);
    busybox_image(scratch, file, &format!("example.com/{file}"), &all);
}

/// Runs the image of a script and returns how it ended.
fn run_script(scratch: &Scratch, file: &str, script: &str, commands: &[&str]) -> Outcome {
    script_image(scratch, file, script, commands);
    scratch.rkt(["run", &format!("{file}.aci")]).run()
}

fn pods(scratch: &Scratch) -> Vec<Value> {
    let list = scratch.rkt(["list", "--format=json"]).ok().json();
    list.as_array().cloned().unwrap_or_default()
}

/// The state of the only pod and its UUID.
fn only_pod(scratch: &Scratch) -> (String, String) {
    let pods = pods(scratch);
    assert_eq!(pods.len(), 1, "{pods:?}");
    let text = |key: &str| pods[0][key].as_str().unwrap_or_default().to_owned();
    (text("state"), text("name"))
}

#[track_caller]
fn nothing_runs(scratch: &Scratch) {
    // A killed process has no command line any more a moment before it lets go of its pod's lock.
    let running = || pods(scratch).into_iter().filter(|pod| pod["state"] == "running").collect::<Vec<_>>();
    let end = std::time::Instant::now() + Duration::from_secs(20);
    while !(scratch.processes().is_empty() && running().is_empty()) && std::time::Instant::now() < end {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(scratch.processes(), Vec::<String>::new(), "processes are left");
    assert_eq!(running(), Vec::<Value>::new(), "pods run without a process");
}

#[test]
fn the_exit_code_is_the_apps() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    let host = HostState::new();
    let ended = run_script(&scratch, "seven", "cat; echo err >&2; exit 7", &[]);
    ended.require(ended.code() == 7 && ended.stderr.contains("err"), "the app's exit code and words");
    let cat = scratch.rkt(["run", "example.com/seven"]).input("from outside\n").exits(7);
    cat.require(cat.stdout == "from outside\n", "what it was given on stdout, and nothing else");
    busybox_image(&scratch, "echo", "example.com/echo", &["set-exec /bin/echo one"]);
    let ended = scratch.rkt(["run", "echo.aci", "--", "two", "--three"]).ok();
    assert_eq!(ended.stdout, "one two --three\n", "arguments are added");
    host.check();
}

#[test]
fn the_exit_code_of_several_apps_is_that_of_the_first_that_fails() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    let host = HostState::new();
    script_image(&scratch, "fine", "exit 0", &[]);
    script_image(&scratch, "first", "sleep 0.3; exit 5", &[]);
    script_image(&scratch, "later", "sleep 30; exit 6", &[]);
    scratch.rkt(["run", "fine.aci", "later.aci", "first.aci"]).exits(5);
    let (state, uuid) = only_pod(&scratch);
    assert_eq!(state, "exited");
    scratch.rkt(["status", &uuid]).ok().prints(&["state=exited\n", "app-fine=0\n", "app-first=5\n", "app-later="]);
    host.check();
    nothing_runs(&scratch);
}

#[test]
fn apps_get_their_own_arguments() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    for name in ["a", "b"] {
        busybox_image(&scratch, name, &format!("example.com/{name}"), &[&format!("set-exec /bin/echo {name}")]);
    }
    let ended = scratch.rkt(["run", "a.aci", "--", "-x", "---", "b.aci", "--", "-y"]).ok();
    let mut lines: Vec<_> = ended.stdout.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["a -x", "b -y"]);
    scratch.rkt(["run", "a.aci", "a.aci"]).refused(254, &["run: ", "a"]);
}

#[test]
fn stored_images_run_by_id_and_name() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    script_image(&scratch, "one", "echo it ran", &["label add version 1.0"]);
    let id = scratch.rkt(["fetch", "--full", "one.aci"]).ok().text().to_owned();
    for image in [&id, &id[..20], "example.com/one", "example.com/one:1.0", "example.com/one:1.0,os=linux", "./one.aci"]
    {
        assert_eq!(scratch.rkt(["run", image]).ok().stdout, "it ran\n", "{image}");
    }
    scratch.rkt(["run", "example.com/one:2.0"]).refused(254, &["run: ", "example.com/one:2.0"]);
}

#[test]
fn a_pod_has_its_own_namespaces_and_its_apps_share_them() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    let names = ["pid", "ipc", "uts", "net"];
    let script = "cd /proc/self/ns; for n in pid ipc uts net mnt; do echo $n $(readlink $n); done; hostname; ip link show lo; sleep 0.2";
    script_image(&scratch, "a", script, &[]);
    script_image(&scratch, "b", script, &[]);
    let shown = scratch.rkt(["run", "a.aci", "b.aci"]).ok().stdout;
    for name in names {
        let host = std::fs::read_link(format!("/proc/self/ns/{name}")).expect("the host has namespaces");
        let line = |line: &&str| line.starts_with(&format!("{name} "));
        let seen: Vec<_> = shown.lines().filter(line).collect();
        assert!(seen.len() == 2 && seen[0] == seen[1], "shared by the apps: {shown}");
        assert!(!seen[0].contains(&*host.to_string_lossy()), "not the host's: {shown}");
    }
    let mounts: Vec<_> = shown.lines().filter(|line| line.starts_with("mnt ")).collect();
    assert!(mounts.len() == 2 && mounts[0] != mounts[1], "each app has its own mounts: {shown}");
    assert!(shown.contains("UP,LOWER_UP") && shown.contains("LOOPBACK"), "loopback is up: {shown}");
    let uuids: Vec<_> = pods(&scratch).iter().filter_map(|pod| pod["name"].as_str().map(str::to_owned)).collect();
    assert!(shown.contains(&format!("rkt-{}", uuids[0])), "the host name is the pod's: {shown}");

    let host = std::fs::read_link("/proc/self/ns/net").expect("the host has namespaces");
    scratch.rkt(["run", "--net=host", "a.aci"]).ok().prints(&[&host.to_string_lossy()]);
}

#[test]
fn what_an_app_finds_around_it() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    let script = "env; pwd; ls /dev; ls /dev/pts /dev/shm; grep CapBnd /proc/self/status; test -d /sys/kernel && echo sysfs; \
                  echo x >/dev/null && echo null; touch /proc/sys/kernel/hostname 2>/dev/null; cat /proc/self/oom_score_adj; id";
    let ended =
        run_script(&scratch, "around", script, &["environment add NAME two\twords", "set-working-directory /tmp"]);
    let environment = [
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n",
        "AC_APP_NAME=around\n",
        "container=",
        "NAME=two words\n",
    ];
    ended.prints(&environment);
    ended.prints(&["\n/tmp\n", "sysfs\n", "null\n", "uid=0(root) gid=0(root)"]);
    let lines: Vec<_> = ended.stdout.lines().collect();
    for device in ["console", "full", "null", "ptmx", "pts", "random", "shm", "tty", "urandom", "zero"] {
        ended.require(lines.contains(&device), &format!("/dev/{device}"));
    }
    // The fourteen of the specification.
    ended.prints(&["00000000a80425fb"]);
}

#[test]
fn no_app_ends_the_first_process() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    let script = "kill -TERM 1; kill -KILL 1; sleep 0.2; echo alive; exit 5";
    let ended = run_script(&scratch, "killer", script, &[]);
    ended.require(ended.code() == 5 && ended.text() == "alive", "the pod goes on");
}

#[test]
fn no_node_of_the_host_is_an_apps_to_change() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    let script = "for node in console full null tty; do stat -c %d /dev/$node; done | sort -u | wc -l; \
                  stat -L -c %F /dev/stdin";
    let alone = run_script(&scratch, "alone", script, &[]);
    alone.require(alone.text().lines().next() == Some("1"), "all nodes are on the file system of /dev");
    let both = scratch.rkt(["run", "alone.aci", "alone.aci", "--name", "second"]).ok();
    both.require(both.stdout.matches("fifo").count() == 2, "no node as input");
}

#[test]
fn users_and_groups() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    let cases: &[(&str, &[&str], &str)] = &[
        ("names", &["set-user carly", "set-group users"], "1000 2000"),
        ("numbers", &["set-user 77", "set-group 88"], "77 88"),
        ("mixed", &["set-user carly", "set-group 0"], "1000 0"),
        ("supplementary", &["set-user carly", "set-group users", "set-supp-groups 10 20"], "1000 2000 10 20"),
    ];
    for (file, commands, wanted) in cases {
        let ended = run_script(&scratch, file, "echo $(id -u) $(id -G)", commands);
        ended.require(ended.code() == 0 && ended.text() == *wanted, wanted);
    }
    let owned = scratch.file("owned", "");
    std::os::unix::fs::chown(&owned, Some(1234), Some(5678)).expect("we are root");
    let copy = format!("copy {} /srv/owned", owned.display());
    let ended =
        run_script(&scratch, "path", "echo $(id -u) $(id -g)", &[&copy, "set-user /srv/owned", "set-group /srv/owned"]);
    ended.require(ended.code() == 0 && ended.text() == "1234 5678", "the owner of the path");
    let ended =
        run_script(&scratch, "unprivileged", "grep CapEff /proc/self/status", &["set-user carly", "set-group users"]);
    ended.prints(&["0000000000000000"]);
}

#[test]
fn isolators_are_enforced_or_said_not_to_be() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    let isolator = |name: &str, value: &str| {
        let file = scratch.file(&name.replace('/', "-"), value);
        format!("isolator add {name} {}", file.display())
    };
    let show = "grep -E 'CapBnd|NoNewPrivs' /proc/self/status; cat /proc/self/oom_score_adj";
    let retain = isolator("os/linux/capabilities-retain-set", r#"{"set":["CAP_KILL","CAP_CHOWN"]}"#);
    let privileges = isolator("os/linux/no-new-privileges", "true");
    let score = isolator("os/linux/oom-score-adj", "317");
    let ended = run_script(&scratch, "retain", show, &[&retain, &privileges, &score]);
    ended.prints(&["0000000000000021", "NoNewPrivs:\t1", "\n317\n"]);
    let remove = isolator("os/linux/capabilities-remove-set", r#"{"set":["CAP_MKNOD"]}"#);
    run_script(&scratch, "remove", show, &[&remove]).prints(&["00000000a00425fb", "NoNewPrivs:\t0"]);
    let bandwidth = isolator("resource/network-bandwidth", r#"{"default":true,"limit":"1M"}"#);
    let ended = run_script(&scratch, "ignored", "echo ran", &[&bandwidth]);
    ended.prints(&["ran"]);
    ended.says(&["resource/network-bandwidth"]);
}

#[test]
fn event_handlers_run_around_the_app() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    let handlers = [
        "set-event-handler pre-start -- /bin/sh -c echo\tpre;\techo\tleft\t>/note",
        "set-event-handler post-stop -- /bin/sh -c echo\tpost;\tcat\t/note",
    ];
    let ended = run_script(&scratch, "handlers", "echo main; cat /note; exit 3", &handlers);
    ended.require(
        ended.code() == 3 && ended.stdout == "pre\nmain\nleft\npost\nleft\n",
        "all three in order, in one root file system",
    );
    let ended = run_script(&scratch, "failing", "echo main", &["set-event-handler pre-start -- /bin/sh -c exit\t4"]);
    ended
        .require(ended.code() != 0 && !ended.stdout.contains("main"), "a failed pre-start keeps the app from starting");
}

#[test]
fn every_run_starts_from_a_clean_image() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    let script = "ls /; echo new >/new; rm /etc/group; echo changed >/etc/passwd; rm -r /var";
    script_image(&scratch, "dirty", script, &[]);
    scratch.rkt(["fetch", "dirty.aci"]).ok();
    let store = support::Tree::read(&scratch.data().join("store/trees"));
    let first = scratch.rkt(["run", "example.com/dirty"]).ok().stdout;
    assert_eq!(scratch.rkt(["run", "example.com/dirty"]).ok().stdout, first);
    store.assert_same(&support::Tree::read(&scratch.data().join("store/trees")), "the stored image");
}

#[test]
fn where_no_overlay_can_be_had_the_image_is_copied() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    // An overlay cannot be the upper layer of another.
    let store = Mounted::overlay(&scratch.data());
    let ended = run_script(&scratch, "copied", "echo mine > /etc/new; cat /etc/new", &[]);
    ended.require(ended.code() == 0, "a pod that runs all the same");
    ended.prints(&["mine"]);
    ended.says(&["disabling overlay support", "copying the image of app copied instead"]);
    // The image itself has not changed.
    let again = scratch.rkt(["run", "example.com/copied", "--exec=/bin/ls", "--", "/etc"]).ok();
    assert!(!again.stdout.contains("new"), "{}", again.stdout);
    drop(store);
}

#[test]
fn pods_are_listed_and_removed() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    let host = HostState::new();
    script_image(&scratch, "app", "echo up; sleep 1000", &[]);
    let mut running = scratch.rkt(["run", "app.aci"]).spawn();
    running.expect("up");
    let (state, uuid) = only_pod(&scratch);
    assert_eq!(state, "running");
    scratch.rkt(["list"]).ok().prints(&[
        "UUID",
        "APP",
        "IMAGE NAME",
        "STATE",
        &uuid[..8],
        "app",
        "example.com/app",
        "running",
    ]);
    let status = scratch.rkt(["status", &uuid]).ok();
    status.prints(&["state=running\n", "pid=", "exited=false\n"]);
    scratch.rkt(["rm", &uuid]).exits(254).says(&[&uuid, "running"]);
    scratch.rkt(["gc", "--grace-period=0s"]).ok();
    assert_eq!(only_pod(&scratch).0, "running", "a running pod is not garbage");
    let pid = status
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix("pid="))
        .and_then(|pid| pid.parse().ok())
        .expect("a pid");
    // The pod's own first process, which lives as long as nobody has waited for `running`.
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).expect("not 0"), rustix::process::Signal::KILL)
        .expect("it lives");
    let ended = running.wait();
    ended.require(ended.code() != 0, "a failure");
    nothing_runs(&scratch);

    assert_eq!(only_pod(&scratch).0, "exited");
    scratch.rkt(["rm", &uuid]).ok().prints(&[&uuid]);
    assert_eq!(pods(&scratch).len(), 0);
    scratch.rkt(["status", &uuid]).refused(254, &["status: ", &uuid]);
    host.check();
}

#[test]
fn gc_removes_what_has_ended() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    let host = HostState::new();
    script_image(&scratch, "app", "exit 0", &[]);
    for _ in 0..3 {
        scratch.rkt(["run", "app.aci"]).ok();
    }
    assert_eq!(pods(&scratch).len(), 3);
    scratch.rkt(["gc"]).ok();
    assert_eq!(pods(&scratch).len(), 3, "not before the grace period is over");
    scratch.rkt(["gc", "--grace-period=0s"]).ok();
    scratch.rkt(["gc", "--grace-period=0s"]).ok();
    assert_eq!(pods(&scratch).len(), 0);
    for state in ["embryo", "prepare", "prepared", "run", "exited-garbage", "garbage"] {
        let left = std::fs::read_dir(scratch.data().join("pods").join(state)).map_or(0, Iterator::count);
        assert_eq!(left, 0, "pods/{state}");
    }
    host.check();
}

#[test]
fn ctrl_c_stops_the_pod() {
    needs!(root, "busybox", "setsid");
    let scratch = Scratch::new();
    let host = HostState::new();
    script_image(&scratch, "app", "echo up $(stty size); sleep 1000", &[]);
    let mut terminal = Terminal::start(&scratch.rkt(["run", "app.aci"]));
    terminal.expect("up 24 80");
    terminal.send("\x03");
    let ended = terminal.wait();
    ended.require(ended.code() != 0, "an exit code that tells of it");
    nothing_runs(&scratch);
    assert_eq!(only_pod(&scratch).0, "exited");
    host.check();
}

#[test]
fn a_terminal_is_passed_through() {
    needs!(root, "busybox", "setsid");
    let scratch = Scratch::new();
    busybox_image(&scratch, "shell", "example.com/shell", &["set-exec /bin/sh"]);
    let mut terminal = Terminal::start(&scratch.rkt(["run", "shell.aci"]));
    terminal.expect("# ");
    terminal.send("tty && stty size\n");
    terminal.expect("24 80");
    terminal.resize(50, 132);
    terminal.send("sleep 0.5; stty size\n");
    terminal.expect("50 132");
    terminal.send("exit 9\n");
    let ended = terminal.wait();
    ended.require(ended.code() == 9, "the shell's exit code");
}

#[test]
fn a_signal_stops_the_pod() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    let host = HostState::new();
    script_image(&scratch, "app", "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done", &[]);
    let mut running = scratch.rkt(["run", "app.aci"]).spawn();
    running.expect("up");
    running.signal(rustix::process::Signal::TERM);
    running.wait().prints(&["bye"]);
    nothing_runs(&scratch);
    host.check();
}

#[test]
fn signals_of_the_users_reach_the_apps() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    let host = HostState::new();
    script_image(&scratch, "app", "trap 'echo bye; exit 0' USR1; echo up; while :; do sleep 0.05; done", &[]);
    let mut running = scratch.rkt(["run", "app.aci"]).spawn();
    running.expect("up");
    running.signal(rustix::process::Signal::USR1);
    let ended = running.wait();
    ended.require(ended.code() == 0, "exit code 0");
    ended.prints(&["bye"]);
    nothing_runs(&scratch);
    host.check();
}

#[test]
fn a_killed_rkt_takes_its_pod_along() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    let host = HostState::new();
    script_image(&scratch, "app", "echo up; (sleep 1000 & sleep 1000); sleep 1000", &[]);
    scratch.rkt(["fetch", "app.aci"]).ok();
    // From before the first system call to well into the app.
    for round in 0..u64::from(support::kills(20)) {
        let mut running = scratch.rkt(["run", "example.com/app"]).spawn();
        if round % 5 == 0 {
            running.expect("up");
        } else {
            running.ended_within(Duration::from_millis(round % 40));
        }
        running.signal(rustix::process::Signal::KILL);
        running.wait();
    }
    nothing_runs(&scratch);
    scratch.rkt(["gc", "--grace-period=0s"]).ok();
    scratch.rkt(["gc", "--grace-period=0s"]).ok();
    assert_eq!(pods(&scratch).len(), 0);
    host.check();
    let mut again = scratch.rkt(["run", "example.com/app"]).spawn();
    again.expect("up");
    again.signal(rustix::process::Signal::TERM);
    again.wait();
    host.check();
}

#[test]
fn orphans_are_reaped() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    // Twenty children whose parents have gone: when they end, nobody but PID 1 can reap them.
    let script = "for i in 1 2 3 4 5 6 7 8 9 10; do (sleep 0.1 & sleep 0.1 &); done; sleep 0.6; grep -l '^State:.*Z' /proc/[0-9]*/status | wc -l";
    let ended = run_script(&scratch, "orphans", script, &[]);
    ended.require(ended.code() == 0 && ended.text() == "0", "no zombies");
}

#[test]
fn a_signature_beside_the_image_is_looked_at() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    script_image(&scratch, "signed", "echo ran", &[]);
    scratch.file("signed.aci.asc", "no signature");
    scratch.rkt(["run", "signed.aci"]).refused(254, &["run: signed.aci: not a signature"]);
    std::fs::remove_file(scratch.work().join("signed.aci.asc")).unwrap();
    Cmd::new("mkfifo").args(["signed.aci.asc"]).cwd(scratch.work()).ok();
    scratch.rkt(["run", "signed.aci"]).refused(254, &["run: signed.aci: not a signature"]);
    scratch.rkt(["--insecure-options=image", "run", "signed.aci"]).ok().prints(&["ran"]);
    scratch.rkt(["run", "--insecure-options=image", "signed.aci"]).ok().prints(&["ran"]);
}

#[test]
fn many_pods_at_once() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    let host = HostState::new();
    script_image(&scratch, "app", "hostname", &[]);
    scratch.rkt(["fetch", "app.aci"]).ok();
    let running: Vec<_> = (0..16).map(|_| scratch.rkt(["run", "example.com/app"]).spawn()).collect();
    let mut names = Vec::new();
    for ended in running.into_iter().map(|one| one.wait()) {
        ended.require(ended.code() == 0, "exit code 0");
        names.push(ended.text().to_owned());
    }
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 16, "{names:?}");
    assert_eq!(pods(&scratch).len(), 16);
    host.check();
}
