//! Signatures of images in registries, as cosign makes them with a key: a manifest beside the image, whose layers are signed
//! statements about the image's digest ("simple signing").

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA256_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
    VerificationAlgorithm,
};
use serde::Deserialize;

use crate::error::{Error, Result, printable};
use crate::oci::{Descriptor, Digest, Manifest, Source, small};
use crate::reference::DockerName;

/// The type of a signed statement.
const STATEMENT: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The annotation that holds its signature, in base64.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// What a statement says that it is.
const KIND: &str = "cosign container image signature";
/// More statements than any image has.
const MOST: usize = 100;

/// A key that images in registries are signed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    algorithm: Algorithm,
    point: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    P256,
    P384,
    Ed25519,
    Rsa,
}

impl Algorithm {
    /// Each with its `AlgorithmIdentifier` in DER.
    const ALL: [(Algorithm, &'static [u8]); 4] = [
        (Algorithm::P256, b"\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07"),
        (Algorithm::P384, b"\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22"),
        (Algorithm::Ed25519, b"\x30\x05\x06\x03\x2b\x65\x70"),
        (Algorithm::Rsa, b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00"),
    ];

    /// cosign takes SHA-256 for every key.
    fn verification(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Algorithm::P256 => &ECDSA_P256_SHA256_ASN1,
            Algorithm::P384 => &ECDSA_P384_SHA256_ASN1,
            Algorithm::Ed25519 => &ED25519,
            Algorithm::Rsa => &RSA_PKCS1_2048_8192_SHA256,
        }
    }
}

impl PublicKey {
    /// Reads a key as `cosign.pub` holds it.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn from_pem(text: &str) -> Result<PublicKey, String> {
        let (begin, end) = ("-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----");
        let inside = text.split_once(begin).and_then(|(_, rest)| rest.split_once(end));
        let (inside, _) = inside.ok_or_else(|| format!("is no public key: {begin} is missing"))?;
        let inside: String = inside.split_whitespace().collect();
        let der = STANDARD.decode(inside).map_err(|e| format!("is no public key: {e}"))?;
        let bad = || "is a key of a kind that is not known: ECDSA with P-256 or P-384, Ed25519 and RSA are".to_owned();
        let (info, rest) = element(&der, 0x30).ok_or_else(bad)?;
        let known = Algorithm::ALL.iter().find_map(|(algorithm, id)| Some((*algorithm, info.strip_prefix(*id)?)));
        let (algorithm, bits) = known.filter(|_| rest.is_empty()).ok_or_else(bad)?;
        match element(bits, 0x03) {
            Some(([0, point @ ..], [])) => Ok(PublicKey { algorithm, point: point.to_vec() }),
            _ => Err(bad()),
        }
    }

    fn signed(&self, statement: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(self.algorithm.verification(), &self.point).verify(statement, signature).is_ok()
    }
}

/// The content of a DER element with this tag, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = der.split_first()?;
    let (&length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        ..=0x7f => (usize::from(length), rest),
        0x81 | 0x82 => {
            let (digits, rest) = rest.split_at_checked(usize::from(length - 0x80))?;
            (digits.iter().fold(0, |number, &digit| number << 8 | usize::from(digit)), rest)
        }
        _ => return None,
    };
    if first == tag { rest.split_at_checked(length) } else { None }
}

/// Where the signatures of the image `name` lie whose manifest or index has this digest: a tag beside it.
pub fn signatures_of(name: &DockerName, image: &Digest) -> DockerName {
    DockerName { tag: Some(image.to_string().replace(':', "-") + ".sig"), digest: None, ..name.clone() }
}

/// Checks that one of `keys` signed that `image` is an image of the repository of `name`. `signatures` is what lies at
/// [`signatures_of`] it.
///
/// # Errors
/// When there is no such signature.
pub fn verify(signatures: &dyn Source, name: &DockerName, image: &Digest, keys: &[PublicKey]) -> Result<()> {
    let refuse = |rule: String| Error::Key { what: format!("{name}: the image {image}"), rule };
    let top = signatures.top()?;
    let manifest: Manifest = serde_json::from_slice(&small(signatures, &top)?)
        .map_err(|e| refuse(format!("has a broken signature: {e}")))?;
    let mut why = "has no signature".to_owned();
    for layer in manifest.layers.iter().filter(|layer| layer.media_type == STATEMENT).take(MOST) {
        match check(signatures, layer, name, image, keys)? {
            None => return Ok(()),
            Some(refused) => why = refused,
        }
    }
    Err(refuse(why))
}

/// Why a statement is not one by these keys about this image.
fn check(
    signatures: &dyn Source,
    layer: &Descriptor,
    name: &DockerName,
    image: &Digest,
    keys: &[PublicKey],
) -> Result<Option<String>> {
    let Some(signature) = layer.annotations.get(SIGNATURE).and_then(|text| STANDARD.decode(text.trim()).ok()) else {
        return Ok(Some("has a signature that cannot be read".into()));
    };
    let statement = small(signatures, layer)?;
    if !keys.iter().any(|key| key.signed(&statement, &signature)) {
        return Ok(Some("is signed by none of the keys that the policy demands".into()));
    }
    let Ok(Statement { critical }) = serde_json::from_slice::<Statement>(&statement) else {
        return Ok(Some("is signed with a statement that cannot be read".into()));
    };
    let said = |text: &str| printable(text.as_bytes());
    if critical.kind != KIND {
        return Ok(Some(format!("is signed as {:?}, which is not known", said(&critical.kind))));
    }
    if critical.image.digest != image.to_string() {
        return Ok(Some(format!("has the signature of another image, {}", said(&critical.image.digest))));
    }
    let reference = &critical.identity.reference;
    let same = |other: DockerName| other.registry == name.registry && other.repository == name.repository;
    if !reference.parse().is_ok_and(same) {
        return Ok(Some(format!("was signed for another repository, {:?}", said(reference))));
    }
    Ok(None)
}

#[derive(Deserialize)]
struct Statement {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    #[serde(rename = "type")]
    kind: String,
    image: Image,
    identity: Identity,
}

#[derive(Deserialize)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

#[derive(Deserialize)]
struct Identity {
    #[serde(rename = "docker-reference")]
    reference: String,
}
