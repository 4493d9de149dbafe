//! `acbuild squash`

use clap::Args;

use crate::context::Access;
use crate::error::Result;
use crate::fold::fold;
use crate::session::Session;

/// Fold the dependencies of the image into it
///
/// Their files become the image's own, so that it depends on no other image any more; what a path whitelist leaves out
/// is gone, and the whitelist too.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  acbuild squash")]
pub(crate) struct Squash {}

impl Squash {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        session.debug("Squashing the image");
        let build = session.build(Access::Change)?;
        fold(session, &build)
    }
}
