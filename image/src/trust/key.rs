//! A public key: its fingerprints and whose it is.

use pgp::composed::{PublicOrSecret, SignedPublicKey};
use pgp::types::KeyDetails;

use super::signature::one_line;
use super::{Refused, standing};
use crate::error::{Error, Result, printable};

/// A file with keys is not longer, even with a photo and a hundred others' signatures.
pub(super) const LONGEST: usize = 1 << 20;

/// An OpenPGP public key with its subkeys and identities.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    pub(super) certificate: SignedPublicKey,
}

/// The keys in `bytes` (armored or binary), to show their fingerprints before they are trusted.
///
/// # Errors
/// When there is something else in it, such as a secret key, or nothing.
pub fn fingerprints(bytes: &[u8]) -> Result<Vec<Key>> {
    let bad = |why: String| Error::Key { what: "public key".into(), rule: why };
    if bytes.len() > LONGEST {
        return Err(bad("is too long to be one".into()));
    }
    let unreadable = |e: pgp::errors::Error| bad(format!("cannot be read: {}", one_line(&e)));
    let mut keys = Vec::new();
    for block in blocks(bytes) {
        keys.extend(PublicOrSecret::from_reader_many_buf(block).map_err(unreadable)?.0);
    }
    let mut found = Vec::new();
    for key in keys {
        match key.map_err(unreadable)? {
            PublicOrSecret::Public(certificate) => found.push(Key { certificate }),
            PublicOrSecret::Secret(_) => {
                return Err(bad(
                    "is a secret one, which belongs nowhere else: `gpg --export` gives the public one".into()
                ));
            }
        }
    }
    if found.is_empty() { Err(bad("is missing: there is no key in it".into())) } else { Ok(found) }
}

/// Each armored block of several in a file; all of a file that is none such.
pub(super) fn blocks(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let begins = memchr::memmem::find_iter(bytes, b"-----BEGIN PGP ").skip(1);
    let ends: Vec<usize> = begins.chain([bytes.len()]).collect();
    let mut from = 0;
    ends.into_iter().map(move |end| &bytes[std::mem::replace(&mut from, end)..end])
}

impl Key {
    /// Why nothing that is signed with the key is accepted now: it was revoked, or its time is over.
    pub fn fault(&self) -> Option<Refused> {
        standing::fault(self, std::time::SystemTime::now())
    }

    /// Parses exactly one key.
    ///
    /// # Errors
    /// See [`fingerprints`]; or when there are several.
    pub fn parse(bytes: &[u8]) -> Result<Key> {
        let mut keys = fingerprints(bytes)?;
        match (keys.pop(), keys.len()) {
            (Some(key), 0) => Ok(key),
            (_, more) => Err(Error::Key {
                what: "public key".into(),
                rule: format!("is one of {} in a file: give one a file", more + 1),
            }),
        }
    }

    /// The fingerprint that the key is known by, in lower case: 40 hexadecimal digits, 64 for version 6.
    pub fn fingerprint(&self) -> String {
        self.certificate.fingerprint().to_string()
    }

    /// The fingerprints of its subkeys.
    pub fn subkeys(&self) -> Vec<String> {
        self.certificate.public_subkeys.iter().map(|s| s.fingerprint().to_string()).collect()
    }

    /// Whose it says it is: all identities, made printable.
    pub fn identities(&self) -> Vec<String> {
        self.certificate.details.users.iter().map(|user| printable(user.id.id())).collect()
    }

    /// The first identity, or the fingerprint when it has none.
    pub fn identity(&self) -> String {
        self.identities().into_iter().next().unwrap_or_else(|| self.fingerprint())
    }

    /// The key as an armored block.
    ///
    /// # Errors
    /// When it cannot be written, which is a fault of this program.
    pub fn armored(&self) -> Result<Vec<u8>> {
        let bad = |e: pgp::errors::Error| Error::Key { what: "public key".into(), rule: one_line(&e) };
        self.certificate.to_armored_bytes(Default::default()).map_err(bad)
    }
}
