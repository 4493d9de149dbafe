//! Hashing an image as it comes by, and holding its signature against that.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::Signature;
use ring::digest::{Context, SHA256, SHA384, SHA512};

use super::keystore::{Keyring, Scope};
use super::refused::Refused;
use super::signature;
use super::standing::Component;
use crate::error::{Error, Result};

/// No signature is longer.
pub(crate) const LONGEST: u64 = 1 << 20;

/// What is computed when the signature is not known yet: what programs make signatures with today.
const USUAL: [HashAlgorithm; 3] = [HashAlgorithm::Sha256, HashAlgorithm::Sha384, HashAlgorithm::Sha512];

/// Takes the bytes of an image, as they are distributed, and then checks its signature.
pub struct Verifier {
    /// By number of the algorithm and by salt, which only version 6 has.
    digests: BTreeMap<(u8, Vec<u8>), Hasher>,
}

/// Who made a signature that is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer {
    /// The first identity of the key.
    pub identity: String,
    /// The fingerprint of the trusted key.
    pub fingerprint: String,
    /// The fingerprint of the key or subkey that the signature was made with.
    pub signed_with: String,
    /// What the key is trusted for.
    pub scope: Scope,
}

impl Verifier {
    /// For an image whose signature comes later. Slower than [`Verifier::expecting`], and only for the usual digests.
    pub fn new() -> Verifier {
        let digests = USUAL.iter().filter_map(|&hash| Some(((hash.into(), Vec::new()), Hasher::new(hash)?)));
        Verifier { digests: digests.collect() }
    }

    /// For an image with this signature (armored or binary, one or several): only what it needs is computed.
    ///
    /// # Errors
    /// When none of the signatures can be used, whatever the image is. Nothing needs to be downloaded then.
    pub fn expecting(signature: &[u8]) -> Result<Verifier, Refused> {
        let mut digests = BTreeMap::new();
        let mut why = None;
        for one in signature::parse(signature)? {
            match signature::usable(&one) {
                Ok(config) => {
                    let salt = signature::salt(config).to_vec();
                    let Some(mut hasher) = Hasher::new(config.hash_alg) else { continue };
                    hasher.update(&salt);
                    digests.insert((config.hash_alg.into(), salt), hasher);
                }
                Err(refused) => why = worse(why, refused),
            }
        }
        match why {
            Some(why) if digests.is_empty() => Err(why),
            _ => Ok(Verifier { digests }),
        }
    }

    /// Checks the signature of all that was written, which is good when one of the keys in `keys` made it and may be used.
    ///
    /// # Errors
    /// Why it is not. Of several signatures one that is good is enough.
    pub fn finish(self, signature: &[u8], keys: &Keyring) -> Result<Signer, Refused> {
        let mut why = None;
        for one in signature::parse(signature)? {
            match self.check(&one, keys) {
                Ok(signer) => return Ok(signer),
                Err(refused) => why = worse(why, refused),
            }
        }
        Err(why.unwrap_or_else(|| Refused::Malformed("it is empty".into())))
    }

    fn check(&self, one: &Signature, keys: &Keyring) -> Result<Signer, Refused> {
        let config = signature::usable(one)?;
        let slot = (config.hash_alg.into(), signature::salt(config).to_vec());
        let Some(hasher) = self.digests.get(&slot) else {
            let why = format!("its digest {} was not computed, as it came after the image", config.hash_alg);
            return Err(Refused::Unsupported(why));
        };
        let suffix = signature::suffix(config).map_err(|e| Refused::Unsupported(signature::one_line(&e)))?;
        let hash = hasher.finish_with(&suffix);
        let made = |component: &Component| signature::matches(one, component.verifying(), &hash);
        let mut named = None;
        for (scope, key) in keys.iter() {
            for component in key.components().filter(|c| c.is_issuer_of(one)) {
                if !component.is_known() {
                    let why = format!("keys of the kind of {} are not known", component.fingerprint());
                    return Err(Refused::Unsupported(why));
                }
                if made(&component) {
                    component.check(one, SystemTime::now())?;
                    return Ok(signer(scope, component));
                }
                named = Some(component.fingerprint());
            }
        }
        match named {
            Some(key) => Err(Refused::Mismatch { key }),
            None => Err(keys.refuse_unknown(one, made)),
        }
    }
}

/// Checks that `signature` is one of all that `image` gives, made with one of `keys`.
///
/// # Errors
/// [`Error::Refused`] when it is not.
pub fn verify(mut image: impl Read, signature: &[u8], keys: &Keyring) -> Result<Signer> {
    let mut verifier = Verifier::expecting(signature)?;
    io::copy(&mut image, &mut verifier).map_err(Error::io("read the image"))?;
    Ok(verifier.finish(signature, keys)?)
}

/// Where the signature of the image in `file` lies.
pub fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".asc");
    name.into()
}

/// Reads a file with a signature.
///
/// # Errors
/// When it cannot be read.
pub fn read_signature(path: &Path) -> Result<Vec<u8>> {
    let mut signature = Vec::new();
    let what = || format!("error opening signature file {}", path.display());
    // Opening a pipe must not wait for a writer.
    let flags = (rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY).bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path).map_err(Error::io(what()))?;
    file.take(LONGEST).read_to_end(&mut signature).map_err(Error::io(what()))?;
    Ok(signature)
}

impl Default for Verifier {
    fn default() -> Verifier {
        Verifier::new()
    }
}

impl Write for Verifier {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.digests.values_mut().for_each(|digest| digest.update(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_set().entries(self.digests.keys().map(|(hash, _)| HashAlgorithm::from(*hash))).finish()
    }
}

fn signer(scope: &Scope, component: Component) -> Signer {
    let key = component.key();
    Signer {
        identity: key.identity(),
        fingerprint: key.fingerprint(),
        signed_with: component.fingerprint(),
        scope: scope.clone(),
    }
}

fn worse(one: Option<Refused>, other: Refused) -> Option<Refused> {
    match one {
        Some(one) if one.weight() >= other.weight() => Some(one),
        _ => Some(other),
    }
}

/// The fast implementation for what is usual, the complete one for the rest.
enum Hasher {
    Usual(Box<Context>),
    Other(Box<dyn digest::DynDigest + Send>),
}

impl Hasher {
    fn new(hash: HashAlgorithm) -> Option<Hasher> {
        Some(match hash {
            HashAlgorithm::Sha256 => Hasher::Usual(Box::new(Context::new(&SHA256))),
            HashAlgorithm::Sha384 => Hasher::Usual(Box::new(Context::new(&SHA384))),
            HashAlgorithm::Sha512 => Hasher::Usual(Box::new(Context::new(&SHA512))),
            other => Hasher::Other(other.new_hasher().ok()?),
        })
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Usual(context) => context.update(bytes),
            Hasher::Other(digest) => digest.update(bytes),
        }
    }

    fn finish_with(&self, suffix: &[u8]) -> Vec<u8> {
        match self {
            Hasher::Usual(context) => {
                let mut context = context.clone();
                context.update(suffix);
                context.finish().as_ref().to_vec()
            }
            Hasher::Other(digest) => {
                let mut digest = digest.box_clone();
                digest.update(suffix);
                digest.finalize().into_vec()
            }
        }
    }
}
