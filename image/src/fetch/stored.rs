//! What is in the store from where a word says, without asking anybody.

use std::io::ErrorKind::NotFound;

use appc_spec::ImageId;

use super::cache::Cache;
use crate::archive::{Limit, image_id};
use crate::error::{Error, Result};
use crate::layer::digest_layer;
use crate::layout::{DockerArchive, OciLayout};
use crate::oci::{Algorithm, Platform, Source, find_manifest, small};
use crate::progress::Quiet;
use crate::reference::Reference;
use crate::regular::open_regular;
use crate::store::{Store, Summary, oci_image_id};

/// All images in `store` that were fetched from where `reference` says, or are what it means without a doubt: by a digest,
/// or because it lies on this host.
///
/// # Errors
/// When the store cannot be read, or what lies on this host.
pub fn stored_from(store: &Store, reference: &Reference) -> Result<Vec<Summary>> {
    let origin = reference.origin()?;
    let address = match reference {
        Reference::Url(url) => url,
        _ => &origin,
    };
    // That what a word means was there under another name is noted here alone.
    let known = Cache::of(store).get(address).and_then(|known| known.id());
    let digest = match reference {
        Reference::Docker(name) => name.digest.as_deref(),
        _ => None,
    };
    let has_digest = |image: &Summary| {
        let own = image.oci.as_ref().map(|parts| parts.manifest.digest.to_string());
        digest.is_some() && own.as_deref() == digest
    };
    let images = store.list()?;
    // What differs in the query alone is not told apart by its source.
    let has_source = !matches!(reference, Reference::Url(url) if url.contains('?'));
    let came_from = |image: &Summary| has_source && image.came_from(&origin);
    let fits = |image: &&Summary| came_from(image) || Some(&image.id) == known.as_ref() || has_digest(image);
    let found: Vec<Summary> = images.iter().filter(fits).cloned().collect();
    if !found.is_empty() {
        return Ok(found);
    }
    match id_here(reference) {
        Ok(id) => Ok(images.into_iter().filter(|image| Some(&image.id) == id.as_ref()).collect()),
        Err(error) if error.io_kind() == Some(NotFound) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Forgets what was fetched from `origin`, an image's source: it is asked for there the next time.
pub fn forget(store: &Store, origin: &str) {
    Cache::of(store).forget(origin);
}

/// The ID of what lies on this host, where it has one before it is in the store.
fn id_here(reference: &Reference) -> Result<Option<ImageId>> {
    let source: Box<dyn Source> = match reference {
        Reference::File(path) => {
            let file = open_regular(path).map_err(Error::io(format!("open {}", path.display())))?;
            let (digest, _) = digest_layer(file, None, Algorithm::Sha512, Limit::NONE, &Quiet)?;
            return image_id(&digest).map(Some);
        }
        Reference::OciLayout { dir, name } => Box::new(OciLayout::open(dir, name.as_deref())?),
        Reference::OciArchive { file, name } => Box::new(OciLayout::open_archive(file, name.as_deref())?),
        Reference::DockerArchive { file, name } => Box::new(DockerArchive::open(file, name.as_deref())?),
        _ => return Ok(None),
    };
    let manifest = find_manifest(&*source, &Platform::host())?;
    Ok(Some(oci_image_id(&small(&*source, &manifest)?)))
}
