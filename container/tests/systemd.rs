//! Cgroups made by systemd; in its place a bus that writes down what it is asked.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use common::Bundle;
use serde_json::json;
use support::{HostState, needs};

/// The methods that were called, with their arguments as they were sent.
#[derive(Clone, Default)]
struct Calls(Arc<Mutex<Vec<Call>>>);

/// The name and the body.
type Call = (String, Vec<u8>);

impl Calls {
    /// Answers at `path` until the test ends. Units are refused when `refuse`.
    fn listen(path: &Path, refuse: bool) -> Calls {
        let listener = UnixListener::bind(path).unwrap();
        let calls = Calls::default();
        let all = calls.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let all = all.clone();
                std::thread::spawn(move || all.serve(stream.unwrap(), refuse));
            }
        });
        calls
    }

    fn serve(&self, mut stream: UnixStream, refuse: bool) -> Option<()> {
        let mut line = Vec::new();
        while !line.ends_with(b"BEGIN\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).ok()?;
            line.push(byte[0]);
            if line.ends_with(b"\r\n") && line.starts_with(b"\0AUTH EXTERNAL 30") && !line.ends_with(b"BEGIN\r\n") {
                stream.write_all(b"OK 0123456789abcdef\r\n").ok()?;
            }
        }
        loop {
            let (serial, member, body) = receive(&mut stream)?;
            self.0.lock().unwrap().push((member.clone(), body));
            match member.as_str() {
                "StartTransientUnit" if refuse => {
                    let name = text(4, "org.freedesktop.systemd1.BadUnitSetting");
                    stream
                        .write_all(&message(3, serial, &[name, (8, b'g', b"s".to_vec())], &string("no such thing")))
                        .ok()?;
                }
                "StartTransientUnit" | "StopUnit" => {
                    let job = string("/job/7");
                    stream.write_all(&message(2, serial, &[(8, b'g', b"o".to_vec())], &job)).ok()?;
                    let mut body = 7u32.to_le_bytes().to_vec();
                    for part in ["/job/7", "x.scope", "done"] {
                        body.resize(body.len().next_multiple_of(4), 0);
                        body.extend(string(part));
                    }
                    let fields = [text(3, "JobRemoved"), (8, b'g', b"uoss".to_vec())];
                    stream.write_all(&message(4, 0, &fields, &body)).ok()?;
                }
                _ => stream.write_all(&message(2, serial, &[], &[])).ok()?,
            }
        }
    }

    /// What came with the calls of `member`, as far as it can be read.
    fn of(&self, member: &str) -> Vec<String> {
        let calls = self.0.lock().unwrap();
        let bodies = calls.iter().filter(|(name, _)| name == member).map(|(_, body)| body);
        bodies.map(|body| String::from_utf8_lossy(body).into_owned()).collect()
    }
}

type Field = (u8, u8, Vec<u8>);

fn string(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u32).to_le_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes.push(0);
    bytes
}

fn text(code: u8, text: &str) -> Field {
    (code, b's', string(text))
}

fn message(kind: u8, reply_to: u32, fields: &[Field], body: &[u8]) -> Vec<u8> {
    let mut all: Vec<Field> = fields.to_vec();
    if reply_to > 0 {
        all.push((5, b'u', reply_to.to_le_bytes().to_vec()));
    }
    let mut bytes = Vec::new();
    for (code, kind, value) in all {
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes.extend([code, 1, kind, 0]);
        match kind {
            b'g' => {
                bytes.push(value.len() as u8);
                bytes.extend(value);
                bytes.push(0);
            }
            _ => bytes.extend(value),
        }
    }
    let mut whole = vec![b'l', kind, 0, 1];
    for number in [body.len() as u32, 1, bytes.len() as u32] {
        whole.extend(number.to_le_bytes());
    }
    whole.extend(bytes);
    whole.resize(whole.len().next_multiple_of(8), 0);
    whole.extend(body);
    whole
}

