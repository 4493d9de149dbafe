//! `rkt-oci create`

use std::process::ExitCode;

use clap::Args;

use super::Outcome;
use crate::globals::Globals;
use crate::launch::Launch;
use crate::log::Log;

/// Make a container, to be started later
///
/// Everything is set up, and the program looked for, but not executed: `rkt-oci start` does that. For engines, and for
/// whoever has something to do in between; otherwise there is `rkt-oci run`.
///
///   rkt-oci create --bundle /srv/web web && rkt-oci start web
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Create {
    #[command(flatten)]
    pub(super) launch: Launch,
}

impl Create {
    pub(crate) fn run(&self, globals: &Globals, log: &Log) -> Outcome {
        let launched = self.launch.launch(globals, log, true, true)?;
        // Init lives on and is adopted by whoever called us.
        drop(launched.created.detach());
        Ok(ExitCode::SUCCESS)
    }
}
