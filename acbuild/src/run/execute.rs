//! Running one command in a container, to its end.

use std::os::fd::OwnedFd;
use std::path::Path;

use appc_container::cgroup::Layout;
use appc_container::sys::signal::{Received, SignalFd, is_ignored};
use appc_container::{Network, Plan, Process, RootSource, Sandbox, SandboxOptions, Setup, exit_code};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::Signal;

use super::lower::{self, Inputs};
use crate::error::{Error, Result};
use crate::output;

/// Those that end the command, and this program after it.
const STOPPING: [Signal; 3] = [Signal::INT, Signal::TERM, Signal::HUP];

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
    let signals = SignalFd::new(&stopping.collect::<Vec<_>>()).map_err(Error::io("take over", "signals"))?;
    // Its end, also by the end of this program, is the end of everything in it.
    let sandbox = Sandbox::new(SandboxOptions { hostname: Some(HOST_NAME.into()), network })?;
    let id = format!("acbuild-{}", std::process::id());
    let group = format!("/{id}");
    // Only root of the host limits what devices can do; elsewhere they cannot be used anyway.
    let cgroup = (!appc_container::in_user_namespace()).then_some(Path::new(&group));
    let spec = lower::lower(&Inputs { namespaces: &sandbox.namespace_paths(), cgroup, ..inputs });
    let mut setup = Setup::new(id, Path::new("/"));
    setup.root = Some(RootSource::Mount(root));
    setup.cgroups =
        cgroup.map(|_| Layout::detect(Path::new("/sys/fs/cgroup"))).transpose().map_err(appc_container::Error::from)?;
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
        Some(signal) => Err(Error::Exited(u8::try_from(128 + signal.signal).unwrap_or(1))),
        None => match exit_code(status) {
            0 => Ok(()),
            code => Err(Error::Exited(u8::try_from(code).unwrap_or(1))),
        },
    }
}

/// Waits for the end of the command; earlier, with the signal, when this program is told to end.
fn wait(process: &mut Process, signals: &SignalFd) -> Result<Option<Received>> {
    let fail = |e: std::io::Error| Error::io("wait for", "the command")(e);
    loop {
        let ended = PollFd::from_borrowed_fd(process.pidfd(), PollFlags::IN);
        let mut fds = [PollFd::new(signals, PollFlags::IN), ended];
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(fail(e.into())),
        }
        if let Some(signal) = signals.read().map_err(fail)? {
            return Ok(Some(signal));
        }
        if process.try_wait()?.is_some() {
            return Ok(None);
        }
    }
}
