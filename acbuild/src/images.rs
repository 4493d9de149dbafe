//! Images that commands are given by a word: in the store, or brought there.

use appc_image::fetch::{self, Fetcher, Insecure};
use appc_image::reference::Reference;
use appc_image::registry::docker_config_path;
use appc_image::store::{Query, Store, StoredImage};

use crate::error::Result;
use crate::session::Session;

/// The image that `reference` means, with the store that it is in. It is fetched when it is not there.
pub(crate) fn fetch(reference: &Reference, insecure: Insecure, session: &Session) -> Result<(Store, StoredImage)> {
    let dir = session.store_dir();
    // What an ID names cannot come from elsewhere.
    let store = if let Reference::Id(_) = reference { Store::open_existing(dir) } else { Store::open(dir) }?;
    let store = store.limited(session.limit());
    let options = fetch::Options {
        insecure,
        config_dirs: fetch::config_dirs(),
        docker_config: docker_config_path(),
        ..fetch::Options::default()
    };
    let image = Fetcher::new(&store, options, session)?.fetch_alone(reference, None)?;
    Ok((store, image))
}

/// The image that `reference` means. IDs and names are looked for in the store only; what is elsewhere is fetched.
pub(crate) fn stored(reference: &Reference, insecure: Insecure, session: &Session) -> Result<(Store, StoredImage)> {
    let query = match reference {
        Reference::Id(prefix) => Query::Id(prefix.clone()),
        Reference::Name(name) => Query::Name(name.clone()),
        _ => return fetch(reference, insecure, session),
    };
    let store = Store::open_existing(session.store_dir())?;
    let image = store.resolve(&query)?;
    Ok((store, image))
}
