//! `rkt-oci pause`

use std::process::ExitCode;

use appc_container::state::Directory;
use appc_container::supervise;
use clap::Args;

use super::{Outcome, wrong};
use crate::globals::Globals;

/// Stop all processes of a container until it is resumed
///
/// They keep their memory and get no processor, by way of the container's cgroup.
///
///   rkt-oci pause mycontainer
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Pause {
    /// Name of the container
    #[arg(value_name = "CONTAINER")]
    id: String,
}

impl Pause {
    pub(crate) fn run(&self, globals: &Globals) -> Outcome {
        let directory = Directory::open(&globals.containers().map_err(wrong)?, &self.id)?;
        supervise::pause(&directory)?;
        Ok(ExitCode::SUCCESS)
    }
}
