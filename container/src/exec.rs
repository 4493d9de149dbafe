//! One more process in a container that runs.

use std::cell::Cell;
use std::ffi::CString;
use std::fs::read_link;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use oci_spec::runtime::{LinuxNamespaceType, Spec};
use rustix::fs::{Mode, OFlags};
use rustix::process::{WaitId, WaitIdOptions, waitid};

use crate::capabilities::Available;
use crate::cgroup::{Cgroup, Entry};
use crate::console;
use crate::error::{Context, Error, Result};
use crate::fault;
use crate::init::join::{Join, keyring_name};
use crate::mappings::groups_are_fixed;
use crate::plan::{ProcessPlan, Stdio, Warnings, check_stdio};
use crate::process::Process;
use crate::protocol::{Channel, Message};
use crate::seccomp::{Cache, announce};
use crate::state::{Record, Status};
use crate::sys::clone::{CloneFlags, Cloned, clone3};

/// What a process needs to join a container besides its description.
#[derive(Debug, Default)]
pub struct ExecSetup {
    /// Standard input, output and error. A terminal exactly when `terminal` of the process is true.
    pub stdio: Stdio,
    /// How many of the caller's descriptors from 3 on the process keeps.
    pub preserve_fds: u32,
    /// Cgroups below the container's to start in: `PATH`, or `CONTROLLER[,CONTROLLER]:PATH` for each hierarchy.
    pub cgroups: Vec<String>,
    /// Join a paused container, too: the process runs when that is resumed.
    pub ignore_paused: bool,
    /// Where filters of system calls are kept; the container's is there.
    pub filters: Option<Cache>,
}

/// Everything that joining will do.
#[derive(Debug)]
pub struct ExecPlan {
    pub(crate) process: ProcessPlan,
    pub(crate) stdio: Stdio,
    pub(crate) preserve_fds: u32,
    /// The container's first process.
    pub(crate) init: OwnedFd,
    /// The kinds of namespaces to join, as `CLONE_NEW*` flags.
    pub(crate) namespaces: i32,
    /// Where to go when there is no mount namespace to join.
    pub(crate) root: Option<OwnedFd>,
    pub(crate) keyring: Option<CString>,
    /// The user namespace does not allow to change supplementary groups.
    pub(crate) fixed_groups: bool,
    cgroup: Option<Cgroup>,
    record: Record,
    warnings: Warnings,
}

impl ExecPlan {
    /// Plans `process`, to join the container of `record`, which is in `status` and was made from `spec`.
    ///
    /// # Errors
    /// [`Error::Refused`] for what the process cannot be given, [`Error::State`] when the container's state forbids it.
    pub fn new(
        record: &Record,
        status: Status,
        spec: &Spec,
        process: &oci_spec::runtime::Process,
        setup: ExecSetup,
    ) -> Result<ExecPlan> {
        if status == Status::Creating {
            return Err(Error::State("cannot exec in a container that is still being created".to_owned()));
        }
        if status == Status::Paused && !setup.ignore_paused {
            let why = "cannot exec in a paused container (use --ignore-paused to override)";
            return Err(Error::State(why.to_owned()));
        }
        let Some(init) = record.process()? else { return Err(Error::stopped()) };
        let namespaces = namespaces(spec, record.pid);
        let mut warnings = Warnings::default();
        let available = Available::new(namespaces & libc::CLONE_NEWUSER != 0)?;
        let process = ProcessPlan::new(spec, process, available, setup.filters.as_ref(), &mut warnings)?;
        check_stdio(process.terminal, &setup.stdio)?;
        let cgroup = match &record.cgroup {
            Some(saved) => Some(Cgroup::reopen(&saved.clone().below(&setup.cgroups)?)?),
            None => None,
        };
        let root = if namespaces & libc::CLONE_NEWNS == 0 { Some(root_of(record)?) } else { None };
        Ok(ExecPlan {
            process,
            root,
            stdio: setup.stdio,
            preserve_fds: setup.preserve_fds,
            init,
            namespaces,
            keyring: if record.session_keyring { Some(keyring_name(&record.id)?) } else { None },
            fixed_groups: groups_are_fixed(&record.pid.to_string()),
            cgroup,
            record: record.clone(),
            warnings,
        })
    }

    /// What the process asks for in vain.
    pub fn warnings(&self) -> &Warnings {
        &self.warnings
    }

    /// Has the process join and its program executed.
    ///
    /// The calling process must have one thread, see [`clone3`].
    ///
    /// # Errors
    /// What the kernel refused, or why the program could not be executed. Nothing is left behind.
    pub fn start(mut self) -> Result<Process> {
        let cgroup = self.cgroup.take();
        let entry = cgroup.as_ref().map(Cgroup::entry).transpose()?;
        fault::point("exec: planned");
        let (channel, helper) = self.clone_helper(entry.as_ref())?;
        drop(entry);
        let mut process = None;
        match self.converse(&channel, &mut process) {
            Ok(()) => reap(&helper)?,
            Err(e) => {
                // The first error is the one to tell.
                let _not_reaped = reap(&helper);
                let _not_undone = process.map(Process::destroy);
                return Err(e);
            }
        }
        process.ok_or_else(|| Error::Init("it ended without a word".to_owned()))
    }

