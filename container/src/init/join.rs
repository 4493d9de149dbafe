//! A process that joins a running container, from the clone to the execve.
//!
//! ```text
//!  parent ── clone3, into the cgroup ──▶ helper: closes what it does not need, joins all namespaces
//!    │                                      └── clone3 as a sibling ──▶ the process: terminal, credentials, execve
//!    ◀─────────────────────────── Joined ───────┘ (the helper ends)
//! ```
//!
//! Only the second is seen by the container's processes, which may be allowed to trace others: it never has anything
//! of the host's but what the program itself is to have.

use std::convert::Infallible;
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use appc_rooted::Root;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::process::{DumpableBehavior, chroot, fchdir};

use super::{NAME, attributes, console, filter, give_up, labels, program, replace, user};
use crate::cgroup::Entry;
use crate::error::{Context, Error, Result};
use crate::exec::ExecPlan;
use crate::plan::Stdio;
use crate::protocol::{Channel, Failure, Message};
use crate::sys::clone::{CloneFlags, clone3};
use crate::{fault, sys};

/// What both processes have from the parent.
pub(crate) struct Join<'a> {
    pub(crate) plan: &'a ExecPlan,
    pub(crate) channel: Channel,
    pub(crate) entry: Option<&'a Entry>,
}

impl Join<'_> {
    /// The helper's work; its exit code.
    pub(crate) fn run(self) -> i32 {
        let cloned = self.join().and_then(|()| {
            fault::point("exec: joined");
            let sibling = CloneFlags(libc::CLONE_PARENT as u64);
            let process = clone3(sibling, None, || self.become_process()).context(|| "clone the process")?;
            self.channel.send(&Message::Joined(process.pid, process.pidfd)).context(|| "talk to the parent")
        });
        match cloned {
            Ok(()) => 0,
            Err(e) => give_up(&self.channel, Failure::SetUp(e.to_string()), None),
        }
    }

    fn join(&self) -> Result<()> {
        sys::environment::forget();
        sys::signal::reset();
        forbid_tracing()?;
        attributes::apply_initial_affinity(&self.plan.process.attributes)?;
        if let Some(entry) = self.entry {
            entry.enter().context(|| "enter the cgroup")?;
        }
        attributes::apply_final_affinity(&self.plan.process.attributes)?;
        if let Some(score) = self.plan.process.oom_score_adj {
            // While `/proc` is still the host's.
            std::fs::write("/proc/self/oom_score_adj", score.to_string()).context(|| "set oom_score_adj")?;
        }
        labels::apply_for_child(&self.plan.process.labels)?;
        if let Stdio::Fds(fds) = &self.plan.stdio {
            replace(fds.each_ref())?;
        }
        let mut keep = vec![self.channel.as_fd(), self.plan.init.as_fd()];
        keep.extend(self.plan.root.as_ref().map(OwnedFd::as_fd));
        sys::exec::close_all_but(3 + self.plan.preserve_fds, &keep).context(|| "close what was inherited")?;
        let namespaces = self.plan.namespaces;
        match sys::namespace::setns(self.plan.init.as_fd(), namespaces) {
            _ if namespaces == 0 => {}
            // The first process has just ended.
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => return Err(Error::stopped()),
            joined => joined.context(|| "join the container's namespaces")?,
        }
        if let Some(root) = &self.plan.root {
            fchdir(root).context(|| "enter the container's root")?;
            chroot(".").context(|| "chroot into the container's root")?;
        }
        if namespaces & libc::CLONE_NEWUSER != 0 {
            sys::credentials::set_all_gids(0).context(|| "become the container's root group")?;
            sys::credentials::set_all_uids(0).context(|| "become the container's root")?;
            forbid_tracing()?;
        }
        Ok(())
    }

    /// The process itself; returns only with a failure's exit code.
    fn become_process(&self) -> i32 {
        let Err(failure) = self.execute();
        give_up(&self.channel, failure, None)
    }

    fn execute(&self) -> Result<Infallible, Failure> {
        let process = &self.plan.process;
        let prepare = || -> Result<Root> {
            // For `ps` only.
            let _unnamed = rustix::thread::set_name(NAME);
            rustix::process::setsid().context(|| "start a session")?;
            if let Some(name) = &self.plan.keyring {
                sys::keyring::join_session_keyring(name).context(|| "join the container's session keyring")?;
            }
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let root = rustix::fs::openat(CWD, "/", flags, Mode::empty()).context(|| "open the container's root")?;
            let root = Root::from_fd(root);
            self.stdio(&root)?;
            Ok(root)
        };
        let set_up = |e: Error| Failure::SetUp(e.to_string());
        let root = prepare().map_err(set_up)?;
        let home = user::home(&root, process);
        user::become_user(&root, process, self.plan.fixed_groups).map_err(set_up)?;
        let program = program::find(&root, process, home).map_err(Failure::Exec)?;
        filter::load(filter::Moment::Ready, process, false, &self.channel).map_err(set_up)?;
        sys::exec::close_on_exec_from(3 + self.plan.preserve_fds)
            .context(|| "close what was inherited")
            .map_err(set_up)?;
        filter::load(filter::Moment::Program, process, false, &self.channel).map_err(set_up)?;
        fault::point("exec: before execve");
        Err(Failure::Exec(program.execute()))
    }

    fn stdio(&self, root: &Root) -> Result<()> {
        let process = &self.plan.process;
        if matches!(self.plan.stdio, Stdio::Inherit | Stdio::Fds(_)) {
            return user::own_pipes(process);
        }
        let terminal = console::open(root, process, &self.plan.stdio)?;
        self.channel.send(&Message::Console(terminal.master)).context(|| "talk to the parent")?;
        if let Stdio::ConsoleSocket(_) = &self.plan.stdio {
            self.channel.passed_on().context(|| "pass the terminal on")?;
        }
        rustix::process::ioctl_tiocsctty(&terminal.slave).context(|| "take the terminal")?;
        replace([&terminal.slave; 3])
    }
}

/// The name of the session keyring that a container's processes share.
pub(crate) fn keyring_name(id: &str) -> Result<CString> {
    CString::new(format!("_ses.{id}")).map_err(|_| Error::Other("zero byte in id".to_owned()))
}

fn forbid_tracing() -> Result<()> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).context(|| "forbid tracing")
}
