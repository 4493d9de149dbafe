//! `rkt image diff`

use std::ffi::OsString;

use appc_image::render::{self, Rules};

use crate::cli::Global;
use crate::commands::Format;
use crate::failure::{Context, Outcome};
use crate::{images, output};

/// Which images to compare.
#[derive(Debug, clap::Args)]
#[command(after_help = "Each line is a path: + only in B, - only in A, ~ in both but different, and how.

Example:
  rkt image diff example.com/app:1.0 example.com/app:1.1")]
pub(super) struct Args {
    /// The first image: its ID (or the beginning of it) or name, or where it is
    a: OsString,
    /// The second
    b: OsString,
    /// Files with other times are different, too
    #[arg(long)]
    times: bool,
    /// Prints JSON instead of lines
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
}

/// Prints what of the root file systems differs, dependencies included.
pub(super) fn run(global: &Global, args: Args) -> Outcome {
    let store = global.store()?;
    let (a, b) = (images::stored(global, &store, &args.a)?, images::stored(global, &store, &args.b)?);
    let rules = if args.times { Rules::Times } else { Rules::Seen };
    let differences = render::diff(&store, &a, &b, rules)?;
    let text = match args.format {
        Some(format) => format.print(&differences)?,
        None => differences.iter().map(|difference| format!("{difference}\n")).collect(),
    };
    output::print(&text).context("writing to standard output")?;
    Ok(0)
}
