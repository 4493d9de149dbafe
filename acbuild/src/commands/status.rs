//! `acbuild status`

use clap::Args;
use serde_json::json;

use appc_image::measure::{Measure, measure};

use super::Format;
use crate::context::Access;
use crate::error::Result;
use crate::session::Session;
use crate::{history, output};

/// Show the build in progress
///
/// Its mode, the image's name, how much is in its own root file system without dependencies, and the commands that
/// made it what it is.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  acbuild status\n  acbuild status --format=json")]
pub(crate) struct Status {
    /// Print JSON instead of text
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<Format>,
}

impl Status {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        let build = session.build(Access::Read)?;
        let manifest = build.manifest()?;
        let Measure { bytes, entries } = measure(&build.rootfs()?)?;
        let steps = history::steps(&manifest);
        match self.format {
            Some(format) => format.print(&json!({
                "mode": "appc",
                "name": manifest.name.as_str(),
                "size": bytes,
                "entries": entries,
                "steps": steps,
            })),
            None => {
                let mut text = format!("mode:  appc\nname:  {}\n", manifest.name);
                text += &format!("size:  {bytes} bytes in {entries} files and directories\nsteps: {}", steps.len());
                steps.iter().for_each(|step| text += &format!("\n  {step}"));
                output::result(text)
            }
        }
    }
}
