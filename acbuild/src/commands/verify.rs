//! `acbuild verify`

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use appc_image::fetch::{Insecure, config_dirs};
use appc_image::oci::Source;
use appc_image::open_regular;
use appc_image::reference::{DockerName, Reference, without_login};
use appc_image::registry::Access;
use appc_image::store::Store;
use appc_image::trust::cosign::{self, PublicKey};
use appc_image::trust::{
    Key, Keyring, Keystore, Policy, Refused, Scope, Signer, beside, fingerprints, read_signature, verify,
};
use appc_image::{Error as ImageError, archive};
use appc_spec::ImageManifest;
use clap::Args;

use crate::error::{Error, Result};
use crate::session::Session;
use crate::temporary::Temporary;
use crate::{images, output, place};

/// Check the signature of an image
///
/// It must be made with one of the given keys or, without any, with one that "rkt trust" trusts for the image's name. The
/// signature of a file lies in FILE.asc, that of an image at https://... beside it under the same name with .asc; for one of
/// the store --signature says where it is. One in a registry, docker://..., is signed there as cosign does it, with one of
/// the given keys or those that the policy in trust.d demands. Prints whose the signature is.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  acbuild verify hello.aci
  acbuild verify --key=publisher.gpg https://example.com/hello.aci
  acbuild verify --key=cosign.pub docker://registry.example.com/hello:1.0")]
pub(crate) struct Verify {
    /// Image whose signature to check: a file, the name or ID of one in the store, or where it is
    image: PathBuf,
    /// File with a public key that must have made it (repeatable); the trusted keys do not matter then
    #[arg(long = "key", value_name = "PUBKEY")]
    keys: Vec<PathBuf>,
    /// File with the signature, when it does not lie beside the image
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
    /// What is not checked of the server of an image: a list of none, tls, http, all-fetch
    #[arg(long, value_name = "LIST", default_value = "none")]
    insecure_options: Insecure,
}

impl Verify {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        match Reference::from_word(&self.image) {
            // Files come first: they are what scripts mean.
            _ if self.image.is_file() => self.file(&self.image),
            Ok(Reference::File(path)) => self.file(&path),
            Ok(reference @ (Reference::Id(_) | Reference::Name(_))) => self.stored(&reference, session),
            Ok(Reference::Url(url)) => self.remote(&url, session),
            Ok(Reference::Docker(name)) => self.registry(&name),
            Ok(other) => {
                Err(Error::Refused(format!("{other}: there images are not signed, only files and registries")))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The image in a file of this host.
    fn file(&self, path: &Path) -> Result<()> {
        let open = || open_regular(path).map_err(Error::io("open", path));
        let signature = || Ok(read_signature(&self.signature.clone().unwrap_or_else(|| beside(path)))?);
        self.archive(open, signature, path)
    }

    /// An image of the store, which keeps no signatures of archives.
    fn stored(&self, reference: &Reference, session: &Session) -> Result<()> {
        let (store, image) = images::stored(reference, Insecure::default(), session)?;
        if store.oci(&image.id)?.is_some() {
            return Err(Error::Refused(format!("{reference} is signed in its registry: verify docker://...")));
        }
        let signature = || match &self.signature {
            Some(path) => Ok(read_signature(path)?),
            None => {
                Err(Error::Refused(format!("{reference}: the store keeps no signature of it: give --signature FILE")))
            }
        };
        let blob = store.blob(&image.id);
        self.archive(|| File::open(&blob).map_err(Error::io("open", &blob)), signature, &self.image)
    }

    /// The image at an address. It is not kept.
    fn remote(&self, url: &str, session: &Session) -> Result<()> {
        let place = Temporary::new("verify")?;
        let store = Store::open(place.path().join("store"))?.limited(session.limit());
        // That is what is about to be checked.
        let unsigned = self.insecure_options.and(Insecure { image: true, ..Insecure::default() });
        let fetcher = images::fetcher(&store, unsigned, session)?;
        let signature = match &self.signature {
            Some(path) => read_signature(path)?,
            None => fetcher.signature_beside(url)?,
        };
        let image = fetcher.fetch_alone(&Reference::Url(url.to_owned()), None)?;
        let blob = store.blob(&image.id);
        self.archive(|| File::open(&blob).map_err(Error::io("open", &blob)), || Ok(signature), &self.image)
    }

    /// An image archive that `open` opens; `shown` is what it is called.
    fn archive(
        &self,
        open: impl Fn() -> Result<File>,
        signature: impl FnOnce() -> Result<Vec<u8>>,
        shown: &Path,
    ) -> Result<()> {
        let shown = without_login(&shown.to_string_lossy());
        let of_file = |error| Error::File { path: shown.clone().into(), error };
        let manifest = archive::manifest(open()?).map_err(of_file)?;
        let name = ImageManifest::parse(&manifest).map_err(|e| of_file(ImageError::Manifest(e)))?.name;
        let keyring = match self.keys.as_slice() {
            [] => Keystore::open(config_dirs()).keyring(&name)?,
            files => {
                let keys = files.iter().map(|path| read(path)).collect::<Result<Vec<_>>>()?;
                Keyring::of(name, keys.concat())
            }
        };
        let signer = verify(open()?, &signature()?, &keyring).map_err(|error| match error {
            ImageError::Refused { refused: Refused::UnknownKey { key, .. } } if !self.keys.is_empty() => {
                Error::Refused(format!("{shown}: signature made by key {key}, which is none of those given with --key"))
            }
            error => of_file(error),
        });
        let Signer { identity, fingerprint, scope, .. } = signer?;
        let why = match (self.keys.is_empty(), scope) {
            (false, _) => "given".to_owned(),
            (true, Scope::Root) => "trusted for every image".to_owned(),
            (true, Scope::Prefix(prefix)) => format!("trusted for {prefix}"),
        };
        output::result(format_args!("{shown}: signed by {identity}, key {fingerprint}, {why}"))
    }

    /// An image in a registry.
    fn registry(&self, name: &DockerName) -> Result<()> {
        if self.signature.is_some() {
            return Err(Error::refused(
                "--signature is for App Container images: those in registries are signed there",
            ));
        }
        let open = |name: &DockerName| place::registry(name, Access::Pull, self.insecure_options);
        let image = open(name)?.top()?.digest;
        let shown = Reference::Docker(name.clone());
        if !self.keys.is_empty() {
            let keys = self.keys.iter().map(|path| read_public(path)).collect::<Result<Vec<_>>>()?;
            cosign::verify(&open(&cosign::signatures_of(name, &image))?, name, &image, &keys)?;
            return output::result(format_args!("{shown}: signed with a key that was given"));
        }
        let policy = Policy::read(config_dirs())?;
        if !policy.demands_signature_of(name) {
            let why = "no policy in trust.d says who signs it: give --key PUBKEY";
            return Err(Error::Refused(format!("{shown}: {why}")));
        }
        policy.check(name, &image, |signatures| open(&signatures))?;
        output::result(format_args!("{shown}: signed with a key that the policy demands"))
    }
}

/// The keys in a file.
fn read(path: &Path) -> Result<Vec<Key>> {
    let content = fs::read(path).map_err(Error::io("read", path))?;
    fingerprints(&content).map_err(|error| Error::File { path: path.to_owned(), error })
}

/// A key as cosign has it.
fn read_public(path: &Path) -> Result<PublicKey> {
    let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
    PublicKey::from_pem(&text).map_err(|why| Error::Refused(format!("{}: {why}", path.display())))
}
