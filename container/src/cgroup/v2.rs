//! Resources as cgroup v2 spells them.

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxNetwork};

use super::plan::Write;
use super::v1::{check_memory, device_id, set, swappiness, throttles, weight};
use super::{Error, Result};

/// What `cpu.max` has for a period that nobody set.
const DEFAULT_PERIOD: u64 = 100_000;

pub(super) fn memory(m: &LinuxMemory) -> Result<Vec<Write>> {
    check_memory(m)?;
    if swappiness(m)?.is_some() {
        return unsupported("memory.swappiness", "cgroup v2 has no swappiness");
    }
    if m.disable_oom_killer() == Some(true) {
        return unsupported("memory.disableOOMKiller", "cgroup v2 cannot disable the OOM killer");
    }
    if m.use_hierarchy() == Some(false) {
        return unsupported("memory.useHierarchy", "cgroup v2 is always hierarchical");
    }
    if set(m.kernel_tcp()).is_some() {
        return unsupported("memory.kernelTCP", "cgroup v2 has no limit for TCP buffers");
    }
    let mut writes = Vec::new();
    let checked = m.check_before_update() == Some(true);
    let limit = set(m.limit());
    if let Some(swap) = swap(m)? {
        let mut write = Write::new("memory.swap", "memory.swap.max", number(swap));
        // Without swap in the kernel there is none to use: both ends of the scale hold anyway.
        write.optional = swap <= 0;
        let both = m.swap().unwrap_or_default();
        writes.push(write.not_below(checked, "memory.current", "memory+swap", both));
    }
    if let Some(limit) = limit {
        let write = Write::new("memory.limit", "memory.max", number(limit));
        writes.push(write.not_below(checked, "memory.current", "memory", limit));
    }
    writes.extend(set(m.reservation()).map(|v| Write::new("memory.reservation", "memory.low", number(v))));
    Ok(writes)
}

/// The configuration limits memory and swap together, version 2 swap alone.
fn swap(m: &LinuxMemory) -> Result<Option<i64>> {
    match (set(m.limit()), set(m.swap())) {
        (Some(-1), None) => Ok(Some(-1)),
        (_, None) => Ok(None),
        (_, Some(-1)) => Ok(Some(-1)),
        (Some(-1), Some(swap)) => Ok(Some(swap)),
        (Some(limit), Some(swap)) => Ok(Some(swap - limit)),
        (None, Some(_)) => {
            let field = "linux.resources.memory.swap";
            Err(Error::invalid(field, "on cgroup v2 it needs linux.resources.memory.limit"))
        }
    }
}

pub(super) fn cpu(c: &LinuxCpu) -> Result<Vec<Write>> {
    if set(c.realtime_runtime()).is_some() || set(c.realtime_period()).is_some() {
        return unsupported("cpu.realtimeRuntime", "cgroup v2 has no real-time limits");
    }
    let mut writes = Vec::new();
    writes.extend(c.idle().map(|v| Write::new("cpu.idle", "cpu.idle", v)));
    writes.extend(set(c.shares()).map(|v| Write::new("cpu.shares", "cpu.weight", cpu_weight(v))));
    let (quota, period) = (set(c.quota()), set(c.period()));
    if quota.is_some() || period.is_some() {
        let field = if quota.is_some() { "cpu.quota" } else { "cpu.period" };
        let value = format!("{} {}", number(quota.unwrap_or(-1)), period.unwrap_or(DEFAULT_PERIOD));
        writes.push(Write::new(field, "cpu.max", value));
    }
    writes.extend(c.burst().map(|v| Write::new("cpu.burst", "cpu.max.burst", v)));
    Ok(writes)
}

/// Maps shares (2 to 262144, 1024 the default) onto weights (1 to 10000, 100 the default): a quadratic through
/// these three points, on logarithmic scales. The formula runc and crun agreed on.
fn cpu_weight(shares: u64) -> u64 {
    match shares {
        ..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let l = (shares as f64).log2();
            10f64.powf((l * l + 125.0 * l) / 612.0 - 7.0 / 34.0).ceil() as u64
        }
    }
}

