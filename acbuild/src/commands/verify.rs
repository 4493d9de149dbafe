//! `acbuild verify`

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use appc_image::fetch::config_dirs;
use appc_image::trust::{Key, Keyring, Keystore, Refused, Scope, Signer, beside, fingerprints, read_signature, verify};
use appc_image::{Error as ImageError, archive};
use appc_spec::ImageManifest;
use clap::Args;

use crate::error::{Error, Result};
use crate::output;
use crate::session::Session;

/// Check the signature of an image file
///
/// It must be made with one of the given keys or, without any, with one that "rkt trust" trusts for the image's name. The
/// signature lies in FILE.asc. Prints whose it is.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  acbuild verify hello.aci\n  acbuild verify --key=publisher.gpg hello.aci")]
pub(crate) struct Verify {
    /// Image file whose signature to check
    file: PathBuf,
    /// File with a public key that must have made it (repeatable); the trusted keys do not matter then
    #[arg(long = "key", value_name = "PUBKEY")]
    keys: Vec<PathBuf>,
    /// File with the signature, when it does not lie beside the image
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
}

impl Verify {
    pub(crate) fn run(&self, _: &Session) -> Result<()> {
        let of_file = |error| Error::File { path: self.file.clone(), error };
        let open = || File::open(&self.file).map_err(Error::io("open", &self.file));
        let manifest = archive::manifest(open()?).map_err(of_file)?;
        let name = ImageManifest::parse(&manifest).map_err(|e| of_file(ImageError::Manifest(e)))?.name;
        let keyring = match self.keys.as_slice() {
            [] => Keystore::open(config_dirs()).keyring(&name)?,
            files => {
                let keys = files.iter().map(|path| read(path)).collect::<Result<Vec<_>>>()?;
                Keyring::of(name, keys.concat())
            }
        };
        let signature = read_signature(&self.signature.clone().unwrap_or_else(|| beside(&self.file)))?;
        let signer = verify(open()?, &signature, &keyring).map_err(|error| match error {
            ImageError::Refused { refused: Refused::UnknownKey { key, .. } } if !self.keys.is_empty() => {
                let file = self.file.display();
                Error::Refused(format!("{file}: signature made by key {key}, which is none of those given with --key"))
            }
            error => of_file(error),
        });
        let Signer { identity, fingerprint, scope, .. } = signer?;
        let why = match (self.keys.is_empty(), scope) {
            (false, _) => "given".to_owned(),
            (true, Scope::Root) => "trusted for every image".to_owned(),
            (true, Scope::Prefix(prefix)) => format!("trusted for {prefix}"),
        };
        output::result(format_args!("{}: signed by {identity}, key {fingerprint}, {why}", self.file.display()))
    }
}

/// The keys in a file.
fn read(path: &Path) -> Result<Vec<Key>> {
    let content = fs::read(path).map_err(Error::io("read", path))?;
    fingerprints(&content).map_err(|error| Error::File { path: path.to_owned(), error })
}
