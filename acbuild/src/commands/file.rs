//! `acbuild file remove`

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::error::Result;
use crate::remove::remove;
use crate::session::Session;

/// Manage files in the image
#[derive(Debug, Args)]
pub(crate) struct File {
    #[command(subcommand)]
    command: FileCommand,
}

#[derive(Debug, Subcommand)]
enum FileCommand {
    #[command(visible_alias = "rm")]
    Remove(Remove),
}

/// Remove files and directories from the image, with everything in them
///
/// Links on the way to a path are followed within the image, the last one is removed itself. What comes from a
/// dependency is left out by the path whitelist that "acbuild write" makes. Exits with 2, and removes nothing, when one of them is not there.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  acbuild file remove /usr/share/doc /var/cache/apt")]
struct Remove {
    /// Paths in the image
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
}

impl File {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        match &self.command {
            FileCommand::Remove(Remove { paths }) => {
                session.debug(format_args!("Removing {paths:?}"));
                remove(session, paths)
            }
        }
    }
}
