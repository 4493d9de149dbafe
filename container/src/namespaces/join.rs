//! Containers in namespaces from which the parent could not come back.
//!
//! Namespaces belong to the user namespace they are made in, so it has to be entered first; but whoever has entered one
//! cannot come back. Root of a user namespace cannot come back from a pid namespace either. A process in between does so: it
//! joins them, makes init as its parent's child and ends.
//!
//! ```text
//!  parent ── clone3 ──▶ between ── setns …, clone3(CLONE_PARENT) ──▶ init, a child of parent
//!    ◀──────── init's number, or why there is none ── ends
//! ```

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, openat};
use rustix::pipe::PipeFlags;
use rustix::process::{DumpableBehavior, Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};

use super::NamespacePlan;
use crate::error::{Context, Error, Result};
use crate::sys::clone::{CloneFlags, Cloned, clone3};
use crate::sys::environment;
use crate::sys::namespace::setns;

/// The longest sentence about a failure; a pipe takes that much at once.
const TEXT_MAX: usize = 4096;

impl NamespacePlan {
    /// Clones init in the namespaces that `join` joins.
    pub(super) fn clone_between(
        &self,
        join: impl FnOnce() -> Result<()>,
        into: Option<BorrowedFd<'_>>,
        init: impl FnOnce() -> i32,
    ) -> Result<Cloned> {
        let (ours, theirs) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).context(|| "make a pipe")?;
        let init = Cell::new(Some(init));
        let between = clone3(CloneFlags::default(), None, || {
            environment::forget();
            let cloned = join().and_then(|()| {
                let init = init.take().ok_or_else(|| Error::Other("init runs once".to_owned()))?;
                let flags = CloneFlags(self.clone.0 | libc::CLONE_PARENT as u64);
                clone3(flags, into, init).context(|| "clone the container's first process")
            });
            let text = match cloned {
                Ok(cloned) => cloned.pid.to_string(),
                Err(e) => e.to_string(),
            };
            // When the parent is gone there is nobody to tell.
            let _unread = rustix::io::write(&theirs, &text.as_bytes()[..text.len().min(TEXT_MAX)]);
            0
        })
        .context(|| "clone the process that joins the namespaces")?;
        drop(theirs);
        let mut text = [0; TEXT_MAX];
        let read = rustix::io::retry_on_intr(|| rustix::io::read(&ours, &mut text));
        let ended = WaitId::PidFd(between.pidfd.as_fd());
        rustix::io::retry_on_intr(|| waitid(ended.clone(), WaitIdOptions::EXITED)).context(|| "wait")?;
        let length = read.context(|| "read the number of the container's first process")?;
        let text = String::from_utf8_lossy(&text[..length]).into_owned();
        match text.parse().ok().and_then(Pid::from_raw) {
            // Our child, which nobody else can have waited for: the number is still its own.
            Some(pid) => {
                let pidfd = pidfd_open(pid, PidfdFlags::empty()).context(|| format!("open process {text}"))?;
                Ok(Cloned { pid: pid.as_raw_nonzero().get(), pidfd })
            }
            None if text.is_empty() => Err(Error::Init("joining the namespaces ended without a word".to_owned())),
            None => Err(Error::Init(text)),
        }
    }

    /// Joins what there is to join. Each is tried as who we are first: it may belong to our own user namespace.
    pub(super) fn join_all(&self, user: &OwnedFd) -> Result<()> {
        // From inside the user namespace we could be traced.
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).context(|| "forbid tracing")?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let own = rustix::fs::open("/proc/self", flags, Mode::empty()).context(|| "open /proc/self")?;
        let pid = self.join_pid.iter().map(|fd| (libc::CLONE_NEWPID, fd));
        let mut rest = Vec::new();
        for (kind, fd) in pid.chain(self.join.iter().map(|(kind, fd)| (*kind, fd))) {
            match setns(fd.as_fd(), kind) {
                Err(e) if e.raw_os_error() == Some(libc::EPERM) => rest.push((kind, fd)),
                joined => joined.context(|| format!("join the namespace with flag {kind:#x}"))?,
            }
        }
        setns(user.as_fd(), libc::CLONE_NEWUSER).context(|| "join the user namespace")?;
        for (kind, fd) in rest {
            setns(fd.as_fd(), kind).context(|| format!("join the namespace with flag {kind:#x}"))?;
        }
        self.check_mappings(&own)
    }

    /// A configuration may give the mappings that the namespace has already, as engines do.
    fn check_mappings(&self, own: &OwnedFd) -> Result<()> {
        let Some(mappings) = &self.mappings else { return Ok(()) };
        let map = |name: &str| {
            let file = openat(own, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
            let text = file.map_err(io::Error::from).and_then(|file| io::read_to_string(std::fs::File::from(file)));
            text.context(|| format!("read {name}"))
        };
        match mappings.are(&map("uid_map")?, &map("gid_map")?) {
            true => Ok(()),
            false => {
                let rule = "the joined user namespace has other mappings: leave them out";
                Err(Error::refused("linux.uidMappings", rule))
            }
        }
    }
}
