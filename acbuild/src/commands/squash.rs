//! `acbuild squash`

use clap::Args;

use crate::context::Access;
use crate::document::Mode;
use crate::error::Error;
use crate::error::Result;
use crate::fold::fold;
use crate::oci;
use crate::session::Session;

/// Fold the dependencies of the image into it, or make one layer of several
///
/// The files of the dependencies become the image's own, so that it depends on no other image any more; what a path
/// whitelist leaves out is gone, and the whitelist too.
///
/// Of an OCI image it takes all layers, those that it began with too, or those from --from on; what another layer has
/// replaced or deleted then takes no room any more. What is changed afterwards goes into the same layer until the next
/// "acbuild layer".
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  acbuild squash\n  acbuild squash --from 2")]
pub(crate) struct Squash {
    /// The first layer of an OCI image to take in; its lowest layer is 1, and taken when nothing is said
    #[arg(long, value_name = "N")]
    from: Option<usize>,
}

impl Squash {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        let from = match (session.mode()?, self.from) {
            (Mode::Appc, None) => {
                session.debug("Squashing the image");
                return fold(session, &session.build(Access::Change)?);
            }
            (Mode::Appc, Some(_)) => {
                return Err(Error::refused("--from is for OCI images: leave it away to fold in all dependencies"));
            }
            (Mode::Oci, from) => from.unwrap_or(1),
        };
        session.debug(format_args!("Squashing layers from {from}"));
        let build = session.build(Access::Change)?;
        let mut image = build.image()?;
        let leftovers = oci::squash(&build, &mut image, from)?;
        build.touch_all()?;
        session.save(&build, &mut image)?;
        leftovers.remove(&build)
    }
}
