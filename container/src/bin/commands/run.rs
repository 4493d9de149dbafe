//! `rkt-oci run`

use appc_container::notify::Proxy;
use appc_container::state::Directory;
use appc_container::{Error, Process};
use clap::Args;

use super::Outcome;
use crate::foreground::Foreground;
use crate::globals::Globals;
use crate::launch::{Launch, Launched};
use crate::log::Log;

/// Make a container and start it
///
/// In the foreground its terminal is passed through, signals are passed on, and when it ends it is removed; the exit
/// code is the program's (128 and the number of the signal that killed it).
///
///   rkt-oci run --bundle /srv/web web
///   rkt-oci run --detach --pid-file web.pid web </dev/null >web.log 2>&1
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(super) launch: Launch,
    /// Return as soon as the program runs
    #[arg(short, long)]
    detach: bool,
    /// Accepted for old callers
    #[arg(long, hide = true)]
    no_subreaper: bool,
    /// Do not remove the container when it has ended
    #[arg(long)]
    keep: bool,
}

impl Run {
    pub(crate) fn run(&self, globals: &Globals, log: &Log) -> Outcome {
        let foreground = Foreground::new(self.detach)?;
        let launched = self.launch.launch(globals, log, self.detach, false)?;
        let (process, directory, proxy) = start(launched)?;
        log.detail(|| format!("process {} executes the program", process.pid));
        foreground.attend(process, directory, proxy, (&self.launch.base.id, self.keep), log)
    }
}

/// Sees the program start; when that fails nothing is left.
fn start(launched: Launched) -> Result<(Process, Directory, Option<Proxy>), Error> {
    let Launched { created, directory, proxy } = launched;
    match created.start() {
        Ok(process) => Ok((process, directory, proxy)),
        Err(e) => {
            // The first error is the one to tell.
            let _not_removed = directory.remove();
            Err(e)
        }
    }
}