    fn clone_helper(&self, entry: Option<&Entry>) -> Result<(Channel, Cloned)> {
        let (ours, theirs) = Channel::pair().context(|| "make the channel to the process")?;
        let join = Join { plan: self, channel: theirs, entry };
        // The process must not hold our end, or it would never see that we are gone.
        let ours = Cell::new(Some(ours));
        let child = || {
            drop(ours.take());
            join.run()
        };
        let into = entry.and_then(Entry::clone_into);
        let cloned = clone3(CloneFlags::default(), into, child).context(|| "clone into the container's cgroup")?;
        let ours = ours.take().ok_or_else(|| Error::Other("the channel to the process is gone".to_owned()))?;
        Ok((ours, cloned))
    }

    /// The parent's part of [`crate::protocol`], up to the execve.
    fn converse(&self, channel: &Channel, process: &mut Option<Process>) -> Result<()> {
        let (mut console, mut listener, mut failed) = (None, None, None);
        // To the end of the channel whatever is said, as only then there is nobody left who could be a child of ours.
        while let Some(message) = channel.receive().context(|| "listen to the process")? {
            match (message, &self.stdio) {
                (Message::Joined(pid, pidfd), _) => *process = Some(Process::joined(pid, pidfd)),
                (Message::Console(master), Stdio::ConsoleSocket(path)) => {
                    console::send(path, master)?;
                    passed_on(channel)?;
                }
                (Message::Console(master), _) => console = Some(master),
                (Message::SeccompListener(fd), _) => listener = Some(fd),
                (Message::Failed(failure), _) => failed = Some(failure),
                (other, _) => return Err(Error::Other(format!("the process says {other:?} out of turn"))),
            }
            // The two processes that send are not ordered.
            if let (Some(process), Some(fd)) = (process.as_ref(), &listener) {
                self.announce(process, fd)?;
                passed_on(channel)?;
                listener = None;
            }
        }
        if let (Some(process), Some(master)) = (process, console) {
            process.keep_console(master);
        }
        failed.map_or(Ok(()), |failure| Err(failure.into()))
    }
}

impl ExecPlan {
    fn announce(&self, process: &Process, listener: &OwnedFd) -> Result<()> {
        match self.process.seccomp.as_ref().and_then(|seccomp| seccomp.listener.as_ref()) {
            Some(agent) => announce(agent, &self.record.state("running"), process.pid, listener),
            None => Err(Error::Other("the process sends a seccomp listener that nobody asked for".to_owned())),
        }
    }
}

fn passed_on(channel: &Channel) -> Result<()> {
    match channel.send(&Message::PassedOn) {
        // It has ended; what it said last is why.
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        sent => sent.context(|| "talk to the process"),
    }
}

/// Where the first process has its root: it shares our mount namespace, so that joining that does not lead there.
fn root_of(record: &Record) -> Result<OwnedFd> {
    let path = format!("/proc/{}/root", record.pid);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(&path, flags, Mode::empty()).context(|| format!("open {path}"));
    // Only if it still runs was it that process.
    if record.process()?.is_none() { Err(Error::stopped()) } else { root }
}

fn reap(helper: &Cloned) -> Result<()> {
    rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(helper.pidfd.as_fd()), WaitIdOptions::EXITED))
        .context(|| "wait for the helper")?;
    Ok(())
}

/// The names of namespaces in `/proc/PID/ns`.
const NAMESPACES: [(&str, LinuxNamespaceType); 8] = [
    ("user", LinuxNamespaceType::User),
    ("mnt", LinuxNamespaceType::Mount),
    ("pid", LinuxNamespaceType::Pid),
    ("net", LinuxNamespaceType::Network),
    ("ipc", LinuxNamespaceType::Ipc),
    ("uts", LinuxNamespaceType::Uts),
    ("cgroup", LinuxNamespaceType::Cgroup),
    ("time", LinuxNamespaceType::Time),
];

/// All kinds of namespaces in which the container's first process is not with us. The kernel refuses to join the user
/// namespace that one is in, and an ordinary user's containers have one that their configuration may not mention.
fn namespaces(spec: &Spec, init: i32) -> i32 {
    let configured = spec.linux().as_ref().and_then(|l| l.namespaces().as_deref()).unwrap_or_default();
    let of = |process: &str, name: &str| read_link(Path::new("/proc").join(process).join("ns").join(name));
    let init = init.to_string();
    let differs = |&(name, kind): &(&str, LinuxNamespaceType)| match (of("self", name), of(&init, name)) {
        (Ok(own), Ok(other)) => own != other,
        // What cannot be looked at is as configured.
        _ => configured.iter().any(|namespace| namespace.typ() == kind),
    };
    // The enum's values are those of linux/sched.h.
    NAMESPACES.iter().filter(|namespace| differs(namespace)).fold(0, |flags, &(_, kind)| flags | kind as i32)
}
