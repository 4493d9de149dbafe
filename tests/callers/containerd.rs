//! `ctr run` with containerd's shim for runc, and `rkt-oci` in runc's place.

use std::fs;
use std::time::{Duration, Instant};

use support::engine::{self, Daemon, IMAGE};
use support::{Cmd, HostState, Scratch, Terminal, cases, needs, programs};

/// The namespace of the containers, which is the parent of their cgroups too.
const NAMESPACE: &str = "appc-callers-ctr";

struct Containerd {
    // In this order: the daemon must have ended before its folder goes.
    _daemon: Daemon,
    scratch: Scratch,
}

impl Containerd {
    fn start() -> Self {
        let scratch = Scratch::new();
        let path = |name: &str| scratch.path().join(name).display().to_string();
        let plugins = ["grpc.v1.cri", "snapshotter.v1.devmapper", "snapshotter.v1.btrfs", "snapshotter.v1.zfs"];
        let disabled = plugins.map(|plugin| format!("'io.containerd.{plugin}'")).join(", ");
        let config = format!(
            "version = 2\nroot = '{}'\nstate = '{}'\ndisabled_plugins = [{disabled}]\n[grpc]\naddress = '{}'\n",
            path("containerd"),
            path("run"),
            path("ctr.sock"),
        );
        scratch.file("config.toml", config);
        let daemon = Cmd::new("containerd").cwd(scratch.work()).args(["--config", "config.toml"]);
        let daemon = Daemon::start(&daemon, &ctr_at(&scratch).arg("version"), &[NAMESPACE]);
        let containerd = Self { _daemon: daemon, scratch };
        containerd.command("image import --snapshotter native").arg(engine::image(&containerd.scratch)).ok();
        containerd
    }

    /// `ctr WORDS…`
    fn command(&self, words: &str) -> Cmd {
        ctr_at(&self.scratch).args(words.split_whitespace())
    }

    /// `ctr run OPTIONS… IMAGE ID sh -c SCRIPT`
    fn run(&self, options: &str, id: &str, script: &str) -> Cmd {
        self.container(options, id).args(["sh", "-c", script])
    }

    fn container(&self, options: &str, id: &str) -> Cmd {
        let program = programs::find("rkt-oci");
        let command = self.command("run --snapshotter native --runc-binary").arg(program);
        command.args(options.split_whitespace()).args([IMAGE, id])
    }

    #[track_caller]
    fn until(&self, id: &str, status: &str) {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let list = self.command("task list").ok().stdout;
            if list.lines().any(|line| line.starts_with(id) && line.contains(status)) {
                return;
            }
            assert!(Instant::now() < end, "{id} is not {status}:\n{list}");
        }
    }

    /// Removes whatever a case left.
    fn clear(&self) {
        for id in self.command("task list --quiet").run().stdout.split_whitespace() {
            self.command(&format!("task delete --force {id}")).run();
        }
        for id in self.command("container list --quiet").run().stdout.split_whitespace() {
            self.command(&format!("container delete {id}")).run();
        }
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        self.clear();
    }
}

fn ctr_at(scratch: &Scratch) -> Cmd {
    let socket = scratch.path().join("ctr.sock");
    Cmd::new("ctr").cwd(scratch.work()).arg("--address").arg(socket).args(["--namespace", NAMESPACE])
}

fn runs_and_tells_how_it_ended(ctr: &Containerd) {
    let outcome = ctr.run("--rm --env MORE=yes", "one", "echo $FROM_IMAGE $MORE; echo wrong >&2; exit 3").exits(3);
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.lines().next()), ("yes yes\n", Some("wrong")));
    // This client never says that its input has ended.
    assert_eq!(ctr.run("--rm", "one", "head -n 1").input("through\n").ok().stdout, "through\n");
    ctr.container("--rm", "one").arg("/no/such").exits(1).says(&["no such file or directory"]);
    ctr.container("--rm", "one").arg("nonesuch").exits(1).says(&["executable file not found in $PATH"]);
    ctr.run("--rm --read-only", "one", "touch /x").exits(1).says(&["Read-only file system"]);
}

