//! What a key may do today: read from the signatures that it made about itself.

use std::time::{SystemTime, UNIX_EPOCH};

use pgp::composed::SignedPublicSubKey;
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType, SubpacketData};
use pgp::ser::Serialize;
use pgp::types::{EcdsaPublicParams, KeyDetails, PublicParams, Tag, Timestamp, VerifyingKey};

use super::{Key, Refused};

/// How far the clock of who signs may be ahead.
const AHEAD: u64 = 3600;

/// Fewer bits can be factored.
const FEWEST_BITS: u16 = 2048;

/// The primary key or a subkey: what a signature is made with.
#[derive(Clone, Copy)]
pub(super) enum Component<'k> {
    Primary(&'k Key),
    Sub(&'k Key, &'k SignedPublicSubKey),
}

impl Key {
    pub(super) fn components(&self) -> impl Iterator<Item = Component<'_>> {
        let subkeys = self.certificate.public_subkeys.iter();
        std::iter::once(Component::Primary(self)).chain(subkeys.map(move |sub| Component::Sub(self, sub)))
    }
}

impl<'k> Component<'k> {
    pub(super) fn key(self) -> &'k Key {
        match self {
            Component::Primary(key) | Component::Sub(key, _) => key,
        }
    }

    pub(super) fn verifying(self) -> &'k dyn VerifyingKey {
        match self {
            Component::Primary(key) => &key.certificate.primary_key,
            Component::Sub(_, sub) => &sub.key,
        }
    }

    pub(super) fn fingerprint(self) -> String {
        self.verifying().fingerprint().to_string()
    }

    /// Whether signatures by this kind of key can be checked at all.
    pub(super) fn is_known(self) -> bool {
        match self.verifying().public_params() {
            // The library takes only half of the good signatures on this curve: those with the smaller of two numbers.
            PublicParams::ECDSA(EcdsaPublicParams::Secp256k1 { .. }) => false,
            PublicParams::ECDSA(parameters) => parameters.is_supported(),
            PublicParams::Unknown { .. } => false,
            _ => true,
        }
    }

    /// Whether `signature` names this key, or names none.
    pub(super) fn is_issuer_of(self, signature: &Signature) -> bool {
        let (ids, fingerprints) = (signature.issuer_key_id(), signature.issuer_fingerprint());
        let key = self.verifying();
        match fingerprints.is_empty() {
            // The longer one decides; what says nothing may be by anybody.
            false => fingerprints.contains(&&key.fingerprint()),
            true => ids.is_empty() || ids.contains(&&key.legacy_key_id()),
        }
    }

    /// Refuses a signature that is mathematically right but was made with a key that is not to be used, or not then.
    pub(super) fn check(self, signature: &Signature, now: SystemTime) -> Result<(), Refused> {
        let primary = Standing::of_primary(self.key(), now)?;
        let standing = match self {
            Component::Primary(_) => primary,
            Component::Sub(key, sub) => {
                primary.check_dates(self, now)?;
                Standing::of_subkey(key, sub, now)?
            }
        };
        standing.check_dates(self, now)?;
        if !standing.signs {
            return Err(Refused::NotForSigning { key: self.fingerprint(), rule: "it is for other purposes" });
        }
        self.check_strength()?;
        self.check_times(signature, now)
    }

    fn check_strength(self) -> Result<(), Refused> {
        let parameters = match self.verifying().public_params() {
            PublicParams::RSA(parameters) => parameters.to_bytes(),
            PublicParams::DSA(parameters) => parameters.to_bytes(),
            _ => return Ok(()),
        };
        // The first number is the modulus, its length in bits in front of it.
        let bits = match parameters.as_deref() {
            Ok([high, low, ..]) => u16::from_be_bytes([*high, *low]),
            _ => 0,
        };
        match bits {
            ..FEWEST_BITS => {
                let rule = format!("it has {bits} bits, at least {FEWEST_BITS} are needed");
                Err(Refused::WeakKey { key: self.fingerprint(), rule })
            }
            _ => Ok(()),
        }
    }

    fn check_times(self, signature: &Signature, now: SystemTime) -> Result<(), Refused> {
        let key = self.fingerprint();
        let Some(created) = signature.created() else {
            return Err(Refused::WrongTime { key, when: "no day".into(), rule: "not allowed" });
        };
        let when = day(u64::from(created.as_secs()));
        if created < self.verifying().created_at() {
            return Err(Refused::WrongTime { key, when, rule: "before its key was made" });
        }
        if is_ahead(created, now) {
            return Err(Refused::WrongTime { key, when, rule: "in the future" });
        }
        match end(created, signature.signature_expiration_time()) {
            Some(end) if end <= seconds(now) => Err(Refused::Expired { key, when: day(end) }),
            _ => Ok(()),
        }
    }
}

/// What is wrong with the whole key.
pub(super) fn fault(key: &Key, now: SystemTime) -> Option<Refused> {
    let standing = Standing::of_primary(key, now);
    standing.and_then(|standing| standing.check_dates(Component::Primary(key), now)).err()
}

/// What the newest self-signature says.
struct Standing {
    signs: bool,
    expires: Option<u64>,
}

