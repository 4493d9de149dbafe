//! `acbuild set-tag`

use clap::Args;

use crate::error::Result;
use crate::session::Session;

/// Set the tag of the image, which is its version label
///
/// Short for "acbuild label add version TAG".
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  acbuild set-tag 1.0.2")]
pub(crate) struct SetTag {
    /// The tag
    tag: String,
}

impl SetTag {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        session.debug(format_args!("Setting tag to {}", self.tag));
        session.edit(|manifest| {
            manifest.labels.set("version".parse()?, &self.tag);
            Ok(())
        })
    }
}
