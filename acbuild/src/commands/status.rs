//! `acbuild status`

use clap::Args;
use serde_json::json;

use appc_image::measure::Measure;

use super::Format;
use crate::context::Access;
use crate::error::Result;
use crate::output;
use crate::session::Session;

/// Show the build in progress
///
/// Its mode, the image's name, or the tag of an OCI image, how much is in its own root file system without dependencies, and
/// the commands that made it what it is. What is changed by hand is counted after the next command that changes files.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  acbuild status\n  acbuild status --format=json")]
pub(crate) struct Status {
    /// Print JSON instead of text
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<Format>,
}

impl Status {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        let build = session.whole(Access::Look)?;
        let document = build.document()?;
        let (mode, name, steps) = (build.mode(), document.name(), document.steps());
        // What is being changed this very moment is measured when that is done.
        let again = |_| session.whole(Access::Read)?.measure();
        let Measure { bytes, entries } = build.measure().or_else(again)?;
        match self.format {
            Some(format) => format.print(&json!({
                "mode": mode.as_str(),
                "name": name,
                "size": bytes,
                "entries": entries,
                "steps": steps,
            })),
            None => {
                let mut text = format!("mode:  {mode}\nname:  {name}\n");
                text += &format!("size:  {bytes} bytes in {entries} files and directories\nsteps: {}", steps.len());
                steps.iter().for_each(|step| text += &format!("\n  {step}"));
                output::result(text)
            }
        }
    }
}
