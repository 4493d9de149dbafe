//! `rkt-oci run`

use std::process::ExitCode;

use appc_container::notify::{self, Proxy};
use appc_container::state::Directory;
use appc_container::{Error, Process, exit_code};
use clap::Args;

use super::Outcome;
use crate::attend::{attend, take_signals};
use crate::globals::Globals;
use crate::launch::{Launch, Launched};
use crate::log::Log;

/// Make a container and start it
///
/// In the foreground its terminal is passed through, signals are passed on, and when it ends it is removed; the exit
/// code is the program's (128 and the number of the signal that killed it).
#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(super) launch: Launch,
    /// Return as soon as the program runs
    #[arg(short, long)]
    detach: bool,
    /// Do not remove the container when it has ended
    #[arg(long)]
    keep: bool,
}

impl Run {
    pub(crate) fn run(&self, globals: &Globals, log: &Log) -> Outcome {
        let signals = if self.detach { None } else { Some(take_signals()?) };
        let launched = self.launch.launch(globals, log, self.detach, false)?;
        let (mut process, directory, proxy) = start(launched)?;
        let Some(signals) = signals else {
            // It runs: whether that could be told is no reason to fail.
            if let Some(Err(e)) = proxy.map(|proxy| proxy.wait(process.pid, process.pidfd())) {
                log.say(&e.to_string());
            }
            return Ok(ExitCode::SUCCESS);
        };
        let relayed = attend(&mut process, &signals, proxy, log);
        let status = process.wait()?;
        let killed = process.oom_kills() > 0;
        if killed {
            log.say(&self.out_of_memory(&process));
        }
        if !self.keep {
            for failure in process.destroy()? {
                log.say(&failure.to_string());
            }
            directory.remove()?;
        }
        relayed?;
        Ok(ExitCode::from(exit_code(status) as u8))
    }

    fn out_of_memory(&self, process: &Process) -> String {
        let limit = match process.memory_limit() {
            Some(limit) => format!(" (limit {limit} bytes)"),
            None => String::new(),
        };
        format!("container {:?} was killed: out of memory{limit}", self.launch.id)
    }
}

/// Starts the program; when that fails nothing is left.
fn start(launched: Launched) -> Result<(Process, Directory, Option<Proxy>), Error> {
    let Launched { created, directory } = launched;
    let bound = notify::host_socket().map(|host| Proxy::bind(directory.path(), host)).transpose();
    let started = match bound {
        Ok(proxy) => created.start().map(|process| (process, proxy.flatten())),
        Err(e) => {
            // The first error is the one to tell, here and below.
            let _not_undone = created.detach().destroy();
            Err(e)
        }
    };
    match started {
        Ok((process, proxy)) => Ok((process, directory, proxy)),
        Err(e) => {
            let _not_removed = directory.remove();
            Err(e)
        }
    }
}
