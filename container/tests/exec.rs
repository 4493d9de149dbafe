//! Programs that join a container.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use common::Bundle;
use common::descriptors::{receive, with_descriptors};
use serde_json::json;
use std::os::unix::net::UnixListener;
use support::terminal::Terminal;
use support::{HostState, needs};

/// A container that runs for as long as the test.
fn running() -> Bundle {
    let mut bundle = Bundle::new("trap 'exit 0' TERM; while :; do sleep 0.1; done");
    bundle.config["root"]["readonly"] = json!(false);
    bundle.config["process"]["oomScoreAdj"] = json!(321);
    bundle.command(["run", "--detach", "one"]).ok();
    bundle
}

fn end(bundle: &Bundle) {
    bundle.command(["delete", "--force", "one"]).ok();
    bundle.nothing_left();
}

#[test]
fn it_is_in_the_container() {
    needs!(root, "busybox");
    let host = HostState::new();
    let bundle = running();
    let script = "hostname; for p in 1 self; do for n in pid mnt; do readlink /proc/$p/ns/$n; done; done; id -u; pwd; \
                  grep -cE '^(NoNewPrivs:.1|Seccomp:.0|CapEff:.0000000020000420)' /proc/self/status; \
                  cat /proc/1/cgroup >/tmp/a; cat /proc/self/cgroup | cmp - /tmp/a && echo same; ls /proc/self/fd";
    let outcome = bundle.command(["exec", "one", "sh", "-c", script]).ok();
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(lines[0], "rkt-oci");
    assert_eq!(lines[1..3], lines[3..5]);
    // The last descriptor is that of the directory that `ls` reads.
    assert_eq!(lines[5..], ["0", "/", "3", "same", "0", "1", "2", "3"]);
    end(&bundle);
    host.check();
}

#[test]
fn exit_codes() {
    needs!(root, "busybox");
    let host = HostState::new();
    let bundle = running();
    bundle.command(["exec", "one", "sh", "-c", "exit 7"]).exits(7);
    bundle.command(["exec", "one", "sh", "-c", "kill -9 $$"]).exits(137);
    for (program, words) in [
        ("nonesuch", "exec: \"nonesuch\": executable file not found in $PATH"),
        ("/nonesuch", "no such file or directory"),
        ("/bin", "is a directory"),
        ("/etc/passwd", "permission denied"),
    ] {
        let start = "rkt-oci exec failed: unable to start container process: exec";
        bundle.command(["exec", "one", program]).refused(255, &[start, words]);
    }
    bundle.command(["exec", "one"]).refused(255, &["process args cannot be empty"]);
    bundle.command(["exec", "two", "true"]).refused(255, &["container does not exist"]);
    bundle.command(["kill", "one", "KILL"]).ok();
    bundle.command(["exec", "one", "true"]).refused(255, &["cannot exec in a stopped container"]);
    end(&bundle);
    host.check();
}

#[test]
fn options_change_the_process() {
    needs!(root, "busybox");
    let bundle = running();
    let script =
        "id -u; id -g; pwd; echo $A $B; grep -E '^(Groups|CapPrm|CapInh|NoNewPrivs)' /proc/self/status | tr -d ' '";
    let options = ["exec", "--cwd", "/tmp", "-e", "A=1", "-e", "B=2", "-u", "1000:2000", "-g", "7", "-g", "8"];
    let privileges = ["--cap", "CAP_SYS_TIME", "--no-new-privs=false", "one", "sh", "-c", script];
    let outcome = bundle.command(options).args(privileges).ok();
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    // Not root: the effective ones are what files and the ambient set give, which is nothing.
    let wanted = [
        "1000",
        "2000",
        "/tmp",
        "1 2",
        "Groups:\t78",
        "CapInh:\t0000000000000000",
        "CapPrm:\t0000000000000000",
        "NoNewPrivs:\t0",
    ];
    assert_eq!(lines, wanted);
    let caps = "grep -E '^(CapInh|CapEff|CapAmb)' /proc/self/status";
    let outcome = bundle.command(["exec", "--cap", "CAP_SYS_TIME", "one", "sh", "-c", caps]).ok();
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(lines, ["CapInh:\t0000000000000000", "CapEff:\t0000000022000420", "CapAmb:\t0000000000000000"]);
    // Whoever mistypes it is to hear of it, and the container to stay as it is.
    let missing = bundle.command(["exec", "--cwd", "/made/for/it", "one", "true"]);
    missing.refused(255, &["chdir to cwd (\"/made/for/it\") set in config.json failed: no such file or directory"]);
    assert!(!bundle.rootfs("made").exists());
    bundle.command(["exec", "-u", "0:bad", "one", "true"]).refused(255, &["--user 0:bad"]);
    bundle.command(["exec", "--cap", "CAP_NONE", "one", "true"]).ok().says(&["ignoring unknown", "[CAP_NONE]"]);
    // What looks like an option after the name is the program's.
    let outcome = bundle.command(["exec", "one", "echo", "--tty", "-d"]).ok();
    assert_eq!(outcome.stdout, "--tty -d\n");
    end(&bundle);
}

