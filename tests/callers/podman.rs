//! `podman --runtime`, as root and as an ordinary user with a range of ids: storage, state and configuration of its own.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use support::engine::{self, IMAGE};
use support::{Cmd, HostState, Outcome, Scratch, Terminal, cases, needs, programs};

/// Where podman puts the cgroups of its containers.
const CGROUP: &str = "libpod_parent";

/// The ordinary user.
const USER: u32 = 64_242;

struct Podman {
    scratch: Scratch,
    /// The script that becomes the ordinary user, when it is not root who calls.
    user: Option<PathBuf>,
}

impl Podman {
    fn new(ordinary_user: bool) -> Self {
        let scratch = Scratch::new();
        let program = programs::for_everyone(&scratch).join("rkt-oci");
        let home = scratch.work();
        fs::create_dir(home.join("run")).expect("ours");
        fs::set_permissions(home.join("run"), PermissionsExt::from_mode(0o700)).expect("ours");
        let config = format!(
            "[containers]\ndefault_ulimits = ['nofile=1024:1024', 'nproc=1024:1024']\n\
             [engine]\ncgroup_manager = 'cgroupfs'\nevents_logger = 'file'\nlock_type = 'file'\nruntime = 'rkt-oci'\n\
             infra_image = '{IMAGE}'\nruntime_supports_json = ['rkt-oci']\n\
             [engine.runtimes]\nrkt-oci = ['{}']\n",
            program.display()
        );
        scratch.file("containers.conf", config);
        let user = ordinary_user.then(|| become_user(&scratch));
        if user.is_some() {
            for path in [home.clone(), home.join("run")] {
                chown(path, Some(USER), Some(USER)).expect("we are root");
            }
        }
        let podman = Self { scratch, user };
        podman.command("load -q -i").arg(engine::image(&podman.scratch)).ok();
        podman
    }

    /// `podman WORDS…`
    fn command(&self, words: &str) -> Cmd {
        let home = self.scratch.work();
        let path = |name: &str| home.join(name).display().to_string();
        let folders =
            [("--root", path("storage")), ("--runroot", path("run/storage")), ("--tmpdir", path("run/libpod"))];
        let mut command = Cmd::new("podman");
        for (flag, folder) in folders {
            command = command.args([flag, &folder]);
        }
        command = command.args(["--storage-driver", "vfs", "--log-level", "error"]).args(words.split_whitespace());
        command = command.cwd(&home).env("HOME", &home).env("XDG_RUNTIME_DIR", home.join("run"));
        command = command.env("CONTAINERS_CONF", home.join("containers.conf"));
        match &self.user {
            Some(script) => command.under("unshare", [PathBuf::from("--mount"), "sh".into(), script.clone()]),
            None => command,
        }
    }

    /// `podman run OPTIONS… IMAGE sh -c SCRIPT`
    fn run(&self, options: &str, script: &str) -> Cmd {
        self.command(&format!("run --network none {options} {IMAGE} sh -c")).arg(script)
    }

    #[track_caller]
    fn inspect(&self, name: &str, field: &str) -> String {
        self.command("inspect --format").arg(format!("{{{{{field}}}}}")).arg(name).ok().text().to_owned()
    }

    #[track_caller]
    fn until(&self, name: &str, field: &str, wanted: &str) {
        let end = Instant::now() + Duration::from_secs(20);
        while self.inspect(name, field) != wanted {
            assert!(Instant::now() < end, "{field} of {name} is {}, not {wanted}", self.inspect(name, field));
        }
    }

    /// Removes whatever a case left.
    fn clear(&self) {
        self.command("pod rm --force --time 0 --all").run();
        self.command("rm --force --time 0 --all").run();
        self.command("volume rm --force --all").run();
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        self.clear();
        // The process that keeps an ordinary user's namespaces.
        if let Ok(pid) = fs::read_to_string(self.scratch.work().join("run/libpod/pause.pid")) {
            Cmd::new("kill").arg(pid.trim()).run();
        }
        // What conmon starts when a container has ended may not have come to its own end.
        let end = Instant::now() + Duration::from_secs(10);
        while !self.scratch.processes().is_empty() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        engine::remove_cgroups(CGROUP);
    }
}

