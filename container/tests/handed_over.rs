//! Descriptors and sockets that callers hand to a container, and get from it.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::os::unix::net::{UnixDatagram, UnixListener};
use std::thread::JoinHandle;
use std::time::Duration;

use common::Bundle;
use common::descriptors::{receive, with_descriptors};
use serde_json::json;
use support::{Cmd, HostState, needs};

#[test]
fn preserved_descriptors_come_after_the_sockets_to_listen_on() {
    needs!(root, "busybox");
    let bundle =
        Bundle::new("echo $LISTEN_FDS $LISTEN_PID $$; cat <&3; cat <&4; cat <&5; ls /proc/self/fd | tr '\\n' ' '");
    let run = bundle.command(["run", "--preserve-fds", "1", "test"]);
    let listen = "export LISTEN_PID=$$ LISTEN_FDS=2; ";
    let seen = with_descriptors(&bundle, run.clone(), &[3, 4, 5, 6], listen).ok().stdout;
    assert_eq!(seen, "2 1 1\nthis is 3\nthis is 4\nthis is 5\n0 1 2 3 4 5 6 ", "6 is the listing's own");
    // They are somebody else's.
    let other = "export LISTEN_PID=1 LISTEN_FDS=2; ";
    let seen = with_descriptors(&bundle, run.clone(), &[3, 4, 5], other).run().stdout;
    assert!(seen.starts_with("1\nthis is 3\n"), "{seen}");
    with_descriptors(&bundle, run.clone(), &[3, 4], listen).refused(1, &["unable to stat preserved-fd 5 (of 1)"]);
    with_descriptors(&bundle, run, &[3], listen).refused(1, &["unable to stat LISTEN_FDS 4 (of 2)"]);
    bundle.nothing_left();
}

#[test]
fn the_callers_sockets_are_numbered_for_the_container() {
    needs!(root, "busybox");
    // In the host's pid namespace it is not number 1.
    let mut bundle = Bundle::new("[ $LISTEN_PID = $$ ] && [ $$ != 1 ] && echo right");
    bundle.config["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "pid");
    let run = bundle.run();
    with_descriptors(&bundle, run, &[3], "export LISTEN_PID=$$ LISTEN_FDS=1; ").ok().prints(&["right"]);
}

/// Accepts one connection and says what came with it, and which process the descriptor stands for.
fn pidfd_receiver(bundle: &Bundle) -> JoinHandle<(String, String)> {
    let listener = UnixListener::bind(bundle.scratch.work().join("pidfd.sock")).unwrap();
    std::thread::spawn(move || {
        let (connection, _) = listener.accept().unwrap();
        let (text, fds) = receive(&connection);
        let info = format!("/proc/self/fdinfo/{}", std::os::fd::AsRawFd::as_raw_fd(&fds[0]));
        let info = std::fs::read_to_string(info).unwrap();
        let pid = info.lines().find_map(|line| line.strip_prefix("Pid:")).unwrap().trim().to_owned();
        (text, pid)
    })
}

#[test]
fn a_descriptor_of_the_first_process_is_sent() {
    needs!(root, "busybox");
    let bundle = Bundle::new("sleep 1000");
    let receiver = pidfd_receiver(&bundle);
    bundle.command(["create", "--pidfd-socket", "pidfd.sock", "test"]).ok();
    let pid = bundle.command(["state", "test"]).ok().json()["pid"].to_string();
    assert_eq!(receiver.join().unwrap(), ("standard".to_owned(), pid));
    bundle.command(["delete", "--force", "test"]).ok();
    bundle.command(["run", "--pidfd-socket", "nobody.sock", "test"]).refused(1, &["nobody.sock: no such file"]);
    bundle.nothing_left();
}

/// A manager of services: collects messages up to the barrier.
fn manager(bundle: &Bundle) -> JoinHandle<Vec<String>> {
    let socket = UnixDatagram::bind(bundle.scratch.work().join("host.sock")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    std::thread::spawn(move || {
        let mut messages = Vec::new();
        loop {
            let (text, fds) = receive(&socket);
            let last = text.starts_with("BARRIER");
            messages.push(text);
            if last {
                assert_eq!(fds.len(), 1, "what to close");
                return messages;
            }
        }
    })
}

/// Sends `READY=1`, which busybox has no program for.
const NOTIFY: &str = "echo $NOTIFY_SOCKET; sleep 0.2; /bin/notify; ";

/// A bundle with a program that notifies; it is linked statically, like the shell.
fn notifying(script: &str) -> Bundle {
    let bundle = Bundle::new(&format!("{NOTIFY}{script}"));
    let source = bundle.scratch.file(
        "notify.c",
        r#"#include <stdlib.h>
        #include <string.h>
        #include <sys/socket.h>
        #include <sys/un.h>
        int main(void) {
            struct sockaddr_un to = {AF_UNIX};
            strncpy(to.sun_path, getenv("NOTIFY_SOCKET"), sizeof to.sun_path - 1);
            int s = socket(AF_UNIX, SOCK_DGRAM, 0);
            const char *text = "STATUS=soon";
            sendto(s, text, strlen(text), 0, (struct sockaddr *)&to, sizeof to);
            text = "STATUS=up\nREADY=1\n";
            return sendto(s, text, strlen(text), 0, (struct sockaddr *)&to, sizeof to) < 0;
        }"#,
    );
    Cmd::new("/usr/bin/cc").args(["-static", "-o"]).arg(bundle.rootfs("bin/notify")).arg(source).ok();
    bundle
}

#[test]
fn readiness_is_passed_on_by_run() {
    needs!(root, "busybox", "cc");
    let host = HostState::new();
    let mut bundle = notifying("true");
    bundle.config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    let manager = manager(&bundle);
    let mut command = bundle.run().env("NOTIFY_SOCKET", bundle.scratch.work().join("host.sock")).spawn();
    let pid = command.pid();
    command.expect("/run/notify/notify.sock");
    let outcome = command.wait();
    outcome.require(outcome.code() == 0, "success");
    assert_eq!(manager.join().unwrap(), ["READY=1\n".to_owned(), format!("MAINPID={pid}\n"), "BARRIER=1".to_owned()]);
    bundle.nothing_left();
    host.check();
}

#[test]
fn readiness_is_waited_for_by_detached_commands() {
    needs!(root, "busybox", "cc");
    let bundle = notifying("sleep 1000");
    let host = bundle.scratch.work().join("host.sock");
    for start in [&["run"][..], &["create", "start"][..]] {
        let manager = manager(&bundle);
        for command in start {
            let command: Vec<&str> = if *command == "run" { vec!["run", "--detach"] } else { vec![command] };
            bundle.command([]).args(command).arg("test").env("NOTIFY_SOCKET", &host).ok();
        }
        let pid = bundle.command(["state", "test"]).ok().json()["pid"].to_string();
        let wanted = ["READY=1\n".to_owned(), format!("MAINPID={pid}\n"), "BARRIER=1".to_owned()];
        assert_eq!(manager.join().unwrap(), wanted, "{start:?}");
        bundle.command(["delete", "--force", "test"]).ok();
        std::fs::remove_file(&host).unwrap();
    }
    bundle.nothing_left();
}

#[test]
fn a_manager_that_is_gone_is_told_of_but_no_reason_to_fail() {
    needs!(root, "busybox", "cc");
    let bundle = notifying("true");
    let outcome = bundle.run().env("NOTIFY_SOCKET", "/no/such/socket").ok();
    outcome.says(&["notify /no/such/socket (NOTIFY_SOCKET): no such file or directory"]);
    bundle.nothing_left();
}
