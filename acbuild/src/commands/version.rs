//! `acbuild version`

use clap::Args;

use crate::error::Result;
use crate::output;
use crate::session::Session;

/// Get the version of acbuild
///
/// And that of the specification that the images it writes follow.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  acbuild version")]
pub(crate) struct Version {}

impl Version {
    pub(crate) fn run(&self, _: &Session) -> Result<()> {
        output::result(format_args!("acbuild version {}", env!("CARGO_PKG_VERSION")))?;
        output::result(format_args!("appc version {}", appc_spec::AC_VERSION))
    }
}
