//! What `run` and `restore` do once their container runs: wait for it, and clean up.

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};

use appc_container::notify::Proxy;
use appc_container::state::Directory;
use appc_container::sys::signal::SignalFd;
use appc_container::{Error, Process, exit_code};

use crate::attend::{attend, take_signals};
use crate::commands::Outcome;
use crate::log::Log;

/// The caller's signals, unless it is not waited for.
pub(crate) struct Foreground(Option<SignalFd>);

impl Foreground {
    /// To be called before there is a container.
    pub(crate) fn new(detach: bool) -> Result<Foreground, Error> {
        Ok(Foreground(if detach { None } else { Some(take_signals()?) }))
    }

    /// Waits for the end of the container and removes it, unless it is to be kept.
    pub(crate) fn attend(
        self,
        mut process: Process,
        directory: Directory,
        proxy: Option<Proxy>,
        (id, keep): (&str, bool),
        log: &Log,
    ) -> Outcome {
        let Some(signals) = self.0 else {
            // It runs: whether that could be told is no reason to fail.
            if let Some(Err(e)) = proxy.map(|proxy| proxy.wait(process.pid, process.pidfd())) {
                log.say(&e.to_string());
            }
            return Ok(ExitCode::SUCCESS);
        };
        let relayed = attend(&mut process, &signals, proxy, log);
        let status = process.wait()?;
        log.detail(|| format!("process {} has ended: {status}", process.pid));
        if process.oom_kills() > 0 {
            log.say(&out_of_memory(&process, status, id));
        }
        if !keep {
            for failure in process.destroy()? {
                log.say(&failure.to_string());
            }
            directory.remove()?;
            log.detail(|| format!("container {id:?} is removed"));
        }
        relayed?;
        Ok(ExitCode::from(exit_code(status) as u8))
    }
}

/// The kernel may have killed others than the first process, whose end alone is the container's.
fn out_of_memory(process: &Process, status: ExitStatus, id: &str) -> String {
    let limit = match process.memory_limit() {
        Some(limit) => format!(" (limit {limit} bytes)"),
        None => String::new(),
    };
    match status.signal() {
        Some(libc::SIGKILL) => format!("container {id:?} was killed: out of memory{limit}"),
        _ => format!("container {id:?} ran out of memory{limit}: processes of it were killed"),
    }
}