#[test]
fn a_process_file() {
    needs!(root, "busybox");
    let bundle = running();
    let process = json!({
        "args": ["sh", "-c", "echo $X; pwd; id -u; cat /proc/self/oom_score_adj; ulimit -n; umask"], "cwd": "/tmp",
        "env": ["PATH=/bin", "X=1"], "user": {"uid": 7, "gid": 8, "umask": 63}, "oomScoreAdj": 77,
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 99, "hard": 99}],
    });
    bundle.scratch.file("process.json", process.to_string());
    let outcome = bundle.command(["exec", "--process", "process.json", "one"]).ok();
    assert_eq!(outcome.stdout, "1\n/tmp\n7\n77\n99\n0077\n");
    // What it does not say of this is as with the container's own.
    let process = json!({"args": ["/bin/cat", "/proc/self/oom_score_adj"], "cwd": "/", "user": {"uid": 0, "gid": 0}});
    bundle.scratch.file("process.json", process.to_string());
    assert_eq!(bundle.command(["exec", "-p", "process.json", "one"]).ok().stdout, "321\n");
    assert_eq!(bundle.command(["exec", "--user", "", "one", "id", "-u"]).ok().stdout, "0\n");
    bundle.scratch.file("process.json", "{");
    bundle.command(["exec", "--process", "process.json", "one"]).refused(255, &["--process process.json"]);
    bundle.command(["exec", "-p", "none.json", "one"]).refused(255, &["--process none.json"]);
    end(&bundle);
}

#[test]
fn detached_it_lives_on() {
    needs!(root, "busybox");
    let host = HostState::new();
    let bundle = running();
    bundle.command(["exec", "--detach", "--pid-file", "pid", "one", "sh", "-c", "sleep 100; true"]).ok();
    let pid = fs::read_to_string(bundle.scratch.work().join("pid")).unwrap();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.lines().any(|l| l.starts_with("NSpid:") && l.split_whitespace().count() == 3), "{status}");
    // It is what was asked for, and not the program that started it.
    assert_eq!(fs::read_to_string(format!("/proc/{pid}/comm")).unwrap(), "sh\n");
    end(&bundle);
    host.check();
}

