//! criu as a child that is asked one thing and asks back at every step.
//!
//! ```text
//!  we                                   criu swrk
//!   │ clone3 ─────────────────────────────▶ │ (still our own code)
//!   │                                       │ enters the cgroup
//!   │ ◀─────────────────────── ready, or why│ execve
//!   │ request: type, options ─────────────▶ │
//!   │ ◀──────────────── NOTIFY script (+fd) │ again and again
//!   │ NOTIFY success ─────────────────────▶ │
//!   │ ◀───────────── response: type, success│
//! ```
//! Packets of a `SOCK_SEQPACKET` socket, each one message of criu's `rpc.proto`.

use std::ffi::{CString, OsString};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::io::FdFlags;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendFlags, SocketFlags,
    SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::process::{WaitId, WaitIdOptions, waitid};

use super::wire::{Value, Writer, field, fields};
use crate::cgroup::Entry;
use crate::error::{Context, Error, Result};
use crate::fault;
use crate::sys::clone::{CloneFlags, Cloned, clone3};
use crate::sys::exec::{close_on_exec_from, execve};
use crate::sys::signal;

/// The type of a message that asks back.
const NOTIFY: i64 = 6;
/// What the child says when it is where criu is to be, right before the execve.
const READY: &[u8] = b"ready";
/// criu's own buffers are as long.
const MESSAGE_MAX: usize = 64 * 1024;
/// Where programs for administrators are, which is not in everyone's path.
const ALSO: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A running criu; it does not outlive this.
pub(super) struct Criu {
    process: Cloned,
    channel: OwnedFd,
    what: &'static str,
    log: PathBuf,
}

/// What it is started with.
#[derive(Default)]
pub(super) struct Setting<'a> {
    /// Descriptors that it has under the same numbers.
    pub(super) kept: &'a [BorrowedFd<'a>],
    /// Its cgroup.
    pub(super) entry: Option<&'a Entry>,
    /// What it says takes the place of standard output and error.
    pub(super) noise: Option<BorrowedFd<'a>>,
}

/// A step that criu is about to make.
pub(super) struct Event<'a> {
    pub(super) script: &'a str,
    pub(super) pid: i32,
    pub(super) fd: Option<OwnedFd>,
}

impl Criu {
    /// Starts it.
    pub(super) fn start(what: &'static str, log: PathBuf, setting: &Setting<'_>) -> Result<Criu> {
        let path = search_path();
        let program = find(&path)?;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .context(|| "make the channel to criu")?;
        let child = || {
            let why = match hand_over(&theirs, setting) {
                Ok(()) => match rustix::io::write(&theirs, READY) {
                    Ok(_) => execute(&program, &path, &theirs),
                    Err(e) => e.to_string(),
                },
                Err(e) => e.to_string(),
            };
            // The parent reads this in place of an answer.
            let _nobody = rustix::io::write(&theirs, why.as_bytes());
            127
        };
        let process =
            clone3(CloneFlags::default(), setting.entry.and_then(Entry::clone_into), child).context(|| "start criu")?;
        drop(theirs);
        let criu = Criu { process, channel: ours, what, log };
        match criu.receive()?.0 {
            ready if ready == READY => {
                fault::point("criu started");
                Ok(criu)
            }
            words => Err(criu.failed(&String::from_utf8_lossy(&words))),
        }
    }

    /// Its number.
    pub(super) fn pid(&self) -> i32 {
        self.process.pid
    }

