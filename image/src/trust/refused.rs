//! Why a signature is not accepted.

use pgp::crypto::hash::HashAlgorithm;

use super::Scope;

/// Why a signature does not make an image trusted. `Display` is one line without advice; see [`Refused::hint`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// There is no signature in what should be one.
    #[error("not a signature: {0}")]
    Malformed(String),

    /// The policy demands a signature, and there is none.
    #[error("the policy demands a signature, and {} is not there", path.display())]
    Missing {
        /// Where it would lie.
        path: std::path::PathBuf,
    },

    /// The server says that the signature will come, and it does not.
    #[error("{url}: the server defers the signature for ever")]
    Deferred {
        /// Where it would be, without anything secret.
        url: String,
    },

    /// None of the keys that are trusted made it.
    #[error("signature made by unknown entity, key {key}{}", unusable.as_ref().map(|u| format!(" ({u})")).unwrap_or_default())]
    UnknownKey {
        /// Fingerprint or key ID as the signature says; "of no name" when it says nothing.
        key: String,
        /// The image's name.
        name: String,
        /// Whether somebody else may sign it.
        others: bool,
        /// A key file that could not be read: the key may have been meant to be in it.
        unusable: Option<String>,
    },

    /// The key is trusted, but for other images.
    #[error("signature made by {identity}, key {key}, which is trusted for {} but not for {name}", join(scopes))]
    WrongPrefix {
        /// Fingerprint of the trusted key.
        key: String,
        /// Whose key it is.
        identity: String,
        /// What it is trusted for.
        scopes: Vec<Scope>,
        /// The image's name.
        name: String,
    },

    /// The image is not what was signed.
    #[error("the signature of key {key} is not one of this image: one of them was changed")]
    Mismatch {
        /// Fingerprint of the key that it says it was made with.
        key: String,
    },

    /// The owner of the key says that it must not be used any more.
    #[error("the signing key {key} was revoked{}", if why.is_empty() { String::new() } else { format!(": {why}") })]
    Revoked {
        /// Fingerprint of the key.
        key: String,
        /// What the owner says about it.
        why: String,
    },

    /// The key was for a time that is over.
    #[error("the signing key {key} expired on {when}")]
    KeyExpired {
        /// Fingerprint of the key.
        key: String,
        /// The day, as `2016-01-31`.
        when: String,
    },

    /// The signature was for a time that is over.
    #[error("the signature of key {key} expired on {when}")]
    Expired {
        /// Fingerprint of the key.
        key: String,
        /// The day, as `2016-01-31`.
        when: String,
    },

    /// The signature's time cannot be: it is before the key's, or has not come yet.
    #[error("the signature of key {key} is dated {when}, which is {rule}")]
    WrongTime {
        /// Fingerprint of the key.
        key: String,
        /// The day, as `2016-01-31`.
        when: String,
        /// Why that cannot be.
        rule: &'static str,
    },

    /// Others can make something else with the same digest.
    #[error("the signature uses the weak digest {0}")]
    WeakHash(HashAlgorithm),

    /// The key is too short to mean anything.
    #[error("the signing key {key} is too weak: {rule}")]
    WeakKey {
        /// Fingerprint of the key.
        key: String,
        /// What is weak about it.
        rule: String,
    },

    /// The key is not for signatures, or its own signatures are not right.
    #[error("the key {key} cannot sign images: {rule}")]
    NotForSigning {
        /// Fingerprint of the key.
        key: String,
        /// Why not.
        rule: &'static str,
    },

    /// A signature over something else than the bytes of a file.
    #[error("the signature cannot be used: {0}")]
    Unsupported(String),
}

impl Refused {
    /// What the user can do about it.
    pub fn hint(&self) -> String {
        match self {
            Refused::UnknownKey { name, others: false, .. } => format!(
                "no key is trusted for {name}: `rkt trust --prefix \"{name}\"` asks its host for keys and shows them, \
                 `rkt trust --prefix \"{name}\" KEYFILE` takes one from a file, `rkt fetch --trust-keys-from-https` \
                 takes its host's word"
            ),
            Refused::UnknownKey { name, .. } | Refused::WrongPrefix { name, .. } => {
                format!("if you expected the signing key to change, try `rkt trust --prefix \"{name}\"`")
            }
            Refused::Missing { .. } => "give it with --signature, or go without by --insecure-options=image".into(),
            Refused::Deferred { .. } => "try again later, what has come of the image is kept".into(),
            Refused::Mismatch { .. } => "get the image and its signature again".into(),
            Refused::WeakHash(_) => "ask for an image that is signed with `gpg --digest-algo SHA512`".into(),
            Refused::KeyExpired { .. } => "get the renewed key and trust it again with `rkt trust`".into(),
            _ => "ask whoever makes the image for a good signature".into(),
        }
    }

    /// How much this says of several reasons: the highest is told.
    pub(super) fn weight(&self) -> u8 {
        match self {
            Refused::Malformed(_) | Refused::Unsupported(_) => 0,
            Refused::UnknownKey { .. } => 1,
            Refused::WrongPrefix { .. } => 2,
            _ => 3,
        }
    }
}

fn join(scopes: &[Scope]) -> String {
    scopes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