/// A script that makes the machine know a user with a range of ids, for the command that it then runs and nobody else.
fn become_user(scratch: &Scratch) -> PathBuf {
    let with = |file: &str, line: &str| {
        let name = file.replace('/', "_");
        scratch.file(&name, fs::read_to_string(file).unwrap_or_default() + line);
        format!("mount --bind {} {file}\n", scratch.work().join(name).display())
    };
    let home = scratch.work().display().to_string();
    let mut script = with("/etc/passwd", &format!("appc:x:{USER}:{USER}::{home}:/bin/sh\n"));
    script += &with("/etc/group", &format!("appc:x:{USER}:\n"));
    script += &with("/etc/subuid", "appc:700000:65536\n");
    script += &with("/etc/subgid", "appc:700000:65536\n");
    script += &format!("exec setpriv --reuid {USER} --regid {USER} --clear-groups -- \"$@\"\n");
    scratch.file("become-user", script)
}

fn lines(outcome: &Outcome) -> Vec<&str> {
    outcome.stdout.lines().collect()
}

fn runs_and_tells_how_it_ended(podman: &Podman) {
    let outcome = podman.run("--rm --hostname pod", "hostname; echo $FROM_IMAGE; echo wrong >&2; exit 3").exits(3);
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("pod\nyes\n", "wrong\n"));
    podman.run("--rm", "sh -c 'kill -9 $$'; exit $?").exits(137);
    assert_eq!(podman.run("--rm -i", "cat").input("through\n").ok().stdout, "through\n");
    let missing = |program: &str| podman.command(&format!("run --rm --network none {IMAGE} {program}"));
    missing("/no/such").exits(127).says(&["no such file or directory"]);
    missing("nonesuch").exits(127).says(&["executable file", "not found"]);
    missing("/etc/passwd").exits(126).says(&["ermission denied"]);
}

fn is_what_podman_says_it_runs(podman: &Podman) {
    podman.run("-d --name one", "sleep 1000").ok();
    assert_eq!(podman.inspect("one", ".OCIRuntime"), "rkt-oci");
    let info = podman.command("info --format").arg("{{.Host.OCIRuntime.Name}} {{.Host.OCIRuntime.Version}}").ok();
    info.prints(&["rkt-oci rkt-oci version "]);
}

fn a_terminal_is_the_callers(podman: &Podman) {
    let mut shell = Terminal::start(&podman.command(&format!("run --rm -it --network none {IMAGE} sh")));
    shell.expect("# ");
    shell.resize(31, 97);
    shell.send(&format!("{}; test -t 0 && tty; echo $((6 * 7))\n", Terminal::until_it_is(31, 97)));
    shell.expect("31 97\r");
    shell.expect("/dev/pts/0");
    shell.expect("\r\n42\r\n");
    shell.send("exit 9\n");
    let ended = shell.wait();
    ended.require(ended.code() == 9, "the exit code");
}

fn privileges_and_files(podman: &Podman) {
    let script = "grep -E 'CapEff|NoNewPrivs' /proc/self/status | tr '\\t' ' '; id -u; id -G; touch /x || echo refused; \
                  echo x >/dev/shm/y && cat /dev/shm/y";
    let options = "--rm --cap-drop all --security-opt no-new-privileges --read-only --user 1000:2000 --group-add 2001";
    let outcome = podman.run(options, script).ok();
    let wanted = ["CapEff: 0000000000000000", "NoNewPrivs: 1", "1000", "2000 2001", "refused", "x"];
    assert_eq!(lines(&outcome), wanted);
    let volume = podman.scratch.path().join("image-root/etc");
    let outcome =
        podman.run(&format!("--rm -v {}:/host:ro", volume.display()), "cat /host/group; touch /host/x || echo no").ok();
    assert!(outcome.stdout.starts_with("root:x:0:") && outcome.stdout.ends_with("no\n"), "{}", outcome.stdout);
    podman.run("--rm -v kept:/data", "echo kept >/data/file").ok();
    assert_eq!(podman.run("--rm -v kept:/data", "cat /data/file").ok().stdout, "kept\n");
}

