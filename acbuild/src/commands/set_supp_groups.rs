//! `acbuild set-supp-groups`

use clap::Args;

use crate::error::{Error, Result};
use crate::session::Session;

/// Set the supplementary GID's that are used when this image is run
///
/// They replace the ones that were set before.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  acbuild set-supp-groups 100 500")]
pub(crate) struct SetSuppGroups {
    /// Numbers of the groups
    #[arg(required = true, value_name = "GROUP")]
    groups: Vec<String>,
}

impl SetSuppGroups {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        session.debug(format_args!("Setting supplementary groups to [{}]", self.groups.join(" ")));
        let groups = self.groups.iter().map(|g| parse(g)).collect::<Result<Vec<_>>>()?;
        session.edit_app(|app| {
            app.supplementary_gids = groups;
            Ok(())
        })
    }
}

fn parse(group: &str) -> Result<u32> {
    let why =
        || Error::Refused(format!("error parsing group argument {group:?}: it must be a number from 0 to 4294967295"));
    group.parse().map_err(|_| why())
}
