//! `acbuild replace-manifest`

use std::path::PathBuf;

use appc_spec::ImageManifest;
use clap::Args;

use super::read_json;
use crate::error::Result;
use crate::session::Session;

/// Replace the manifest in the current build
///
/// The whole of it: what the file does not say is gone. Use it for what no other command can set.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  acbuild cat-manifest > manifest.json && acbuild replace-manifest manifest.json")]
pub(crate) struct ReplaceManifest {
    /// File with the new manifest, or - for standard input
    path: PathBuf,
}

impl ReplaceManifest {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        session.debug(format_args!("Replacing manifest in current build with {}", self.path.display()));
        let new = ImageManifest::parse(&read_json(&self.path)?)?;
        session.replace(new)
    }
}
