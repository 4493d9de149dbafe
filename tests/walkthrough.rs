//! The low-level walk-through: a template, a busybox root file system, a shell on the terminal.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use support::{Cmd, HostState, Scratch, Terminal, needs, rootfs};

/// A bundle with a busybox root file system and the template.
fn bundle(scratch: &Scratch) -> PathBuf {
    let bundle = scratch.work();
    rootfs::busybox(&bundle.join("rootfs"));
    scratch.rkt_oci(["spec"]).ok();
    bundle
}

fn configuration(scratch: &Scratch) -> Value {
    let text = fs::read(scratch.work().join("config.json")).expect("spec wrote it");
    serde_json::from_slice(&text).expect("spec writes JSON")
}

/// The template with another command and no terminal.
fn set_command(scratch: &Scratch, script: &str) {
    let mut config = configuration(scratch);
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["sh", "-c", script]);
    scratch.file("config.json", config.to_string());
}

fn run(scratch: &Scratch, id: &str) -> Cmd {
    let state = scratch.path().join("state");
    scratch.rkt_oci(["--root"]).arg(state).args(["run", id])
}

#[test]
fn spec_writes_the_usual_template() {
    let scratch = Scratch::new();
    scratch.rkt_oci(["spec"]).ok();
    let config = configuration(&scratch);
    assert!(config["ociVersion"].as_str().is_some_and(|version| version.starts_with("1.")), "{}", config["ociVersion"]);
    let process = &config["process"];
    assert_eq!(process["terminal"], true);
    assert_eq!((&process["user"]["uid"], &process["user"]["gid"]), (&json!(0), &json!(0)));
    assert_eq!(process["args"], json!(["sh"]));
    assert_eq!(
        process["env"],
        json!(["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"])
    );
    assert_eq!(process["cwd"], "/");
    assert_eq!(process["noNewPrivileges"], true);
    let capabilities = process["capabilities"]["bounding"].as_array().expect("a list");
    for name in ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"] {
        assert!(capabilities.contains(&json!(name)), "{capabilities:?}");
    }
    assert_eq!(process["rlimits"], json!([{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}]));
    assert_eq!(config["root"]["path"], "rootfs");
    assert!(config["hostname"].is_string());
    let mounts: Vec<_> =
        config["mounts"].as_array().expect("a list").iter().map(|mount| mount["destination"].as_str()).collect();
    for place in ["/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "/sys/fs/cgroup"] {
        assert!(mounts.contains(&Some(place)), "{place} in {mounts:?}");
    }
    let mut namespaces: Vec<_> = config["linux"]["namespaces"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|one| one["type"].as_str())
        .collect();
    // A host with cgroup v2 gets a namespace for those too, as with runc.
    namespaces.retain(|name| *name != "cgroup");
    namespaces.sort_unstable();
    assert_eq!(namespaces, ["ipc", "mount", "network", "pid", "uts"]);
    for (list, path) in [("maskedPaths", "/proc/kcore"), ("readonlyPaths", "/proc/sysrq-trigger")] {
        assert!(config["linux"][list].as_array().is_some_and(|paths| paths.contains(&json!(path))), "{list}");
    }
}

#[test]
fn a_second_spec_does_not_overwrite_the_first() {
    let scratch = Scratch::new();
    scratch.file("config.json", "mine");
    scratch.rkt_oci(["spec"]).refused(1, &["rkt-oci spec failed: ", "config.json"]);
    assert_eq!(fs::read_to_string(scratch.work().join("config.json")).expect("still there"), "mine");
}

