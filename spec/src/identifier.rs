//! The two kinds of names: [`AcIdentifier`] (global, URL-like) and [`AcName`] (local, DNS-like).

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use crate::Error;
use crate::json::{Read, Write};

/// The rule of both kinds. The specification's pattern also forbids two separators in a row; the Go tools
/// wrote such names, so they are accepted.
fn check(kind: &str, text: &str, separators: &str) -> Result<(), Error> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if text.is_empty() {
        return Err(Error::new(format!("{kind} cannot be empty")));
    }
    if !text.chars().all(|c| plain(c) || separators.contains(c)) {
        let rule = format!("{kind} must contain only lower case alphanumeric characters plus {separators:?}");
        return Err(Error::new(format!("{rule}, found {text:?}")));
    }
    if !text.starts_with(plain) || !text.ends_with(plain) {
        let rule = format!("{kind} must start and end with only lower case alphanumeric characters");
        return Err(Error::new(format!("{rule}, found {text:?}")));
    }
    Ok(())
}

fn sanitize(text: &str, separators: &str, filler: char) -> Result<String, Error> {
    let lower = text.to_lowercase();
    let keep = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || separators.contains(c);
    let filled: String = lower.chars().map(|c| if keep(c) { c } else { filler }).collect();
    let trimmed = filled.trim_matches(|c| separators.contains(c));
    if trimmed.is_empty() {
        return Err(Error::new(format!("must contain at least one valid character, found {text:?}")));
    }
    Ok(trimmed.to_owned())
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $separators:literal, $filler:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// The nearest valid name: lower case, other characters replaced, separators at the ends dropped.
            ///
            /// # Errors
            /// When nothing is left.
            pub fn sanitize(text: &str) -> Result<Self, Error> {
                sanitize(text, $separators, $filler).map(Self)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                check($kind, text, $separators)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                self.0 == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                self.0 == *other
            }
        }

        impl Read for $name {
            fn read(value: Value) -> Result<Self, Error> {
                String::read(value)?.parse()
            }
        }

        impl Write for $name {
            fn write(&self) -> Value {
                self.0.write()
            }
        }
    };
}

name_type! {
    /// A name in the global name space: images, labels, isolators, annotations. `example.com/reduce-worker`.
    ///
    /// It may have `//` and `/../` in it: never use one as a file path.
    AcIdentifier, "ACIdentifier", "-._~/", '_'
}

name_type! {
    /// A name local to a manifest: apps, volumes, mount points, ports. `database`.
    AcName, "ACName", "-", '-'
}
