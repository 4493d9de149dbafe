//! `rkt image cat-manifest`

use std::ffi::OsString;

use crate::cli::Global;
use crate::failure::{Context, Outcome};
use crate::{images, output};

/// Whose manifest to print.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  rkt image cat-manifest --pretty-print example.com/hello")]
pub(super) struct Args {
    /// An image in the store by its ID (or the beginning of it) or name, or one elsewhere
    image: OsString,
    /// Whether the JSON is indented
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pretty_print: bool,
}

/// Prints the image's manifest.
pub(super) fn run(global: &Global, args: Args) -> Outcome {
    let manifest = images::stored(global, &global.store()?, &args.image)?.manifest;
    let mut text = if args.pretty_print { manifest.to_json_pretty() } else { manifest.to_json() };
    text.push('\n');
    output::print(&text).context("writing to standard output")?;
    Ok(0)
}
