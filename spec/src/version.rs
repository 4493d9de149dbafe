//! The version of the specification a manifest was written for.

use serde_json::Value;

use crate::Error;
use crate::json::{Read, Write};

/// A semantic version.
pub use semver::Version;

/// The version of the specification that is written here.
pub const AC_VERSION: &str = "0.8.11";

/// [`AC_VERSION`], parsed.
pub(crate) fn ac_version() -> Version {
    Version::new(0, 8, 11)
}

pub(crate) fn check(version: &Version) -> Result<(), Error> {
    if *version == Version::new(0, 0, 0) {
        return Err(Error::new("SemVer cannot be zero"));
    }
    Ok(())
}

/// Manifests of any version are read, as by the Go tools: all there ever were are of one major version.
impl Read for Version {
    fn read(value: Value) -> Result<Version, Error> {
        let text = String::read(value)?;
        let version: Version =
            text.parse().map_err(|e| Error::new(format!("SemVer is bad: {text:?} is not like 0.8.11: {e}")))?;
        check(&version)?;
        Ok(version)
    }
}

impl Write for Version {
    fn write(&self) -> Value {
        Value::String(self.to_string())
    }
}
