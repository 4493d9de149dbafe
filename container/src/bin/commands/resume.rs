//! `rkt-oci resume`

use std::process::ExitCode;

use appc_container::state::Directory;
use appc_container::supervise;
use clap::Args;

use super::{Outcome, wrong};
use crate::globals::Globals;

/// Let the processes of a paused container go on
///
///   rkt-oci resume mycontainer
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Resume {
    /// Name of the container
    #[arg(value_name = "CONTAINER")]
    id: String,
}

impl Resume {
    pub(crate) fn run(&self, globals: &Globals) -> Outcome {
        let directory = Directory::open(&globals.containers().map_err(wrong)?, &self.id)?;
        supervise::resume(&directory)?;
        Ok(ExitCode::SUCCESS)
    }
}
