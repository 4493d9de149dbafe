//! Isolators: limits, capabilities and the like.

use std::collections::HashSet;

use appc_spec::{Isolator, IsolatorEntry, Quantity};
use oci_spec::runtime::{Capability, LinuxCpu, LinuxMemory, LinuxResources};

use super::Error;
use crate::capabilities;

/// An isolator that is not enforced, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unenforced(pub String);

/// What an app's isolators come to.
#[derive(Debug)]
pub(super) struct Limits {
    pub(super) resources: LinuxResources,
    pub(super) capabilities: HashSet<Capability>,
    pub(super) no_new_privileges: bool,
    pub(super) oom_score_adj: Option<i32>,
    pub(super) unenforced: Vec<Unenforced>,
}

/// The period that a CPU limit is counted over, in microseconds: the kernel's own default.
const PERIOD: u64 = 100_000;

/// The kernel takes no quota of less than a millisecond: below 10m the period is longer instead.
const LONG_PERIOD: u64 = 1_000_000;

/// Lowers all of them. What is set twice counts as it was set last.
pub(super) fn lower<'i>(isolators: impl Iterator<Item = &'i IsolatorEntry>, limit_swap: bool) -> Result<Limits, Error> {
    let mut retain = None;
    let mut remove = None;
    let mut cpu = LinuxCpu::default();
    let mut shares = None;
    let mut memory = None;
    let mut limits = Limits {
        resources: LinuxResources::default(),
        capabilities: HashSet::from(capabilities::DEFAULT),
        no_new_privileges: false,
        oom_score_adj: None,
        unenforced: Vec::new(),
    };
    for entry in isolators {
        match &entry.parsed {
            Isolator::Memory(resource) => memory = lower_memory(resource.request, resource.limit)?,
            Isolator::Cpu(resource) => lower_cpu(&mut cpu, resource.request, resource.limit)?,
            Isolator::CpuShares(value) => shares = Some(*value),
            Isolator::CapabilitiesRetain(set) => retain = Some(capability_set(entry, set)?),
            Isolator::CapabilitiesRemove(set) => remove = Some(capability_set(entry, set)?),
            Isolator::NoNewPrivileges(yes) => limits.no_new_privileges = *yes,
            Isolator::OomScoreAdj(value) => limits.oom_score_adj = Some(*value),
            _ => limits.unenforced.push(Unenforced(entry.name.to_string())),
        }
    }
    limits.capabilities = match (retain, remove) {
        (Some(_), Some(_)) => return Err(Error::BothCapabilitySets),
        (Some(retain), None) => retain,
        (None, Some(remove)) => &limits.capabilities - &remove,
        (None, None) => limits.capabilities,
    };
    if shares.is_some() {
        cpu.set_shares(shares);
    }
    if let Some(memory) = memory.as_mut().filter(|_| !limit_swap) {
        memory.set_swap(None);
    }
    limits.resources.set_memory(memory);
    limits.resources.set_cpu((cpu != LinuxCpu::default()).then_some(cpu));
    Ok(limits)
}

fn capability_set(entry: &IsolatorEntry, set: &[String]) -> Result<HashSet<Capability>, Error> {
    capabilities::parse_set(set.iter().map(String::as_str))
        .map_err(|name| Error::Capability { isolator: entry.name.to_string(), name: name.into() })
}

/// The limit is of memory and swap together: what goes over it is killed, not moved to disk.
fn lower_memory(request: Option<Quantity>, limit: Option<Quantity>) -> Result<Option<LinuxMemory>, Error> {
    let positive = |quantity: Quantity| match quantity.value() {
        bytes if bytes > 0 => Ok(bytes),
        bytes => Err(Error::Resource { isolator: "resource/memory", why: format!("{bytes} bytes is no amount") }),
    };
    let mut memory = LinuxMemory::default();
    memory.set_limit(limit.map(positive).transpose()?);
    memory.set_swap(memory.limit());
    memory.set_reservation(request.map(positive).transpose()?);
    Ok((memory != LinuxMemory::default()).then_some(memory))
}

/// A limit is a quota; a request is a weight, where a whole core is 1024.
fn lower_cpu(cpu: &mut LinuxCpu, request: Option<Quantity>, limit: Option<Quantity>) -> Result<(), Error> {
    let positive = |quantity: Quantity| match quantity.milli_value() {
        milli if milli > 0 => Ok(milli),
        milli => Err(Error::Resource { isolator: "resource/cpu", why: format!("{milli}m is no amount") }),
    };
    if let Some(milli) = limit.map(positive).transpose()? {
        let period = if milli < 10 { LONG_PERIOD } else { PERIOD };
        // Both periods are whole thousands, far below 2^63.
        cpu.set_quota(Some(milli.saturating_mul(period as i64 / 1000))).set_period(Some(period));
    }
    if let Some(milli) = request.map(positive).transpose()? {
        let shares = milli.saturating_mul(1024) / 1000;
        cpu.set_shares(Some(shares.clamp(2, 262_144).unsigned_abs()));
    }
    Ok(())
}
