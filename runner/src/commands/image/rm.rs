//! `rkt image rm`

use std::ffi::{OsStr, OsString};

use appc_image::reference::Reference;
use appc_image::store::{Store, Summary};
use appc_spec::ImageId;

use crate::cli::Global;
use crate::failure::{Context, Failure, OWN_ERROR, Outcome};
use crate::{images, output};

/// Which images to remove.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  rkt image rm example.com/hello:0.0.1")]
pub(super) struct Args {
    /// Images by their IDs (or the beginnings of these) or names, or by where they came from
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<OsString>,
}

/// Removes each image; one that cannot be removed does not keep the others.
pub(super) fn run(global: &Global, args: Args) -> Outcome {
    let store = global.store()?;
    if let [image] = args.images.as_slice() {
        output::print(&removed(&remove(&store, image)?)).context("writing to standard output")?;
        global.warn("1 image(s) successfully removed");
        return Ok(0);
    }
    let mut failed = 0;
    for image in &args.images {
        match remove(&store, image) {
            Ok(id) => {
                output::print(&removed(&id)).context("writing to standard output")?;
            }
            Err(failure) => {
                global.warn(failure.line());
                failed += 1;
            }
        }
    }
    let done = args.images.len() - failed;
    if done > 0 {
        global.warn(format!("{done} image(s) successfully removed"));
    }
    if failed > 0 {
        global.warn(format!("{failed} image(s) cannot be removed"));
        return Ok(OWN_ERROR);
    }
    Ok(0)
}

/// What is said of an image that was removed.
pub(super) fn removed(id: &ImageId) -> String {
    format!("successfully removed aci for image: \"{id}\"\n")
}

fn remove(store: &Store, image: &OsStr) -> Result<ImageId, Failure> {
    let reference = Reference::from_word(image)?;
    let by_id = matches!(reference, Reference::Id(_));
    let found = match images::all_stored(store, &reference) {
        // Of which only the ID is left, and of which that was given.
        Err(appc_image::Error::Damaged { id, .. }) => return Ok(store.remove(&id).map(|()| id)?),
        found => found?,
    };
    let image = images::shown(&reference, image);
    // Unlike running, removing must not choose.
    if found.len() > 1 {
        let ids: Vec<String> = found.iter().map(Summary::describe).collect();
        return Err(Failure::new(format!(
            "{image:?} is {} images, give the ID of one: {}",
            found.len(),
            ids.join(", ")
        )));
    }
    match found.into_iter().next() {
        Some(found) if !found.also.is_empty() && !by_id => Err(Failure::new(format!(
            "{image:?} is one name of {}, which is also {}: give the ID to remove it",
            found.describe(),
            found.names()[1..].join(", ")
        ))),
        Some(found) => store.remove(&found.id).map(|()| found.id).map_err(Failure::from),
        None => {
            Err(Failure::new(format!("cannot find image {image:?} in the store: `rkt image list` shows what is there")))
        }
    }
}
