//! From the word that names an image on the command line to an image in the store.

use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal, Write};
use std::path::Path;

use appc_image::fetch::{self, Fetcher, PullPolicy, Reporter};
use appc_image::reference::Reference;
use appc_image::registry::docker_config_path;
use appc_image::store::{Query, Store, StoredImage, Summary};
use appc_image::trust::Key;
use appc_image::{Error, Progress};
use appc_spec::AcIdentifier;

use crate::cli::Global;
use crate::failure::{Context, Failure};
use crate::progress::{Bar, Bars};
use crate::review;

/// Shows what fetching does.
#[derive(Debug)]
pub struct Screen<'g> {
    global: &'g Global,
    bars: Bars,
}

impl<'g> Screen<'g> {
    /// What `--debug` and the command's name say is kept to.
    pub fn new(global: &'g Global) -> Screen<'g> {
        Screen { global, bars: Bars::default() }
    }
}

impl Reporter for Screen<'_> {
    fn bar(&self) -> Box<dyn Progress + '_> {
        Box::new(Bar::among(&self.bars))
    }

    fn note(&self, text: &str) {
        self.bars.aside(|| self.global.warn(text));
    }

    fn can_review(&self) -> bool {
        io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    fn review(&self, name: &AcIdentifier, address: &str, keys: &[Key]) -> bool {
        // Results go to standard output, and a question is none.
        let print = |text: &str| io::stderr().write_all(text.as_bytes()).context("asking");
        let mut answer = Ok(false);
        self.bars.aside(|| answer = review::ask(name.as_str(), address, keys, print));
        answer.unwrap_or_else(|failure| {
            self.note(&failure.line());
            false
        })
    }

    fn debug(&self, text: &str) {
        self.bars.aside(|| self.global.debug(text));
    }
}

/// What brings images into `store`, as the command line says.
pub fn fetcher<'s>(
    global: &Global,
    store: &'s Store,
    screen: &'s Screen,
    policy: PullPolicy,
) -> Result<Fetcher<'s>, Failure> {
    let options = fetch::Options {
        policy,
        insecure: global.insecure,
        trust_keys_from_https: global.trust_keys_from_https,
        config_dirs: global.config.clone(),
        docker_config: docker_config_path(),
        ..fetch::Options::default()
    };
    Ok(Fetcher::new(store, options, screen)?)
}

/// The image that `word` names, with all that it depends on.
pub fn find(fetcher: &Fetcher, word: &OsStr, signature: Option<&Path>) -> Result<StoredImage, Failure> {
    let reference = Reference::of_image(word)?;
    fetcher.fetch(&reference, signature).context(shown(&reference, word))
}

/// Undoes [`find`] for an image that cannot be run.
pub fn take_back(store: &Store, word: &OsStr, image: &StoredImage) -> Result<(), Failure> {
    Ok(fetch::take_back(store, &Reference::of_image(word)?, image)?)
}

/// The image that `word` names, which is used by that. IDs are looked for in `store` only; what is elsewhere is fetched unless
/// it is there already.
pub fn stored(global: &Global, store: &Store, word: &OsStr) -> Result<StoredImage, Failure> {
    let image = find_stored(global, store, word)?;
    store.note_use(&image.id);
    Ok(image)
}

fn find_stored(global: &Global, store: &Store, word: &OsStr) -> Result<StoredImage, Failure> {
    let reference = Reference::of_image(word)?;
    if let Some(query) = query(&reference) {
        match store.resolve(&query) {
            // Discovery may find it.
            Err(Error::NotStored(_)) if matches!(query, Query::Name(_)) => {}
            found => return Ok(found?),
        }
    }
    let (store, screen) = (global.new_store()?, Screen::new(global));
    let fetcher = fetcher(global, &store, &screen, PullPolicy::New)?;
    fetcher.fetch_alone(&reference, None).context(shown(&reference, word))
}

/// All images in `store` that `reference` names, or that came from where it says.
pub fn all_stored(store: &Store, reference: &Reference) -> Result<Vec<Summary>, appc_image::Error> {
    match query(reference) {
        Some(query) => store.find(&query),
        None => fetch::stored_from(store, reference),
    }
}

/// The images in `store` that `words` name, or that came from where they say.
pub fn chosen(store: &Store, words: &[OsString]) -> Result<Vec<Summary>, Failure> {
    let mut chosen = Vec::new();
    for word in words {
        let reference = Reference::of_image(word)?;
        let found = all_stored(store, &reference)?;
        if found.is_empty() {
            let image = shown(&reference, word);
            let why = format!("cannot find image {image:?} in the store: `rkt image list` shows what is there");
            return Err(Failure::new(why));
        }
        chosen.extend(found);
    }
    Ok(chosen)
}

/// What asks the store.
fn query(reference: &Reference) -> Option<Query> {
    match reference {
        Reference::Id(prefix) => Some(Query::Id(prefix.clone())),
        Reference::Name(name) => Some(Query::Name(name.clone())),
        _ => None,
    }
}

/// What an error calls the image: as it was typed, but for a password in it.
pub fn shown(reference: &Reference, word: &OsStr) -> String {
    match reference {
        Reference::Url(_) => reference.to_string(),
        _ => word.display().to_string(),
    }
}
