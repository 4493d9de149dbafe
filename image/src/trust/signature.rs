//! Detached signatures, armored or binary.

use pgp::composed::{Deserializable, DetachedSignature};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureConfig, SignatureType, SignatureVersionSpecific};
use pgp::types::VerifyingKey;

use super::Refused;
use super::key::blocks;

/// A file with signatures is not longer: one takes a kilobyte at most.
const LONGEST: usize = 64 << 10;

/// More signatures than anybody makes, and few enough to hash an image for each.
const MOST: usize = 8;

/// The signatures in `bytes`, those that this version can read.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Signature>, Refused> {
    let malformed = |why: &str| Refused::Malformed(why.to_owned());
    if bytes.is_empty() {
        return Err(malformed("it is empty"));
    }
    if bytes.len() > LONGEST {
        return Err(malformed("it is too long"));
    }
    let unreadable = |e: pgp::errors::Error| malformed(&one_line(&e));
    let mut signatures = Vec::new();
    for block in blocks(bytes) {
        let (found, _) = DetachedSignature::from_reader_many_buf(block).map_err(unreadable)?;
        for one in found.take(MOST + 1) {
            signatures.push(one.map_err(unreadable)?.signature);
        }
    }
    match signatures.len() {
        0 => Err(malformed("no valid signatures found in signature file")),
        n if n > MOST => Err(malformed("there are too many in it")),
        _ => Ok(signatures),
    }
}

/// A library's error as one line, without what is beside the point.
pub(super) fn one_line(error: &pgp::errors::Error) -> String {
    crate::error::printable(error.to_string().lines().next().unwrap_or_default().as_bytes())
}

/// What a signature says, when it is one over the bytes of a file and of today's strength.
pub(super) fn usable(signature: &Signature) -> Result<&SignatureConfig, Refused> {
    let unsupported = |why: &str| Refused::Unsupported(why.to_owned());
    let config = signature.config().ok_or_else(|| unsupported("it is of a version that is not known"))?;
    match config.typ {
        SignatureType::Binary => {}
        SignatureType::Text => return Err(unsupported("it is one of a text, whose line ends may change")),
        _ => return Err(unsupported("it is not one of a file")),
    }
    match config.hash_alg {
        HashAlgorithm::Md5 | HashAlgorithm::Sha1 | HashAlgorithm::Ripemd160 => Err(Refused::WeakHash(config.hash_alg)),
        hash if hash.new_hasher().is_err() => Err(unsupported("its digest is not known")),
        _ => Ok(config),
    }
}

/// What is hashed in front of the content: version 6 has it.
pub(super) fn salt(config: &SignatureConfig) -> &[u8] {
    match &config.version_specific {
        SignatureVersionSpecific::V6 { salt } => salt,
        _ => &[],
    }
}

/// What is hashed after the content.
pub(super) fn suffix(config: &SignatureConfig) -> pgp::errors::Result<Box<[u8]>> {
    let mut collected: Box<dyn digest::DynDigest + Send> = Box::new(Collect::default());
    let length = config.hash_signature_data(&mut collected)?;
    collected.update(&config.trailer(length)?);
    Ok(collected.finalize())
}

/// Whether `key` made `signature` over what has `hash`.
pub(super) fn matches(signature: &Signature, key: &dyn VerifyingKey, hash: &[u8]) -> bool {
    let (Some(config), Some(mathematics)) = (signature.config(), signature.signature()) else { return false };
    hash.len() >= 2
        && signature.signed_hash_value().is_some_and(|start| start == hash[..2])
        && key.algorithm() == config.pub_alg
        && key.verify(config.hash_alg, hash, mathematics).is_ok()
}

/// Not a digest but everything that it would be one of.
#[derive(Clone, Default)]
struct Collect(Vec<u8>);

impl digest::DynDigest for Collect {
    fn update(&mut self, data: &[u8]) {
        self.0.extend_from_slice(data);
    }

    fn finalize_into(self, out: &mut [u8]) -> Result<(), digest::InvalidBufferSize> {
        self.copy_to(out)
    }

    fn finalize_into_reset(&mut self, out: &mut [u8]) -> Result<(), digest::InvalidBufferSize> {
        std::mem::take(self).copy_to(out)
    }

    fn finalize(self: Box<Self>) -> Box<[u8]> {
        self.0.into()
    }

    fn finalize_reset(&mut self) -> Box<[u8]> {
        std::mem::take(&mut self.0).into()
    }

    fn reset(&mut self) {
        self.0.clear();
    }

    fn output_size(&self) -> usize {
        self.0.len()
    }

    fn box_clone(&self) -> Box<dyn digest::DynDigest> {
        Box::new(self.clone())
    }
}

impl Collect {
    fn copy_to(&self, out: &mut [u8]) -> Result<(), digest::InvalidBufferSize> {
        if out.len() != self.0.len() {
            return Err(digest::InvalidBufferSize);
        }
        out.copy_from_slice(&self.0);
        Ok(())
    }
}
