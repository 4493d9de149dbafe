//! Ports that apps listen on, and the host's ports that lead to them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde_json::Value;

use crate::error::{Error, Place};
use crate::identifier::AcName;
use crate::json::{Fields, Map, Object, Read, Write};
use crate::parameters::Parameters;

/// One port, or `count` ports in a row, that an app listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// By which a pod names it.
    pub name: AcName,
    /// `tcp`, `udp`, or any other word.
    pub protocol: String,
    /// The first one, 1 to 65535.
    pub port: u16,
    /// How many; 0 is read, and printed, as 1.
    pub count: u32,
    /// Whether the app expects the listening socket to be handed to it.
    pub socket_activated: bool,
    /// Unknown fields.
    pub extra: Map,
}

impl Port {
    /// A single port that the app opens itself.
    pub fn new(name: AcName, protocol: impl Into<String>, port: u16) -> Port {
        Port { name, protocol: protocol.into(), port, count: 1, socket_activated: false, extra: Map::new() }
    }

    pub(crate) fn validate(&self) -> Result<(), Error> {
        if self.port == 0 {
            return Err(out_of_range("port"));
        }
        if u64::from(self.port) + u64::from(self.count) > 65536 {
            return Err(Error::new("end of port range must be in 1-65535 range").in_field("count"));
        }
        Ok(())
    }
}

fn out_of_range(field: &str) -> Error {
    Error::new(format!("{field} must be in 1-65535 range")).in_field(field)
}

/// A port number: a type of its own, so that 70000 is out of range rather than of the wrong type.
fn read_number(fields: &mut Fields, name: &str) -> Result<u16, Error> {
    let number: i64 = fields.take_or_default(name)?;
    u16::try_from(number).ok().filter(|n| *n != 0).ok_or_else(|| out_of_range(name))
}

/// `www,protocol=tcp,port=80,count=1,socketActivated=true`
impl FromStr for Port {
    type Err = Error;

    fn from_str(text: &str) -> Result<Port, Error> {
        let mut parameters = Parameters::of("port", text)?;
        let protocol = parameters.take("protocol").unwrap_or_default();
        let number = parameters.take_number("port", u32::MAX)?.unwrap_or(0);
        let number = u16::try_from(number).map_err(|_| out_of_range("port"))?;
        let mut port = Port::new(parameters.name.parse()?, protocol, number);
        port.count = parameters.take_number("count", 65535)?.unwrap_or(1).max(1);
        port.socket_activated = parameters.take_bool("socketActivated")?.unwrap_or(false);
        parameters.finish()?;
        port.validate()?;
        Ok(port)
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{},protocol={},port={}", self.name, self.protocol, self.port)?;
        if self.count > 1 {
            write!(f, ",count={}", self.count)?;
        }
        if self.socket_activated { f.write_str(",socketActivated=true") } else { Ok(()) }
    }
}

impl Read for Port {
    fn read(value: Value) -> Result<Port, Error> {
        let mut fields = Fields::of(value)?;
        Ok(Port {
            name: fields.require("name", "name must be set")?,
            protocol: fields.take_or_default("protocol")?,
            port: read_number(&mut fields, "port")?,
            count: fields.take_or_default::<u32>("count")?.max(1),
            socket_activated: fields.take_or_default("socketActivated")?,
            extra: fields.rest(),
        })
    }
}

impl Write for Port {
    fn write(&self) -> Value {
        Object::new()
            .put("name", &self.name)
            .put("protocol", &self.protocol)
            .put("port", &self.port)
            .put("count", &self.count.max(1))
            .put("socketActivated", &self.socket_activated)
            .with(&self.extra)
    }
}

/// A port of the host that leads to a port of the pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExposedPort {
    /// The name of the app's port.
    pub name: AcName,
    /// 1 to 65535.
    pub host_port: u16,
    /// The host's address; all of them when absent.
    pub host_ip: Option<IpAddr>,
    /// The pod's port, when the images' ports of that name are not meant.
    pub pod_port: Option<Port>,
    /// Unknown fields.
    pub extra: Map,
}

impl ExposedPort {
    /// The app's port `name` on all addresses of the host.
    pub fn new(name: AcName, host_port: u16) -> ExposedPort {
        ExposedPort { name, host_port, host_ip: None, pod_port: None, extra: Map::new() }
    }

    pub(crate) fn validate(&self) -> Result<(), Error> {
        if self.host_port == 0 {
            return Err(out_of_range("hostPort"));
        }
        self.pod_port.iter().try_for_each(|port| port.validate().in_field("podPort"))
    }
}

impl Read for ExposedPort {
    fn read(value: Value) -> Result<ExposedPort, Error> {
        let mut fields = Fields::of(value)?;
        Ok(ExposedPort {
            name: fields.require("name", "name must be set")?,
            host_port: read_number(&mut fields, "hostPort")?,
            host_ip: fields.take::<HostIp>("hostIP")?.and_then(|ip| ip.0),
            pod_port: fields.take("podPort")?,
            extra: fields.rest(),
        })
    }
}

impl Write for ExposedPort {
    fn write(&self) -> Value {
        Object::new()
            .put("name", &self.name)
            .put("hostPort", &self.host_port)
            .put_if_some("hostIP", &self.host_ip.map(|ip| ip.to_string()))
            .put_if_some("podPort", &self.pod_port)
            .with(&self.extra)
    }
}

/// Go writes no address as the empty string.
struct HostIp(Option<IpAddr>);

impl Read for HostIp {
    fn read(value: Value) -> Result<HostIp, Error> {
        let text = String::read(value)?;
        if text.is_empty() {
            return Ok(HostIp(None));
        }
        let bad = |_| Error::new(format!("hostIP must be an IP address such as 203.0.113.23, found {text:?}"));
        text.parse().map(|ip| HostIp(Some(ip))).map_err(bad)
    }
}
