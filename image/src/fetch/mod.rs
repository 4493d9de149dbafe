//! Getting images from elsewhere, with everything that they depend on.
//!
//! ```text
//! Reference ─┬─ File ──────────────────────────────────────────────► signature, if there is one ─► store
//!            ├─ Id ────────────────────────────────────────────────► store
//!            ├─ Name ─► store (policy) ─► discovery ─► addresses ─┐
//!            ├─ Url ──► store (policy) ───────────────────────────┴► archive ─► signature ─► store
//!            ├─ Docker ─► store (policy) ─► registry ─► signature, if the policy demands one ─► store
//!            └─ OciLayout, OciArchive, DockerArchive, Bundle ──────► store
//! ```
//!
//! | who | what |
//! |---|---|
//! | [`Fetcher`] | which of these ways, and then the dependencies |
//! | `discovery` | pages and their meta tags |
//! | `archive` | an App Container image from an address or a file: its signature, its name, the cache |
//! | `oci` | an OCI image from a registry, a layout or an archive |
//! | `download`, `partial`, `cache` | one file: resumed, hashed, remembered |
//! | [`http`] | one request, with limits |

mod archive;
mod auth;
mod aws;
mod cache;
mod dependencies;
mod directories;
mod discovery;
mod download;
pub mod http;
mod kept;
mod keys;
mod oci;
mod partial;
mod policy;
mod stored;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use appc_spec::{AcIdentifier, ImageName};

use archive::Origin;
pub use auth::Authorizations;
pub use cache::remove_unknown;
pub use directories::{LOCAL_CONFIG, SYSTEM_CONFIG, config_dirs, user_config};
pub use discovery::{Announced, discover};
use kept::Kept;
pub use oci::origin_of;
pub use partial::remove_partial;
pub use policy::{Insecure, PullPolicy};
pub use stored::{forget, stored_from};

use crate::error::{Error, Result};
use crate::oci::Platform;
use crate::progress::Progress;
use crate::reference::Reference;
use crate::store::{Query, Store, StoredImage};
use crate::trust::{Key, Keystore, Policy};

/// How images are fetched.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whether the store is asked first.
    pub policy: PullPolicy,
    /// What is not checked.
    pub insecure: Insecure,
    /// Trusts the keys that the host of an image announces over `https`, where there are none for it yet.
    pub trust_keys_from_https: bool,
    /// Directories with `auth.d`, `trustedkeys` and `trust.d`, of which later ones win.
    pub config_dirs: Vec<PathBuf>,
    /// Docker's configuration, which may have logins for registries.
    pub docker_config: Option<PathBuf>,
    /// Which one is taken of images for several platforms, when it is not the one for this machine.
    pub platform: Option<Platform>,
    /// How long other hosts are waited for, and through whom they are reached.
    pub http: http::Options,
}

impl Options {
    /// The platform that is asked for, if that is not what this machine would be given.
    fn other_platform(&self) -> Option<&Platform> {
        self.platform.as_ref().filter(|platform| **platform != Platform::host())
    }

    fn client(&self) -> Result<http::Client> {
        let Insecure { tls, http, .. } = self.insecure;
        let mut options = self.http.clone();
        options.insecure_tls |= tls;
        options.insecure_http |= http;
        http::Client::new(options)
    }
}

/// Is told what goes on. Every method may be called from any thread.
pub trait Reporter: Sync {
    /// Shows how far one download or import is.
    fn bar(&self) -> Box<dyn Progress + '_>;

    /// Something that users want to know.
    fn note(&self, text: &str) {
        let _ = text;
    }

    /// Whether somebody is there to be asked.
    fn can_review(&self) -> bool {
        false
    }

    /// Asks whether `keys`, which come from `address`, may sign the image `name` and those below it.
    fn review(&self, name: &AcIdentifier, address: &str, keys: &[Key]) -> bool {
        let _ = (name, address, keys);
        false
    }

    /// Something for those who look for a mistake.
    fn debug(&self, text: &str) {
        let _ = text;
    }
}

/// Fetches images into a store, where they stay at least as long as the fetcher lives.
pub struct Fetcher<'s> {
    store: &'s Store,
    options: Options,
    reporter: &'s dyn Reporter,
    authorizations: Authorizations,
    keystore: Keystore,
    /// What has to be signed, where that is not clear anyway.
    demands: Policy,
    /// Made when it is needed: reading the certificates of all authorities takes time.
    client: Mutex<Option<Arc<http::Client>>>,
    /// Held while somebody is asked about keys.
    asking: Mutex<()>,
    kept: Kept,
}