#[test]
fn a_paused_container_is_not_joined() {
    needs!(root, "busybox");
    let bundle = running();
    let freezer = freezer(&bundle);
    fs::write(&freezer.0, freezer.1).unwrap();
    while bundle.command(["state", "one"]).ok().json()["status"] != "paused" {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    bundle.command(["exec", "one", "true"]).refused(255, &["cannot exec in a paused container (use --ignore-paused"]);
    let waiting = bundle.command(["exec", "--ignore-paused", "one", "echo", "hello"]);
    let waiting = std::thread::spawn(move || waiting.ok().stdout);
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(!waiting.is_finished());
    fs::write(&freezer.0, freezer.2).unwrap();
    assert_eq!(waiting.join().unwrap(), "hello\n");
    end(&bundle);
}

/// The file that freezes the container's cgroup, and what to write to it for that and for the opposite.
fn freezer(bundle: &Bundle) -> (std::path::PathBuf, &'static str, &'static str) {
    let name = bundle.config["linux"]["cgroupsPath"].as_str().unwrap();
    for (path, freeze, thaw) in [
        (format!("/sys/fs/cgroup/{name}/cgroup.freeze"), "1", "0"),
        (format!("/sys/fs/cgroup/unified/{name}/cgroup.freeze"), "1", "0"),
        (format!("/sys/fs/cgroup/freezer/{name}/freezer.state"), "FROZEN", "THAWED"),
    ] {
        if fs::metadata(&path).is_ok() {
            return (path.into(), freeze, thaw);
        }
    }
    panic!("the container has no freezer");
}

#[test]
fn a_container_with_its_own_users() {
    needs!(root, "busybox");
    let mut bundle = Bundle::new("sleep 1000");
    bundle.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    for name in ["uidMappings", "gidMappings"] {
        bundle.config["linux"][name] = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    }
    bundle.command(["run", "--detach", "one"]).ok();
    fs::set_permissions(bundle.rootfs("tmp"), PermissionsExt::from_mode(0o1777)).unwrap();
    let script = "id -u; tr -s ' ' </proc/self/uid_map; test $(readlink /proc/self/ns/user) = $(readlink /proc/1/ns/user) && echo 1";
    let outcome = bundle.command(["exec", "one", "sh", "-c", script]).ok();
    assert_eq!(outcome.stdout, "0\n 0 100000 65536\n1\n");
    let outcome = bundle.command(["exec", "-u", "1000:1000", "one", "id", "-u"]).ok();
    assert_eq!(outcome.stdout, "1000\n");
    end(&bundle);
}

#[test]
fn a_terminal_of_the_containers() {
    needs!(root, "busybox");
    let bundle = running();
    let script = "test -t 0 && tty; stty size; read line; echo got $line; exit 5";
    let mut terminal = Terminal::start(&bundle.command(["exec", "--tty", "one", "sh", "-c", script]));
    terminal.expect("/dev/pts/0");
    terminal.expect("24 80");
    terminal.send("word\n");
    terminal.expect("got word");
    assert_eq!(terminal.wait().code(), 5);
    bundle.command(["exec", "-t", "-d", "one", "true"]).refused(255, &["without setting console socket"]);
    bundle.command(["exec", "--console-socket", "s", "one", "true"]).refused(255, &["cannot use console socket"]);
    end(&bundle);
}

#[test]
fn sockets_are_sent_the_terminal_and_the_pidfd() {
    needs!(root, "busybox");
    let bundle = running();
    let listen = |name: &str| UnixListener::bind(bundle.scratch.work().join(name)).unwrap();
    let (console, pidfds) = (listen("console"), listen("pidfds"));
    let sockets = ["exec", "-t", "-d", "--console-socket", "console", "--pidfd-socket", "pidfds", "--pid-file", "pid"];
    bundle.command(sockets).args(["one", "sleep", "1000"]).ok();
    let (name, terminal) = receive(console.accept().unwrap().0);
    assert_eq!((name.as_str(), terminal.len()), ("/dev/ptmx", 1));
    rustix::termios::tcgetwinsize(&terminal[0]).unwrap();
    let (word, pidfd) = receive(pidfds.accept().unwrap().0);
    assert_eq!((word.as_str(), pidfd.len()), ("setns", 1));
    let pid = fs::read_to_string(bundle.scratch.work().join("pid")).unwrap();
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", std::os::fd::AsRawFd::as_raw_fd(&pidfd[0]))).unwrap();
    assert!(info.lines().any(|line| line == format!("Pid:\t{pid}")), "{info}");
    // Nobody listens: it does not stay behind.
    bundle
        .command(["exec", "-d", "--pidfd-socket", "nobody", "one", "sleep", "2000"])
        .refused(255, &["send the pidfd"]);
    let outcome = bundle.command(["exec", "one", "ps"]).ok();
    assert!(!outcome.stdout.contains("2000"), "{}", outcome.stdout);
    end(&bundle);
}

#[test]
fn descriptors_are_passed_only_when_asked_for() {
    needs!(root, "busybox");
    let bundle = running();
    let list = "ls /proc/self/fd | tr '\\n' ' '";
    let exec = bundle.command(["exec", "one", "sh", "-c", list]);
    assert_eq!(with_descriptors(&bundle, exec, &[3, 4, 9], "").ok().stdout, "0 1 2 3 ");
    let exec = bundle.command(["exec", "--preserve-fds", "2", "one", "sh", "-c", &format!("cat <&4; {list}")]);
    assert_eq!(with_descriptors(&bundle, exec.clone(), &[3, 4, 9], "").ok().stdout, "this is 4\n0 1 2 3 4 5 ");
    with_descriptors(&bundle, exec, &[3], "").refused(255, &["unable to stat preserved-fd 4 (of 2)"]);
    end(&bundle);
}

#[test]
fn a_cgroup_below_the_containers() {
    needs!(root, "busybox");
    let host = HostState::new();
    let bundle = running();
    let pid = bundle.command(["state", "one"]).ok().json()["pid"].to_string();
    let own = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let name = bundle.config["linux"]["cgroupsPath"].as_str().unwrap();
    for line in own.lines() {
        let (controllers, path) = line.split_once(':').unwrap().1.split_once(':').unwrap();
        let mount = match controllers {
            "" if fs::metadata("/sys/fs/cgroup/unified").is_ok() => "/sys/fs/cgroup/unified".to_owned(),
            "" => "/sys/fs/cgroup".to_owned(),
            list => format!("/sys/fs/cgroup/{}", list.trim_start_matches("name=")),
        };
        if path.ends_with(name) {
            fs::create_dir(format!("{mount}{path}/below")).unwrap();
            // Nobody can enter a cpuset of version 1 that has none.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let own = format!("{mount}{path}/below/{file}");
                if fs::exists(&own).unwrap() {
                    fs::write(own, fs::read(format!("{mount}{path}/{file}")).unwrap()).unwrap();
                }
            }
        }
    }
    let below = |argument: &str| bundle.command(["exec", "--cgroup", argument, "one", "sleep", "0"]);
    bundle.command(["exec", "-d", "--cgroup", "below", "--pid-file", "pid", "one", "sleep", "1000"]).ok();
    let pid = fs::read_to_string(bundle.scratch.work().join("pid")).unwrap();
    let found = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let wanted: String =
        own.lines().map(|l| if l.ends_with(name) { format!("{l}/below\n") } else { format!("{l}\n") }).collect();
    assert_eq!(found, wanted);
    below("../..").refused(255, &["bad sub cgroup path"]);
    below("nonesuch").refused(255, &["no such file or directory"]);
    below("nonesuch:below").refused(255, &["unknown controller nonesuch"]);
    end(&bundle);
    host.check();
}

