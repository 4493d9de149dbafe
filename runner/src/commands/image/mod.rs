//! `rkt image`: what is in the store.

use crate::cli::Global;
use crate::failure::Outcome;

mod cat_manifest;
mod export;
mod extract;
mod list;
mod rm;

/// What to do with stored images.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Lists the images in the store
    List(list::Args),
    /// Removes images from the store
    Rm(rm::Args),
    /// Prints an image's manifest
    CatManifest(cat_manifest::Args),
    /// Writes an image into a file, byte for byte as it was fetched
    Export(export::Args),
    /// Extracts an image, without its dependencies, into a directory
    Extract(extract::Args),
}

/// Runs the command that was given.
pub fn run(global: &Global, args: Args) -> Outcome {
    match args.command {
        Command::List(args) => list::run(global, args),
        Command::Rm(args) => rm::run(global, args),
        Command::CatManifest(args) => cat_manifest::run(global, args),
        Command::Export(args) => export::run(global, args),
        Command::Extract(args) => extract::run(global, args),
    }
}
