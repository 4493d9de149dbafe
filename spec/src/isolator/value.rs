//! The isolators of the specification and what their values mean.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::error::{Error, Place};
use crate::json::{Fields, Read};
use crate::quantity::Quantity;

/// What an isolator asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Isolator {
    /// `resource/block-bandwidth`: bytes per second, each block device.
    BlockBandwidth(Throughput),
    /// `resource/block-iops`: operations per second, each block device.
    BlockIops(Throughput),
    /// `resource/network-bandwidth`: bytes per second, each interface but loopback.
    NetworkBandwidth(Throughput),
    /// `resource/cpu`, in cores.
    Cpu(Resource),
    /// `resource/memory`, in bytes.
    Memory(Resource),
    /// `os/linux/capabilities-retain-set`: exactly these.
    CapabilitiesRetain(Vec<String>),
    /// `os/linux/capabilities-remove-set`: the default ones without these.
    CapabilitiesRemove(Vec<String>),
    /// `os/linux/no-new-privileges`
    NoNewPrivileges(bool),
    /// `os/linux/seccomp-retain-set`: only these system calls, and wildcards such as `@appc.io/all`.
    SeccompRetain {
        /// Names of system calls and `@scope/wildcards`.
        set: Vec<String>,
        /// What a refused call returns, such as `EPERM`; `None` ends the process with `SIGSYS`.
        errno: Option<String>,
    },
    /// `os/linux/seccomp-remove-set`: all but these system calls.
    SeccompRemove {
        /// Names of system calls and `@scope/wildcards`.
        set: Vec<String>,
        /// What a refused call returns, such as `EPERM`; `None` ends the process with `SIGSYS`.
        errno: Option<String>,
    },
    /// `os/linux/selinux-context`
    SelinuxContext(SelinuxContext),
    /// `os/linux/apparmor-profile`, by name.
    ApparmorProfile(String),
    /// `os/linux/oom-score-adj`, -1000 to 1000.
    OomScoreAdj(i32),
    /// `os/linux/cpu-shares`, 2 to 262144.
    CpuShares(u64),
    /// `os/unix/sysctl`: kernel parameters by name.
    Sysctl(BTreeMap<String, String>),
    /// Not one of the specification.
    Unknown,
}

/// A resource that is requested and limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resource {
    /// What is set aside; the limit when absent.
    pub request: Option<Quantity>,
    /// What cannot be exceeded.
    pub limit: Option<Quantity>,
}

/// A rate that holds for every device by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Throughput {
    /// Units per second.
    pub limit: Option<Quantity>,
}

/// The four parts of an SELinux context.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "SELinux's own words")]
pub struct SelinuxContext {
    pub user: String,
    pub role: String,
    pub type_: String,
    pub level: String,
}

impl Isolator {
    /// Reads the value of the isolator `name`; an unknown name is [`Isolator::Unknown`].
    pub(crate) fn read(name: &str, value: Value) -> Result<Isolator, Error> {
        Ok(match name {
            "resource/block-bandwidth" => Isolator::BlockBandwidth(throughput(value)?),
            "resource/block-iops" => Isolator::BlockIops(throughput(value)?),
            "resource/network-bandwidth" => Isolator::NetworkBandwidth(throughput(value)?),
            "resource/cpu" => Isolator::Cpu(resource(value)?),
            "resource/memory" => Isolator::Memory(resource(value)?),
            "os/linux/capabilities-retain-set" => Isolator::CapabilitiesRetain(set(&mut Fields::of(value)?)?),
            "os/linux/capabilities-remove-set" => Isolator::CapabilitiesRemove(set(&mut Fields::of(value)?)?),
            "os/linux/no-new-privileges" => Isolator::NoNewPrivileges(bool::read(value)?),
            "os/linux/seccomp-retain-set" => {
                let (set, errno) = seccomp(value)?;
                Isolator::SeccompRetain { set, errno }
            }
            "os/linux/seccomp-remove-set" => {
                let (set, errno) = seccomp(value)?;
                Isolator::SeccompRemove { set, errno }
            }
            "os/linux/selinux-context" => Isolator::SelinuxContext(selinux_context(value)?),
            "os/linux/apparmor-profile" => Isolator::ApparmorProfile(apparmor_profile(value)?),
            "os/linux/oom-score-adj" => Isolator::OomScoreAdj(in_range(name, value, -1000, 1000)?),
            "os/linux/cpu-shares" => Isolator::CpuShares(in_range(name, value, 2, 262_144)?),
            "os/unix/sysctl" => Isolator::Sysctl(BTreeMap::read(value)?),
            _ => Isolator::Unknown,
        })
    }
}

fn throughput(value: Value) -> Result<Throughput, Error> {
    let mut fields = Fields::of(value)?;
    if !fields.take_or_default::<bool>("default")? {
        return Err(Error::new("default must be true").in_field("default"));
    }
    if fields.take::<Quantity>("request")?.is_some() {
        return Err(Error::new("request not supported by this resource, must be empty").in_field("request"));
    }
    Ok(Throughput { limit: fields.take("limit")? })
}

fn resource(value: Value) -> Result<Resource, Error> {
    let mut fields = Fields::of(value)?;
    if fields.take_or_default::<bool>("default")? {
        return Err(Error::new("default must be false").in_field("default"));
    }
    Ok(Resource { request: fields.take("request")?, limit: fields.take("limit")? })
}

fn set(fields: &mut Fields) -> Result<Vec<String>, Error> {
    let set: Vec<String> = fields.take_or_default("set")?;
    if set.is_empty() {
        return Err(Error::new("set must be non-empty").in_field("set"));
    }
    Ok(set)
}

fn seccomp(value: Value) -> Result<(Vec<String>, Option<String>), Error> {
    let mut fields = Fields::of(value)?;
    let set = set(&mut fields)?;
    let errno: String = fields.take_or_default("errno")?;
    if errno.is_empty() {
        return Ok((set, None));
    }
    let rule = if !errno.starts_with('E') {
        "errno must start with an 'E' character"
    } else if !errno.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()) {
        "errno can only contain upper case or numeric characters"
    } else {
        return Ok((set, Some(errno)));
    };
    Err(Error::new(format!("{rule}, got {}", errno.escape_debug())).in_field("errno"))
}

fn selinux_context(value: Value) -> Result<SelinuxContext, Error> {
    let mut fields = Fields::of(value)?;
    let mut part = |name: &str, colon_allowed: bool| {
        let text: String = fields.take_or_default(name)?;
        if text.is_empty() || (!colon_allowed && text.contains(':')) {
            return Err(Error::new(format!("invalid {name} value {text:?}"))).in_field(name);
        }
        Ok(text)
    };
    Ok(SelinuxContext {
        user: part("user", false)?,
        role: part("role", false)?,
        type_: part("type", false)?,
        level: part("level", true)?,
    })
}

fn apparmor_profile(value: Value) -> Result<String, Error> {
    let profile: String = Fields::of(value)?.take_or_default("profile")?;
    if profile.is_empty() {
        return Err(Error::new("invalid profile value \"\"").in_field("profile"));
    }
    Ok(profile)
}

fn in_range<T: TryFrom<i64>>(name: &str, value: Value, least: i64, most: i64) -> Result<T, Error> {
    let number = i64::read(value)?;
    let valid = (least..=most).contains(&number).then(|| T::try_from(number).ok()).flatten();
    valid.ok_or_else(|| Error::new(format!("{name} must be between {least} and {most}, got {number}")))
}
