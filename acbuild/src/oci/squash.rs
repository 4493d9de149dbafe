//! Making one layer of several.

use super::Image;
use super::image::Closed;
use super::layers::{self, Below};
use crate::cache::materialise;
use crate::context::Build;
use crate::error::{Error, Result};

/// Makes the layers from the one numbered `from` on the open layer; the first one is 1. Returns what is to be removed once
/// the manifest is saved, by [`Leftovers::remove`].
pub(crate) fn squash(build: &Build, image: &mut Image, from: usize) -> Result<Leftovers> {
    let closed = image.taken.len() + image.layers.len();
    // Only then it matters whether the open layer has something: else the files of the build need not be there.
    if from == 0 || from > closed {
        materialise(build)?;
        let all = closed + usize::from(!Below::open(build, image)?.changes(build)?.is_empty());
        if from == 0 || from > all {
            return Err(Error::Refused(format!("--from must be a layer of the image, which has {all}: it is {from}")));
        }
    }
    let keep = from - 1;
    let keep_closed = keep.saturating_sub(image.taken.len());
    let gone = image.layers.split_off(keep_closed.min(image.layers.len()));
    let steps: Vec<String> = gone.iter().flat_map(|layer| layer.steps.clone()).collect();
    image.steps.splice(0..0, steps);
    if keep < image.taken.len() {
        image.taken.truncate(keep);
        image.base = image.base.take().filter(|_| keep > 0);
        image.config.rootfs.diff_ids.truncate(keep);
        truncate_history(image, keep);
        // Before it is decided upon: what stays must be there without the rest.
        Below::check_base(image)?;
    }
    Ok(Leftovers(gone))
}

/// Trees of layers that are no more.
pub(crate) struct Leftovers(Vec<Closed>);

impl Leftovers {
    /// Removes them.
    pub(crate) fn remove(&self, build: &Build) -> Result<()> {
        layers::remove(build, &self.0)
    }
}

/// Leaves the history of the lowest `keep` layers.
fn truncate_history(image: &mut Image, keep: usize) {
    let mut layers = 0;
    image.config.history.retain(|entry| {
        layers += usize::from(!entry.empty_layer);
        layers < keep || layers == keep && !entry.empty_layer
    });
}
