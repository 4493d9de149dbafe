//! What a caller decides about fetching.

use std::fmt;
use std::str::FromStr;

/// Whether the store or the place that an image comes from is asked first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PullPolicy {
    /// Only the store counts.
    Never,
    /// What is in the store is taken; the rest is fetched.
    #[default]
    New,
    /// Everything is fetched, unless it has not changed.
    Update,
}

impl FromStr for PullPolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<PullPolicy, String> {
        match text {
            "never" => Ok(PullPolicy::Never),
            "new" => Ok(PullPolicy::New),
            "update" => Ok(PullPolicy::Update),
            other => Err(format!("{other:?} is none of never, new and update")),
        }
    }
}

impl fmt::Display for PullPolicy {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            PullPolicy::Never => "never",
            PullPolicy::New => "new",
            PullPolicy::Update => "update",
        })
    }
}

/// Which checks a caller goes without: `--insecure-options`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Insecure {
    /// Signatures of images are not looked at.
    pub image: bool,
    /// Any certificate is accepted.
    pub tls: bool,
    /// Plain `http` is allowed.
    pub http: bool,
    /// Keys are taken from plain `http`, too.
    pub pubkey: bool,
}

impl Insecure {
    /// Everything that fetching checks.
    pub const ALL: Insecure = Insecure { image: true, tls: true, http: true, pubkey: true };

    /// Also without what `other` goes without.
    #[must_use]
    pub fn and(self, other: Insecure) -> Insecure {
        Insecure {
            image: self.image || other.image,
            tls: self.tls || other.tls,
            http: self.http || other.http,
            pubkey: self.pubkey || other.pubkey,
        }
    }
}

/// A list of words, separated by commas. Those that are about running change nothing here.
impl FromStr for Insecure {
    type Err = String;

    fn from_str(text: &str) -> Result<Insecure, String> {
        let mut all = Insecure::default();
        for word in text.split(',') {
            let one = match word.trim() {
                "image" => Insecure { image: true, ..Insecure::default() },
                "tls" => Insecure { tls: true, ..Insecure::default() },
                "http" => Insecure { http: true, ..Insecure::default() },
                "pubkey" => Insecure { pubkey: true, ..Insecure::default() },
                "all-fetch" | "all" => Insecure::ALL,
                "none" | "ondisk" | "capabilities" | "paths" | "seccomp" | "all-run" | "" => Insecure::default(),
                other => {
                    let known =
                        "none, image, tls, ondisk, http, pubkey, capabilities, paths, seccomp, all-fetch, all-run, all";
                    return Err(format!("{other:?} is none of {known}"));
                }
            };
            all = all.and(one);
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        let image = Insecure { image: true, ..Insecure::default() };
        let cases = [
            ("none", Insecure::default()),
            ("image", image),
            ("image,seccomp", image),
            ("image,tls,http,pubkey", Insecure::ALL),
            ("all-fetch", Insecure::ALL),
            ("all-run,image", image),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        assert!("images".parse::<Insecure>().unwrap_err().contains("all-fetch"));
        for policy in ["never", "new", "update"] {
            assert_eq!(policy.parse::<PullPolicy>().unwrap().to_string(), policy);
        }
        assert!("always".parse::<PullPolicy>().is_err());
    }
}
