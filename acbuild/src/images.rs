//! Images that commands are given by a word: in the store, or brought there.

use appc_image::Error::NotAnArchive;
use appc_image::fetch::{self, Fetcher, Insecure, PullPolicy};
use appc_image::oci::Platform;
use appc_image::reference::Reference;
use appc_image::registry::docker_config_path;
use appc_image::store::{Query, Store, StoredImage};

use crate::error::{Error, Result};
use crate::session::Session;

/// How an image is fetched.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pull {
    /// When.
    pub(crate) policy: PullPolicy,
    /// What is not checked of it.
    pub(crate) insecure: Insecure,
    /// Which one of an image for several platforms, when it is not the one for this machine.
    pub(crate) platform: Option<Platform>,
}

impl From<Insecure> for Pull {
    fn from(insecure: Insecure) -> Pull {
        Pull { insecure, ..Pull::default() }
    }
}

/// The image that `reference` means, with the store that it is in. Whether it is fetched is for `pull` to say; by default
/// when it is not there.
pub(crate) fn fetch(reference: &Reference, pull: impl Into<Pull>, session: &Session) -> Result<(Store, StoredImage)> {
    let dir = session.store_dir();
    // What an ID names cannot come from elsewhere.
    let store = if let Reference::Id(_) = reference { Store::open_existing(dir) } else { Store::open(dir) }?;
    let store = store.limited(session.limit());
    let image = fetch_into(&store, reference, pull, session)?;
    store.note_use(&image.id);
    Ok((store, image))
}

/// The same in any store.
pub(crate) fn fetch_into(
    store: &Store,
    reference: &Reference,
    pull: impl Into<Pull>,
    session: &Session,
) -> Result<StoredImage> {
    fetcher(store, pull, session)?.fetch_alone(reference, None).map_err(|error| of_file(reference, error))
}

/// Says which file it is that is no image.
pub(crate) fn of_file(reference: &Reference, error: appc_image::Error) -> Error {
    match (reference, error) {
        (Reference::File(path), error @ NotAnArchive(_)) => Error::File { path: path.clone(), error },
        (_, error) => error.into(),
    }
}

/// Refuses an image that the policy does not let in, for who reads it where it lies, and returns what to read.
pub(crate) fn checked(reference: &Reference, insecure: Insecure, session: &Session) -> Result<Reference> {
    let store = Store::open_existing(session.store_dir())?;
    Ok(fetcher(&store, insecure, session)?.check(reference)?)
}

/// What fetches images into `store`.
pub(crate) fn fetcher<'s>(store: &'s Store, pull: impl Into<Pull>, session: &'s Session) -> Result<Fetcher<'s>> {
    let Pull { policy, insecure, platform } = pull.into();
    let options = fetch::Options {
        policy,
        insecure,
        platform,
        config_dirs: fetch::config_dirs(),
        docker_config: docker_config_path(),
        ..fetch::Options::default()
    };
    Ok(Fetcher::new(store, options, session)?)
}

/// The image that `reference` means. IDs and names are looked for in the store only; what is elsewhere is fetched.
pub(crate) fn stored(reference: &Reference, insecure: Insecure, session: &Session) -> Result<(Store, StoredImage)> {
    match known(reference, session) {
        Some(known) => known,
        None => fetch(reference, insecure, session),
    }
}

/// The image of the store that `reference` means; nothing when it means one that is elsewhere.
pub(crate) fn known(reference: &Reference, session: &Session) -> Option<Result<(Store, StoredImage)>> {
    let query = match reference {
        Reference::Id(prefix) => Query::Id(prefix.clone()),
        Reference::Name(name) => Query::Name(name.clone()),
        _ => return None,
    };
    let resolve = || {
        let store = Store::open_existing(session.store_dir())?;
        let image = store.resolve(&query)?;
        Ok((store, image))
    };
    Some(resolve())
}

/// The image of the store that was fetched from the address or registry before.
pub(crate) fn fetched_before(reference: &Reference, session: &Session) -> Result<Option<(Store, StoredImage)>> {
    if !matches!(reference, Reference::Url(_) | Reference::Docker(_)) {
        return Ok(None);
    }
    let store = Store::open_existing(session.store_dir())?;
    let found = fetch::stored_from(&store, reference)?.into_iter();
    let Some(newest) = found.max_by_key(|image| (!image.is_foreign(), image.fetched)) else { return Ok(None) };
    let image = store.get(&newest.id)?;
    Ok(Some((store, image)))
}