fn stops_restarts_and_logs(podman: &Podman) {
    let script = "trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.05; done";
    podman.run("-d --name one", script).ok();
    let end = Instant::now() + Duration::from_secs(10);
    while podman.command("logs one").ok().stdout != "up\n" {
        assert!(Instant::now() < end, "it does not come up");
    }
    podman.command("stop one").ok();
    assert_eq!(podman.inspect("one", ".State.ExitCode"), "5");
    podman.command("start one").ok();
    assert_eq!(podman.inspect("one", ".State.Status"), "running");
    podman.command("kill one").ok();
    podman.until("one", ".State.ExitCode", "137");
    podman.run("-d --name two --restart on-failure:2", "exit 1").ok();
    podman.until("two", ".RestartCount", "2");
}

fn pods_share_namespaces(podman: &Podman) {
    podman.command("pod create --name pod --hostname shared --network none").ok();
    let member =
        |options: &str, script: &str| podman.command(&format!("run --pod pod {options} {IMAGE} sh -c")).arg(script);
    member("-d --name one", "nc -l -p 7777 -e echo hello; sleep 1000").ok();
    let talk = "hostname; while ! nc 127.0.0.1 7777; do sleep 0.05; done";
    assert_eq!(lines(&member("--rm", talk).ok()), ["shared", "hello"]);
    podman
        .command("pod ps --format")
        .arg("{{.Name}} {{.Status}} {{.NumberOfContainers}}")
        .ok()
        .prints(&["pod Running 2"]);
    podman.command("pod stop --time 0 pod").ok();
    podman.command("pod start pod").ok();
    assert_eq!(podman.inspect("one", ".State.Status"), "running");
    podman.command("pod rm --force --time 0 pod").ok();
}

fn plays_kubernetes(podman: &Podman) {
    let container = |name: &str, script: &str| {
        format!(
            "  - name: {name}\n    image: {IMAGE}\n    command: [sh, -c, '{script}']\n    \
             volumeMounts: [{{name: shared, mountPath: /shared}}]\n"
        )
    };
    let yaml = "apiVersion: v1\nkind: Pod\nmetadata: {name: played}\nspec:\n  volumes:\n  - name: shared\n    \
                emptyDir: {}\n  containers:\n"
        .to_owned()
        + &container("writer", "echo from the writer >/shared/file; sleep 1000")
        + &container("reader", "while ! cat /shared/file; do sleep 0.05; done; hostname; sleep 1000");
    podman.scratch.file("pod.yaml", yaml);
    podman.command("play kube --network none pod.yaml").ok();
    let end = Instant::now() + Duration::from_secs(20);
    while podman.command("logs played-reader").ok().stdout != "from the writer\nplayed\n" {
        assert!(Instant::now() < end, "{:?}", podman.command("logs played-reader").ok());
    }
    podman.command("play kube --down pod.yaml").timeout(Duration::from_secs(60)).ok();
    assert_eq!(podman.command("ps -aq").ok().stdout, "");
}

fn exec_in_a_running_container(podman: &Podman) {
    podman.run("-d --name one --env OF=container", "echo $$ >/tmp/first; sleep 1000").ok();
    let script = "echo $OF $ALSO; id -u; pwd; cat /tmp/first; cat; exit 4";
    let exec = podman.command("exec -i --env ALSO=exec --user 1000 --workdir /tmp one sh -c").arg(script);
    assert_eq!(exec.input("in\n").exits(4).stdout, "container exec\n1000\n/tmp\n1\nin\n");
    podman.command("exec one /no/such").exits(127).says(&["no such file or directory"]);
    podman.command("exec one nonesuch").exits(127).says(&["executable file", "not found"]);
    podman.command("exec one /etc/passwd").exits(126).says(&["ermission denied"]);
    let mut shell = Terminal::start(&podman.command("exec -it one sh"));
    shell.expect("# ");
    shell.resize(33, 99);
    shell.send(&format!("{}; exit 8\n", Terminal::until_it_is(33, 99)));
    shell.expect("33 99\r");
    let ended = shell.wait();
    ended.require(ended.code() == 8, "the exit code");
}

