//! App Container images from addresses and files: into the store, if they are what they should be.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use appc_spec::{ImageManifest, ImageName};

use super::cache::{Cache, Known, now};
use super::download::{Outcome, Place, Room, Small, download, small};
use super::partial::Partial;
use super::{Fetcher, http, signature_of};
use crate::archive;
use crate::error::{Error, Result};
use crate::reference::{Reference, without_secrets};
use crate::regular::open_regular;
use crate::store::StoredImage;
use crate::trust::{LONGEST, Refused, Verifier, beside, read_signature, verify};

/// Where an image comes from, and what it must be.
pub(super) struct Origin<'a> {
    pub(super) url: &'a str,
    pub(super) signature_url: &'a str,
    /// What was asked for, when that was a name. Then a page has named the addresses.
    pub(super) name: Option<&'a ImageName>,
    /// A file with the signature.
    pub(super) signature: Option<&'a Path>,
}

/// What the signature is checked with while the image comes: nothing, when it is not to be checked.
struct Hash(Option<Verifier>);

impl Write for Hash {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.as_mut().map_or(Ok(bytes.len()), |verifier| verifier.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Fetcher<'_> {
    /// The image in a file of this host. A signature is checked when there is one.
    pub(super) fn take_file(&self, path: &Path, signature: Option<&Path>) -> Result<StoredImage> {
        let shown = path.display();
        self.reporter.debug(&format!("using image from file {shown}"));
        self.check_file(path, signature)?;
        let origin = Reference::File(path.into()).origin()?;
        self.import(open(path)?, &origin, &shown.to_string())
    }

    /// Checks the signature of the image in a file, if there is one, or one is demanded.
    pub(super) fn check_file(&self, path: &Path, signature: Option<&Path>) -> Result<()> {
        let file = open(path)?;
        let beside = beside(path);
        let signature = signature.or_else(|| Some(beside.as_path()).filter(|beside| beside.exists()));
        if signature.is_none() && self.demands.demands_signed_files() && !self.options.insecure.image {
            return Err(Refused::Missing { path: beside }.into());
        }
        if let Some(signature) = signature.filter(|_| !self.options.insecure.image) {
            let signature = read_signature(signature)?;
            let keys = self.keystore.keyring(&manifest_of(open(path)?)?.name)?;
            let signer = verify(&file, &signature, &keys)?;
            self.reporter.note(&format!("signature verified: {}", signer.identity));
        }
        Ok(())
    }

    /// The image in the store that came from `url`.
    pub(super) fn known_from(&self, url: &str) -> Result<StoredImage> {
        let known = Cache::of(self.store).get(url).and_then(|known| known.id());
        if let Some(image) = known.and_then(|id| self.store.get(&id).ok()) {
            return Ok(image);
        }
        let source = without_secrets(url);
        if url.contains('?') {
            // Others may come from an address that differs in its query alone, which is not kept.
            return Err(Error::NotStored(source));
        }
        let found = self.store.list()?.into_iter().filter(|image| image.came_from(&source)).max_by_key(|i| i.imported);
        self.store.get(&found.ok_or(Error::NotStored(source))?.id)
    }

    /// The image at an address, or what is in the store from there, when that is the same.
    pub(super) fn take_url(&self, client: &http::Client, origin: &Origin) -> Result<StoredImage> {
        let cache = Cache::of(self.store);
        let shown = without_secrets(origin.url);
        // From here on nobody else fetches it.
        let mut partial = Partial::open(cache.partial(origin.url)?)?;
        let known = self.known(&cache, origin.url);
        if let Some((image, _)) = known.as_ref().filter(|(_, known)| known.is_fresh()) {
            self.reporter.debug(&format!("image for {shown} isn't expired, not fetching."));
            check_name(origin, &image.manifest)?;
            partial.remove()?;
            self.store.pin([&image.id])?.mark_used();
            return Ok(image.clone());
        }
        self.reporter.debug(&format!("remote fetching from URL \"{shown}\""));
        let signature = if self.options.insecure.image { None } else { Some(self.signature(client, origin)?) };
        let hasher = || {
            Ok(Hash(match &signature {
                None => None,
                Some(Small::Content(signature)) => Some(Verifier::expecting(signature)?),
                Some(Small::Deferred) => Some(Verifier::new()),
            }))
        };
        let place = self.place(client, origin.url, origin.name.is_some());
        let validators = known.as_ref().map(|(_, known)| &known.validators);
        let bar = self.reporter.bar();
        let check = |bytes| self.store.check_room(&shown, bytes);
        let room = Room { limit: self.store.limit(), check: &check };
        let came = match download(&place, &mut partial, validators, &room, hasher, &*bar) {
            // It would only become longer.
            Err(error @ Error::TooLarge(_)) => {
                partial.remove()?;
                return Err(error);
            }
            came => came?,
        };
        drop(bar);
        let verified = signature.is_some();
        let (image, known) = match (came, known) {
            (Outcome::NotModified(max_age), Some((image, known))) => {
                check_name(origin, &image.manifest)?;
                self.store.pin([&image.id])?.mark_used();
                (image, Known { fetched: now(), max_age, verified: verified || known.verified, ..known })
            }
            (Outcome::NotModified(_), None) => {
                return Err(fault(origin.url, "the server says that nothing has changed"));
            }
            (Outcome::Complete { hasher, max_age }, _) => {
                match self.accept(client, origin, &partial, hasher.0, signature) {
                    Ok(image) => {
                        let validators = partial.validators().clone();
                        (
                            image.clone(),
                            Known { image: image.id.to_string(), verified, validators, fetched: now(), max_age },
                        )
                    }
                    // Only the signature did not come: the image is as good as it was.
                    Err(
                        error @ (Error::Fetch { again: Some(_), .. }
                        | Error::Refused { refused: Refused::Deferred { .. } }),
                    ) => return Err(error),
                    Err(error) => {
                        partial.remove()?;
                        return Err(error);
                    }
                }
            }
        };
        cache.put(origin.url, &known)?;
        partial.remove()?;
        Ok(image)
    }

    /// What is in the store from there, and may be used without another look at its signature.
    fn known(&self, cache: &Cache, url: &str) -> Option<(StoredImage, Known)> {
        let known = cache.get(url).filter(|known| known.verified || self.options.insecure.image)?;
        let image = self.store.get(&known.id()?).ok()?;
        self.store.is_whole(&image.id, image.size).then_some((image, known))
    }

    /// Takes what was downloaded into the store, if it is what it should be.
    fn accept(
        &self,
        client: &http::Client,
        origin: &Origin,
        partial: &Partial,
        verifier: Option<Verifier>,
        signature: Option<Small>,
    ) -> Result<StoredImage> {
        let manifest = manifest_of(partial.reopened()?)?;
        check_name(origin, &manifest)?;
        let signature = match signature {
            Some(Small::Deferred) => Some(self.deferred_signature(client, origin)?),
            Some(Small::Content(signature)) => Some(signature),
            None => None,
        };
        if let (Some(verifier), Some(signature)) = (verifier, signature) {
            self.check_signature(verifier, &signature, &manifest)?;
        }
        let shown = without_secrets(origin.url);
        self.import(partial.reopened()?, &shown, &shown)
    }

    fn signature(&self, client: &http::Client, origin: &Origin) -> Result<Small> {
        if let Some(path) = origin.signature {
            return Ok(Small::Content(read_signature(path)?));
        }
        let shown = without_secrets(origin.signature_url);
        self.reporter.debug(&format!("downloading signature from {shown}"));
        let place = self.place(client, origin.signature_url, origin.name.is_some());
        match small(&place, LONGEST) {
            Ok(Small::Deferred) => {
                self.reporter.debug("server requested deferring the signature download");
                Ok(Small::Deferred)
            }
            Err(Error::Fetch { url, why, again: None }) => {
                // Nobody misses the signature of what is not there.
                self.place(client, origin.url, origin.name.is_some()).look()?;
                let why = format!("{why}: without a signature it is taken only with --insecure-options=image");
                Err(Error::Unacceptable { url, why })
            }
            other => other,
        }
    }

    /// A signature that the server did not want to give before the image: now it may take a moment to make it.
    fn deferred_signature(&self, client: &http::Client, origin: &Origin) -> Result<Vec<u8>> {
        for failures in 1..=http::ATTEMPTS {
            match self.signature(client, origin)? {
                Small::Content(signature) => return Ok(signature),
                Small::Deferred if failures < http::ATTEMPTS => std::thread::sleep(http::wait(failures)),
                Small::Deferred => {}
            }
        }
        Err(Refused::Deferred { url: without_secrets(origin.signature_url) }.into())
    }

    /// The detached signature that lies beside the image at `url`.
    ///
    /// # Errors
    /// [`Error::Fetch`] when there is none.
    pub fn signature_beside(&self, url: &str) -> Result<Vec<u8>> {
        let signature_url = signature_of(url);
        match small(&self.place(&*self.client()?, &signature_url, false), LONGEST)? {
            Small::Content(signature) => Ok(signature),
            Small::Deferred => Err(fault(&signature_url, "the server defers the signature")),
        }
    }

    fn check_signature(&self, verifier: Verifier, signature: &[u8], manifest: &ImageManifest) -> Result<()> {
        let signer = verifier.finish(signature, &self.keystore.keyring(&manifest.name)?)?;
        self.reporter.note(&format!("signature verified: {}", signer.identity));
        Ok(())
    }

    pub(super) fn import(&self, file: File, origin: &str, shown: &str) -> Result<StoredImage> {
        let bar = self.reporter.bar();
        let image = self.store.import(file, origin, &*bar)?;
        self.tell_omitted(&image, shown);
        Ok(image)
    }

    /// Says what of an image could not be made.
    pub(super) fn tell_omitted(&self, image: &StoredImage, shown: &str) {
        if let Some((omitted, what)) = image.omitted.first() {
            let others = match image.omitted.len() {
                1 => String::new(),
                all => format!(" and {} more", all - 1),
            };
            let text = format!("{shown}: left out: {omitted} ({what}){others}");
            self.reporter.note(&text);
        }
    }

    fn place<'a>(&'a self, client: &'a http::Client, url: &'a str, foreign: bool) -> Place<'a> {
        Place { client, authorizations: &self.authorizations, url, foreign }
    }
}

