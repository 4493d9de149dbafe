//! Terminals, the caller's and the container's: item 19.

use std::os::unix::net::UnixListener;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;
use support::{Cmd, Terminal, needs};

use crate::attack::Attack;

/// Types into the terminal that is its standard input, if it may.
const TIOCSTI: &str = "#include <stdio.h>\n#include <sys/ioctl.h>\n#include <fcntl.h>\n\
    int main(void) { const char *t = \"echo typed\\n\"; int ok = 0; int tty = open(\"/dev/tty\", O_RDWR);\n\
    for (; *t; t++) { ok |= !ioctl(0, TIOCSTI, t); ok |= tty >= 0 && !ioctl(tty, TIOCSTI, t); }\n\
    puts(ok ? \"could type\" : \"could not type\"); return 0; }\n";

#[test]
fn item_19_nothing_is_typed_into_the_callers_terminal() {
    needs!(root, "busybox", "setsid", "cc");
    let mut attack = Attack::new("/bin/type; true");
    let source = attack.scratch.file("type.c", TIOCSTI);
    Cmd::new("cc").args(["-static", "-o"]).arg(attack.rootfs("bin/type")).arg(source).ok();
    // With the caller's terminal as its standard input, but in a session of its own.
    let terminal = Terminal::start(&attack.run());
    let outcome = terminal.wait();
    outcome.prints(&["could not type"]);
    // With a terminal of its own it may type to itself at most: nothing of it arrives outside.
    attack.config["process"]["terminal"] = json!(true);
    let line = attack.run().line();
    let mut shell = Terminal::start(&Cmd::new("sh").cwd(attack.scratch.work()));
    shell.send(&format!("{line}; echo 'd'one\n"));
    shell.expect("\r\ndone\r\n");
    shell.send("exit\n");
    let outcome = shell.wait();
    outcome.require(!outcome.stdout.contains("\r\ntyped\r\n"), "nothing typed outside");
}

#[test]
fn item_19_console_sockets_that_are_none() {
    needs!(root, "busybox");
    let mut attack = Attack::new("true");
    attack.config["process"]["terminal"] = json!(true);
    let file = attack.scratch.file("file", "");
    let long = attack.scratch.path().join("x".repeat(120));
    let missing = attack.scratch.path().join("missing");
    for socket in [&file, &long, &missing, &attack.scratch.path().to_owned()] {
        attack.command(["create", "--console-socket"]).arg(socket).arg("test").refused(1, &["terminal"]);
        attack.nothing_left();
    }
}

#[test]
fn item_19_a_console_socket_that_nobody_reads() {
    needs!(root, "busybox");
    let mut attack = Attack::new("echo; sleep 1000");
    attack.config["process"]["terminal"] = json!(true);
    let path = attack.scratch.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    for garbage in [false, true] {
        let writer = garbage.then(|| {
            let listener = listener.try_clone().unwrap();
            std::thread::spawn(move || {
                use std::io::Write;
                let mut connection = listener.accept().unwrap().0;
                // What the other side says is nothing that is listened to.
                let _closed = connection.write_all(&[0xff; 4096]);
            })
        });
        let command = attack.command(["create", "--console-socket"]).arg(&path).arg("test");
        command.timeout(Duration::from_secs(20)).ok();
        attack.command(["start", "test"]).ok();
        attack.command(["delete", "-f", "test"]).ok();
        if let Some(writer) = writer {
            // The first of the two connections is the one that was never read.
            drop(std::os::unix::net::UnixStream::connect(&path));
            writer.join().unwrap();
        }
    }
}

#[test]
fn item_19_a_storm_of_window_changes() {
    needs!(root, "busybox", "setsid");
    let mut attack = Attack::new("trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done");
    attack.config["process"]["terminal"] = json!(true);
    let mut terminal = Terminal::start(&attack.run());
    terminal.expect("ready");
    for n in 0..2000_u16 {
        terminal.resize(20 + n % 50, 80);
        terminal.signal(Signal::WINCH);
    }
    attack.command(["kill", "test", "TERM"]).ok();
    let outcome = terminal.wait();
    outcome.require(outcome.code() == 5, "the exit code of the program");
}