impl Standing {
    fn of_primary(key: &Key, now: SystemTime) -> Result<Standing, Refused> {
        let (primary, details) = (&key.certificate.primary_key, &key.certificate.details);
        let revocation = details.revocation_signatures.iter().find(|s| is_strong(s) && s.verify_key(primary).is_ok());
        if let Some(revocation) = revocation {
            return Err(Refused::Revoked { key: key.fingerprint(), why: reason(revocation) });
        }
        let direct = details.direct_signatures.iter().filter(|s| {
            // One that only names a revoker says nothing about the rest.
            s.typ() == Some(SignatureType::Key)
                && (has_flags(s) || s.key_expiration_time().is_some())
                && s.verify_key(primary).is_ok()
        });
        let about_users = details.users.iter().filter_map(|user| {
            let own = |s: &&Signature| s.verify_certification(primary, Tag::UserId, &user.id).is_ok();
            let newest = newest(user.signatures.iter().filter(own), now)?;
            // An identity that was withdrawn says nothing any more.
            (newest.typ() != Some(SignatureType::CertRevocation)).then_some(newest)
        });
        match newest(direct.chain(about_users), now) {
            Some(newest) => Ok(Standing {
                // Old keys have no flags and are for everything.
                signs: !has_flags(newest) || newest.key_flags().sign(),
                expires: end(primary.created_at(), newest.key_expiration_time()),
            }),
            None => Err(Refused::NotForSigning {
                key: key.fingerprint(),
                rule: "none of its identities is signed by itself",
            }),
        }
    }

    fn of_subkey(key: &Key, sub: &SignedPublicSubKey, now: SystemTime) -> Result<Standing, Refused> {
        let primary = &key.certificate.primary_key;
        let own = |s: &&Signature| s.verify_subkey_binding(primary, &sub.key).is_ok();
        let is = |wanted| move |s: &&Signature| s.typ() == Some(wanted);
        let mut revocations = sub.signatures.iter().filter(is(SignatureType::SubkeyRevocation)).filter(own);
        let fingerprint = || sub.key.fingerprint().to_string();
        if let Some(revocation) = revocations.find(|s| is_strong(s)) {
            return Err(Refused::Revoked { key: fingerprint(), why: reason(revocation) });
        }
        let bindings = sub.signatures.iter().filter(is(SignatureType::SubkeyBinding)).filter(own);
        let Some(binding) = newest(bindings, now) else {
            return Err(Refused::NotForSigning {
                key: fingerprint(),
                rule: "its primary key does not say it is its own",
            });
        };
        // Else anybody could claim somebody's key as a subkey, and with it what that key signed.
        let back = binding.embedded_signature();
        if !back.is_some_and(|back| is_strong(back) && back.verify_primary_key_binding(&sub.key, primary).is_ok()) {
            return Err(Refused::NotForSigning {
                key: fingerprint(),
                rule: "it does not say itself whose subkey it is",
            });
        }
        Ok(Standing {
            signs: binding.key_flags().sign(),
            expires: end(sub.key.created_at(), binding.key_expiration_time()),
        })
    }

    fn check_dates(&self, component: Component, now: SystemTime) -> Result<(), Refused> {
        match self.expires {
            Some(end) if end <= seconds(now) => {
                Err(Refused::KeyExpired { key: component.fingerprint(), when: day(end) })
            }
            _ => Ok(()),
        }
    }
}

/// The newest signature that holds now.
fn newest<'s>(signatures: impl Iterator<Item = &'s Signature>, now: SystemTime) -> Option<&'s Signature> {
    let holds = |s: &&Signature| {
        let Some(created) = s.created() else { return false };
        let over = end(created, s.signature_expiration_time()).is_some_and(|end| end <= seconds(now));
        is_strong(s) && !is_ahead(created, now) && !over
    };
    signatures.filter(holds).max_by_key(|s| s.created())
}

/// SHA-1 does for what a key says about itself: old keys have nothing else, and their owner chose the content.
fn is_strong(signature: &Signature) -> bool {
    !matches!(signature.hash_alg(), None | Some(HashAlgorithm::None | HashAlgorithm::Md5))
}

fn has_flags(signature: &Signature) -> bool {
    let mut said = signature.config().into_iter().flat_map(|config| config.hashed_subpackets());
    said.any(|subpacket| matches!(subpacket.data, SubpacketData::KeyFlags(_)))
}

fn reason(revocation: &Signature) -> String {
    let text = revocation.revocation_reason_string().map(|text| crate::error::printable(text));
    text.unwrap_or_default().trim().to_owned()
}

/// The moment after a duration; none when that is 0, which means for ever.
fn end(start: Timestamp, duration: Option<pgp::types::Duration>) -> Option<u64> {
    let duration = duration?.as_secs();
    (duration > 0).then(|| u64::from(start.as_secs()) + u64::from(duration))
}

fn is_ahead(time: Timestamp, now: SystemTime) -> bool {
    u64::from(time.as_secs()) > seconds(now) + AHEAD
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

fn day(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
    time.map_or_else(String::new, |time| time.strftime("%Y-%m-%d").to_string())
}