impl<'s> Fetcher<'s> {
    /// A fetcher into `store`. Nothing is asked yet.
    ///
    /// # Errors
    /// When a file in `auth.d` or `trust.d` breaks a rule.
    pub fn new(store: &'s Store, options: Options, reporter: &'s dyn Reporter) -> Result<Fetcher<'s>> {
        let authorizations = Authorizations::read(&options.config_dirs)?;
        let keystore = Keystore::open(&options.config_dirs);
        let demands = Policy::read(&options.config_dirs)?;
        Ok(Fetcher {
            store,
            options,
            reporter,
            authorizations,
            keystore,
            demands,
            client: Mutex::new(None),
            asking: Mutex::new(()),
            kept: Kept::default(),
        })
    }

    /// The image that `reference` means, in the store, with everything that it depends on. `signature` is a file with the
    /// detached signature of the image, for one that does not lie beside it.
    ///
    /// # Errors
    /// Why the image or one of its dependencies cannot be had, or is not what it should be.
    pub fn fetch(&self, reference: &Reference, signature: Option<&Path>) -> Result<StoredImage> {
        let image = self.fetch_alone(reference, signature)?;
        match self.fetch_dependencies(reference, &image) {
            Ok(()) => Ok(image),
            Err(error) => {
                self.kept.release(&image.id);
                take_back(self.store, reference, &image).and(Err(error))
            }
        }
    }

    /// The image that `reference` means, in the store, whether its dependencies are there or not.
    ///
    /// # Errors
    /// Why the image cannot be had, or is not what it should be.
    pub fn fetch_alone(&self, reference: &Reference, signature: Option<&Path>) -> Result<StoredImage> {
        self.kept.keeping(self.store, || match reference {
            Reference::File(path) => self.take_file(path, signature),
            Reference::Id(prefix) => self.store.resolve(&Query::Id(prefix.clone())),
            Reference::Name(name) => self.by_name(name, self.options.policy, signature),
            Reference::Url(url) => self.by_url(url, signature),
            Reference::Docker(name) => self.by_registry(name, signature),
            local => self.take_local(local, signature),
        })
    }

    fn by_name(&self, name: &ImageName, policy: PullPolicy, signature: Option<&Path>) -> Result<StoredImage> {
        if let Some(image) = already(policy, self.store.resolve(&Query::Name(name.clone())))? {
            self.reporter.debug(&format!("using image from local store for image name {name}"));
            return Ok(image);
        }
        self.discover(name, signature)
    }

    /// The image `name` from where pages say it is.
    fn discover(&self, name: &ImageName, signature: Option<&Path>) -> Result<StoredImage> {
        self.reporter.debug(&format!("searching for app image {name}"));
        let client = self.client()?;
        let reporter = self.reporter;
        let authorizations = &self.authorizations;
        let discovery = discovery::Discovery { client: &client, authorizations, reporter, port: None };
        let mut faults = Vec::new();
        let endpoints = discovery.endpoints(name, &mut faults);
        if signature.is_none()
            && !endpoints.is_empty()
            && let Err(error) = self.trust_announced_keys(&name.name)
        {
            faults.push(error.to_string());
        }
        let mut refused = Vec::new();
        let aside = endpoints.len().saturating_sub(discovery::ENDPOINTS);
        let found = endpoints.len() - aside;
        for endpoint in endpoints.into_iter().take(found) {
            let origin =
                Origin { url: &endpoint.image, signature_url: &endpoint.signature, name: Some(name), signature };
            match self.take_url(&client, &origin) {
                Ok(image) => return Ok(image),
                // What is wrong with this machine is so for every address.
                Err(error @ Error::Io { .. }) => return Err(error),
                Err(error @ Error::Fetch { .. }) => faults.push(error.to_string()),
                Err(error) => refused.push(error.to_string()),
            }
        }
        let aside = (aside > 0).then(|| format!("{aside} more addresses that the page names are left aside"));
        let name = name.to_string();
        // Each says what to do about it.
        if found > 0 && refused.len() == found {
            refused.extend(aside);
            return Err(Error::NotTaken { name, faults: refused });
        }
        faults.append(&mut refused);
        faults.extend(aside);
        Err(Error::NotFound { name, faults })
    }

    fn by_url(&self, url: &str, signature: Option<&Path>) -> Result<StoredImage> {
        if let Some(image) = already(self.options.policy, self.known_from(url))? {
            self.reporter.debug(&format!("using image from local store for url {}", Reference::Url(url.into())));
            return Ok(image);
        }
        let signature_url = signature_of(url);
        let origin = Origin { url, signature_url: &signature_url, name: None, signature };
        self.take_url(&*self.client()?, &origin)
    }

    /// What to make requests with.
    fn client(&self) -> Result<Arc<http::Client>> {
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = &*client {
            return Ok(Arc::clone(client));
        }
        Ok(Arc::clone(client.insert(Arc::new(self.options.client()?))))
    }
}

/// Takes `image`, which was just fetched from `reference`, out of the store again when it came from this host and was not there
/// before: what is refused changes nothing. What was downloaded stays, so that nobody has to do it again.
///
/// # Errors
/// When the store cannot be read or written to.
pub fn take_back(store: &Store, reference: &Reference, image: &StoredImage) -> Result<()> {
    if reference.is_on_host() { store.take_back(image) } else { Ok(()) }
}

/// Where the signature of the image at `url` lies: beside it.
fn signature_of(url: &str) -> String {
    let (path, query) = url.split_at(url.find(['?', '#']).unwrap_or(url.len()));
    format!("{path}.asc{query}")
}

/// What the policy says of an image that may be in the store: take it, go on without it, or give up.
fn already(policy: PullPolicy, stored: Result<StoredImage>) -> Result<Option<StoredImage>> {
    match (policy, stored) {
        (PullPolicy::Update, _) => Ok(None),
        (PullPolicy::New, Err(Error::NotStored(_))) => Ok(None),
        (_, stored) => stored.map(Some),
    }
}
