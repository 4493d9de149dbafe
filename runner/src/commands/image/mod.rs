//! `rkt image`: what is in the store.

use crate::cli::Global;
use crate::failure::Outcome;

mod cat_manifest;
mod diff;
mod export;
mod extract;
mod gc;
mod list;
mod render;
mod rm;
mod tree;
mod usage;
mod verify;

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
    /// Removes images that have not been used for some time
    Gc(gc::Args),
    /// Prints an image's manifest
    CatManifest(cat_manifest::Args),
    /// Writes an image into a file, byte for byte as it was fetched
    Export(export::Args),
    /// Extracts an image, without its dependencies, into a directory
    Extract(extract::Args),
    /// Makes the root file system of an image and its dependencies in a directory
    Render(render::Args),
    /// Compares stored images with what was fetched
    Verify(verify::Args),
    /// Shows what an image depends on, or its layers
    Tree(tree::Args),
    /// Shows which paths differ between two images
    Diff(diff::Args),
    /// Shows what images take on the disk and what they share
    Usage(usage::Args),
}

impl Args {
    /// What was typed, in front of what is said on standard error.
    pub fn name(&self) -> &'static str {
        match self.command {
            Command::List(_) => "image list",
            Command::Rm(_) => "image rm",
            Command::Gc(_) => "image gc",
            Command::CatManifest(_) => "image cat-manifest",
            Command::Export(_) => "image export",
            Command::Extract(_) => "image extract",
            Command::Render(_) => "image render",
            Command::Verify(_) => "image verify",
            Command::Tree(_) => "image tree",
            Command::Diff(_) => "image diff",
            Command::Usage(_) => "image usage",
        }
    }

    /// Whether files of images are made, read or removed, and not only what is known of them.
    pub fn touches_files(&self) -> bool {
        !matches!(self.command, Command::List(_) | Command::CatManifest(_))
    }
}

/// Runs the command that was given.
pub fn run(global: &Global, args: Args) -> Outcome {
    match args.command {
        Command::List(args) => list::run(global, args),
        Command::Rm(args) => rm::run(global, args),
        Command::Gc(args) => gc::run(global, args),
        Command::CatManifest(args) => cat_manifest::run(global, args),
        Command::Export(args) => export::run(global, args),
        Command::Extract(args) => extract::run(global, args),
        Command::Render(args) => render::run(global, args),
        Command::Verify(args) => verify::run(global, args),
        Command::Tree(args) => tree::run(global, args),
        Command::Diff(args) => diff::run(global, args),
        Command::Usage(args) => usage::run(global, args),
    }
}
