//! `acbuild layer`

use clap::Args;

use crate::context::Access;
use crate::error::Result;
use crate::oci;
use crate::session::Session;

/// Creates a new layer in the image (OCI only)
///
/// What was changed so far becomes a layer of its own, and what comes after it a new one: images that have the first in
/// common have it only once. Without changes nothing happens. Layers are compressed when the image is written.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  acbuild copy-to-dir libraries/* /usr/lib/app
  acbuild layer
  acbuild copy app /usr/bin/app")]
pub(crate) struct Layer {}

impl Layer {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        session.debug("Adding new layer");
        // What is made on the way must not depend on who builds.
        rustix::process::umask(rustix::fs::Mode::from(0o022));
        let build = session.build(Access::Change)?;
        let mut image = build.image()?;
        session.record(&mut image)?;
        oci::close(&build, &mut image)?;
        build.prepare(&image)?.commit()
    }
}
