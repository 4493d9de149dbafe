//! Who may sign which images, and whether somebody did.
//!
//! ```text
//! Keystore::open(config directories) ── keyring(name) ──► Keyring ─┐
//! Verifier::expecting(signature) ◄── every byte of the archive ────┴► finish ──► Signer, or why it is Refused
//! ```
//!
//! Keys are OpenPGP certificates, one a file, in rkt's layout:
//!
//! ```text
//! <config directory>/trustedkeys/root.d/<fingerprint>                 may sign every image
//! <config directory>/trustedkeys/prefix.d/<prefix>/<fingerprint>      may sign the image <prefix> and those below it
//! ```
//!
//! A later directory wins: an empty file in it hides the key of the same name in those before.

pub mod cosign;
mod discovery;
mod key;
mod keystore;
mod policy;
mod refused;
mod signature;
mod standing;
mod verifier;

pub use discovery::{discover_keys, fetch_keys};
pub use key::{Key, fingerprints};
pub use keystore::{Keyring, Keystore, Scope, TrustedKey};
pub use policy::Policy;
pub use refused::Refused;
pub(crate) use verifier::LONGEST;
pub use verifier::{Signer, Verifier, beside, read_signature, verify};
