//! `rkt version`

use crate::cli::Global;
use crate::failure::{Context, Outcome};
use crate::output;

/// `version` takes nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  rkt version")]
pub struct Args {}

/// Prints one line per version.
pub fn run(_: &Global, _: Args) -> Outcome {
    let text = format!("rkt Version: {}\nappc Version: {}\n", env!("CARGO_PKG_VERSION"), appc_spec::AC_VERSION);
    output::print(&text).context("writing to standard output")?;
    Ok(0)
}
