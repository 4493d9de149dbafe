//! `acbuild set-user`

use clap::Args;

use crate::error::{Error, Result};
use crate::session::Session;

/// Set the user that is used when this image is run
///
/// A name is looked up in the image's own files when it is run; the default is 0.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  acbuild set-user www-data")]
pub(crate) struct SetUser {
    /// Name or number of the user, or an absolute path in the image whose owner is taken
    user: String,
}

impl SetUser {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        session.debug(format_args!("Setting user to {}", self.user));
        if self.user.is_empty() {
            return Err(Error::refused("user cannot be empty: give a name, a number or a path"));
        }
        session.change(|image| image.set_user(&self.user))
    }
}
