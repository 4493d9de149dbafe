//! `acbuild isolator add|remove`

use std::path::PathBuf;

use appc_spec::{AcIdentifier, Isolator as Parsed};
use clap::{Args, Subcommand};

use super::{read_json, removed};
use crate::error::{Error, Result};
use crate::session::Session;

/// Manage isolators (appc only)
///
/// Isolators limit what the image's process may use and do: memory, cpu, capabilities, system calls.
#[derive(Debug, Args)]
pub(crate) struct Isolator {
    #[command(subcommand)]
    command: IsolatorCommand,
}

#[derive(Debug, Subcommand)]
enum IsolatorCommand {
    Add(Add),
    #[command(visible_alias = "rm")]
    Remove(Remove),
}

/// Add an isolator, or replace the one of that name
///
/// Its value is read from a file of JSON, in the form that the specification gives for that isolator.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  echo '{\"limit\": \"100M\"}' | acbuild isolator add resource/memory -")]
struct Add {
    /// Name of the isolator
    name: String,
    /// File with its value, or - for standard input
    json_file: PathBuf,
}

/// Remove an isolator
///
/// Exits with 2 when there is none of that name.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  acbuild isolator remove resource/memory")]
struct Remove {
    /// Name of the isolator
    name: String,
}

impl Isolator {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        match &self.command {
            IsolatorCommand::Add(add) => add.run(session),
            IsolatorCommand::Remove(Remove { name }) => {
                session.debug(format_args!("Removing isolator {name:?}"));
                name.parse::<AcIdentifier>()?;
                session.edit_app(|app| removed(app.isolators.remove(name), "isolator", name))
            }
        }
    }
}

impl Add {
    fn run(&self, session: &Session) -> Result<()> {
        let name: AcIdentifier = self.name.parse()?;
        // Before somebody types a value for nothing.
        session.mode()?;
        let text = read_json(&self.json_file)?;
        let value: serde_json::Value = serde_json::from_slice(&text)
            .map_err(|e| Error::Refused(format!("{} is not JSON: {e}", self.json_file.display())))?;
        session.debug(format_args!("Adding isolator {:?}={:?}", self.name, value.to_string()));
        session.edit_app(|app| {
            app.isolators.set(name, value)?;
            match app.isolators.get(&self.name) {
                Some(Parsed::Unknown) => Err(self.unknown()),
                _ => Ok(()),
            }
        })
    }

    /// A name nobody knows is most likely mistyped, and would isolate nothing.
    fn unknown(&self) -> Error {
        let name = &self.name;
        Error::Refused(format!("unknown isolator name: {name} - one that is meant goes in with replace-manifest"))
    }
}