fn a_terminal_is_the_callers(ctr: &Containerd) {
    let mut shell = Terminal::start(&ctr.container("--rm --tty", "one").arg("sh"));
    shell.expect("# ");
    shell.send(&format!("{}; test -t 0 && tty; echo $((6 * 7)); exit 9\n", Terminal::until_it_is(24, 80)));
    shell.expect("24 80\r");
    shell.expect("/dev/pts/0");
    shell.expect("42");
    let ended = shell.wait();
    ended.require(ended.code() == 9, "the exit code");
}

fn limits_and_filters(ctr: &Containerd) {
    let script = "grep Seccomp: /proc/self/status | tr -d '\\t'; dmesg >/dev/null || echo refused";
    let outcome = ctr.run("--rm --seccomp", "one", script).ok();
    assert_eq!(outcome.stdout, "Seccomp:2\nrefused\n");
    let fill = "x=x; while :; do x=$x$x; done";
    ctr.run("--rm --memory-limit 16777216", "two", fill).exits(137);
}

fn tasks_are_killed_and_deleted(ctr: &Containerd) {
    ctr.run("--detach", "one", "trap 'exit 6' TERM; while :; do sleep 0.05; done").ok();
    ctr.until("one", "RUNNING");
    // The shell may not have come to its trap.
    std::thread::sleep(Duration::from_millis(200));
    ctr.command("task kill one").ok();
    ctr.until("one", "STOPPED");
    ctr.command("task delete one").run().says(&["exit code 6"]);
    ctr.command("container delete one").ok();
    ctr.run("--detach", "two", "sleep 1000").ok();
    ctr.until("two", "RUNNING");
    ctr.command("task kill --signal SIGKILL two").ok();
    ctr.until("two", "STOPPED");
    ctr.command("task kill two").exits(1).says(&["not found"]);
    ctr.command("task delete two").run().says(&["exit code 137"]);
}

fn tasks_are_looked_at_and_changed(ctr: &Containerd) {
    ctr.run("--detach --env OF=container", "one", "sleep 1000").ok();
    let exec = ctr.command("task exec --exec-id e one sh -c").arg("echo $OF; readlink /proc/1/exe; exit 4");
    assert_eq!(exec.exits(4).stdout, "container\n/bin/busybox\n");
    ctr.command("task pause one").ok();
    ctr.until("one", "PAUSED");
    ctr.command("task resume one").ok();
    ctr.until("one", "RUNNING");
    assert_eq!(ctr.command("task ps one").ok().stdout.lines().count(), 2);
    ctr.command("task metrics one").ok().prints(&["memory.usage_in_bytes", "pids.current"]);
    let mut shell = Terminal::start(&ctr.command("task exec --tty --exec-id t one sh"));
    shell.expect("# ");
    shell.send(&format!("{}; exit 8\n", Terminal::until_it_is(24, 80)));
    shell.expect("24 80\r");
    let ended = shell.wait();
    ended.require(ended.code() == 8, "the exit code");
}

fn mounts_and_namespaces(ctr: &Containerd) {
    let folder = ctr.scratch.path().join("image-root/etc");
    let mount = format!("--rm --mount type=bind,src={},dst=/host,options=rbind:ro", folder.display());
    let outcome = ctr.run(&mount, "one", "cat /host/group; touch /host/x || echo no").ok();
    assert!(outcome.stdout.starts_with("root:x:0:") && outcome.stdout.ends_with("no\n"), "{}", outcome.stdout);
    let host = fs::read_link("/proc/self/ns/net").expect("proc is there").display().to_string();
    assert_eq!(ctr.run("--rm --net-host", "one", "readlink /proc/self/ns/net").ok().text(), host);
}

fn main() {
    needs!(root, "containerd", "ctr", "busybox", "setsid");
    let host = HostState::new();
    let containerd = Containerd::start();
    let good = support::cases::run(
        &containerd,
        cases![
            runs_and_tells_how_it_ended,
            a_terminal_is_the_callers,
            limits_and_filters,
            tasks_are_killed_and_deleted,
            mounts_and_namespaces,
            tasks_are_looked_at_and_changed,
        ],
        Containerd::clear,
    );
    drop(containerd);
    host.check();
    std::process::exit(i32::from(!good));
}
