//! `rkt-oci kill`

use std::process::ExitCode;

use appc_container::state::Directory;
use appc_container::{Error, manage, signal_names};
use clap::Args;

use super::{Outcome, wrong};
use crate::globals::Globals;

/// Send a signal to a container's first process
///
/// By name or number, TERM by default; 0 sends nothing and only finds out whether that process lives. When the container shares its pid namespace, KILL goes to all of its processes. One that was created and not started ends by TERM, HUP, INT, QUIT and KILL.
///
///   rkt-oci kill mycontainer HUP
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Kill {
    /// Accepted for old callers: it only makes a container that has ended no error
    #[arg(short, long, hide = true)]
    all: bool,
    /// Name of the container
    #[arg(value_name = "CONTAINER")]
    id: String,
    /// Name or number of the signal
    #[arg(value_name = "SIGNAL", default_value = "TERM")]
    signal: String,
}

impl Kill {
    pub(crate) fn run(&self, globals: &Globals) -> Outcome {
        let signal =
            signal_names::parse(&self.signal).ok_or_else(|| wrong(format!("unknown signal {:?}", self.signal)))?;
        let directory = Directory::open(&globals.containers().map_err(wrong)?, &self.id)?;
        match manage::kill(&directory, signal) {
            Err(Error::NotRunning) if self.all => Ok(ExitCode::SUCCESS),
            done => done.map(|()| ExitCode::SUCCESS),
        }
    }
}