    /// Asks, answers what it asks back, and waits for its end. Returns the restored process, if that was asked.
    pub(super) fn ask(self, request: &Writer, mut step: impl FnMut(Event<'_>) -> Result<()>) -> Result<Option<i32>> {
        self.send(request)?;
        fault::point("criu asked");
        loop {
            let (message, fd) = self.receive()?;
            let response = match fields(&message) {
                Ok(response) if field(&response, 1).is_some() => response,
                // The words of a child that did not become criu.
                _ => return Err(self.failed(&String::from_utf8_lossy(&message))),
            };
            let number = |n| field(&response, n).and_then(Value::number);
            if number(2) != Some(1) {
                let said = field(&response, 9).and_then(Value::bytes).map(String::from_utf8_lossy);
                return Err(self.failed(&said.unwrap_or_else(|| format!("errno {}", number(7).unwrap_or(0)).into())));
            }
            if number(1) != Some(NOTIFY) {
                fault::point("criu answered");
                let restored = field(&response, 4).and_then(Value::bytes).map(fields).transpose();
                let restored = restored.context(|| "listen to criu")?;
                let pid = restored.and_then(|restored| field(&restored, 1)?.number());
                return Ok(pid.map(|pid| pid as i32));
            }
            let event = field(&response, 5).and_then(Value::bytes).unwrap_or_default();
            let event = fields(event).context(|| "listen to criu")?;
            let script = field(&event, 1).and_then(Value::bytes).unwrap_or_default();
            let script = std::str::from_utf8(script).unwrap_or_default();
            let pid = field(&event, 2).and_then(Value::number).unwrap_or(0) as i32;
            let done = step(Event { script, pid, fd });
            fault::point("criu asks back");
            self.send(Writer::default().number(1, NOTIFY).number(3, done.is_ok().into()))?;
            done?;
        }
    }

    fn send(&self, message: &Writer) -> Result<()> {
        let parts = [IoSlice::new(message.bytes())];
        let mut none = SendAncillaryBuffer::default();
        let sent = rustix::io::retry_on_intr(|| sendmsg(&self.channel, &parts, &mut none, SendFlags::NOSIGNAL));
        match sent {
            // It has ended; what it said before comes out when its answer is read.
            Err(rustix::io::Errno::PIPE) => Ok(()),
            sent => sent.context(|| "talk to criu").map(drop),
        }
    }

    fn receive(&self) -> Result<(Vec<u8>, Option<OwnedFd>)> {
        let mut bytes = vec![0; MESSAGE_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let received =
            rustix::io::retry_on_intr(|| recvmsg(&self.channel, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC));
        let length = match received {
            Ok(received) => received.bytes,
            Err(rustix::io::Errno::CONNRESET) => 0,
            Err(e) => return Err(e).context(|| "listen to criu"),
        };
        if length == 0 {
            return Err(self.failed("it ended without an answer"));
        }
        let mut fd = None;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(mut fds) = message {
                fd = fds.next();
            }
        }
        bytes.truncate(length);
        Ok((bytes, fd))
    }

    /// What its log says in the end is what happened; its answer is only a number.
    fn failed(&self, said: &str) -> Error {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        // The last error is the cause, but for those that only say that there was one. Earlier ones are often hints.
        let consequence =
            |line: &&str| ["FAILED", "exited, status", "killed by"].iter().any(|word| line.contains(word));
        let mut errors = log.lines().filter(|line| line.contains("Error (")).filter(|line| !consequence(line));
        let line = errors.next_back().unwrap_or(said);
        let line = line.split_once("Error ").map_or(line, |(_, why)| why);
        let what = self.what;
        Error::Other(format!("criu cannot {what} the container: {} (see {})", line.trim(), self.log.display()))
    }
}

impl Drop for Criu {
    fn drop(&mut self) {
        // After its answer it ends by itself when it hears that nobody listens.
        let _told = rustix::net::shutdown(&self.channel, rustix::net::Shutdown::Both);
        let fd = WaitId::PidFd(self.process.pidfd.as_fd());
        let _ended = rustix::io::retry_on_intr(|| waitid(fd.clone(), WaitIdOptions::EXITED));
    }
}

fn search_path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    if !path.is_empty() {
        path.push(":");
    }
    path.push(ALSO);
    path
}

/// Whether a program that criu would use is there.
pub(super) fn has_program(name: &str) -> bool {
    look_for(&search_path(), name).is_some()
}

fn look_for(path: &OsString, name: &str) -> Option<PathBuf> {
    std::env::split_paths(path).map(|folder| folder.join(name)).find(|program| is_program(program))
}

fn find(path: &OsString) -> Result<CString> {
    let program = look_for(path, "criu").ok_or_else(|| {
        Error::Other("criu is not installed: it makes and restores checkpoints (Debian: apt-get install criu)".into())
    })?;
    CString::new(program.as_os_str().as_bytes()).map_err(|_| Error::Other("zero byte in $PATH".to_owned()))
}

fn is_program(path: &Path) -> bool {
    path.is_absolute() && path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

/// The child's side, up to the execve.
fn hand_over(channel: &OwnedFd, setting: &Setting<'_>) -> Result<()> {
    fault::point("criu: begun");
    signal::reset();
    if let Some(entry) = setting.entry {
        entry.enter().context(|| "enter the cgroup")?;
    }
    if let Some(noise) = setting.noise {
        rustix::stdio::dup2_stdout(noise).context(|| "set standard output")?;
        rustix::stdio::dup2_stderr(noise).context(|| "set standard error")?;
    }
    close_on_exec_from(3).context(|| "close what was inherited")?;
    for fd in setting.kept.iter().copied().chain([channel.as_fd()]) {
        rustix::io::fcntl_setfd(fd, FdFlags::empty()).context(|| "keep a descriptor")?;
    }
    Ok(())
}

fn execute(program: &CString, path: &OsString, channel: &OwnedFd) -> String {
    let number = channel.as_raw_fd().to_string();
    let args: Vec<CString> = ["criu", "swrk", &number].into_iter().filter_map(|a| CString::new(a).ok()).collect();
    let others = std::env::vars_os().filter(|(name, _)| name != "PATH");
    let env = others.chain([("PATH".into(), path.clone())]).filter_map(|(mut name, value)| {
        name.push("=");
        name.push(value);
        CString::new(name.as_bytes()).ok()
    });
    fault::point("criu: before execve");
    let error = execve(program, &args, &env.collect::<Vec<_>>());
    format!("execute {}: {error}", program.to_string_lossy())
}
