//! `acbuild environment add|remove`

use clap::{Args, Subcommand};

use crate::error::Result;
use crate::session::Session;

/// Manage environment variables
///
/// They are set for the image's process and for its event handlers.
#[derive(Debug, Args)]
pub(crate) struct Environment {
    #[command(subcommand)]
    command: EnvironmentCommand,
}

#[derive(Debug, Subcommand)]
enum EnvironmentCommand {
    Add(Add),
    #[command(visible_alias = "rm")]
    Remove(Remove),
}

/// Set an environment variable, in place of the one of that name
///
/// Use it for the defaults of a program; who runs the image can set others.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  acbuild environment add PATH /usr/bin:/bin")]
struct Add {
    /// Name of the variable
    name: String,
    /// Its value
    value: String,
}

/// Remove an environment variable
///
/// Exits with 2 when there is none of that name.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  acbuild environment remove PATH")]
struct Remove {
    /// Name of the variable
    name: String,
}

impl Environment {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        match &self.command {
            EnvironmentCommand::Add(Add { name, value }) => {
                session.debug(format_args!("Adding environment variable {name:?}={value:?}"));
                session.change(|image| image.set_variable(name, value))
            }
            EnvironmentCommand::Remove(Remove { name }) => {
                session.debug(format_args!("Removing environment variable {name:?}"));
                session.change(|image| image.remove_variable(name))
            }
        }
    }
}
