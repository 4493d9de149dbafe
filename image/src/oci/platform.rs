//! What an image runs on, in the words of OCI.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Error;

/// An operating system and a processor, named as Go names them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// Such as `linux`.
    #[serde(default)]
    pub os: String,
    /// Such as `amd64` or `arm`.
    #[serde(default)]
    pub architecture: String,
    /// Such as `v7` of `arm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Everything else, such as `os.version`.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Platform {
    /// A platform without a variant.
    pub fn new(os: impl Into<String>, architecture: impl Into<String>) -> Platform {
        Platform { os: os.into(), architecture: architecture.into(), variant: None, extra: Map::new() }
    }

    /// What this program runs on.
    pub fn host() -> Platform {
        let architecture = match std::env::consts::ARCH {
            "x86" => "386",
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
            "powerpc64" => "ppc64",
            "loongarch64" => "loong64",
            other => other,
        };
        let mut host = Platform::new(std::env::consts::OS, architecture);
        if architecture == "arm" {
            host.variant = Some("v7".into());
        }
        host
    }

    /// Tells whether an image for `other` runs here: the same system and processor, or an older variant of it.
    pub fn matches(&self, other: &Platform) -> bool {
        self.distance(other).is_some()
    }

    /// How much an image for `other` leaves unused here; 0 fits exactly. `None` when it does not run here.
    pub(crate) fn distance(&self, other: &Platform) -> Option<u32> {
        let (wanted, offered) = (self.normal(), other.normal());
        if (wanted.os, wanted.architecture) != (offered.os, offered.architecture) {
            return None;
        }
        match (level(&wanted.variant), level(&offered.variant)) {
            (Some(wanted), Some(offered)) => wanted.checked_sub(offered),
            _ => (wanted.variant == offered.variant).then_some(0),
        }
    }

    /// One spelling of what has several, and the variant that is meant when there is none.
    fn normal(&self) -> Platform {
        let (os, architecture) = (self.os.to_ascii_lowercase(), self.architecture.to_ascii_lowercase());
        let os = if os == "macos" { "darwin".to_owned() } else { os };
        let (architecture, implied) = match architecture.as_str() {
            "x86_64" | "x86-64" | "amd64" => ("amd64", "v1"),
            "aarch64" | "arm64" => ("arm64", "v8"),
            "armhf" | "arm" => ("arm", "v7"),
            "armel" => ("arm", "v6"),
            "i386" | "x86" | "386" => ("386", ""),
            other => (other, ""),
        };
        let mut normal = Platform::new(os, architecture);
        normal.variant = Some(match self.variant.as_deref() {
            None | Some("") => implied.to_owned(),
            // Docker has both `8` and `v8`.
            Some(number) if number.bytes().all(|b| b.is_ascii_digit()) => format!("v{number}"),
            Some(variant) => variant.to_owned(),
        });
        normal
    }
}

/// 7 of `v7`. Such variants contain those before.
fn level(variant: &Option<String>) -> Option<u32> {
    variant.as_deref()?.strip_prefix('v')?.parse().ok()
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match self.variant.as_deref() {
            None | Some("") => Ok(()),
            Some(variant) => write!(f, "/{variant}"),
        }
    }
}

impl FromStr for Platform {
    type Err = Error;

    fn from_str(text: &str) -> Result<Platform, Error> {
        let good =
            |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        let parts: Vec<&str> = text.split('/').collect();
        match parts.as_slice() {
            [os, architecture, variant @ ..] if variant.len() <= 1 && parts.iter().all(|part| good(part)) => {
                let mut platform = Platform::new(*os, *architecture);
                platform.variant = variant.first().map(|v| (*v).to_owned());
                Ok(platform)
            }
            _ => Err(Error::Option(format!(
                "bad platform \"{}\": write it like linux/amd64 or linux/arm/v7",
                crate::error::printable(text.as_bytes())
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn text() {
        for text in ["linux/amd64", "linux/arm64/v8", "windows/amd64"] {
            assert_eq!(platform(text).to_string(), text);
        }
        for bad in ["", "linux", "linux/", "/amd64", "linux/arm/v7/x", "linux/a b", "linux/\x1b"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
    }

    #[test]
    fn variants() {
        for (wanted, offered, runs) in [
            ("linux/amd64", "linux/amd64", true),
            ("linux/amd64", "linux/x86_64", true),
            ("linux/amd64", "linux/amd64/v3", false),
            ("linux/amd64/v3", "linux/amd64/v2", true),
            ("linux/arm64", "linux/arm64/v8", true),
            ("linux/arm64/v8", "linux/arm64", true),
            ("linux/arm", "linux/arm/v7", true),
            ("linux/arm/v7", "linux/arm/v6", true),
            ("linux/arm/v6", "linux/arm/v7", false),
            ("linux/amd64", "linux/arm64", false),
            ("linux/amd64", "windows/amd64", false),
            ("linux/riscv64", "linux/riscv64", true),
            ("linux/amd64", "unknown/unknown", false),
        ] {
            assert_eq!(platform(wanted).matches(&platform(offered)), runs, "{wanted} {offered}");
        }
        assert!(Platform::host().matches(&Platform::host()));
    }
}
