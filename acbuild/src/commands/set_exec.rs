//! `acbuild set-exec`

use clap::Args;

use crate::error::Result;
use crate::session::Session;

/// Set the command to execute when this image is run
///
/// Put -- before a command that has flags of its own.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  acbuild set-exec -- /usr/sbin/nginx -g \"daemon off;\"")]
pub(crate) struct SetExec {
    /// The command and its arguments
    #[arg(required = true, value_name = "CMD")]
    command: Vec<String>,
}

impl SetExec {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        session.debug(format_args!("Setting exec command [{}]", self.command.join(" ")));
        session.change(|image| image.set_exec(&self.command))
    }
}
