//! The parent's side of making a container: from a plan to a process.

use std::cell::Cell;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use oci_spec::runtime::LinuxNamespaceType;

use crate::cgroup::{Cgroup, CgroupPlan};
use crate::console;
use crate::error::{Context, Error, Result, errno_text};
use crate::fault;
use crate::hooks::{HookState, Stage, Surroundings};
use crate::init::Init;
use crate::network;
use crate::plan::{MountPlan, Plan, Stdio};
use crate::process::Process;
use crate::protocol::{Channel, Failure, Message};
use crate::resctrl::ResctrlPlan;
use crate::seccomp::announce;
use crate::state::{Creator, Record};
use crate::sys::clone::Cloned;

impl Plan {
    /// Makes the container up to the point before its program is executed.
    ///
    /// The calling process must have one thread, see [`clone3`]. On failure nothing is left behind.
    ///
    /// # Errors
    /// What the kernel refused, or what init or a hook said.
    pub fn create(self) -> Result<Created> {
        self.begin()?.finish()
    }

    /// The first part of [`Plan::create`]: there is a process, which sets itself up from here on.
    ///
    /// # Errors
    /// As there.
    pub fn begin(self) -> Result<Begun> {
        let cgroup = self.cgroup.as_ref().map(|plan| self.cgroup_need.make(plan)).transpose()?.flatten();
        match self.start_init(cgroup.as_ref()) {
            Ok((channel, init)) => {
                let process = Process::new(&self, init, cgroup);
                let mut created = Created { process, channel, plan: self, told: false };
                match created.give_its_part() {
                    Ok(()) => Ok(Begun(created)),
                    Err(e) => Err(created.give_up(e)),
                }
            }
            Err(e) => {
                // The first error is the one to tell.
                let _not_removed = cgroup.map(|cgroup| cgroup.destroy());
                Err(e)
            }
        }
    }

    /// [`Plan::create`] and [`Created::start`], without a stop between them.
    ///
    /// # Errors
    /// As those two.
    pub fn spawn(self) -> Result<Process> {
        self.begin()?.start_when_ready()?.finish()?.start()
    }

    fn start_init(&self, cgroup: Option<&Cgroup>) -> Result<(Channel, Cloned)> {
        let entry = cgroup.map(Cgroup::entry).transpose()?;
        let (ours, theirs) = Channel::pair().context(|| "make the channel to init")?;
        let init = Init { plan: self, channel: theirs, cgroup, entry: entry.as_ref(), started: Cell::new(false) };
        let into = entry.as_ref().and_then(|e| e.clone_into());
        // Init must not hold our end, or it would never see that we are gone.
        let ours = Cell::new(Some(ours));
        let child = || {
            drop(ours.take());
            init.run()
        };
        let cloned = self.namespaces.clone_init(into, child)?;
        fault::point("cloned");
        let ours = ours.take().ok_or_else(|| Error::Other("the channel to init is gone".to_owned()))?;
        Ok((ours, cloned))
    }

    /// Whether init needs its parent's part before it can go on.
    pub(crate) fn init_waits(&self) -> bool {
        self.namespaces.makes(libc::CLONE_NEWUSER) || !self.net_devices.is_empty()
    }

    /// What to keep of the container for later commands, before it has a process.
    pub fn record(&self) -> Record {
        Record {
            oci_version: self.version.clone(),
            id: self.id.clone(),
            pid: 0,
            start_time: 0,
            creator: Creator::this(),
            bundle: self.bundle.clone(),
            rootfs: self.rootfs.clone(),
            created: jiff::Timestamp::now().to_string(),
            annotations: self.annotations.clone(),
            cgroup: self.cgroup.as_ref().map(CgroupPlan::saved),
            resctrl: self.resctrl.as_ref().map(ResctrlPlan::saved),
            own_pid_namespace: self.namespaces.has(LinuxNamespaceType::Pid),
            session_keyring: self.session_keyring,
            hooks: self.hooks.clone(),
        }
    }

    pub(crate) fn state(&self, status: &'static str, pid: Option<i32>) -> HookState<'_> {
        HookState {
            oci_version: &self.version,
            id: &self.id,
            status,
            pid,
            bundle: &self.bundle,
            annotations: self.annotations.as_ref(),
        }
    }
}

/// A container whose first process sets itself up.
#[derive(Debug)]
pub struct Begun(Created);

impl Begun {
    /// Notes the process in the record of [`Plan::record`], which still says that the container is being made.
    pub fn note(&self, record: &mut Record) {
        record.set_process(self.0.process.pid);
    }

