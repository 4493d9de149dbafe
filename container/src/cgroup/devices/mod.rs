//! Which device nodes a container may make and open.
//!
//! The rules of a configuration are read in order and the last one that speaks about an access decides; nothing is
//! allowed to begin with. Version 1 takes a default and exceptions from it, version 2 a program ([`bpf`]).

pub(super) mod bpf;
pub(super) mod v1;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use super::{Error, Result};
pub(super) use bpf::Program;

pub(super) const MKNOD: u8 = 1;
pub(super) const READ: u8 = 2;
pub(super) const WRITE: u8 = 4;
const ALL: u8 = MKNOD | READ | WRITE;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Block,
    Char,
}

/// One access rule, about one kind of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    pub allow: bool,
    pub kind: Kind,
    /// `None`: all.
    pub major: Option<u32>,
    /// `None`: all.
    pub minor: Option<u32>,
    pub access: u8,
    /// Which of the configuration's rules; `None`: one of [`DEFAULT`].
    pub index: Option<usize>,
}

/// What every container may do, as with other runtimes: make any node (that does not open it), and use the nodes
/// that each container has. They come last, so a configuration cannot take them away.
const DEFAULT: [(Kind, Option<u32>, Option<u32>, u8); 11] = [
    (Kind::Char, None, None, MKNOD),
    (Kind::Block, None, None, MKNOD),
    (Kind::Char, Some(1), Some(3), ALL),    // null
    (Kind::Char, Some(1), Some(5), ALL),    // zero
    (Kind::Char, Some(1), Some(7), ALL),    // full
    (Kind::Char, Some(1), Some(8), ALL),    // random
    (Kind::Char, Some(1), Some(9), ALL),    // urandom
    (Kind::Char, Some(5), Some(0), ALL),    // tty
    (Kind::Char, Some(5), Some(2), ALL),    // ptmx
    (Kind::Char, Some(136), None, ALL),     // pts/*
    (Kind::Char, Some(10), Some(200), ALL), // net/tun
];

/// The rules of the configuration, then [`DEFAULT`].
pub(super) fn rules(asked: &[LinuxDeviceCgroup]) -> Result<Vec<Rule>> {
    let mut rules = Vec::with_capacity(asked.len() + DEFAULT.len());
    for (index, device) in asked.iter().enumerate() {
        let invalid = |name: &str, rule| Error::invalid(format!("linux.resources.devices[{index}].{name}"), rule);
        let kinds: &[Kind] = match device.typ() {
            None | Some(LinuxDeviceType::A) => &[Kind::Block, Kind::Char],
            Some(LinuxDeviceType::B) => &[Kind::Block],
            Some(LinuxDeviceType::C | LinuxDeviceType::U) => &[Kind::Char],
            Some(LinuxDeviceType::P) => return Err(invalid("type", "must be a, b or c")),
        };
        let number = |name, value: Option<i64>| match value {
            None | Some(-1) => Ok(None),
            Some(v) => u32::try_from(v).map(Some).map_err(|_| invalid(name, "is not a device number")),
        };
        let (major, minor) = (number("major", device.major())?, number("minor", device.minor())?);
        // runc refuses one that says nothing, too ("device access at N field cannot be empty").
        let access = access(device.access().as_deref().unwrap_or_default())
            .ok_or_else(|| invalid("access", "must be one or more of r, w and m"))?;
        let rule = |kind: &Kind| Rule { allow: device.allow(), kind: *kind, major, minor, access, index: Some(index) };
        rules.extend(kinds.iter().map(rule));
    }
    let default = |(kind, major, minor, access)| Rule { allow: true, kind, major, minor, access, index: None };
    rules.extend(DEFAULT.map(default));
    Ok(rules)
}

fn access(text: &str) -> Option<u8> {
    let bit = |c| match c {
        'r' => Some(READ),
        'w' => Some(WRITE),
        'm' => Some(MKNOD),
        _ => None,
    };
    text.chars().try_fold(0, |bits, c| Some(bits | bit(c)?)).filter(|bits| *bits != 0)
}

impl Rule {
    /// Whether everything that `other` is about is something this rule is about, leaving access aside.
    fn covers(&self, other: &Rule) -> bool {
        let wide = |ours: Option<u32>, theirs| ours.is_none() || ours == theirs;
        self.kind == other.kind && wide(self.major, other.major) && wide(self.minor, other.minor)
    }

    /// Whether there is a device that both rules are about.
    fn meets(&self, other: &Rule) -> bool {
        let overlap = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
        self.kind == other.kind && overlap(self.major, other.major) && overlap(self.minor, other.minor)
    }

    fn is_everything(&self) -> bool {
        self.major.is_none() && self.minor.is_none() && self.access == ALL
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
