//! `rkt image gc`

use std::time::Duration;

use appc_image::{Error, fetch};

use crate::cli::Global;
use crate::commands::gc::{images_of, tell_damaged};
use crate::failure::{Context, OWN_ERROR, Outcome};
use crate::pod::dir::{Place, Pods};
use crate::{duration, human, output};

/// Which images to remove.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Images that pods are made of stay, and so does what other images that stay depend on. Broken downloads, which a
later fetch would go on with, go after the same time.

Example:
  rkt image gc --grace-period=168h"
)]
pub(super) struct Args {
    /// How long an image is kept after it was last used
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration::parse)]
    grace_period: Duration,
}

/// Removes what belongs to no image, and then the images that nobody has used within the grace period.
pub(super) fn run(global: &Global, args: Args) -> Outcome {
    let store = global.store()?;
    let in_use = images_of(&Pods::new(&global.dir), &Place::ALL)?;
    let report = store.gc(&in_use)?;
    global.debug(format!("store: {report:?}"));
    tell_damaged(global, &store)?;
    let grace = i64::try_from(args.grace_period.as_nanos()).unwrap_or(i64::MAX);
    let (mut removed, mut failed) = (0, 0);
    for id in store.unused_since(human::now().saturating_sub(grace), &in_use)? {
        match store.remove(&id) {
            Ok(()) => {
                output::print(&super::rm::removed(&id)).context("writing to standard output")?;
                removed += 1;
            }
            // Since it was looked at.
            Err(Error::InUse(_) | Error::NotStored(_)) => {}
            Err(error) => {
                global.warn(error.to_string());
                failed += 1;
            }
        }
    }
    let partial = fetch::remove_partial(&store, args.grace_period)?;
    global.debug(format!("broken downloads removed: {partial}"));
    let unknown = fetch::remove_unknown(&store)?;
    global.debug(format!("records of images that are no more removed: {unknown}"));
    if removed > 0 {
        global.warn(format!("{removed} image(s) successfully removed"));
    }
    if failed > 0 {
        global.warn(format!("{failed} image(s) cannot be removed"));
        return Ok(OWN_ERROR);
    }
    Ok(0)
}
