//! A connection to the message bus of the system or of a user. It starts no thread: the engine copies its process.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::Duration;

use super::wire::{Call, ERROR, Message, REPLY, START, Value, length};

/// As long as runc waits for systemd.
const PATIENCE: Duration = Duration::from_secs(30);
/// No answer of systemd's is longer.
const MESSAGE_MAX: usize = 1 << 20;
const SYSTEMD: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const BUS: &str = "org.freedesktop.DBus";

/// An open connection.
pub(super) struct Bus {
    stream: BufReader<UnixStream>,
    serial: u32,
    /// Jobs that ended while an answer was waited for, and how.
    ended: Vec<(String, String)>,
}

/// Why systemd did not do it.
#[derive(Debug)]
pub(super) enum Failure {
    Connection(io::Error),
    /// The error's name and its text.
    Refused(String, String),
}

impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Failure {
        Failure::Connection(e)
    }
}

impl Failure {
    pub(super) fn is(&self, name: &str) -> bool {
        matches!(self, Failure::Refused(found, _) if found.ends_with(name))
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Connection(e) => write!(f, "{}", crate::error::errno_text(e)),
            Failure::Refused(name, text) if text.is_empty() => write!(f, "{name}"),
            Failure::Refused(_, text) => write!(f, "{text}"),
        }
    }
}

type Result<T> = std::result::Result<T, Failure>;

impl Bus {
    /// Connects to the bus of the system, or of this user.
    pub(super) fn connect(user: bool) -> Result<Bus> {
        let stream = open(&address(user))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut bus = Bus { stream: BufReader::new(stream), serial: 0, ended: Vec::new() };
        bus.authenticate()?;
        bus.call(BUS, "/org/freedesktop/DBus", BUS, "Hello", &[])?;
        Ok(bus)
    }

    /// The kernel tells the other side who we are; it only wants to hear it.
    fn authenticate(&mut self) -> io::Result<()> {
        let uid = rustix::process::geteuid().as_raw().to_string();
        let uid: String = uid.bytes().map(|b| format!("{b:02x}")).collect();
        self.write(format!("\0AUTH EXTERNAL {uid}\r\n").as_bytes())?;
        let mut line = String::new();
        (&mut self.stream).take(4096).read_line(&mut line)?;
        if !line.starts_with("OK ") {
            return Err(io::Error::other("the bus does not accept this user"));
        }
        self.write(b"BEGIN\r\n")
    }

    /// Calls a method of systemd's manager.
    pub(super) fn manager(&mut self, member: &str, arguments: &[Value]) -> Result<Message> {
        self.call(SYSTEMD, MANAGER_PATH, MANAGER, member, arguments)
    }

    /// A text property of the manager.
    pub(super) fn manager_property(&mut self, name: &str) -> Result<String> {
        let arguments = [Value::text(MANAGER), Value::text(name)];
        let reply = self.call(SYSTEMD, MANAGER_PATH, "org.freedesktop.DBus.Properties", "Get", &arguments)?;
        let mut body = reply.body();
        match (body.short_text().as_deref(), body.text()) {
            (Some("s"), Some(text)) => Ok(text),
            _ => Err(malformed().into()),
        }
    }

    /// Asks to be told when jobs end.
    pub(super) fn watch_jobs(&mut self) -> Result<()> {
        let rule = format!("type='signal',interface='{MANAGER}',member='JobRemoved'");
        self.call(BUS, "/org/freedesktop/DBus", BUS, "AddMatch", &[Value::text(rule)])?;
        match self.manager("Subscribe", &[]) {
            Err(Failure::Refused(..)) => Ok(()),
            done => done.map(drop),
        }
    }

    /// Waits for a job to end, and says how: `done` when it went well.
    pub(super) fn job(&mut self, reply: &Message) -> Result<String> {
        let path = reply.body().text().ok_or_else(malformed)?;
        loop {
            if let Some((_, result)) = self.ended.iter().find(|(job, _)| *job == path) {
                return Ok(result.clone());
            }
            self.receive()?;
        }
    }

    fn call(&mut self, to: &str, path: &str, interface: &str, member: &str, arguments: &[Value]) -> Result<Message> {
        self.serial += 1;
        let serial = self.serial;
        let call = Call { destination: to, path, interface, member, arguments };
        self.write(&call.encode(serial))?;
        loop {
            let message = self.receive()?;
            if message.reply_to != serial {
                continue;
            }
            match message.kind {
                REPLY => return Ok(message),
                ERROR => {
                    let text = message.body().text().unwrap_or_default();
                    return Err(Failure::Refused(message.error, text));
                }
                _ => {}
            }
        }
    }

    fn receive(&mut self) -> io::Result<Message> {
        let mut start = [0; START];
        self.stream.read_exact(&mut start)?;
        let length = length(&start);
        if length > MESSAGE_MAX {
            return Err(malformed());
        }
        let mut bytes = start.to_vec();
        bytes.resize(length, 0);
        self.stream.read_exact(&mut bytes[START..])?;
        let message = Message::decode(&bytes).ok_or_else(malformed)?;
        if message.member == "JobRemoved" {
            // id, job, unit, result
            let mut body = message.body();
            if let (Some(_), Some(job), Some(_), Some(result)) = (body.u32(), body.text(), body.text(), body.text()) {
                self.ended.push((job, result));
            }
        }
        Ok(message)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the bus sent what is no message")
}

fn address(user: bool) -> String {
    let set = |name| std::env::var(name).ok().filter(|v| !v.is_empty());
    match user {
        false => set("DBUS_SYSTEM_BUS_ADDRESS").unwrap_or_else(|| "unix:path=/run/dbus/system_bus_socket".to_owned()),
        true => set("DBUS_SESSION_BUS_ADDRESS")
            .unwrap_or_else(|| format!("unix:path={}/bus", set("XDG_RUNTIME_DIR").unwrap_or_default())),
    }
}

/// `unix:path=/x,guid=…;unix:abstract=y`
fn open(address: &str) -> io::Result<UnixStream> {
    let mut why = io::Error::other(format!("{address:?} is not the address of a bus"));
    for transport in address.split(';').filter_map(|one| one.strip_prefix("unix:")) {
        for (key, value) in transport.split(',').filter_map(|pair| pair.split_once('=')) {
            let connected = match key {
                "path" => UnixStream::connect(value),
                "abstract" => SocketAddr::from_abstract_name(value).and_then(|a| UnixStream::connect_addr(&a)),
                _ => continue,
            };
            match connected {
                Ok(stream) => return Ok(stream),
                Err(e) => {
                    why = io::Error::new(e.kind(), format!("connect to {value}: {}", crate::error::errno_text(&e)))
                }
            }
        }
    }
    Err(why)
}
