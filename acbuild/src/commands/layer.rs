//! `acbuild layer`

use clap::Args;

use crate::cache::{Change, Effect, Key, Step};
use crate::context::Access;
use crate::error::Result;
use crate::oci;
use crate::session::Session;

/// Creates a new layer in the image (OCI only)
///
/// What was changed so far becomes a layer of its own, and what comes after it a new one: images that have the first in
/// common have it only once. Without changes nothing happens. What was changed by hand, not by a command, is not looked for
/// until the image is written, and is in its last layer then. Layers are compressed when the image is written.
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
        let below = image.outline();
        let inputs = |key: &mut Key<'_>| {
            key.list("below", &below);
            Ok(())
        };
        let step = Step::new(session, &build, "layer", &inputs)?;
        if let Some(change) = step.known() {
            if let Change::Layer { number } = *change {
                image.close(number);
            }
            return step.replay(&image);
        }
        let Some(closing) = oci::Closing::new(&build, &image)? else {
            let new = build.prepare(&image)?;
            let changing = step.change(Change::Nothing, &Effect::default())?;
            new.commit()?;
            build.settle()?;
            return changing.finish();
        };
        let number = closing.number();
        image.close(number);
        let new = build.prepare(&image)?;
        let changing = step.change(Change::Layer { number }, &Effect::of_tree(&closing.tree()?))?;
        closing.place(&build)?;
        new.commit()?;
        build.settle()?;
        changing.finish()
    }
}
