//! `rkt image rm`

use std::ffi::{OsStr, OsString};

use appc_image::fetch::forget;
use appc_image::reference::{Reference, without_login};
use appc_image::store::{Store, Summary, Untagged};
use appc_spec::{ImageId, ImageName};

use crate::cli::Global;
use crate::failure::{Context, Failure, OWN_ERROR, Outcome};
use crate::{images, output};

/// Which images to remove.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "An image that was fetched under several names loses the one that is given, and goes with the last of them; by its
ID it goes at once.

Example:
  rkt image rm example.com/hello:0.0.1"
)]
pub(super) struct Args {
    /// Images by their IDs (or the beginnings of these) or names, or by where they came from
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<OsString>,
}

/// What became of an image.
enum Done {
    Removed(ImageId),
    /// It has other names still.
    Untagged(Box<Summary>),
}

/// Removes each image, or the name that it was given by while it has others; one that cannot be removed does not keep the
/// others.
pub(super) fn run(global: &Global, args: Args) -> Outcome {
    let store = global.store()?;
    let (mut done, mut failed) = (0, 0);
    for image in &args.images {
        match remove(&store, image) {
            Ok(what) => {
                done += usize::from(matches!(what, Done::Removed(_)));
                output::print(&said(&what, image)).context("writing to standard output")?;
            }
            Err(failure) if args.images.len() == 1 => return Err(failure),
            Err(failure) => {
                global.warn(failure.line());
                failed += 1;
            }
        }
    }
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

fn said(done: &Done, word: &OsStr) -> String {
    match done {
        Done::Removed(id) => removed(id),
        Done::Untagged(left) => {
            let (name, names) = (without_login(&word.to_string_lossy()), left.names().join(", "));
            // Several may give it the same name.
            let also = left.also.iter().map(|also| also.source.as_str());
            let sources = [left.source.as_str()].into_iter().chain(also).collect::<Vec<_>>().join(", ");
            let id = &left.id;
            format!("successfully removed name {name:?} of image: \"{id}\", which is still {names}, from {sources}\n")
        }
    }
}

fn remove(store: &Store, word: &OsStr) -> Result<Done, Failure> {
    let reference = Reference::of_image(word)?;
    let found = match images::all_stored(store, &reference) {
        // Of which only the ID is left, and of which that was given.
        Err(appc_image::Error::Damaged { id, .. }) => return whole(store, id),
        found => found?,
    };
    let image = images::shown(&reference, word);
    // Unlike running, removing must not choose.
    if found.len() > 1 {
        let ids: Vec<String> = found.iter().map(Summary::describe).collect();
        return Err(Failure::new(format!(
            "{image:?} is {} images, give the ID of one: {}",
            found.len(),
            ids.join(", ")
        )));
    }
    let Some(found) = found.into_iter().next() else {
        let why = format!("cannot find image {image:?} in the store: `rkt image list` shows what is there");
        return Err(Failure::new(why));
    };
    if found.also.is_empty() || matches!(reference, Reference::Id(_)) {
        return whole(store, found.id);
    }
    let origin = reference.origin()?;
    let meant = |name: &ImageName, source: &str| match &reference {
        Reference::Name(wanted) => name.name == wanted.name && wanted.labels.match_image(&name.labels),
        _ => source == origin,
    };
    match store.untag(&found.id, meant)? {
        Untagged::Left(left) => {
            // What is asked for by a name that is gone is not this image any more.
            let others = found.also.iter().map(|also| &also.source);
            let gone = others.chain([&found.source]).filter(|source| !left.came_from(source));
            gone.for_each(|source| forget(store, source));
            Ok(Done::Untagged(left))
        }
        Untagged::Last => whole(store, found.id),
        Untagged::Nothing => Err(Failure::new(format!(
            "{image:?} is no name of {}, which is also {}: give the ID to remove it",
            found.describe(),
            found.names()[1..].join(", ")
        ))),
    }
}

fn whole(store: &Store, id: ImageId) -> Result<Done, Failure> {
    store.remove(&id)?;
    Ok(Done::Removed(id))
}
