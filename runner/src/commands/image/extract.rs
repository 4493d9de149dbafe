//! `rkt image extract`

use std::ffi::OsString;
use std::path::PathBuf;

use appc_image::Error;
use appc_image::store::ExtractOptions;

use crate::cli::Global;
use crate::failure::{Failure, Outcome};
use crate::images;
use crate::progress::Bar;

/// Which image goes where.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  rkt image extract --rootfs-only example.com/hello ./rootfs")]
pub(super) struct Args {
    /// An image in the store by its ID (or the beginning of it) or name, or one elsewhere
    image: OsString,
    /// The directory to make
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Extracts the root file system alone, as the directory itself
    #[arg(long)]
    rootfs_only: bool,
    /// Replaces the directory when it exists
    #[arg(long)]
    overwrite: bool,
}

/// Extracts the image's own files. The directory is there whole or not at all.
pub(super) fn run(global: &Global, args: Args) -> Outcome {
    let store = global.store()?;
    let image = images::stored(global, &store, &args.image)?;
    let options = ExtractOptions { rootfs_only: args.rootfs_only, overwrite: args.overwrite };
    match store.extract(&image.id, &args.directory, options, &Bar::default()) {
        Ok(()) => Ok(0),
        Err(Error::Exists(dir)) => {
            Err(Failure::new(format!("{}: output directory exists (try --overwrite)", dir.display())))
        }
        Err(e) => Err(e.into()),
    }
}
