//! Running the commands of a script, in a place of their own, and ending what they began.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};

use appc_container::sys::signal::{Received, end_with_this, reset_for};
use appc_container::{Interrupt, exit_code};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::Step;
use crate::context::{Access, Build};
use crate::error::{Error, Result};
use crate::session::Session;
use crate::temporary::Temporary;
use crate::tied;

/// Runs `steps` one after the other until one fails, and ends the build that they began.
///
/// Without a working path of the user's it lies in a temporary directory. Signals that mean to end this process end the
/// command that runs, and then the script.
///
/// # Errors
/// [`Error::Line`] with the exit code of the command that failed.
pub(crate) fn run(steps: &[Step], session: &Session) -> Result<()> {
    let interrupt = Interrupt::new().map_err(Error::io("take signals for", "the script"))?;
    let place = WorkPlace::new(session)?;
    let flags = [session.flags(), vec!["--work-path".into(), place.path().into()]].concat();
    let ran = steps.iter().try_for_each(|step| {
        session.debug(format_args!("{}: {}", step.at, step.name));
        step.run(&flags, &interrupt)
    });
    // The first error is the one to tell.
    ran.and(place.leave())
}

impl Step {
    fn run(&self, flags: &[OsString], interrupt: &Interrupt) -> Result<()> {
        let failed = |text: String, code: u8| Err(Error::line(&self.at, text, code));
        let mut command = Command::new("/proc/self/exe");
        command.arg0("acbuild").args(flags).args(&self.arguments);
        // What is blocked here must end it.
        reset_for(&mut command);
        end_with_this(&mut command, Signal::KILL);
        tied::tie(&mut command);
        let mut child = command.spawn().map_err(Error::io("start a command with", "/proc/self/exe"))?;
        let name = &self.name;
        match wait(&mut child, interrupt, handed_on).map_err(Error::io("wait for", name))? {
            (_, Some(signal)) => failed(format!("stopped by {}", signal_name(signal)), 128 + signal as u8),
            (status, None) if status.success() => Ok(()),
            (status, None) => {
                let code = exit_code(status);
                failed(format!("{name} failed with exit code {code}"), code as u8)
            }
        }
    }
}

/// What a child is sent for a signal to this process: the same, unless the terminal has sent it to the child, too.
pub(crate) fn handed_on(received: Received) -> Option<Signal> {
    (received.pid != 0).then(|| Signal::from_named_raw(received.signal)).flatten()
}

/// Waits for the end of `child`, which is sent what `to_send` says for each signal to this process; also returns the last
/// of those.
pub(crate) fn wait(
    child: &mut Child,
    interrupt: &Interrupt,
    to_send: fn(Received) -> Option<Signal>,
) -> std::io::Result<(ExitStatus, Option<i32>)> {
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let mut last = None;
    loop {
        let mut fds = [PollFd::new(interrupt, PollFlags::IN), PollFd::new(&pidfd, PollFlags::IN)];
        rustix::io::retry_on_intr(|| poll(&mut fds, None))?;
        let ended = !fds[1].revents().is_empty();
        while let Some(received) = interrupt.received()? {
            last = Some(received.signal);
            if let Some(signal) = to_send(received) {
                let _gone_is_fine = pidfd_send_signal(&pidfd, signal);
            }
        }
        if ended {
            return Ok((child.wait()?, last));
        }
    }
}

fn signal_name(signal: i32) -> String {
    match Signal::from_named_raw(signal) {
        Some(Signal::INT) => "SIGINT".to_owned(),
        Some(Signal::TERM) => "SIGTERM".to_owned(),
        Some(Signal::HUP) => "SIGHUP".to_owned(),
        _ => format!("signal {signal}"),
    }
}

/// Where the script's build lies.
enum WorkPlace {
    /// In a directory that goes when the script does.
    Temporary(Temporary),
    /// Where the user said; a build that was there before the script is the user's, too.
    Given { path: PathBuf, had_build: bool },
}

impl WorkPlace {
    fn new(session: &Session) -> Result<WorkPlace> {
        if let Some(path) = session.given_work_path() {
            let had_build = Build::open(path, Access::Read).is_ok();
            return Ok(WorkPlace::Given { path: path.to_owned(), had_build });
        }
        Temporary::new("script").map(WorkPlace::Temporary)
    }

    fn path(&self) -> &Path {
        match self {
            WorkPlace::Temporary(dir) => dir.path(),
            WorkPlace::Given { path, .. } => path,
        }
    }

    fn leave(self) -> Result<()> {
        if !matches!(self, WorkPlace::Given { had_build: true, .. }) {
            match Build::end(self.path(), None) {
                Ok(()) | Err(Error::NoBuild) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}
