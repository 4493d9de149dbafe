//! `acbuild set-group`

use clap::Args;

use crate::error::{Error, Result};
use crate::session::Session;

/// Set the group that is used when this image is run
///
/// A name is looked up in the image's own files when it is run; the default is 0.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  acbuild set-group www-data")]
pub(crate) struct SetGroup {
    /// Name or number of the group, or an absolute path in the image whose group is taken
    group: String,
}

impl SetGroup {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        session.debug(format_args!("Setting group to {}", self.group));
        if self.group.is_empty() {
            return Err(Error::refused("group cannot be empty: give a name, a number or a path"));
        }
        session.change(|image| image.set_group(&self.group))
    }
}
