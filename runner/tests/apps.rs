//! What an app is given and what becomes of it.
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::fs;

use serde_json::json;
use support::{Fixture, ready};

#[test]
fn exit_codes_and_signals() {
    if !ready() {
        return;
    }
    let fixture = Fixture::shell();
    fixture.script(&[], &[], "exit 0").ok().prints("");
    fixture.script(&[], &[], "exit 7").exits(7);
    fixture.script(&[], &[], "kill -9 $$").exits(137);
    fixture.run(&["run", "sh.aci", "--exec=/bin/true"]).ok();
    fixture.run(&["run", "sh.aci", "--exec=true"]).ok();
    fixture.run(&["run", "sh.aci", "--exec=/no/such"]).refused("/no/such");
    assert!(fixture.pods().iter().all(|pod| pod["state"] == "exited"));
    assert_eq!(fixture.pods().len(), 5, "a pod that never started is not kept");
}

#[test]
fn an_image_on_top_of_another() {
    if !ready() {
        return;
    }
    let fixture = Fixture::shell();
    fixture.run(&["run", "sh.aci", "--exec=true"]).ok();
    let app = json!({"exec": ["/bin/cat", "/etc/passwd", "/etc/group"], "user": "0", "group": "0"});
    let on_top = json!([{"imageName": "example.com/sh", "labels": [{"name": "version", "value": "1.0"}]}]);
    fixture.image_with("top", app, on_top, |rootfs| fs::write(rootfs.join("etc/passwd"), "mine\n").unwrap());
    for how in [&["run"][..], &["run", "--no-overlay"]] {
        let args = [how, &["top.aci"]].concat();
        fixture.run(&args).ok().prints("mine\nroot:x:0:\nusers:x:100:\n");
    }
}

#[test]
fn environment_from_weak_to_strong() {
    if !ready() {
        return;
    }
    let fixture = Fixture::new();
    let names = ["INHERITED", "IMAGE", "APP", "FILE", "SET"];
    let of = |n: usize| names[n..].iter().map(|name| json!({"name": name, "value": "image"})).collect::<Vec<_>>();
    fixture.image("sh", json!({"exec": ["/bin/sh"], "user": "web", "group": "0", "environment": of(1)}));
    fs::write(fixture.path("env"), "# comment\nFILE=file\nSET=file\n").unwrap();
    let script =
        "echo $INHERITED $IMAGE $APP $FILE $SET; echo $HOME $USER $LOGNAME $SHELL $AC_APP_NAME $container $PATH";
    let mut command = fixture.rkt(&["run", "--inherit-env", "--set-env-file=env", "--set-env=SET=set", "sh.aci"]);
    command.args(["--environment=APP=app", "--environment=FILE=app", "--", "-c", script]);
    command.envs(names.map(|name| (name, "caller")));
    let output = command.env_remove("HOME").env_remove("SHELL").env("PATH", "/bin").output().unwrap();
    let first = "caller image app file set\n";
    let second = "/srv web web /bin/sh sh rkt /bin\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{first}{second}"), "{output:?}");
}

#[test]
fn users() {
    if !ready() {
        return;
    }
    let fixture = Fixture::shell();
    let id = "echo $(id -u) $(id -g) $(id -G)";
    let who = |flags: &[&str]| fixture.script(&[], flags, id).ok().stdout;
    assert_eq!(who(&[]), "0 0 0\n");
    assert_eq!(who(&["--user=web", "--group=users"]), "1000 100 100\n");
    assert_eq!(who(&["--user=4242", "--group=4343", "--supplementary-gids=7,8"]), "4242 4343 4343 7 8\n");
    assert_eq!(who(&["--user=/etc/passwd", "--group=/etc/passwd"]), "0 0 0\n");
    fixture.script(&[], &["--user=user2"], id).refused("\"user2\" user not found");
    fixture.script(&[], &["--group=none"], id).refused("\"none\" group not found");
    assert!(
        !fixture
            .script(&[], &["--user=web"], "cat /proc/self/status")
            .ok()
            .stdout
            .contains("CapEff:\t00000000a80425fb")
    );
}