    /// Tells it to execute its program as soon as it is ready, without waiting to be told then: that would be the time
    /// of two changes from one process to the other. [`Created::start`] is still to come, and is what tells a process
    /// with a filter that notifies: the thread that waits there for the agent has no ear for anything else.
    ///
    /// # Errors
    /// Why it has ended; then nothing is left.
    pub fn start_when_ready(mut self) -> Result<Begun> {
        if self.0.plan.process.seccomp.as_ref().is_some_and(|seccomp| seccomp.filter.notifies()) {
            return Ok(self);
        }
        match self.0.tell(&Message::Start) {
            Ok(()) => {
                self.0.told = true;
                Ok(self)
            }
            Err(e) => Err(self.give_up(e)),
        }
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    /// As [`Plan::create`].
    pub fn finish(mut self) -> Result<Created> {
        match self.0.converse() {
            Ok(()) => Ok(self.0),
            Err(e) => Err(self.give_up(e)),
        }
    }

    /// Undoes everything, so that only `why` is left.
    pub fn give_up(self, why: Error) -> Error {
        self.0.give_up(why)
    }
}

/// A container whose first process is ready to execute its program.
#[derive(Debug)]
pub struct Created {
    process: Process,
    channel: Channel,
    plan: Plan,
    /// Whether it was told to start ahead of time.
    told: bool,
}

impl Created {
    /// The first process as the host numbers it.
    pub fn pid(&self) -> i32 {
        self.process.pid
    }

    /// What there is of the process already: its cgroup, its terminal.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// What it does not have of what its configuration asks for, besides [`Plan::warnings`]: only the kernel could tell
    /// whether its caller may make a cgroup.
    pub fn lost(&self) -> Vec<String> {
        match self.process.cgroup() {
            Some(_) => Vec::new(),
            None => self.plan.cgroup_need.lost(&self.plan.root.mounts, !self.plan.callers_cgroups.is_empty()),
        }
    }

    /// Has the program executed.
    ///
    /// # Errors
    /// When it cannot be, or a poststart hook fails; then the container is gone.
    pub fn start(mut self) -> Result<Process> {
        match self.go() {
            Ok(()) => Ok(self.process),
            Err(e) => Err(self.give_up(e)),
        }
    }

    /// Sends a descriptor of the first process to whoever listens on the unix socket `path`.
    ///
    /// # Errors
    /// When nobody does.
    pub fn send_pidfd(&self, path: &Path) -> Result<()> {
        console::send_pidfd(path, self.process.pidfd(), "standard")
    }

    /// Completes the record of [`Plan::record`] with the process.
    pub fn complete(&self, record: &mut Record) {
        record.set_process(self.process.pid);
        record.creator = None;
        if self.process.cgroup().is_none() {
            record.cgroup = None;
        }
    }

    /// Leaves init waiting at `exec.fifo` for another process to start it.
    pub fn detach(self) -> Process {
        self.process
    }

    /// What init cannot do itself, or waits for.
    fn give_its_part(&mut self) -> Result<()> {
        let pid = self.process.pid;
        if let Some(plan) = &self.plan.resctrl {
            plan.apply(pid)?;
            self.process.resctrl = Some(plan.saved());
        }
        if let Some(score) = self.plan.process.oom_score_adj {
            let path = format!("/proc/{pid}/oom_score_adj");
            std::fs::write(&path, score.to_string()).map_err(|e| refused_score(score, &e))?;
            fault::point("oom score set");
        }
        // Last: it is root from here on, and no file of its /proc may be written by an ordinary user any more.
        if self.plan.init_waits() {
            if !self.plan.net_devices.is_empty() {
                network::move_all(&self.plan.net_devices, &self.plan.namespaces.network(pid)?)?;
            }
            self.plan.namespaces.write_mappings(pid)?;
            fault::point("mappings written");
            self.tell(&Message::Mapped)?;
        }
        Ok(())
    }

