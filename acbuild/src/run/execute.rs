//! Running one command in a container, to its end.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use appc_container::cgroup::Layout;
use appc_container::console::Relay;
use appc_container::sys::signal::{SignalFd, is_ignored};
use appc_container::{Network, Plan, Process, RootSource, Sandbox, SandboxOptions, Setup, Stdio, exit_code};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, getpgrp, test_kill_process};
use rustix::stdio::{stderr, stdin, stdout};
use rustix::termios::{isatty, tcgetpgrp};

use super::lower::{self, Inputs};
use crate::error::{Error, Result};
use crate::output;

/// Those that end the command, and this program after it.
const STOPPING: [Signal; 4] = [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT];

/// How often Ctrl-C must be typed within how long to end a command that takes no notice of it.
const OFTEN: usize = 3;
const SOON: Duration = Duration::from_secs(3);

/// What the names of our cgroups begin with; the number of the process that made one follows.
const GROUP: &str = "acbuild-";

/// The name of the machine inside: the same wherever an image is built.
pub(crate) const HOST_NAME: &str = "acbuild";

/// Runs what `inputs` says (namespaces and cgroup are filled in here) in the mounted tree `root`.
///
/// The calling process must have one thread.
///
/// # Errors
/// [`Error::Exited`] when the command fails, or is ended by a signal to this program. Nothing of it runs any more then.
pub(crate) fn execute(inputs: Inputs<'_>, root: OwnedFd, network: Network) -> Result<()> {
    let stopping = STOPPING.map(Signal::as_raw).into_iter().filter(|&signal| !is_ignored(signal));
    let taken = stopping.chain([Signal::WINCH.as_raw()]).collect::<Vec<_>>();
    let signals = SignalFd::new(&taken).map_err(Error::io("take over", "signals"))?;
    // Its end, also by the end of this program, is the end of everything in it.
    let sandbox = Sandbox::new(SandboxOptions { hostname: Some(HOST_NAME.into()), network })?;
    let id = format!("{GROUP}{}", std::process::id());
    let group = format!("/{id}");
    // Only root of the host limits what devices can do; elsewhere they cannot be used anyway.
    let cgroups = (!appc_container::in_user_namespace()).then(|| Layout::detect(Path::new("/sys/fs/cgroup")));
    let cgroups = cgroups.transpose().map_err(appc_container::Error::from)?;
    cgroups.iter().for_each(|cgroups| cgroups.remove_left(is_left));
    let cgroup = cgroups.is_some().then_some(Path::new(&group));
    let kind = std::env::var("TERM").unwrap_or_else(|_| "xterm".to_owned());
    let terminal = is_on_terminal().then_some(kind.as_str());
    let spec = lower::lower(&Inputs { namespaces: &sandbox.namespace_paths(), cgroup, terminal, ..inputs });
    let mut setup = Setup::new(id, Path::new("/"));
    setup.root = Some(RootSource::Mount(root));
    setup.cgroups = cgroups;
    setup.stdio = if terminal.is_some() { Stdio::Terminal } else { Stdio::Inherit };
    let plan = Plan::new(&spec, setup)?;
    plan.warnings().iter().for_each(output::warning);
    let mut process = plan.spawn()?;
    let stopped = wait(&mut process, &signals);
    let status = match &stopped {
        Ok(None) => process.wait()?,
        // Its processes die with the first one of their namespace.
        _ => Default::default(),
    };
    process.destroy()?;
    match stopped? {
        Some(signal) => Err(Error::Exited(u8::try_from(128 + signal).unwrap_or(1))),
        None => match exit_code(status) {
            0 => Ok(()),
            code => Err(Error::Exited(u8::try_from(code).unwrap_or(1))),
        },
    }
}

/// Waits for the end of the command; earlier, with the signal, when this program is told to end. Passes on what goes
/// between its terminal, if it has one of its own, and the caller's.
fn wait(process: &mut Process, signals: &SignalFd) -> Result<Option<i32>> {
    let fail = |e: std::io::Error| Error::io("wait for", "the command")(e);
    let mut interrupts = Interrupts::default();
    let mut relay = process.take_console().map(Relay::new).transpose().map_err(fail)?;
    loop {
        let mut fds = vec![PollFd::new(signals, PollFlags::IN)];
        fds.push(PollFd::from_borrowed_fd(process.pidfd(), PollFlags::IN));
        fds.extend(relay.iter().flat_map(Relay::interests));
        let patience = relay.as_ref().and_then(Relay::patience);
        match poll(&mut fds, patience.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(fail(e.into())),
        }
        drop(fds);
        match signals.read().map_err(fail)? {
            Some(signal) if signal.signal == Signal::WINCH.as_raw() => {
                relay.iter().try_for_each(Relay::resize).map_err(fail)?;
            }
            Some(signal) => return Ok(Some(signal.signal)),
            None => {}
        }
        if process.try_wait()?.is_some() {
            relay.map_or(Ok(()), Relay::finish).map_err(fail)?;
            return Ok(None);
        }
        if let Some(relay) = &mut relay {
            relay.advance().map_err(fail)?;
            if interrupts.are_too_many(relay.take_interrupts(), Instant::now()) {
                return Ok(Some(Signal::INT.as_raw()));
            }
        }
    }
}

/// When Ctrl-C was typed of late at a terminal of the command's own.
#[derive(Default)]
struct Interrupts(Vec<Instant>);

impl Interrupts {
    /// Whether, with so many `more`, it has been typed often enough by somebody whom the command does not listen to.
    fn are_too_many(&mut self, more: usize, now: Instant) -> bool {
        self.0.retain(|then| now.duration_since(*then) < SOON);
        self.0.extend(std::iter::repeat_n(now, more));
        self.0.len() >= OFTEN
    }
}

/// Whether all that the command reads and writes is a terminal. Then it gets one of its own: in the caller's it could put
/// what it likes into the input of the caller's shell (TIOCSTI), and would have no job control.
///
/// Where something is redirected it has the caller's descriptors, which stay apart. It is in a session of its own, so that
/// even a terminal among them is none that it could control.
fn is_on_terminal() -> bool {
    let shown = isatty(stdin()) && isatty(stdout()) && isatty(stderr());
    // In the background the caller's terminal must not be touched.
    shown && tcgetpgrp(stdin()).is_ok_and(|foreground| foreground == getpgrp())
}

/// Whether a cgroup is that of a run that is no more.
fn is_left(name: &str) -> bool {
    let pid = name.strip_prefix(GROUP).and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid) == Err(Errno::SRCH))
}
