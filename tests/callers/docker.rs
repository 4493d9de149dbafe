//! `docker run --runtime`: dockerd with data, state and socket of its own, and `rkt-oci` as a runtime of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use support::engine::{self, Daemon, IMAGE};
use support::{Cmd, HostState, Outcome, Scratch, Terminal, cases, needs, programs};

/// The parent of all cgroups the daemon makes.
const CGROUP: &str = "appc-callers-docker";

struct Docker {
    // In this order: the daemon must have ended before its folder goes.
    _daemon: Daemon,
    _key: DaemonKey,
    scratch: Scratch,
}

/// The daemon writes a key of its own below /etc, wherever else its files go.
struct DaemonKey(Option<PathBuf>);

impl DaemonKey {
    fn new() -> Self {
        let key = PathBuf::from("/etc/docker/key.json");
        Self((!key.exists()).then_some(key))
    }
}

impl Drop for DaemonKey {
    fn drop(&mut self) {
        if let Some(key) = &self.0 {
            let _ = fs::remove_file(key);
            let _ = fs::remove_dir("/etc/docker");
        }
    }
}

impl Docker {
    fn start() -> Self {
        let key = DaemonKey::new();
        let scratch = Scratch::new();
        let path = |name: &str| scratch.path().join(name).display().to_string();
        scratch.file("daemon.json", "{}");
        let socket = format!("unix://{}", path("docker.sock"));
        let runtime = format!("rkt-oci={}", programs::find("rkt-oci").display());
        let mut daemon = Cmd::new("dockerd").cwd(scratch.work()).args(["--config-file", "daemon.json"]);
        daemon = daemon.args(["--data-root", &path("docker"), "--exec-root", &path("docker-run")]);
        daemon = daemon.args(["--host", &socket, "--pidfile", &path("docker.pid"), "--cgroup-parent", CGROUP]);
        daemon = daemon.args(["--add-runtime", &runtime, "--default-runtime", "rkt-oci"]);
        // Nothing of the host's network is touched.
        daemon = daemon.args(["--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"]);
        daemon = daemon.args(["--storage-driver", "vfs"]);
        let ready = docker_at(&scratch).arg("version");
        let daemon = Daemon::start(&daemon, &ready, &[CGROUP]);
        let docker = Self { _daemon: daemon, _key: key, scratch };
        docker.command("load -q -i").arg(engine::image(&docker.scratch)).ok();
        docker
    }

    /// `docker WORDS…`
    fn command(&self, words: &str) -> Cmd {
        docker_at(&self.scratch).args(words.split_whitespace())
    }

    /// `docker run OPTIONS… IMAGE sh -c SCRIPT`
    fn run(&self, options: &str, script: &str) -> Cmd {
        self.command(&format!("run --network none {options} {IMAGE} sh -c")).arg(script)
    }

    /// What `docker inspect` says of a field.
    #[track_caller]
    fn inspect(&self, name: &str, field: &str) -> String {
        self.command("inspect --format").arg(format!("{{{{{field}}}}}")).arg(name).ok().text().to_owned()
    }

