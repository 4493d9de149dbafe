//! The container's first process, from the clone to the execve.
//!
//! It runs in a copy of the parent's memory: the plan is simply there. It has every descriptor of the parent until its
//! execve, so it cannot be traced and follows no path of the container's that could lead to them.

mod attributes;
mod console;
mod filter;
pub(crate) mod join;
mod labels;
mod program;
mod user;

use std::cell::Cell;
use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use appc_rooted::Root;
use rustix::fs::Mode;
use rustix::process::DumpableBehavior;

use crate::cgroup::{Cgroup, Entry};
use crate::error::{Context, Error, Result};
use crate::fifo::{Starter, set_apart};
use crate::hooks::{HookState, Stage, Surroundings, enterable};
use crate::mappings::groups_are_fixed;
use crate::plan::{Plan, Stdio};
use crate::protocol::{Channel, Failure, Message};
use crate::{fault, rootfs, sys};

/// The program's name as `ps` shows it before the execve.
const NAME: &CStr = c"rkt-oci:init";

/// What ends a container that was created and not started, as it ends one of runc's.
const ENDING: [i32; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];

/// What init has from its parent.
pub(crate) struct Init<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) channel: Channel,
    pub(crate) cgroup: Option<&'a Cgroup>,
    pub(crate) entry: Option<&'a Entry>,
    /// Whether the parent has said so already.
    pub(crate) started: Cell<bool>,
}