#[test]
fn the_containers_filter_of_system_calls() {
    needs!(root, "busybox");
    let mut bundle = Bundle::new("sleep 1000");
    bundle.config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls":
        [{"names": ["sethostname"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77}]});
    bundle.command(["run", "--detach", "one"]).ok();
    let outcome = bundle.command(["exec", "one", "sh", "-c", "grep Seccomp: /proc/self/status; hostname x"]).exits(1);
    assert_eq!(outcome.stdout, "Seccomp:\t2\n");
    end(&bundle);
}

#[test]
fn the_configuration_is_only_a_file() {
    needs!(root, "busybox");
    let bundle = running();
    let config = bundle.state().join("one/config.json");
    for text in ["", "{", "null", "7"] {
        fs::write(&config, text).unwrap();
        bundle.command(["exec", "one", "true"]).refused(255, &["configuration of one"]);
    }
    fs::remove_file(&config).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &config, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    bundle.command(["exec", "one", "true"]).refused(255, &["it is not a regular file"]);
    end(&bundle);
}

#[test]
fn without_who_takes_its_terminal_nothing_begins() {
    needs!(root, "busybox");
    let bundle = running();
    for _ in 0..5 {
        let began = ["exec", "-t", "-d", "--console-socket", "none", "one", "touch", "/began"];
        bundle.command(began).refused(255, &["send the terminal to", "none: no such file or directory"]);
    }
    assert!(!bundle.rootfs("began").exists());
    end(&bundle);
}