    #[track_caller]
    fn until(&self, name: &str, field: &str, wanted: &str) {
        let end = Instant::now() + Duration::from_secs(20);
        while self.inspect(name, field) != wanted {
            assert!(Instant::now() < end, "{field} of {name} is {}, not {wanted}", self.inspect(name, field));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Removes whatever a case left.
    fn clear(&self) {
        let all = self.command("ps -aq").run().stdout;
        if !all.trim().is_empty() {
            self.command("rm --force --volumes").args(all.split_whitespace()).run();
        }
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        self.clear();
    }
}

fn docker_at(scratch: &Scratch) -> Cmd {
    let socket = format!("unix://{}", scratch.path().join("docker.sock").display());
    let config = scratch.path().join("docker-config");
    Cmd::new("docker").cwd(scratch.work()).env("DOCKER_HOST", socket).env("DOCKER_CONFIG", config)
}

/// The lines of what a container printed.
fn lines(outcome: &Outcome) -> Vec<&str> {
    outcome.stdout.lines().collect()
}

fn runs_and_tells_how_it_ended(docker: &Docker) {
    let outcome = docker.run("--rm --hostname moby", "hostname; echo $FROM_IMAGE; echo wrong >&2; exit 3").exits(3);
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("moby\nyes\n", "wrong\n"));
    docker.run("--rm", "sh -c 'kill -9 $$'; exit $?").exits(137);
    docker.run("--rm", "cat").input("through\n").exits(0);
    assert_eq!(docker.run("--rm -i", "cat").input("through\n").ok().stdout, "through\n");
    let missing = docker.command(&format!("run --rm --network none {IMAGE} /no/such")).exits(127);
    missing.says(&["no such file or directory"]);
    docker
        .command(&format!("run --rm --network none {IMAGE} nonesuch"))
        .exits(127)
        .says(&["executable file not found"]);
    docker.command(&format!("run --rm --network none {IMAGE} /etc/passwd")).exits(126).says(&["permission denied"]);
}

/// What `acbuild convert` writes, and what it reads of `docker save`.
fn images_go_both_ways(docker: &Docker) {
    let scratch = &docker.scratch;
    let convert = |args: &[&str]| scratch.acbuild(["convert"].iter().chain(args)).ok().text().to_owned();
    let commands = ["set-exec -- /bin/sh", "environment add A 1", "set-working-directory /etc"];
    support::busybox_image(scratch, "app", "example.com/app", &commands);
    convert(&["app.aci", "docker-archive:app.tar:example.com/app:1.0"]);
    docker.command("load -q -i app.tar").ok().prints(&["example.com/app:1.0"]);
    let run = docker.command("run --rm --network none example.com/app:1.0 -c").arg("echo $A $PWD");
    run.ok().prints(&["1 /etc"]);

    let change =
        "cd /root; echo 1 >one; ln one two; rm -r /var; mkdir /var; echo new >/var/new; rm /bin/ls; echo ls >/bin/ls";
    docker.run("--name changed", change).ok();
    docker.command("commit changed example.com/changed:1").ok();
    docker.command("save -o saved.tar example.com/changed:1").ok();
    convert(&["docker-archive:saved.tar", "saved.aci"]);
    convert(&["saved.aci", "bundle:saved"]);
    let file = |name: &str| fs::read_to_string(scratch.work().join("saved/rootfs").join(name)).unwrap_or_default();
    assert_eq!(["root/one", "root/two", "var/new", "bin/ls"].map(file), ["1\n", "1\n", "new\n", "ls\n"]);
    let in_var = fs::read_dir(scratch.work().join("saved/rootfs/var")).expect("it is there").count();
    assert_eq!(in_var, 1, "what was in /var is hidden");
    // It is the same image to docker when it comes back.
    let id = docker.command("image inspect --format {{.Id}} example.com/changed:1").ok().text().to_owned();
    docker.command("image rm --force example.com/changed:1").ok();
    convert(&["saved.aci", "docker-archive:again.tar:example.com/again:1"]);
    docker.command("load -q -i again.tar").ok();
    assert_eq!(docker.command("image inspect --format {{.Id}} example.com/again:1").ok().text(), id);
}

fn is_what_docker_says_it_runs(docker: &Docker) {
    docker
        .command("info --format")
        .arg("{{json .Runtimes}} {{.DefaultRuntime}}")
        .ok()
        .prints(&["\"rkt-oci\"", " rkt-oci"]);
    docker.run("-d --name one", "sleep 1000").ok();
    assert_eq!(docker.inspect("one", ".HostConfig.Runtime"), "rkt-oci");
}

fn a_terminal_is_the_callers(docker: &Docker) {
    let mut shell = Terminal::start(&docker.command(&format!("run --rm -it --network none {IMAGE} sh")));
    shell.resize(31, 97);
    shell.expect("# ");
    shell.send(&format!("{}; test -t 0 && tty; echo $((6 * 7))\n", Terminal::until_it_is(31, 97)));
    shell.expect("31 97\r");
    shell.expect("/dev/pts/0");
    shell.expect("\r\n42\r\n");
    shell.send("exit 9\n");
    let ended = shell.wait();
    ended.require(ended.code() == 9, "the exit code");
}

fn logs_are_kept(docker: &Docker) {
    docker.run("--name one", "echo first; echo second >&2").ok();
    let logs = docker.command("logs one").ok();
    assert_eq!((logs.stdout.as_str(), logs.stderr.as_str()), ("first\n", "second\n"));
    docker.run("-d --name two", "echo at once; sleep 1000").ok();
    let mut follow = docker.command("logs --follow two").spawn();
    follow.expect("at once");
}

fn memory_is_limited(docker: &Docker) {
    let script = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null";
    assert_eq!(docker.run("--rm --memory 64m", script).run().text(), "67108864");
    // Bytes in the shell's own memory: no file system counts them elsewhere.
    let fill = "x=x; while :; do x=$x$x; done";
    docker.run("--name one --memory 16m --memory-swap 16m", fill).exits(137);
    assert_eq!(docker.inspect("one", ".State.OOMKilled"), "true");
}

fn other_limits(docker: &Docker) {
    let script = "cat /sys/fs/cgroup/pids/pids.max; ulimit -n; cat /sys/fs/cgroup/cpu/cpu.shares; \
                  cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us; cat /sys/fs/cgroup/cpuset/cpuset.cpus";
    let options = "--rm --pids-limit 77 --ulimit nofile=333:444 --cpu-shares 512 --cpus 0.5 --cpuset-cpus 0";
    assert_eq!(lines(&docker.run(options, script).ok()), ["77", "333", "512", "50000", "0"]);
    let forks = "for i in 1 2 3 4 5 6 7 8 9; do sleep 1000 & done; echo all";
    let refused = docker.run("--rm --pids-limit 5", forks).run();
    refused.says(&["fork"]);
    assert!(!refused.stdout.contains("all"));
}

fn capabilities_and_privileges(docker: &Docker) {
    let script = "grep -E 'CapEff|NoNewPrivs' /proc/self/status | tr '\\t' ' '; chown 5 /tmp 2>/dev/null; echo $?";
    let dropped = docker.run("--rm --cap-drop ALL --security-opt no-new-privileges", script).ok();
    assert_eq!(lines(&dropped), ["CapEff: 0000000000000000", "NoNewPrivs: 1", "1"]);
    let added = docker.run("--rm --cap-drop ALL --cap-add CHOWN", script).ok();
    assert_eq!(lines(&added), ["CapEff: 0000000000000001", "NoNewPrivs: 0", "0"]);
}

fn a_read_only_root(docker: &Docker) {
    let script =
        "echo x >/file || echo refused; echo x >/tmp/file && cat /tmp/file; mount -o remount,rw / || echo again";
    let outcome = docker.run("--rm --read-only --tmpfs /tmp:size=1m", script).ok();
    assert_eq!(lines(&outcome), ["refused", "x", "again"]);
}

fn another_user(docker: &Docker) {
    let script = "id -u; id -g; id -G; touch /root/x || echo refused";
    let outcome = docker.run("--rm --user 1000:2000 --group-add 2001", script).ok();
    assert_eq!(lines(&outcome)[..3], ["1000", "2000", "2000 2001"]);
    docker.run("--rm --user carly", "test $(id -u) = 1000 && test $HOME = /home/carly").ok();
}

fn volumes_and_devices(docker: &Docker) {
    let volume = docker.scratch.path().join("volume");
    fs::create_dir(&volume).expect("ours");
    fs::write(volume.join("file"), "from the host\n").expect("ours");
    let options = format!("--rm -v {0}:/rw -v {0}:/ro:ro --device /dev/null:/dev/mine", volume.display());
    let script = "cat /ro/file; echo x >/ro/new || echo refused; echo new >/rw/new; echo x >/dev/mine; \
                  mknod /tmp/kmsg c 1 11 && cat /tmp/kmsg || echo refused too";
    let outcome = docker.run(&options, script).ok();
    assert_eq!(lines(&outcome), ["from the host", "refused", "refused too"]);
    assert_eq!(fs::read_to_string(volume.join("new")).expect("the container wrote it"), "new\n");
    docker.run("--rm -v kept:/data", "echo kept >/data/file").ok();
    assert_eq!(docker.run("--rm --mount source=kept,target=/data", "cat /data/file").ok().stdout, "kept\n");
}

fn namespaces_of_another_container(docker: &Docker) {
    docker.run("-d --name one --hostname one --ipc shareable", "sleep 1000").ok();
    let script = "ps | grep -c 'sleep 100[0]'; readlink /proc/self/ns/ipc";
    let outcome = docker.run("--rm --pid container:one --ipc container:one", script).ok();
    let ipc = fs::read_link(format!("/proc/{}/ns/ipc", docker.inspect("one", ".State.Pid"))).expect("it runs");
    assert_eq!(lines(&outcome), ["1", &ipc.display().to_string()]);
    let joined = docker.command(&format!("run --rm --network container:one {IMAGE} hostname")).ok();
    assert_eq!(joined.text(), "one");
    let sysctl = docker.run("--rm --sysctl kernel.shm_rmid_forced=1", "cat /proc/sys/kernel/shm_rmid_forced").ok();
    assert_eq!(sysctl.text(), "1");
}

fn stops_and_kills(docker: &Docker) {
    docker
        .run(
            "-d --name one",
            "trap 'echo bye; exit 5' TERM; trap 'echo usr1' USR1; echo up; while :; do sleep 0.05; done",
        )
        .ok();
    let mut logs = docker.command("logs --follow one").spawn();
    logs.expect("up");
    docker.command("kill --signal USR1 one").ok();
    logs.expect("usr1");
    docker.command("stop one").ok();
    assert_eq!(docker.inspect("one", ".State.ExitCode"), "5");
    docker.command("start one").ok();
    docker.until("one", ".State.Status", "running");
    docker.command("kill one").ok();
    docker.until("one", ".State.Status", "exited");
    assert_eq!(docker.inspect("one", ".State.ExitCode"), "137");
}

fn restart_policies(docker: &Docker) {
    docker.run("-d --name one --restart on-failure:2", "echo again; exit 1").ok();
    docker.until("one", ".RestartCount", "2");
    docker.until("one", ".State.Status", "exited");
    assert_eq!(docker.command("logs one").ok().stdout, "again\nagain\nagain\n");
    docker.run("-d --name two --restart always", "sleep 1000").ok();
    let pid: i32 = docker.inspect("two", ".State.Pid").parse().expect("a number");
    kill_process(Pid::from_raw(pid).expect("it runs"), Signal::KILL).expect("it runs");
    docker.until("two", ".RestartCount", "1");
    docker.until("two", ".State.Status", "running");
}

fn files_are_copied(docker: &Docker) {
    docker.run("-d --name one", "sleep 1000").ok();
    let file = docker.scratch.file("copied", "copied\n");
    docker.command("cp").arg(&file).arg("one:/root/copied").ok();
    docker.command("cp one:/root/copied").arg(docker.scratch.work().join("back")).ok();
    assert_eq!(fs::read_to_string(docker.scratch.work().join("back")).expect("copied"), "copied\n");
    assert!(docker.command("diff one").ok().stdout.contains("A /root/copied"));
}

fn exec_in_a_running_container(docker: &Docker) {
    docker.run("-d --name one --env OF=container", "echo $$ >/tmp/first; sleep 1000").ok();
    let script = "echo $OF $ALSO; id -u; pwd; cat /tmp/first; cat; exit 4";
    let exec = docker.command("exec -i --env ALSO=exec --user 1000 --workdir /tmp one sh -c").arg(script);
    assert_eq!(exec.input("in\n").exits(4).stdout, "container exec\n1000\n/tmp\n1\nin\n");
    // The client says 126 or 127 as the daemon is fast or slow; the words are the runtime's.
    docker.command("exec one /no/such").run().prints(&["no such file or directory"]);
    docker.command("exec one nonesuch").run().prints(&["executable file not found in $PATH"]);
    docker.command("exec one /etc/passwd").exits(126).prints(&["permission denied"]);
    docker.command("exec -d one touch /tmp/detached").ok();
    docker.command("exec one sh -c").arg("while ! test -e /tmp/detached; do sleep 0.02; done").ok();
    let mut shell = Terminal::start(&docker.command("exec -it one sh"));
    shell.resize(33, 99);
    shell.expect("# ");
    shell.send(&format!("{}; exit 8\n", Terminal::until_it_is(33, 99)));
    shell.expect("33 99\r");
    let ended = shell.wait();
    ended.require(ended.code() == 8, "the exit code");
}

fn health_is_checked(docker: &Docker) {
    docker.run("-d --name one --health-interval 100ms --health-cmd true", "sleep 1000").ok();
    docker.until("one", ".State.Health.Status", "healthy");
    docker.run("-d --name two --health-interval 100ms --health-retries 1 --health-cmd false", "sleep 1000").ok();
    docker.until("two", ".State.Health.Status", "unhealthy");
}

fn pauses_and_goes_on(docker: &Docker) {
    docker.run("-d --name one", "while :; do echo tick; sleep 0.02; done").ok();
    docker.command("pause one").ok();
    assert_eq!(docker.inspect("one", ".State.Status"), "paused");
    let count = || docker.command("logs one").ok().stdout.len();
    let before = count();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(count(), before, "it went on");
    docker.command("exec one true").exits(1).says(&["paused"]);
    docker.command("unpause one").ok();
    let end = Instant::now() + Duration::from_secs(10);
    while count() == before {
        assert!(Instant::now() < end, "it does not go on");
    }
    docker.command("pause one").ok();
    docker.command("rm --force one").ok();
}

fn limits_are_changed(docker: &Docker) {
    docker.run("-d --name one --memory 64m", "sleep 1000").ok();
    docker.command("update --memory 32m --memory-swap 48m --cpu-shares 300 --pids-limit 44 one").ok();
    let script = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes memory/memory.memsw.limit_in_bytes \
                  cpu/cpu.shares pids/pids.max";
    let outcome = docker.command("exec one sh -c").arg(script).ok();
    assert_eq!(lines(&outcome), ["33554432", "50331648", "300", "44"]);
}

fn stats_are_told(docker: &Docker) {
    docker.run("-d --name one --memory 64m", "x=0; while :; do x=$((x + 1)); done").ok();
    let stats =
        docker.command("stats --no-stream --format").arg("{{.MemUsage}} {{.PIDs}} {{.CPUPerc}}").arg("one").ok();
    stats.prints(&["/ 64MiB 1 "]);
    stats.require(!stats.stdout.starts_with("0B") && !stats.stdout.contains(" 0.00%"), "numbers");
    let top = docker.command("top one -eo pid,args").ok();
    top.prints(&["PID", "while :"]);
}

fn an_image_that_acbuild_built(docker: &Docker) {
    let built = engine::built_by_acbuild("docker-archive");
    docker.command("load -q -i").arg(built.work().join("built.tar")).ok();
    let ran = docker.command("run --rm --network none example.com/built:1").run();
    assert!(ran.stdout == "by acbuild\n" && ran.code() == 1, "{ran:#?}");
}

fn main() {
    needs!(root, "dockerd", "docker", "containerd", "busybox", "setsid");
    let host = HostState::new();
    let docker = Docker::start();
    let good = support::cases::run(
        &docker,
        cases![
            runs_and_tells_how_it_ended,
            images_go_both_ways,
            an_image_that_acbuild_built,
            is_what_docker_says_it_runs,
            a_terminal_is_the_callers,
            logs_are_kept,
            memory_is_limited,
            other_limits,
            capabilities_and_privileges,
            a_read_only_root,
            another_user,
            volumes_and_devices,
            namespaces_of_another_container,
            stops_and_kills,
            restart_policies,
            files_are_copied,
            exec_in_a_running_container,
            health_is_checked,
            pauses_and_goes_on,
            limits_are_changed,
            stats_are_told,
        ],
        Docker::clear,
    );
    let folder = docker.scratch.path().to_owned();
    drop(docker);
    host.check();
    assert!(!Path::exists(&folder), "{} was left behind", folder.display());
    std::process::exit(i32::from(!good));
}