#[test]
fn a_shell_on_the_terminal() {
    needs!(root, "busybox", "setsid");
    let scratch = Scratch::new();
    bundle(&scratch);
    let host = HostState::new();
    let mut shell = Terminal::start(&run(&scratch, "mycontainerid"));
    shell.expect("# ");
    shell.send("echo \"Hello from in a container\"\n");
    shell.expect("\r\nHello from in a container\r\n");
    shell.expect("# ");
    shell.send("echo $$ $(hostname) $(ls /)\n");
    shell.expect("\r\n1 ");
    shell.send("stty size\n");
    shell.expect("\r\n24 80\r\n");
    shell.resize(40, 100);
    // The news of the size takes its way through two terminals.
    shell.send("sleep 0.5; stty size\n");
    shell.expect("\r\n40 100\r\n");
    shell.send("sleep 1000\n");
    std::thread::sleep(std::time::Duration::from_millis(200));
    shell.send("\x03");
    shell.expect("# ");
    shell.send("exit\n");
    let ended = shell.wait();
    ended.require(ended.code() == 0 || ended.code() == 130, "the shell's own exit code");

    host.check();
    assert_eq!(scratch.processes(), Vec::<String>::new());
    let state = fs::read_dir(scratch.path().join("state")).map_or(0, Iterator::count);
    assert_eq!(state, 0, "nothing of the container is remembered");
}

/// Whether it comes before, while or after a shell changes its terminal's mode; also when that says nothing of it.
#[test]
fn a_shell_whose_input_has_ended_ends() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    bundle(&scratch);
    let mut config = configuration(&scratch);
    for (times, script) in
        [(20, "exec sh"), (1, "sleep 0.2; stty -echo; cat"), (1, "sleep 0.2; stty raw; head -c 1 >/dev/null")]
    {
        config["process"]["args"] = json!(["sh", "-c", script]);
        scratch.file("config.json", config.to_string());
        (0..times).for_each(|_| drop(run(&scratch, "ended").ok()));
    }
    assert_eq!(scratch.processes(), Vec::<String>::new());
}

#[test]
fn the_terminal_is_as_it_was_afterwards() {
    needs!(root, "busybox", "setsid", "stty");
    let scratch = Scratch::new();
    bundle(&scratch);
    let line = run(&scratch, "terminal-test").line();
    let mut outer = Terminal::start(
        &Cmd::new("sh").args(["-c", &format!("stty -g >before; {line}; stty -g >after")]).cwd(scratch.work()),
    );
    outer.expect("# ");
    outer.send("exit 0\n");
    let ended = outer.wait();
    let read = |name: &str| fs::read_to_string(scratch.work().join(name)).unwrap_or_default();
    ended.require(!read("before").is_empty() && read("before") == read("after"), "the same terminal settings");
}

#[test]
fn exit_codes_and_streams_pass_through() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    bundle(&scratch);
    let host = HostState::new();
    set_command(&scratch, "cat; echo err >&2; exit 7");
    let ended = run(&scratch, "codes").input("from outside\n").exits(7);
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("from outside\n", "err\n"));
    set_command(&scratch, "sleep 60 & kill -TERM $!; wait $!");
    run(&scratch, "signalled").exits(128 + 15);
    host.check();
}

#[test]
fn a_signal_to_the_runtime_reaches_the_container() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    bundle(&scratch);
    let host = HostState::new();
    set_command(&scratch, "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.05; done");
    let mut running = run(&scratch, "signals").spawn();
    running.expect("ready");
    running.signal(rustix::process::Signal::TERM);
    let ended = running.wait();
    ended.require(ended.code() == 3, "the exit code of the trap");
    ended.prints(&["bye"]);
    host.check();
}

#[test]
fn what_cannot_run_is_refused_and_leaves_nothing() {
    needs!(root, "busybox");
    let scratch = Scratch::new();
    bundle(&scratch);
    let host = HostState::new();
    let good = configuration(&scratch);
    let mut config = good.clone();
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["/no/such/program"]);
    scratch.file("config.json", config.to_string());
    run(&scratch, "missing").refused(1, &["rkt-oci run failed: ", "/no/such/program"]);
    scratch.file("config.json", "{ not json");
    run(&scratch, "broken").refused(1, &["rkt-oci run failed: ", "config.json"]);
    fs::remove_file(scratch.work().join("config.json")).expect("the folder is ours");
    run(&scratch, "absent").refused(1, &["rkt-oci run failed: ", "config.json"]);
    let mut config = good;
    config["root"]["path"] = json!("nowhere");
    config["process"]["terminal"] = json!(false);
    scratch.file("config.json", config.to_string());
    run(&scratch, "rootless").refused(1, &["rkt-oci run failed: ", "nowhere"]);
    host.check();
    assert_eq!(fs::read_dir(scratch.path().join("state")).map_or(0, Iterator::count), 0);
}