impl Init<'_> {
    /// Becomes the container's program, or says why not and returns the exit code.
    pub(crate) fn run(self) -> i32 {
        let waited = self.set_up().and_then(|(program, fifo)| {
            let fifo = fifo.as_ref().or(self.plan.fifo.as_ref());
            let starter = self.wait_for_start(fifo).map_err(|e| Failure::SetUp(e.to_string()))?;
            Ok((program, starter))
        });
        match waited {
            Ok((program, starter)) => {
                let Err(failure) = self.start(program);
                give_up(&self.channel, failure, starter.as_ref())
            }
            Err(failure) => give_up(&self.channel, failure, None),
        }
    }

    /// Everything up to the point where the container counts as created. Also returns the fifo's directory, when it is
    /// not the plan's any more.
    fn set_up(&self) -> Result<(program::Program, Option<OwnedFd>), Failure> {
        let set_up = || -> Result<(bool, Root, Option<OwnedFd>)> {
            self.detach_from_caller()?;
            self.enter_namespaces()?;
            let namespaces = &self.plan.namespaces;
            let alone = namespaces.ordinary_caller && namespaces.makes(libc::CLONE_NEWNS);
            let fifo = self.plan.fifo.as_ref().filter(|_| alone).map(set_apart).transpose()?;
            // While there still is a /proc that can be believed.
            let fixed_groups = groups_are_fixed("self");
            let root = self.build_root()?;
            // Before nothing may be gained any more: AppArmor takes no other profile then.
            labels::apply_on_exec(&self.plan.process.labels)?;
            self.close_the_rest(&root, fifo.as_ref().or(self.plan.fifo.as_ref()))?;
            Ok((fixed_groups, root, fifo))
        };
        let (fixed_groups, root, fifo) = set_up().map_err(|e| Failure::SetUp(e.to_string()))?;
        let process = &self.plan.process;
        let home = user::home(&root, process);
        user::become_user(&root, process, fixed_groups).map_err(|e| Failure::SetUp(e.to_string()))?;
        fault::point("init: user changed");
        let program = program::find(&root, process, home).map_err(Failure::Exec)?;
        self.load_filter(filter::Moment::Ready).map_err(|e| Failure::SetUp(e.to_string()))?;
        Ok((program, fifo))
    }

    /// Sources of mounts and what else is not needed any more: there may be more of it than the process's limit allows.
    fn close_the_rest(&self, root: &Root, fifo: Option<&OwnedFd>) -> Result<()> {
        let mut keep = vec![self.channel.as_fd(), root.as_fd()];
        keep.extend(fifo.map(OwnedFd::as_fd));
        sys::exec::close_all_but(self.plan.kept_fds.saturating_add(3), &keep).context(|| "close what was inherited")
    }

    fn detach_from_caller(&self) -> Result<()> {
        fault::point("init: begun");
        sys::environment::forget();
        sys::signal::reset();
        self.plan.namespaces.enter_time_namespace()?;
        // The files in /proc of what cannot be traced are root's, and only their owner may write the mappings.
        if !self.plan.namespaces.ordinary_caller {
            rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).context(|| "forbid tracing")?;
        }
        // For `ps` only.
        let _unnamed = rustix::thread::set_name(NAME);
        rustix::process::setsid().context(|| "start a session")?;
        // Modes below are meant as they are written.
        rustix::process::umask(Mode::empty());
        if let Some(entry) = self.entry {
            entry.enter().context(|| "enter the cgroup")?;
        }
        fault::point("init: in its cgroup");
        attributes::reset_affinity();
        Ok(())
    }

    fn enter_namespaces(&self) -> Result<()> {
        let namespaces = &self.plan.namespaces;
        if self.plan.init_waits() {
            self.expect(|m| matches!(m, Message::Mapped))?;
        }
        if namespaces.has_user() {
            sys::credentials::set_all_gids(0).context(|| "become the container's root group")?;
            sys::credentials::set_all_uids(0).context(|| "become the container's root")?;
            rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).context(|| "forbid tracing")?;
        }
        self.join_keyring()?;
        namespaces.enter()?;
        namespaces.enter_cgroup_namespace()?;
        if namespaces.makes(libc::CLONE_NEWNET) {
            sys::network::raise_loopback().context(|| "bring the loopback interface up")?;
        }
        if let Some(name) = &self.plan.hostname {
            sys::namespace::set_host_name(name).context(|| format!("set the host name {name:?}"))?;
        }
        if let Some(name) = &self.plan.domainname {
            sys::namespace::set_domain_name(name).context(|| format!("set the domain name {name:?}"))?;
        }
        fault::point("init: in its namespaces");
        Ok(())
    }

    /// Once it is root in its user namespace, whose keyring it is then.
    fn join_keyring(&self) -> Result<()> {
        if !self.plan.session_keyring {
            return Ok(());
        }
        let name = join::keyring_name(&self.plan.id)?;
        labels::with_key_label(&self.plan.process.labels, || {
            sys::keyring::join_session_keyring(&name).context(|| "join a session keyring, see --no-new-keyring")
        })
    }

    fn build_root(&self) -> Result<Root> {
        let plan = &self.plan.root;
        let tree = plan.tree.get().context(|| format!("open the root {}", plan.tree.path().display()))?;
        let root = rootfs::attach_root(tree)?;
        let copy = |at, first| self.copy(at, first);
        let view = rootfs::View {
            cgroup: self.cgroup,
            callers_cgroups: &self.plan.callers_cgroups,
            own_cgroups: self.plan.namespaces.cgroup,
            copy: &copy,
        };
        let filled = rootfs::mount_all(&root, &plan.mounts, view)?;
        if let Some(devices) = &plan.devices {
            rootfs::make_devices(&root, devices)?;
        }
        fault::point("init: root mounted");
        let hooks = &self.plan.hooks;
        if hooks.any(Stage::Prestart) || hooks.any(Stage::CreateRuntime) {
            self.tell(&Message::RootReady)?;
            self.expect(|m| matches!(m, Message::HooksDone))?;
        }
        self.run_hooks(Stage::CreateContainer, "creating", None)?;
        rootfs::write_settings(&self.plan.sysctl)?;
        rootfs::enter(&root, plan.no_pivot)?;
        fault::point("init: root entered");
        user::make_directory(&root, &self.plan.process.cwd)?;
        if plan.shared {
            rootfs::share(tree)?;
        }
        self.stdio(&root)?;
        rootfs::cover(&root, &plan.masked, &plan.read_only_paths, plan.mount_label.as_deref())?;
        fault::point("init: root covered");
        filled.iter().chain(plan.read_only.then_some(tree)).try_for_each(rootfs::set_read_only)?;
        self.plan.namespaces.callers_mounts.as_ref().map_or(Ok(root), rootfs::return_to)
    }

    /// What the parent has found for a mount. It copies that only now, as mount tables have the order in which mounts
    /// were made, and in its namespace, as the way there may be closed to the container's user.
    fn copy(&self, at: usize, first: bool) -> Result<OwnedFd> {
        if first {
            self.tell(&Message::Sources(at))?;
        }
        match self.hear()? {
            Message::Copy(tree) => Ok(tree),
            other => Err(out_of_turn(&other)),
        }
    }

    fn stdio(&self, root: &Root) -> Result<()> {
        let process = &self.plan.process;
        let [input, output, error] = match &self.plan.stdio {
            Stdio::Inherit => return user::own_pipes(process),
            Stdio::Fds(fds) => fds.each_ref(),
            Stdio::Terminal | Stdio::ConsoleSocket(_) => {
                let terminal = console::open(root, process, &self.plan.stdio)?;
                console::mount(root, &terminal.slave)?;
                self.tell(&Message::Console(terminal.master))?;
                if let Stdio::ConsoleSocket(_) = &self.plan.stdio {
                    self.expect(|m| matches!(m, Message::PassedOn))?;
                }
                let slave: &OwnedFd = &terminal.slave;
                rustix::process::ioctl_tiocsctty(slave).context(|| "take the terminal")?;
                return replace([slave; 3]);
            }
        };
        replace([input, output, error])?;
        user::own_pipes(process)
    }

    /// From « created » to the program. Only failures return.
    fn start(&self, program: program::Program) -> Result<std::convert::Infallible, Failure> {
        let prepare = || -> Result<()> {
            fault::point("init: started");
            self.load_filter(filter::Moment::Hooks)?;
            self.run_hooks(Stage::StartContainer, "created", Some(program.home()))?;
            sys::exec::close_on_exec_from(self.plan.kept_fds.saturating_add(3))
                .context(|| "close what was inherited")?;
            self.load_filter(filter::Moment::Program)
        };
        prepare().map_err(|e| Failure::SetUp(e.to_string()))?;
        fault::point("init: before execve");
        Err(Failure::Exec(program.execute()))
    }

    /// With the environment that the program will have, unless they name their own.
    fn run_hooks(&self, stage: Stage, status: &'static str, home: Option<(String, String)>) -> Result<()> {
        if !self.plan.hooks.any(stage) {
            return Ok(());
        }
        let mut environment = self.plan.process.env.clone();
        environment.extend(home);
        // As with runc: those before the root is changed start in what becomes it.
        let directory = if stage == Stage::CreateContainer { enterable(&self.plan.rootfs) } else { None };
        let with = Surroundings { environment: Some(&environment), interrupt: None, directory };
        self.plan.hooks.run_with(stage, &self.state(status), with)
    }

    fn load_filter(&self, now: filter::Moment) -> Result<()> {
        filter::load(now, &self.plan.process, self.plan.hooks.any(Stage::StartContainer), &self.channel)
    }

    /// Returns who started it, if that is another process than the parent.
    fn wait_for_start(&self, fifo: Option<&OwnedFd>) -> Result<Option<Starter>> {
        let Some(directory) = fifo else {
            self.tell(&Message::Ready)?;
            while !self.started.get() {
                self.listen()?.map_or(Ok(()), |other| Err(out_of_turn(&other)))?;
            }
            return Ok(None);
        };
        sys::signal::end_at(&ENDING).context(|| "take over signals")?;
        self.tell(&Message::Ready)?;
        Starter::wait(directory).map(Some)
    }

    fn tell(&self, message: &Message) -> Result<()> {
        self.channel.send(message).context(|| "talk to the parent")
    }

    fn expect(&self, expected: impl Fn(&Message) -> bool) -> Result<()> {
        match self.hear()? {
            message if expected(&message) => Ok(()),
            other => Err(out_of_turn(&other)),
        }
    }

    /// What the parent says next. That init may start when it is ready comes at any time.
    fn hear(&self) -> Result<Message> {
        loop {
            if let Some(message) = self.listen()? {
                return Ok(message);
            }
        }
    }

    /// What the parent says, none when it is that init may start.
    fn listen(&self) -> Result<Option<Message>> {
        match self.channel.receive().context(|| "listen to the parent")? {
            Some(Message::Start) => {
                self.started.set(true);
                Ok(None)
            }
            Some(message) => Ok(Some(message)),
            None => Err(Error::Other("the parent is gone".to_owned())),
        }
    }

    fn state(&self, status: &'static str) -> HookState<'_> {
        // In its own pid namespace init is 1, and that is what a hook there can use.
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        self.plan.state(status, Some(pid))
    }
}

fn out_of_turn(message: &Message) -> Error {
    Error::Other(format!("the parent says {message:?} out of turn"))
}

/// Says why to whoever still listens; the exit code.
fn give_up(channel: &Channel, failure: Failure, starter: Option<&Starter>) -> i32 {
    let text = match &failure {
        Failure::SetUp(text) | Failure::Exec(text) => text.clone(),
    };
    let told = channel.send(&Message::Failed(failure)).is_ok();
    // A parent that is gone while it is waited for has said why, or was killed.
    if !told && starter.is_some_and(|starter| !starter.tell(&text)) {
        // What the container's output goes to is all that is left.
        let _nobody = rustix::io::write(rustix::stdio::stderr(), format!("{text}\n").as_bytes());
    }
    1
}

/// Makes three descriptors standard input, output and error.
fn replace([input, output, error]: [&OwnedFd; 3]) -> Result<()> {
    rustix::stdio::dup2_stdin(input).context(|| "set standard input")?;
    rustix::stdio::dup2_stdout(output).context(|| "set standard output")?;
    rustix::stdio::dup2_stderr(error).context(|| "set standard error")
}