#[test]
fn capabilities_and_isolators() {
    if !ready() {
        return;
    }
    let fixture = Fixture::shell();
    let bound = |flags: &[&str]| fixture.script(&[], flags, "grep CapBnd /proc/self/status").ok().stdout;
    assert_eq!(bound(&[]), "CapBnd:\t00000000a80425fb\n");
    assert_eq!(bound(&["--caps-retain=CAP_NET_ADMIN"]), "CapBnd:\t0000000000001000\n");
    assert_eq!(bound(&["--caps-remove=CAP_MKNOD,CAP_KILL"]), "CapBnd:\t00000000a00425db\n");
    let adjustment = fixture.script(&[], &["--oom-score-adj=333"], "cat /proc/self/oom_score_adj").ok();
    adjustment.prints("333\n");
    let seccomp = json!([{"name": "os/linux/seccomp-retain-set", "value": {"set": ["@appc.io/all"]}},
                         {"name": "os/linux/no-new-privileges", "value": true}]);
    fixture.image("iso", json!({"exec": ["/bin/grep", "NoNewPrivs", "/proc/self/status"], "user": "0", "group": "0", "isolators": seccomp}));
    let ended = fixture.run(&["run", "iso.aci"]).ok().says("os/linux/seccomp-retain-set is not enforced");
    ended.prints("NoNewPrivs:\t1\n");
}

#[test]
fn memory_has_an_end() {
    if !ready() {
        return;
    }
    let fixture = Fixture::shell();
    let take = "dd if=/dev/zero of=/dev/null bs=64M count=1";
    let ended = fixture.script(&[], &["--memory=16Mi"], take);
    assert_ne!(ended.code, Some(0), "{ended:?}");
    ended.says("ran out of memory").says("16777216 bytes");
    fixture.script(&[], &["--memory=256Mi"], take).ok();
}

#[test]
fn volumes() {
    if !ready() {
        return;
    }
    let fixture = Fixture::new();
    let points =
        json!([{"name": "data", "path": "/data"}, {"name": "config", "path": "/etc/config", "readOnly": true}]);
    fixture.image("sh", json!({"exec": ["/bin/sh"], "user": "0", "group": "0", "mountPoints": points}));
    let host = fixture.path("host");
    fs::create_dir(&host).unwrap();
    fs::write(host.join("file"), "from the host\n").unwrap();
    let volume = |name: &str, more: &str| format!("--volume={name},kind=host,source={}{more}", host.display());

    let script = "cat /data/file /etc/config/file; touch /etc/config/new || echo >/data/made";
    let ended = fixture.script(&[&volume("data", ""), &volume("config", "")], &[], script).ok();
    assert_eq!(ended.stdout, "from the host\nfrom the host\n", "{ended:?}");
    assert!(host.join("made").exists() && !host.join("new").exists());

    // What the volume says counts more than what the mount point says.
    let flags = [volume("data", ",readOnly=true"), volume("config", ",readOnly=false")];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    fixture.script(&flags, &[], "touch /etc/config/new && ! touch /data/not").ok();
    assert!(host.join("new").exists() && !host.join("not").exists());

    let ended = fixture.script(&[&volume("data", "")], &[], "echo >/etc/config/x || ls -ld /etc/config").ok();
    ended.says("no volume specified for mount point \"config\"");
    let empty = "--volume=scratch,kind=empty,mode=1770,uid=5,gid=6";
    let ended = fixture.script(
        &[empty, &volume("data", ""), &volume("config", "")],
        &["--mount=volume=scratch,target=/deep/er"],
        "stat -c '%a %u %g' /deep/er",
    );
    ended.ok().prints("1770 5 6\n");
    let ended = fixture
        .script(&["--volume=scratch,kind=empty"], &["--mount=volume=scratch,target=/etc"], "ls /etc; echo >/etc/x")
        .ok()
        .prints("config\n");
    ended.says("volume \"scratch\" hides what the image has in /etc");
    let ended = fixture.script(
        &["--volume=scratch,kind=empty"],
        &["--mount=volume=scratch,target=/etc/group"],
        "ls -d /etc/group/",
    );
    ended.ok().says("takes the place of the file /etc/group").prints("/etc/group/\n");
    fixture.script(&["--volume=data,kind=host,source=/no/such"], &[], "").refused("/no/such");
    fixture.script(&[], &["--mount=volume=lost,target=/x"], "").refused("lost");
}

#[test]
fn a_mount_target_that_is_a_link_stays_inside() {
    if !ready() {
        return;
    }
    let fixture = Fixture::new();
    let app = json!({"exec": ["/bin/sh"], "user": "0", "group": "0"});
    fixture.image_with("sh", app, json!([]), |rootfs| {
        std::os::unix::fs::symlink("/../../../../../../../../tmp", rootfs.join("link")).unwrap();
    });
    let mount = "--mount=volume=v,target=/link/inner";
    fixture.script(&["--volume=v,kind=empty"], &[mount], "echo >/link/inner/x && ls /tmp/inner").ok().prints("x\n");
    assert!(!std::path::Path::new("/tmp/inner").exists());
}

