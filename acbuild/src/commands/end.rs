//! `acbuild end`

use clap::Args;

use crate::context::Build;
use crate::error::Result;
use crate::session::Session;
use crate::tied;

/// End a current build
///
/// Removes the directory .acbuild with everything in it; images that were written stay. When that takes long, and the data
/// directory or the one for temporary files is on the same file system, they are moved there and removed in the background.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  acbuild end")]
pub(crate) struct End {}

impl End {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        session.debug("Ending the build");
        // Nothing of a script is to go on when that has ended.
        let store = (!tied::is_tied()).then(|| session.store_dir());
        Build::end(session.work_path(), store.as_deref())
    }
}
