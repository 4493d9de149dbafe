//! The list of isolators in a manifest.

use serde_json::Value;

use super::Isolator;
use crate::error::{Error, Place};
use crate::identifier::AcIdentifier;
use crate::json::{Fields, Map, Object, Read, Write};

const CAPABILITIES: [&str; 2] = ["os/linux/capabilities-retain-set", "os/linux/capabilities-remove-set"];
const SECCOMP: [&str; 2] = ["os/linux/seccomp-retain-set", "os/linux/seccomp-remove-set"];
/// Of which a list may have one. (Of the others the last one counts.)
const SINGLE: [&str; 7] = [
    "os/linux/seccomp-retain-set",
    "os/linux/seccomp-remove-set",
    "os/linux/selinux-context",
    "os/linux/apparmor-profile",
    "os/linux/oom-score-adj",
    "os/linux/cpu-shares",
    "os/unix/sysctl",
];

/// One isolator of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IsolatorEntry {
    /// Such as `resource/memory`.
    pub name: AcIdentifier,
    /// The value as it was read, and as it is printed.
    pub value: Value,
    /// What the value means.
    pub parsed: Isolator,
    /// Unknown fields beside `name` and `value`.
    pub extra: Map,
}

impl IsolatorEntry {
    /// Reads the value of an isolator.
    ///
    /// # Errors
    /// When the specification knows the isolator and refuses the value.
    pub fn new(name: AcIdentifier, value: Value) -> Result<IsolatorEntry, Error> {
        let parsed = Isolator::read(name.as_str(), value.clone()).in_field("value")?;
        Ok(IsolatorEntry { name, value, parsed, extra: Map::new() })
    }
}

/// The isolators of an app or a pod, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Isolators(Vec<IsolatorEntry>);

impl Isolators {
    /// An empty list.
    pub fn new() -> Isolators {
        Isolators::default()
    }

    /// The isolators in order.
    pub fn iter(&self) -> std::slice::Iter<'_, IsolatorEntry> {
        self.0.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What the isolator `name` asks for. The last one counts.
    pub fn get(&self, name: &str) -> Option<&Isolator> {
        self.0.iter().rfind(|entry| entry.name == name).map(|entry| &entry.parsed)
    }

    /// Removes isolators of that name and adds the new one at the end.
    ///
    /// # Errors
    /// When the specification knows the isolator and refuses the value.
    pub fn set(&mut self, name: AcIdentifier, value: Value) -> Result<(), Error> {
        let entry = IsolatorEntry::new(name, value)?;
        self.remove(entry.name.as_str());
        self.0.push(entry);
        Ok(())
    }

    /// Removes isolators of that name; says whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|entry| entry.name != name);
        self.0.len() != before
    }

    pub(crate) fn validate(&self) -> Result<(), Error> {
        for (at, entry) in self.0.iter().enumerate() {
            let name = entry.name.as_str();
            let earlier = |other: &str| self.0[..at].iter().any(|entry| entry.name == other);
            if SINGLE.contains(&name) && earlier(name) {
                let rule = format!("isolators set contains too many instances of type {name}");
                return Err(Error::new(rule)).in_field("name").at(at);
            }
            for pair in [CAPABILITIES, SECCOMP] {
                if let Some(other) = pair.iter().find(|other| pair.contains(&name) && **other != name && earlier(other))
                {
                    let rule = format!("isolators set contains incompatible types: {name} and {other}, keep one");
                    return Err(Error::new(rule)).in_field("name").at(at);
                }
            }
        }
        Ok(())
    }
}

impl FromIterator<IsolatorEntry> for Isolators {
    fn from_iter<I: IntoIterator<Item = IsolatorEntry>>(entries: I) -> Isolators {
        Isolators(entries.into_iter().collect())
    }
}

impl<'a> IntoIterator for &'a Isolators {
    type Item = &'a IsolatorEntry;
    type IntoIter = std::slice::Iter<'a, IsolatorEntry>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Read for IsolatorEntry {
    fn read(value: Value) -> Result<IsolatorEntry, Error> {
        let mut fields = Fields::of(value)?;
        let name: AcIdentifier = fields.require("name", "isolator name must be set")?;
        let Some(value) = fields.take_value("value") else {
            return Err(Error::new(format!("isolator {name} must have a value")).in_field("value"));
        };
        Ok(IsolatorEntry { extra: fields.rest(), ..IsolatorEntry::new(name, value)? })
    }
}

impl Write for IsolatorEntry {
    fn write(&self) -> Value {
        Object::new().put("name", &self.name).put("value", &self.value).with(&self.extra)
    }
}

impl Read for Isolators {
    fn read(value: Value) -> Result<Isolators, Error> {
        Vec::read(value).map(Isolators)
    }
}

impl Write for Isolators {
    fn write(&self) -> Value {
        self.0[..].write()
    }
}
