//! `acbuild cat-manifest`

use clap::{Args, ValueEnum};

use crate::context::Access;
use crate::error::{Error, Result};
use crate::output;
use crate::session::Session;

/// Print the manifest from the current build
///
/// Use it to see what the commands so far made.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  acbuild cat-manifest --pretty-print")]
pub(crate) struct CatManifest {
    /// Print it over several lines, indented
    #[arg(long)]
    pretty_print: bool,
    /// Which file to print; an appc image has only one
    #[arg(long, value_enum, default_value = "manifest")]
    file: Which,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Which {
    Manifest,
    Config,
}

impl CatManifest {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        session.debug("Printing manifest from current build");
        if let Which::Config = self.file {
            return Err(Error::refused("can't print config, appc has no image configs: use --file manifest"));
        }
        let manifest = session.build(Access::Read)?.manifest()?;
        output::result(if self.pretty_print { manifest.to_json_pretty() } else { manifest.to_json() })
    }
}
