//! `acbuild set-working-directory`

use clap::Args;

use crate::error::Result;
use crate::session::Session;

/// Set the working directory of the image's process
///
/// Without it the process starts in /.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  acbuild set-working-directory /srv/www")]
pub(crate) struct SetWorkingDirectory {
    /// An absolute path in the image
    directory: String,
}

impl SetWorkingDirectory {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        session.debug(format_args!("Setting working directory to {}", self.directory));
        session.change(|image| image.set_working_directory(&self.directory))
    }
}