#[test]
fn the_root_file_system() {
    if !ready() {
        return;
    }
    let fixture = Fixture::shell();
    fixture.script(&[], &["--readonly-rootfs=true"], "! touch /x 2>/dev/null").ok();
    let script = "echo >/x; touch /proc/sys/kernel/hostname 2>/dev/null; ls /sys/firmware | grep -c .; grep -c localhost /etc/hosts";
    let ended = fixture.script(&[], &[], script);
    assert_eq!(ended.stdout, "0\n2\n", "{ended:?}");
    let mut command = fixture.rkt(&["run", "--interactive", "sh.aci"]);
    let output = command.stdin(fs::File::open(input(&fixture, "test -t 0 && exit 9\n")).unwrap()).output().unwrap();
    assert_eq!(output.status.code(), Some(9), "{output:?}");
    let write = fixture.script(&[], &[], "echo x >/proc/sysrq-trigger");
    assert_ne!(write.code, Some(0));
    let copied = fixture.script(&["--no-overlay"], &[], "grep ' / ' /proc/self/mounts; cat /etc/group").ok();
    assert!(!copied.stdout.contains("overlay") && copied.stdout.contains("users"), "{copied:?}");
}

#[test]
fn handlers_go_around_the_app() {
    if !ready() {
        return;
    }
    let fixture = Fixture::new();
    let say = |text: &str| json!(["/bin/sh", "-c", format!("echo {text} $(id -u) $(cat /kept); echo {text} >>/kept")]);
    let handlers = json!([{"name": "pre-start", "exec": say("pre")}, {"name": "post-stop", "exec": say("post")}]);
    fixture.image("sh", json!({"exec": ["/bin/sh"], "user": "web", "group": "0", "eventHandlers": handlers}));
    fixture.script(&[], &[], "echo main; exit 4").exits(4).prints("pre 0\nmain\npost 0 pre\n");
    fixture.script(&["--no-overlay"], &[], "echo main").ok().prints("pre 0\nmain\npost 0 pre\n");
    let failing = json!([{"name": "pre-start", "exec": ["/bin/sh", "-c", "exit 9"]}]);
    fixture.image("sh", json!({"exec": ["/bin/sh"], "user": "0", "group": "0", "eventHandlers": failing}));
    fixture.script(&[], &[], "echo main").exits(9).prints("").says("pre-start");
    let missing = json!([{"name": "post-stop", "exec": ["/no/such"]}]);
    fixture.image("sh", json!({"exec": ["/bin/sh"], "user": "0", "group": "0", "eventHandlers": missing}));
    let ended = fixture.script(&[], &[], "echo main; exit 3").exits(3).prints("main\n");
    ended.says("run: app \"sh\": post-stop handler \"/no/such\": ");
    let missing = json!([{"name": "pre-start", "exec": ["/no/such"]}]);
    fixture.image("sh", json!({"exec": ["/bin/sh"], "user": "0", "group": "0", "eventHandlers": missing}));
    fixture.script(&[], &[], "echo main").refused("app \"sh\": pre-start handler \"/no/such\": ");
}

#[test]
fn a_program_that_is_not_there_is_told_before_the_handlers_run() {
    if !ready() {
        return;
    }
    let fixture = Fixture::new();
    let app = |program: &str, handler: &str| {
        let handlers = json!([{"name": "pre-start", "exec": ["/bin/sh", "-c", handler]}]);
        json!({"exec": [program], "user": "0", "group": "0", "eventHandlers": handlers})
    };
    for program in ["/bin/made", "made"] {
        fixture.image("app", app(program, "echo pre >&2"));
        let ended = fixture.run(&["run", "app.aci"]).exits(254);
        let told = ended.stderr.find("is not in the image: a pre-start handler has to make it");
        assert!(told.is_some() && told < ended.stderr.find("pre\n"), "{ended:?}");
        fixture.image("app", app(program, "echo '#!/bin/echo made by' >/bin/made && /bin/busybox chmod 755 /bin/made"));
        fixture.run(&["run", "app.aci"]).ok().says("is not in the image");
    }
    // One that is there, and one that a volume may have.
    fixture.image("app", app("echo", ":"));
    let ended = fixture.run(&["run", "app.aci"]).ok();
    assert_eq!(ended.stderr, "");
    fixture.image("app", app("/given/true", ":"));
    fs::create_dir(fixture.path("given")).unwrap();
    fs::copy(fixture.path("app.rootfs/bin/busybox"), fixture.path("given/true")).unwrap();
    let volume = format!("--volume=given,kind=host,source={}", fixture.path("given").display());
    let ended = fixture.run(&["run", &volume, "--mount=volume=given,target=/given", "app.aci"]).ok();
    assert_eq!(ended.stderr, "");
}

fn input(fixture: &Fixture, text: &str) -> std::path::PathBuf {
    let path = fixture.path("input");
    fs::write(&path, text).unwrap();
    path
}
