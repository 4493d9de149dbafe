//! `rkt image rm`

use appc_image::store::{Store, Summary};
use appc_spec::ImageId;

use crate::cli::Global;
use crate::failure::{Context, Failure, OWN_ERROR, Outcome};
use crate::output;

/// Which images to remove.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// IDs (or their beginnings) or names of images
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

/// Removes each image; one that cannot be removed does not keep the others.
pub(super) fn run(global: &Global, args: Args) -> Outcome {
    let store = Store::open_existing(&global.dir)?;
    let mut failed = 0;
    for image in &args.images {
        match remove(&store, image) {
            Ok(id) => {
                let line = format!("successfully removed aci for image: \"{id}\"\n");
                output::print(&line).context("writing to standard output")?;
            }
            Err(failure) => {
                global.warn(failure.line());
                failed += 1;
            }
        }
    }
    let removed = args.images.len() - failed;
    if removed > 0 {
        global.warn(format!("{removed} image(s) successfully removed"));
    }
    if failed > 0 {
        global.warn(format!("{failed} image(s) cannot be removed"));
        return Ok(OWN_ERROR);
    }
    Ok(0)
}

fn remove(store: &Store, image: &str) -> Result<ImageId, Failure> {
    let found = match store.find(&super::query(image)?) {
        // Of which only the ID is left, and of which that was given.
        Err(appc_image::Error::Damaged { id, .. }) => return Ok(store.remove(&id).map(|()| id)?),
        found => found?,
    };
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
        Some(found) => store.remove(&found.id).map(|()| found.id).map_err(Failure::from),
        None => Err(Failure::new(format!("cannot find image {image:?} in the store"))),
    }
}
