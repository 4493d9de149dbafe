//! Names of ports and mount points. OCI knows none, so they are kept in annotations of the manifest, as the original program
//! does: the name is part of the annotation's, and its text says what the configuration has.

use std::collections::BTreeMap;

use appc_spec::Port;

use crate::error::{Error, Result};

/// What has names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Port,
    Mount,
}

impl Kind {
    /// What the names of the annotations begin with.
    fn prefix(self) -> &'static str {
        match self {
            Kind::Port => "coreos.com/acbuild/port/",
            Kind::Mount => "coreos.com/acbuild/mount/",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Kind::Port => "port",
            Kind::Mount => "mount",
        }
    }

    /// Notes a name, which must be free.
    pub(super) fn claim(self, annotations: &mut BTreeMap<String, String>, name: &str, text: String) -> Result<()> {
        let annotation = format!("{}{name}", self.prefix());
        if annotations.contains_key(&annotation) {
            return Err(Error::Refused(format!("{} with name {name:?} already exists: remove it first", self.word())));
        }
        annotations.insert(annotation, text);
        Ok(())
    }

    /// What the configuration calls what has this name.
    pub(super) fn key(self, annotations: &BTreeMap<String, String>, name: &str) -> Option<String> {
        self.key_in(annotations.get(&format!("{}{name}", self.prefix()))?)
    }

    /// Forgets all names of what the configuration calls so.
    pub(super) fn forget(self, annotations: &mut BTreeMap<String, String>, is_meant: impl Fn(&str) -> bool) {
        let names_it = |text: &str| self.key_in(text).is_some_and(|key| is_meant(&key));
        annotations.retain(|name, text| !(name.starts_with(self.prefix()) && names_it(text)));
    }

    fn key_in(self, text: &str) -> Option<String> {
        match self {
            Kind::Port => {
                let (number, protocol) = text.strip_prefix("number:")?.split_once(" protocol:")?;
                Some(format!("{number}/{protocol}"))
            }
            Kind::Mount => text.strip_prefix("path:").map(str::to_owned),
        }
    }
}

/// The text for a port.
pub(super) fn of_port(port: &Port) -> String {
    format!("number:{} protocol:{}", port.port, port.protocol)
}

/// The text for a mount point.
pub(super) fn of_mount(path: &str) -> String {
    format!("path:{path}")
}
