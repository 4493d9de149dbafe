//! `acbuild set-tag`

use clap::Args;

use crate::error::Result;
use crate::session::Session;

/// Set the tag of the image
///
/// In an appc build it is the version label, short for "acbuild label add version TAG". In an oci build it is the name
/// that the image is written under, "latest" without it.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  acbuild set-tag 1.0.2")]
pub(crate) struct SetTag {
    /// The tag
    tag: String,
}

impl SetTag {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        session.debug(format_args!("Setting tag to {}", self.tag));
        session.change(|image| image.set_tag(&self.tag))
    }
}