pub(super) fn cpuset(c: &LinuxCpu) -> Vec<Write> {
    super::v1::cpuset(c)
}

pub(super) fn block_io(b: &LinuxBlockIo) -> Result<Vec<Write>> {
    if set(b.leaf_weight()).is_some() {
        return unsupported("blockIO.leafWeight", "cgroup v2 has no leaf weights");
    }
    let mut writes = Vec::new();
    if let Some(weight) = weight(b.weight(), "blockIO.weight")? {
        let write = Write::new("blockIO.weight", "io.bfq.weight", weight);
        writes.push(write.or("io.weight", io_weight(weight)));
    }
    for (i, device) in b.weight_device().iter().flatten().enumerate() {
        let field = format!("blockIO.weightDevice[{i}]");
        if set(device.leaf_weight()).is_some() {
            return unsupported(&format!("{field}.leafWeight"), "cgroup v2 has no leaf weights");
        }
        if let Some(weight) = weight(device.weight(), &format!("{field}.weight"))? {
            let id = device_id(device);
            let write = Write::new(format!("{field}.weight"), "io.bfq.weight", format!("{id} {weight}"));
            writes.push(write.or("io.weight", format!("{id} {}", io_weight(weight))));
        }
    }
    for (field, key, _, devices) in throttles(b) {
        for (i, d) in devices.iter().enumerate() {
            // A rate of 0 lifts the limit in version 1; here that is spelt out.
            let rate = if d.rate() == 0 { "max".to_owned() } else { d.rate().to_string() };
            let value = format!("{}:{} {key}={rate}", d.major(), d.minor());
            writes.push(Write::new(format!("blockIO.{field}[{i}]"), "io.max", value));
        }
    }
    Ok(writes)
}

/// 10 to 1000 onto 1 to 10000.
fn io_weight(weight: u16) -> u64 {
    1 + (u64::from(weight) - 10) * 9999 / 990
}

pub(super) fn network(n: &LinuxNetwork) -> Result<Vec<Write>> {
    if set(n.class_id()).is_some() {
        return unsupported("network.classID", "cgroup v2 has no network classes");
    }
    if n.priorities().as_ref().is_some_and(|p| !p.is_empty()) {
        return unsupported("network.priorities", "cgroup v2 has no network priorities");
    }
    Ok(Vec::new())
}

/// What is no limit.
const OURS: [&str; 6] =
    ["cgroup.freeze", "cgroup.kill", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads", "cgroup.type"];

/// One entry of `unified`, with the controller it belongs to.
pub(super) fn unified(file: &str, value: &str) -> Result<(String, Write)> {
    let write = Write::new(format!("unified.{file}"), file, value);
    match file.split_once('.') {
        _ if file.contains('/') => Err(Error::invalid(write.field, "must be a file name (no slashes)")),
        // Written to, they would take in processes of the host, or kill or stop what is being made.
        _ if OURS.contains(&file) => Err(Error::invalid(write.field, "is for the runtime alone")),
        Some((controller, parameter)) if !controller.is_empty() && !parameter.is_empty() => {
            Ok((controller.to_owned(), write))
        }
        _ => Err(Error::invalid(write.field, "must be in the form CONTROLLER.PARAMETER")),
    }
}

fn number(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}

fn unsupported(field: &str, what: &'static str) -> Result<Vec<Write>> {
    Err(Error::unsupported(format!("linux.resources.{field}"), what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_become_weights() {
        let table =
            [(0, 1), (1, 1), (2, 1), (512, 59), (1024, 100), (2048, 174), (262_144, 10_000), (u64::MAX, 10_000)];
        for (shares, weight) in table {
            assert_eq!(cpu_weight(shares), weight, "{shares}");
        }
    }

    #[test]
    fn io_weights_span_the_range() {
        assert_eq!((io_weight(10), io_weight(500), io_weight(1000)), (1, 4950, 10_000));
    }
}
