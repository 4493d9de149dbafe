//! `acbuild replace-manifest`

use std::path::PathBuf;

use appc_spec::ImageManifest;
use clap::Args;

use super::read_json;
use crate::document::Mode;
use crate::error::{Error, Result};
use crate::oci::Config;
use crate::session::Session;

/// Replace the manifest in the current build
///
/// The whole of it: what the file does not say is gone. Use it for what no other command can set. In an oci build it is
/// the config that is replaced, but for the list of layers, which is as the build has it.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  acbuild cat-manifest > manifest.json && acbuild replace-manifest manifest.json")]
pub(crate) struct ReplaceManifest {
    /// File with the new manifest, or - for standard input
    path: PathBuf,
}

impl ReplaceManifest {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        session.debug(format_args!("Replacing manifest in current build with {}", self.path.display()));
        let mode = session.mode()?;
        let json = read_json(&self.path)?;
        let refused = |rule: String| {
            let path = self.path.display();
            Error::Refused(format!("{path}: {rule}: mend it, \"acbuild cat-manifest\" shows what the build has"))
        };
        match mode {
            Mode::Appc => session.replace(ImageManifest::parse(&json).map_err(|e| refused(e.to_string()))?),
            Mode::Oci => {
                let mut config = Config::parse(&json).map_err(|e| refused(e.to_string()))?;
                session.edit_oci(|image| {
                    config.rootfs = image.config.rootfs.clone();
                    image.config = config;
                    Ok(())
                })
            }
        }
    }
}
