//! Mount points: where an app expects outside data.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use crate::json::{Fields, Map, Object, Read, Write};
use crate::parameters::Parameters;
use crate::{AcName, Error};

/// A place in an app's file system that a volume fills.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountPoint {
    /// By which a pod names it.
    pub name: AcName,
    /// Inside the app's file system.
    pub path: String,
    /// Whether the app needs no more than to read.
    pub read_only: bool,
    /// Unknown fields.
    pub extra: Map,
}

impl MountPoint {
    /// A writable mount point.
    pub fn new(name: AcName, path: impl Into<String>) -> MountPoint {
        MountPoint { name, path: path.into(), read_only: false, extra: Map::new() }
    }

    pub(crate) fn validate(&self) -> Result<(), Error> {
        if self.path.is_empty() {
            return Err(Error::new("path must be set").in_field("path"));
        }
        Ok(())
    }
}

/// `database,path=/var/lib/db,readOnly=true`
impl FromStr for MountPoint {
    type Err = Error;

    fn from_str(text: &str) -> Result<MountPoint, Error> {
        let mut parameters = Parameters::of("mountpoint", text)?;
        let mut mount_point = MountPoint::new(parameters.name.parse()?, parameters.take("path").unwrap_or_default());
        mount_point.read_only = parameters.take_bool("readOnly")?.unwrap_or(false);
        parameters.finish()?;
        mount_point.validate()?;
        Ok(mount_point)
    }
}

impl fmt::Display for MountPoint {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{},path={}", self.name, self.path)?;
        if self.read_only { f.write_str(",readOnly=true") } else { Ok(()) }
    }
}

impl Read for MountPoint {
    fn read(value: Value) -> Result<MountPoint, Error> {
        let mut fields = Fields::of(value)?;
        Ok(MountPoint {
            name: fields.require("name", "name must be set")?,
            path: fields.take_or_default("path")?,
            read_only: fields.take_or_default("readOnly")?,
            extra: fields.rest(),
        })
    }
}

impl Write for MountPoint {
    fn write(&self) -> Value {
        Object::new()
            .put("name", &self.name)
            .put("path", &self.path)
            .put_unless_empty("readOnly", &self.read_only)
            .with(&self.extra)
    }
}