/// Whether the image is the one that was asked for.
fn check_name(origin: &Origin, manifest: &ImageManifest) -> Result<()> {
    let Some(wanted) = origin.name else { return Ok(()) };
    if wanted.name != manifest.name {
        let why = format!(
            "error when reading the app name: {:?} expected but {:?} found",
            wanted.name.as_str(),
            manifest.name.as_str()
        );
        return Err(unacceptable(origin.url, why));
    }
    for label in wanted.labels.iter() {
        let found = manifest.labels.get(label.name.as_str());
        if found != Some(label.value.as_str()) {
            let (label, wanted) = (&label.name, &label.value);
            let why = match found {
                Some(found) => {
                    format!("requested value for label {label}: {wanted:?} differs from {found:?} of the image")
                }
                None => format!("requested value for label {label}: {wanted:?}, the image has no such label"),
            };
            return Err(unacceptable(origin.url, why));
        }
    }
    Ok(())
}

fn manifest_of(file: File) -> Result<ImageManifest> {
    ImageManifest::parse(&archive::manifest(file)?).map_err(Error::Manifest)
}

fn unacceptable(url: &str, why: String) -> Error {
    Error::Unacceptable { url: without_secrets(url), why }
}

fn fault(url: &str, why: &str) -> Error {
    Error::Fetch { url: without_secrets(url), why: why.into(), again: None }
}

fn open(path: &Path) -> Result<File> {
    open_regular(path).map_err(Error::io(format!("opening {}", path.display())))
}
