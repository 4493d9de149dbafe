//! `acbuild set-name`

use clap::Args;

use crate::error::{Error, Result};
use crate::session::Session;

/// Set the image name (appc only)
///
/// Every image needs one before it can be written. It usually begins with a domain of yours.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  acbuild set-name example.com/hello")]
pub(crate) struct SetName {
    /// The name
    #[arg(value_name = "ACI_NAME")]
    name: String,
}

impl SetName {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        session.debug(format_args!("Setting name of ACI to {}", self.name));
        if self.name.is_empty() {
            return Err(Error::refused("name cannot be empty: give one like example.com/hello"));
        }
        let name = self.name.parse()?;
        session.edit(|manifest| {
            manifest.name = name;
            Ok(())
        })
    }
}
