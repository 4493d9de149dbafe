//! `rkt-oci delete`

use std::process::ExitCode;

use appc_container::state::Directory;
use appc_container::{Error, manage};
use clap::Args;

use super::{Outcome, wrong};
use crate::globals::Globals;
use crate::launch::remains;
use crate::log::Log;

/// Remove a container that has ended or was never started
///
/// Its cgroup and its directory go, and its poststop hooks run. The bundle stays.
///
///   rkt-oci delete --force mycontainer
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Delete {
    /// Kill it first if it runs; a container that does not exist is no error
    #[arg(short, long)]
    force: bool,
    /// Name of the container
    #[arg(value_name = "CONTAINER")]
    id: String,
}

impl Delete {
    pub(crate) fn run(&self, globals: &Globals, log: &Log) -> Outcome {
        let directory = match Directory::open(&globals.containers().map_err(wrong)?, &self.id) {
            Err(Error::NoContainer) if self.force => return Ok(ExitCode::SUCCESS),
            found => found?,
        };
        let lost = |directory: &Directory| remains(globals, &self.id, directory);
        for failure in manage::delete(directory, self.force, lost)? {
            log.say(&failure.to_string());
        }
        Ok(ExitCode::SUCCESS)
    }
}
