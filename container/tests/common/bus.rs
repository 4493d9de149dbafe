//! In the place of systemd a bus that writes down what it is asked.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// The methods that were called, with their arguments as they were sent.
#[derive(Clone, Default)]
pub(crate) struct Calls(Arc<Mutex<Vec<Call>>>);

/// The name and the body.
type Call = (String, Vec<u8>);

impl Calls {
    /// Answers at `path` until the test ends. Units are refused when `refuse`.
    pub(crate) fn listen(path: &Path, refuse: bool) -> Calls {
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
    pub(crate) fn of(&self, member: &str) -> Vec<String> {
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