fn health_is_checked(podman: &Podman) {
    let check = "--health-interval disable --health-retries 1 --health-cmd";
    podman.run(&format!("-d --name one {check} true"), "sleep 1000").ok();
    podman.command("healthcheck run one").ok();
    assert_eq!(podman.inspect("one", ".State.Health.Status"), "healthy");
    podman.run(&format!("-d --name two {check} false"), "sleep 1000").ok();
    podman.command("healthcheck run two").exits(1);
    assert_eq!(podman.inspect("two", ".State.Health.Status"), "unhealthy");
}

fn pauses_and_changes_limits(podman: &Podman) {
    podman.run("-d --name one --memory 64m", "sleep 1000").ok();
    podman.command("pause one").ok();
    assert_eq!(podman.inspect("one", ".State.Status"), "paused");
    podman.command("exec one true").exits(255);
    podman.command("unpause one").ok();
    podman.command("update --memory 32m one").ok();
    let limit = podman.command("exec one cat /sys/fs/cgroup/memory/memory.limit_in_bytes").ok();
    assert_eq!(limit.text(), "33554432");
    podman.command("top one pid args").ok().prints(&["sleep 1000"]);
    podman.command("stats --no-stream --format").arg("{{.MemUsage}} {{.PIDs}}").arg("one").ok().prints(&["MB 1"]);
}

fn limits_of_memory_and_tasks(podman: &Podman) {
    let script = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes pids/pids.max";
    assert_eq!(lines(&podman.run("--rm --memory 64m --pids-limit 77", script).ok()), ["67108864", "77"]);
    let fill = "x=x; while :; do x=$x$x; done";
    podman.run("--rm --memory 16m --memory-swap 16m", fill).exits(137);
}

fn users_of_its_own(podman: &Podman) {
    let mapped = podman.run("--rm --uidmap 0:100000:5000 --gidmap 0:100000:5000", "cat /proc/self/uid_map; id -u").ok();
    let words: Vec<&str> = mapped.stdout.split_whitespace().collect();
    assert_eq!(words, ["0", "100000", "5000", "0"]);
}

fn a_network_of_the_user(podman: &Podman) {
    let command = podman.command(&format!("run --rm --network slirp4netns {IMAGE} ip address show tap0"));
    command.ok().prints(&["10.0.2.100"]);
    let map = podman.run("--rm", "cat /proc/self/uid_map").ok();
    assert_eq!(map.stdout.split_whitespace().take(6).collect::<Vec<_>>(), ["0", "64242", "1", "1", "700000", "65536"]);
}

fn an_image_that_acbuild_built(podman: &Podman) {
    let built = engine::built_by_acbuild("oci-archive");
    podman.command("load -q -i").arg(built.work().join("built.tar")).ok();
    let ran = podman.command("run --rm --network none example.com/built:1").run();
    assert!(ran.stdout == "by acbuild\n" && ran.code() == 1, "{ran:#?}");
}

fn main() {
    needs!(root, "podman", "conmon", "busybox", "setsid", "newuidmap", "slirp4netns", "unshare", "setpriv");
    let host = HostState::new();
    let mut good = true;
    let root = Podman::new(false);
    good &= support::cases::run(
        &root,
        cases![
            runs_and_tells_how_it_ended,
            is_what_podman_says_it_runs,
            an_image_that_acbuild_built,
            a_terminal_is_the_callers,
            privileges_and_files,
            stops_restarts_and_logs,
            pods_share_namespaces,
            plays_kubernetes,
            limits_of_memory_and_tasks,
            users_of_its_own,
            exec_in_a_running_container,
            health_is_checked,
            pauses_and_changes_limits,
        ],
        Podman::clear,
    );
    drop(root);
    let user = Podman::new(true);
    good &= support::cases::run(
        &user,
        cases![
            runs_and_tells_how_it_ended,
            is_what_podman_says_it_runs,
            a_terminal_is_the_callers,
            privileges_and_files,
            stops_restarts_and_logs,
            pods_share_namespaces,
            plays_kubernetes,
            exec_in_a_running_container,
            health_is_checked,
            a_network_of_the_user,
        ],
        Podman::clear,
    );
    drop(user);
    host.check();
    std::process::exit(i32::from(!good));
}