fn receive(stream: &mut UnixStream) -> Option<(u32, String, Vec<u8>)> {
    let mut start = [0; 16];
    stream.read_exact(&mut start).ok()?;
    let number = |at: usize| u32::from_le_bytes(start[at..at + 4].try_into().unwrap()) as usize;
    let mut fields = vec![0; number(12).next_multiple_of(8)];
    stream.read_exact(&mut fields).ok()?;
    let mut body = vec![0; number(4)];
    stream.read_exact(&mut body).ok()?;
    // The member's name: field 3, a string.
    let at = (0..fields.len()).step_by(8).find(|&at| fields[at..].starts_with(&[3, 1, b's', 0]))?;
    let length = u32::from_le_bytes(fields[at + 4..at + 8].try_into().unwrap()) as usize;
    let member = String::from_utf8(fields[at + 8..at + 8 + length].to_vec()).ok()?;
    Some((number(8) as u32, member, body))
}

#[test]
fn a_scope_of_systemds() {
    needs!(root, "busybox");
    let host = HostState::new();
    let mut bundle = Bundle::new("sleep 1000");
    let bus = bundle.scratch.path().join("bus");
    let calls = Calls::listen(&bus, false);
    let name = bundle.config["linux"]["cgroupsPath"].as_str().unwrap().to_lowercase().replace(['.', '-'], "");
    bundle.config["linux"]["cgroupsPath"] = json!(format!("rkttest-{name}.slice:pre:{name}"));
    bundle.config["linux"]["resources"]["pids"] = json!({"limit": 20});
    bundle.config["linux"]["resources"]["memory"] = json!({"limit": 64 << 20});
    bundle.config["annotations"] = json!({"org.systemd.property.TimeoutStopSec": "uint64 9"});
    let command = |arguments: &[&str]| {
        let address = format!("unix:path={}", bus.display());
        bundle.command(["--systemd-cgroup"]).args(arguments).env("DBUS_SYSTEM_BUS_ADDRESS", address)
    };
    command(&["create", "one"]).ok();
    let started = calls.of("StartTransientUnit");
    assert_eq!(started.len(), 1);
    for words in [
        &format!("pre-{name}.scope"),
        &format!("rkttest-{name}.slice"),
        "Delegate",
        "PIDs",
        "TasksMax",
        "DevicePolicy",
        "strict",
        "TimeoutStopUSec",
        "Memory",
    ] {
        assert!(started[0].contains(words), "{words}: {}", started[0]);
    }
    let pid = command(&["state", "one"]).ok().json()["pid"].clone();
    // The placeholder is gone.
    assert_eq!(command(&["ps", "-f", "json", "one"]).ok().json(), json!([pid]));
    let cgroups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let place = format!(":/rkttest.slice/rkttest-{name}.slice/pre-{name}.scope");
    assert!(cgroups.lines().all(|line| line.ends_with(&place)), "{cgroups}");
    command(&["update", "--pids-limit", "30", "one"]).ok();
    assert!(calls.of("SetUnitProperties")[0].contains("TasksMax"));
    command(&["start", "one"]).ok();
    command(&["delete", "--force", "one"]).ok();
    assert!(calls.of("StopUnit")[0].contains(&format!("pre-{name}.scope")));
    bundle.nothing_left();
    host.check();
}

#[test]
fn without_systemd_or_its_consent() {
    needs!(root, "busybox");
    let host = HostState::new();
    let mut bundle = Bundle::new("true");
    let bus = bundle.scratch.path().join("bus");
    let address = format!("unix:path={}", bus.display());
    let run = |bundle: &Bundle, words: &[&str]| {
        let run = bundle.command(["--systemd-cgroup", "run", "one"]);
        run.env("DBUS_SYSTEM_BUS_ADDRESS", &address).refused(1, words);
        bundle.nothing_left();
    };
    run(&bundle, &["expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups"]);
    bundle.config["linux"]["cgroupsPath"] = json!("rkttest.slice:pre:refused");
    run(&bundle, &["systemd: connect to its bus", "no such file or directory"]);
    Calls::listen(&bus, true);
    run(&bundle, &["systemd: start pre-refused.scope: no such thing"]);
    bundle.config["annotations"] = json!({"org.systemd.property.X1": "true"});
    run(&bundle, &["annotations[org.systemd.property.X1]"]);
    host.check();
}
