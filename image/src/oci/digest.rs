//! Digests, which are the names of blobs.

use std::fmt;
use std::str::FromStr;

use ring::digest::{Context, SHA256, SHA512};
use serde::{Deserialize, Serialize};

use crate::Error;

/// How a digest is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// SHA-256, what everybody uses.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    /// The name in a digest.
    pub fn as_str(self) -> &'static str {
        match self {
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha512 => "sha512",
        }
    }

    fn hex_len(self) -> usize {
        match self {
            Algorithm::Sha256 => 64,
            Algorithm::Sha512 => 128,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The digest of a blob: `sha256:` and 64 or `sha512:` and 128 lower case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest {
    algorithm: Algorithm,
    hex: String,
}

impl Digest {
    /// The SHA-256 of `bytes`.
    pub fn of(bytes: &[u8]) -> Digest {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(bytes);
        hasher.finish()
    }

    /// How it was computed.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The digits: safe as a file's name.
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// The tag that stands for the list of what refers to this manifest where nobody keeps one: the algorithm and the digits,
    /// as far as they fit.
    pub(crate) fn referrers_tag(&self) -> String {
        format!("{}-{}", self.algorithm, &self.hex[..self.hex.len().min(64)])
    }

    /// The tags that cosign gives to what it makes for this manifest. It has none for SHA-512, which would be longer than a tag may be.
    pub(crate) fn attached_tags(&self) -> impl Iterator<Item = String> + '_ {
        let kinds: &[&str] = if self.algorithm == Algorithm::Sha256 { &["sig", "att", "sbom"] } else { &[] };
        kinds.iter().map(|kind| format!("{}.{kind}", self.referrers_tag()))
    }

    /// Whether a tag is that of something about a manifest: of a list of it ([`Digest::referrers_tag`]), or one of
    /// [`Digest::attached_tags`].
    pub(crate) fn is_tag_of_one(tag: &str) -> bool {
        let digits = tag.strip_prefix("sha256-").or_else(|| tag.strip_prefix("sha512-")).unwrap_or_default();
        let (digits, rest) = digits.split_at_checked(64).unwrap_or_default();
        !digits.is_empty()
            && digits.bytes().all(|b| b.is_ascii_hexdigit())
            && matches!(rest, "" | ".sig" | ".att" | ".sbom")
    }

    /// The algorithm and the first twelve digits, for people.
    pub fn short(&self) -> String {
        format!("{}:{}", self.algorithm, &self.hex[..12])
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm, self.hex)
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Digest, Error> {
        let refuse = |rule: &str| Error::Oci {
            what: format!("digest \"{}\"", crate::error::printable(text.as_bytes())),
            rule: rule.into(),
        };
        let (algorithm, hex) = text.split_once(':').ok_or_else(|| refuse("it has no algorithm before a colon"))?;
        let algorithm = match algorithm {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            _ => return Err(refuse("only sha256 and sha512 are known")),
        };
        if hex.len() != algorithm.hex_len() || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            let rule = format!("{algorithm} has {} lower case hexadecimal digits", algorithm.hex_len());
            return Err(refuse(&rule));
        }
        Ok(Digest { algorithm, hex: hex.to_owned() })
    }
}

impl TryFrom<String> for Digest {
    type Error = Error;

    fn try_from(text: String) -> Result<Digest, Error> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

/// Computes a digest piece by piece.
#[derive(Clone)]
pub struct Hasher {
    algorithm: Algorithm,
    context: Context,
}

impl Hasher {
    /// Begins.
    pub fn new(algorithm: Algorithm) -> Hasher {
        let context = Context::new(match algorithm {
            Algorithm::Sha256 => &SHA256,
            Algorithm::Sha512 => &SHA512,
        });
        Hasher { algorithm, context }
    }

    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.context.update(bytes);
    }

    /// The digest of everything.
    pub fn finish(self) -> Digest {
        use fmt::Write;
        let mut hex = String::with_capacity(self.algorithm.hex_len());
        for byte in self.context.finish().as_ref() {
            // Writing to a string cannot fail.
            let _ = write!(hex, "{byte:02x}");
        }
        Digest { algorithm: self.algorithm, hex }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_lower_case_digests_are_taken() {
        let good = format!("sha256:{}", "a1".repeat(32));
        assert_eq!(good.parse::<Digest>().unwrap().to_string(), good);
        let long = format!("sha512:{}", "0f".repeat(64));
        assert_eq!(long.parse::<Digest>().unwrap().algorithm(), Algorithm::Sha512);
        for bad in [
            "",
            "sha256",
            "sha256:",
            &good.to_uppercase(),
            &good[..70],
            &format!("{good}0"),
            &format!("sha512:{}", "a1".repeat(32)),
            &format!("sha1:{}", "a1".repeat(20)),
            &format!("sha256:../../../{}", "a".repeat(55)),
            &format!("sha256:{}é", "a".repeat(62)),
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }

    #[test]
    fn of_nothing() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").to_string(), empty);
    }
}
