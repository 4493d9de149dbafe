//! Volumes: outside data that a pod's apps share.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use crate::error::{Error, Place};
use crate::identifier::AcName;
use crate::json::{Fields, Map, Object, Read, Write};
use crate::parameters::Parameters;

const DEFAULT_MODE: u32 = 0o755;
const MAX_MODE: u32 = 0o7777;

/// A volume of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Unique in the pod.
    pub name: AcName,
    /// Whether the apps may no more than read it; no when absent.
    pub read_only: Option<bool>,
    /// Where the data is.
    pub source: VolumeSource,
    /// Unknown fields.
    pub extra: Map,
}

/// Where the data of a volume is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeSource {
    /// On the host.
    Host {
        /// Absolute path.
        source: String,
        /// Whether mounts below it are seen too; yes when absent.
        recursive: Option<bool>,
    },
    /// A new directory that lives as long as the pod.
    Empty {
        /// Permissions, 0755 by default.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
}

impl Volume {
    /// A directory or file of the host.
    pub fn host(name: AcName, source: impl Into<String>) -> Volume {
        let source = VolumeSource::Host { source: source.into(), recursive: None };
        Volume { name, read_only: None, source, extra: Map::new() }
    }

    /// An empty directory of root's with mode 0755.
    pub fn empty(name: AcName) -> Volume {
        let source = VolumeSource::Empty { mode: DEFAULT_MODE, uid: 0, gid: 0 };
        Volume { name, read_only: None, source, extra: Map::new() }
    }

    pub(crate) fn validate(&self) -> Result<(), Error> {
        match &self.source {
            VolumeSource::Host { source, .. } if source.is_empty() => {
                Err(Error::new("source for host volume cannot be empty").in_field("source"))
            }
            VolumeSource::Host { source, .. } if !source.starts_with('/') => {
                Err(Error::new(format!("source for host volume must be absolute path, found {source:?}"))
                    .in_field("source"))
            }
            VolumeSource::Empty { mode, .. } if *mode > MAX_MODE => {
                Err(bad_mode(&format!("{mode:o}")).in_field("mode"))
            }
            _ => Ok(()),
        }
    }
}

fn bad_mode(found: &str) -> Error {
    Error::new(format!("mode must be an octal number from 0000 to 7777, found {found:?}"))
}

/// Permissions, written as an octal number in a string.
struct Mode(u32);

impl FromStr for Mode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Mode, Error> {
        let octal = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let mode = u32::from_str_radix(text, 8).ok().filter(|mode| octal && *mode <= MAX_MODE);
        mode.map(Mode).ok_or_else(|| bad_mode(text))
    }
}

impl Read for Mode {
    fn read(value: Value) -> Result<Mode, Error> {
        String::read(value)?.parse()
    }
}

/// A volume's fields before `kind` is known to allow them.
struct Loose {
    name: AcName,
    kind: String,
    source: Option<String>,
    read_only: Option<bool>,
    recursive: Option<bool>,
    mode: Option<Mode>,
    uid: Option<u32>,
    gid: Option<u32>,
    extra: Map,
}

impl Loose {
    fn check(mut self) -> Result<Volume, Error> {
        let refuse = |field: &str, rule: &str| Err(Error::new(rule)).in_field(field);
        let source = match self.kind.as_str() {
            "host" if self.mode.is_some() => return refuse("mode", "mode for host volume cannot be set"),
            "host" if self.uid.is_some() => return refuse("uid", "uid for host volume cannot be set"),
            "host" if self.gid.is_some() => return refuse("gid", "gid for host volume cannot be set"),
            "host" => VolumeSource::Host { source: self.source.unwrap_or_default(), recursive: self.recursive },
            "empty" if self.source.is_some_and(|source| !source.is_empty()) => {
                return refuse("source", "source for empty volume must be empty");
            }
            "empty" => {
                // It means nothing here; kept like a field nobody knows.
                if let Some(recursive) = self.recursive {
                    self.extra.insert("recursive".to_owned(), Value::Bool(recursive));
                }
                let mode = self.mode.map_or(DEFAULT_MODE, |mode| mode.0);
                VolumeSource::Empty { mode, uid: self.uid.unwrap_or(0), gid: self.gid.unwrap_or(0) }
            }
            _ => return refuse("kind", "unrecognized volume kind: should be one of \"empty\", \"host\""),
        };
        let volume = Volume { name: self.name, read_only: self.read_only, source, extra: self.extra };
        volume.validate()?;
        Ok(volume)
    }
}

/// `database,kind=host,source=/srv/db,readOnly=true,recursive=true` or `scratch,kind=empty,mode=0700,uid=1,gid=1`
impl FromStr for Volume {
    type Err = Error;

    fn from_str(text: &str) -> Result<Volume, Error> {
        let mut parameters = Parameters::of("volume", text)?;
        let loose = Loose {
            name: parameters.name.parse()?,
            kind: parameters.take("kind").unwrap_or_default().to_owned(),
            source: parameters.take("source").map(str::to_owned),
            read_only: parameters.take_bool("readOnly")?,
            recursive: parameters.take_bool("recursive")?,
            mode: parameters.take("mode").map(str::parse).transpose()?,
            uid: parameters.take_number("uid", u32::MAX)?,
            gid: parameters.take_number("gid", u32::MAX)?,
            extra: Map::new(),
        };
        parameters.finish()?;
        loose.check()
    }
}

impl fmt::Display for Volume {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}", self.name)?;
        let kind = if matches!(self.source, VolumeSource::Host { .. }) { "host" } else { "empty" };
        write!(f, ",kind={kind}")?;
        if let VolumeSource::Host { source, .. } = &self.source {
            write!(f, ",source={source}")?;
        }
        if let Some(read_only) = self.read_only {
            write!(f, ",readOnly={read_only}")?;
        }
        match &self.source {
            VolumeSource::Host { recursive: Some(recursive), .. } => write!(f, ",recursive={recursive}"),
            VolumeSource::Host { .. } => Ok(()),
            VolumeSource::Empty { mode, uid, gid } => {
                if *mode != DEFAULT_MODE {
                    write!(f, ",mode=0{mode:03o}")?;
                }
                if *uid != 0 {
                    write!(f, ",uid={uid}")?;
                }
                if *gid != 0 { write!(f, ",gid={gid}") } else { Ok(()) }
            }
        }
    }
}

impl Read for Volume {
    fn read(value: Value) -> Result<Volume, Error> {
        let mut fields = Fields::of(value)?;
        let mut loose = Loose {
            name: fields.require("name", "name must be set")?,
            kind: fields.take_or_default("kind")?,
            source: fields.take("source")?,
            read_only: fields.take("readOnly")?,
            recursive: fields.take("recursive")?,
            mode: fields.take("mode")?,
            uid: fields.take("uid")?,
            gid: fields.take("gid")?,
            extra: Map::new(),
        };
        loose.extra = fields.rest();
        loose.check()
    }
}

impl Write for Volume {
    fn write(&self) -> Value {
        let volume = Object::new().put("name", &self.name);
        let volume = match &self.source {
            VolumeSource::Host { source, recursive } => volume
                .put("kind", "host")
                .put("source", source)
                .put_if_some("readOnly", &self.read_only)
                .put_if_some("recursive", recursive),
            VolumeSource::Empty { mode, uid, gid } => volume
                .put("kind", "empty")
                .put_if_some("readOnly", &self.read_only)
                .put("mode", &format!("0{mode:03o}"))
                .put("uid", uid)
                .put("gid", gid),
        };
        volume.with(&self.extra)
    }
}
