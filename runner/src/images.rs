//! From the word that names an image on the command line to an image in the store.

use std::ffi::OsStr;
use std::path::Path;

use appc_image::Progress;
use appc_image::fetch::{self, Fetcher, PullPolicy, Reporter};
use appc_image::reference::Reference;
use appc_image::store::{Store, StoredImage};

use crate::cli::Global;
use crate::failure::{Context, Failure};
use crate::progress::{Bar, Bars};

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
        ..fetch::Options::default()
    };
    Ok(Fetcher::new(store, options, screen)?)
}

/// The image that `word` names, with all that it depends on.
pub fn find(fetcher: &Fetcher, word: &OsStr, signature: Option<&Path>) -> Result<StoredImage, Failure> {
    let reference = Reference::from_word(word)?;
    fetcher.fetch(&reference, signature).context(shown(&reference, word))
}

/// What an error calls the image: as it was typed, but for a password in it.
pub fn shown(reference: &Reference, word: &OsStr) -> String {
    match reference {
        Reference::Url(_) => reference.to_string(),
        _ => word.display().to_string(),
    }
}
