//! Image IDs: the digest of an image's uncompressed archive.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use serde_json::Value;

use crate::Error;
use crate::json::{Read, Write};

const PREFIX: &str = "sha512-";
const HEX_DIGITS: usize = 128;
/// Fewer digits than this say nothing.
const LEAST_DIGITS: usize = 2;
const SHORT_DIGITS: usize = 12;

/// A whole image ID, `sha512-` and 128 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageId(String);

impl ImageId {
    /// The ID of an image whose uncompressed archive has this SHA-512.
    pub fn from_digest(digest: [u8; 64]) -> ImageId {
        let mut text = String::with_capacity(PREFIX.len() + HEX_DIGITS);
        text.push_str(PREFIX);
        for byte in digest {
            let _ = write!(text, "{byte:02x}");
        }
        ImageId(text)
    }

    /// The ID as text, `sha512-…`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The 128 hexadecimal digits.
    pub fn hex(&self) -> &str {
        &self.0[PREFIX.len()..]
    }

    /// `sha512-` and the first 12 digits, for people.
    pub fn short(&self) -> String {
        self.0[..PREFIX.len() + SHORT_DIGITS].to_owned()
    }
}

impl FromStr for ImageId {
    type Err = Error;

    fn from_str(text: &str) -> Result<ImageId, Error> {
        let hex = digits(text)?;
        if hex.len() != HEX_DIGITS {
            return Err(Error::new(format!("image ID must have {HEX_DIGITS} hexadecimal digits, found {}", hex.len())));
        }
        Ok(ImageId([PREFIX, &hex].concat()))
    }
}

/// The beginning of an image ID, `sha512-` and at least two digits: what people type.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageIdPrefix(String);

impl ImageIdPrefix {
    /// The prefix as text, `sha512-…`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `id` begins with it.
    pub fn matches(&self, id: &ImageId) -> bool {
        id.0.starts_with(&self.0)
    }
}

impl From<ImageId> for ImageIdPrefix {
    fn from(id: ImageId) -> ImageIdPrefix {
        ImageIdPrefix(id.0)
    }
}

impl FromStr for ImageIdPrefix {
    type Err = Error;

    fn from_str(text: &str) -> Result<ImageIdPrefix, Error> {
        let hex = digits(text)?;
        if !(LEAST_DIGITS..=HEX_DIGITS).contains(&hex.len()) {
            let rule = format!("short image ID must have {LEAST_DIGITS} to {HEX_DIGITS} hexadecimal digits");
            return Err(Error::new(format!("{rule}, found {}", hex.len())));
        }
        Ok(ImageIdPrefix(format!("{PREFIX}{hex}")))
    }
}

/// The digits of `sha512-DIGITS` in lower case.
fn digits(text: &str) -> Result<String, Error> {
    let bad = |rule: &str| Err(Error::new(rule));
    match text.split_once('-') {
        Some(("sha512", value)) if !value.is_empty() && value.bytes().all(|b| b.is_ascii_hexdigit()) => {
            Ok(value.to_ascii_lowercase())
        }
        None => bad("badly formatted hash string, expected \"sha512-\" and hexadecimal digits"),
        Some((_, value)) if value.contains('-') => {
            bad("badly formatted hash string, expected \"sha512-\" and hexadecimal digits")
        }
        Some(("", _)) => bad("unexpected empty hash type"),
        Some((kind, _)) if kind != "sha512" => {
            bad(&format!("unrecognized hash type: {} (must be sha512)", kind.escape_debug()))
        }
        Some((_, "")) => bad("unexpected empty hash value"),
        Some((_, value)) => bad(&format!("image ID must be hexadecimal digits after \"sha512-\", found {value:?}")),
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Display for ImageIdPrefix {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Read for ImageId {
    fn read(value: Value) -> Result<ImageId, Error> {
        String::read(value)?.parse()
    }
}

impl Write for ImageId {
    fn write(&self) -> Value {
        self.0.write()
    }
}
