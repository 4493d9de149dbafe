//! `acbuild set-stop-signal`

use clap::Args;

use crate::error::Result;
use crate::session::Session;

/// Set the signal that asks the image's process to end (OCI only)
///
/// Engines send SIGTERM without it.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  acbuild set-stop-signal SIGQUIT")]
pub(crate) struct SetStopSignal {
    /// Its name or number
    signal: String,
}

impl SetStopSignal {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        session.debug(format_args!("Setting stop signal to {}", self.signal));
        session.edit_oci(|image| image.set_stop_signal(&self.signal))
    }
}
