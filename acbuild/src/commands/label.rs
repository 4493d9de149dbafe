//! `acbuild label add|remove`

use clap::{Args, Subcommand};

use crate::error::Result;
use crate::session::Session;

/// Manage labels
///
/// Labels tell images of the same name apart: version, os and arch are the well-known ones.
#[derive(Debug, Args)]
pub(crate) struct Label {
    #[command(subcommand)]
    command: LabelCommand,
}

#[derive(Debug, Subcommand)]
enum LabelCommand {
    Add(Add),
    #[command(visible_alias = "rm")]
    Remove(Remove),
}

/// Add a label, or replace the one of that name
///
/// Use it to say which version the image is, and for which system.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  acbuild label add version 0.0.1")]
struct Add {
    /// Name of the label
    name: String,
    /// Its value
    value: String,
}

/// Remove a label
///
/// Exits with 2 when there is none of that name.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  acbuild label remove arch")]
struct Remove {
    /// Name of the label
    name: String,
}

impl Label {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        match &self.command {
            LabelCommand::Add(Add { name, value }) => {
                session.debug(format_args!("Adding label {name:?}={value:?}"));
                session.change(|image| image.set_label(name, value))
            }
            LabelCommand::Remove(Remove { name }) => {
                session.debug(format_args!("Removing label {name:?}"));
                session.change(|image| image.remove_label(name))
            }
        }
    }
}