    /// The parent's part of [`crate::protocol`] up to `Ready`.
    fn converse(&mut self) -> Result<()> {
        let pid = self.process.pid;
        loop {
            match self.listen()? {
                Message::Sources(from) => self.hand_over(from)?,
                Message::RootReady => {
                    // Of old these ran after `create`, and what is written for them may look for that.
                    let [before, now] = ["created", "creating"].map(|status| self.plan.state(status, Some(pid)));
                    let interrupt = self.plan.interrupt.as_ref();
                    let with = Surroundings { interrupt, ..Surroundings::on_the_host(&now) };
                    self.plan.hooks.run_with(Stage::Prestart, &before, with)?;
                    self.plan.hooks.run_with(Stage::CreateRuntime, &now, with)?;
                    fault::point("hooks run");
                    self.tell(&Message::HooksDone)?;
                }
                Message::Console(master) => match &self.plan.stdio {
                    Stdio::ConsoleSocket(path) => {
                        console::send(path, master)?;
                        self.tell(&Message::PassedOn)?;
                    }
                    _ => self.process.keep_console(master),
                },
                Message::SeccompListener(fd) => {
                    self.announce(&fd)?;
                    self.tell(&Message::PassedOn)?;
                }
                Message::Ready => {
                    self.process.settle();
                    fault::point("created");
                    return Ok(());
                }
                other => return Err(Error::Other(format!("init says {other:?} out of turn"))),
            }
        }
    }

    /// Copies what the bind mounts from this one on take over, up to the next mount of another kind.
    fn hand_over(&mut self, from: usize) -> Result<()> {
        let mut at = from;
        while let Some(tree) = self.plan.root.mounts.get(at).and_then(MountPlan::found_tree) {
            let copy = tree.copy().map_err(|e| {
                let why = format!("{}: {}", tree.path().display(), errno_text(&e));
                Error::refused(format!("mounts[{at}].source"), why)
            })?;
            self.tell(&Message::Copy(copy))?;
            at += 1;
        }
        Ok(())
    }

    fn announce(&self, listener: &OwnedFd) -> Result<()> {
        let pid = self.process.pid;
        match self.plan.process.seccomp.as_ref().and_then(|seccomp| seccomp.listener.as_ref()) {
            Some(agent) => announce(agent, &self.plan.state("creating", Some(pid)), pid, listener),
            None => Err(Error::Other("init sends a seccomp listener that nobody asked for".to_owned())),
        }
    }

    fn go(&mut self) -> Result<()> {
        if !self.told {
            self.tell(&Message::Start)?;
        }
        match self.channel.receive().context(|| "listen to init")? {
            // The channel closes with the execve; that init died instead shows when it is waited for.
            None => {}
            Some(Message::Failed(failure)) => return Err(failure.into()),
            Some(other) => return Err(Error::Other(format!("init says {other:?} out of turn"))),
        }
        let state = self.plan.state("running", Some(self.process.pid));
        self.plan.hooks.run(Stage::Poststart, &state)
    }

    fn tell(&mut self, message: &Message) -> Result<()> {
        match self.channel.send(message) {
            // It has ended; what it said last is why.
            Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => match self.listen() {
                Err(why) => Err(why),
                Ok(other) => Err(Error::Other(format!("init says {other:?} out of turn"))),
            },
            sent => sent.context(|| "talk to init"),
        }
    }

    fn listen(&mut self) -> Result<Message> {
        if let Some(interrupt) = &self.plan.interrupt {
            interrupt.wait_for(self.channel.as_fd(), None)?;
        }
        match self.channel.receive().context(|| "listen to init")? {
            Some(Message::Failed(failure)) => Err(failure.into()),
            Some(message) => Ok(message),
            None if self.process.oom_kills() > 0 => Err(Error::OutOfMemory),
            None => {
                let status = self.process.wait()?;
                Err(Error::Init(format!("it ended without a word ({status})")))
            }
        }
    }

    /// Undoes everything, so that only `why` is left.
    fn give_up(self, why: Error) -> Error {
        // The first error is the one to tell.
        let _not_undone = self.process.destroy();
        why
    }
}

fn refused_score(score: i32, why: &std::io::Error) -> Error {
    let mut rule = format!("cannot be set to {score}: {}", errno_text(why));
    if why.kind() == std::io::ErrorKind::PermissionDenied {
        rule += ": an ordinary user can only raise the score of the caller";
    }
    Error::refused("process.oomScoreAdj", rule)
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        match failure {
            Failure::SetUp(why) => Error::Init(why),
            Failure::Exec(why) => Error::Exec(why),
        }
    }
}
