//! `rkt-oci start`

use std::process::ExitCode;

use appc_container::state::Directory;
use appc_container::{Error, manage};
use clap::Args;

use super::{Outcome, wrong};
use crate::globals::Globals;

/// Start the program of a container made with `create`
#[derive(Debug, Args)]
pub(crate) struct Start {
    /// Name of the container
    #[arg(value_name = "CONTAINER")]
    id: String,
}

impl Start {
    pub(crate) fn run(&self, globals: &Globals) -> Outcome {
        let directory = Directory::open(&globals.containers().map_err(wrong)?, &self.id)?;
        let started: Result<(), Error> = manage::start(&directory);
        started.map(|()| ExitCode::SUCCESS)
    }
}
