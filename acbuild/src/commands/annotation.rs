//! `acbuild annotation add|remove`

use clap::{Args, Subcommand};

use crate::error::Result;
use crate::session::Session;

/// Manage annotations
///
/// Annotations say things about the image that do not decide how it is found or run: authors, created, homepage and
/// documentation are the well-known ones.
#[derive(Debug, Args)]
pub(crate) struct Annotation {
    #[command(subcommand)]
    command: AnnotationCommand,
}

#[derive(Debug, Subcommand)]
enum AnnotationCommand {
    Add(Add),
    #[command(visible_alias = "rm")]
    Remove(Remove),
}

/// Add an annotation, or replace the one of that name
///
/// Use it to say who made the image, when, and where to read about it.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  acbuild annotation add authors \"Carly Container <carly@example.com>\"")]
struct Add {
    /// Name of the annotation
    name: String,
    /// Its value
    value: String,
}

/// Remove an annotation
///
/// Exits with 2 when there is none of that name.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  acbuild annotation remove homepage")]
struct Remove {
    /// Name of the annotation
    name: String,
}

impl Annotation {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        match &self.command {
            AnnotationCommand::Add(Add { name, value }) => {
                session.debug(format_args!("Adding annotation {name:?}={value:?}"));
                session.change(|image| image.set_annotation(name, value))
            }
            AnnotationCommand::Remove(Remove { name }) => {
                session.debug(format_args!("Removing annotation {name:?}"));
                session.change(|image| image.remove_annotation(name))
            }
        }
    }
}
