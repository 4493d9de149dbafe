//! Resources as cgroup v1 spells them; also the few that both versions spell alike.
//!
//! As every runtime does, 0 stands for "not set" where the kernel has no use for a 0, because Go programs
//! write absent numbers so.

use std::collections::HashMap;

use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxHugepageLimit, LinuxMemory, LinuxNetwork, LinuxPids, LinuxRdma, LinuxThrottleDevice,
    LinuxWeightDevice,
};

use super::plan::Write;
use super::{Error, Result};

/// The range of `cpu.shares`; the kernel would clamp silently.
const SHARES: std::ops::RangeInclusive<u64> = 2..=262_144;
/// The range of block I/O weights in the configuration.
const WEIGHT: std::ops::RangeInclusive<u16> = 10..=1000;

pub(super) fn memory(m: &LinuxMemory) -> Result<Vec<Write>> {
    check_memory(m)?;
    let mut writes = Vec::new();
    let limit = set(m.limit());
    let checked = m.check_before_update() == Some(true);
    writes.extend(limit.map(|v| {
        let write = Write::new("memory.limit", "memory.limit_in_bytes", v);
        write.not_below(checked, "memory.usage_in_bytes", "memory", v)
    }));
    const MEMSW: &str = "memory.memsw.limit_in_bytes";
    match (set(m.swap()), limit) {
        (Some(swap), _) => {
            let write = Write::new("memory.swap", MEMSW, swap);
            writes.push(write.not_below(checked, "memory.memsw.usage_in_bytes", "memory+swap", swap));
        }
        // A swap limit below "no limit" would keep the memory limit.
        (None, Some(-1)) => writes.push(Write::new("memory.limit", MEMSW, -1).optional()),
        (None, _) => {}
    }
    writes.extend(set(m.reservation()).map(|v| Write::new("memory.reservation", "memory.soft_limit_in_bytes", v)));
    writes.extend(set(m.kernel_tcp()).map(|v| Write::new("memory.kernelTCP", "memory.kmem.tcp.limit_in_bytes", v)));
    // `kernel` has no effect in any kernel since 5.15 and is ignored by every runtime.
    writes.extend(swappiness(m)?.map(|v| Write::new("memory.swappiness", "memory.swappiness", v)));
    if m.disable_oom_killer() == Some(true) {
        writes.push(Write::new("memory.disableOOMKiller", "memory.oom_control", 1));
    }
    if let Some(hierarchy) = m.use_hierarchy() {
        writes.push(Write::new("memory.useHierarchy", "memory.use_hierarchy", u8::from(hierarchy)));
    }
    Ok(writes)
}

/// What holds for memory in both versions.
pub(super) fn check_memory(m: &LinuxMemory) -> Result<()> {
    let values = [
        ("limit", m.limit()),
        ("reservation", m.reservation()),
        ("swap", m.swap()),
        ("kernel", m.kernel()),
        ("kernelTCP", m.kernel_tcp()),
    ];
    for (name, value) in values {
        if value.is_some_and(|v| v < -1) {
            return Err(Error::invalid(format!("linux.resources.memory.{name}"), "must be -1 (no limit) or more"));
        }
    }
    match (set(m.limit()), set(m.swap())) {
        (Some(limit), Some(swap)) if swap > 0 && (limit > swap) => {
            Err(Error::invalid("linux.resources.memory.swap", "memory+swap limit must be >= the memory limit"))
        }
        _ => Ok(()),
    }
}

pub(super) fn swappiness(m: &LinuxMemory) -> Result<Option<u64>> {
    match m.swappiness() {
        Some(v @ 0..=100) => Ok(Some(v)),
        // How a caller with signed numbers writes -1, "not set".
        None | Some(u64::MAX) => Ok(None),
        Some(_) => Err(Error::invalid("linux.resources.memory.swappiness", "must be in 0-100")),
    }
}

pub(super) fn cpu(c: &LinuxCpu) -> Result<Vec<Write>> {
    let mut writes = Vec::new();
    if let Some(shares) = set(c.shares()) {
        check_shares(shares)?;
        writes.push(Write::new("cpu.shares", "cpu.shares", shares));
    }
    writes.extend(c.idle().map(|v| Write::new("cpu.idle", "cpu.idle", v)));
    writes.extend(set(c.period()).map(|v| Write::new("cpu.period", "cpu.cfs_period_us", v)));
    writes.extend(set(c.quota()).map(|v| Write::new("cpu.quota", "cpu.cfs_quota_us", v.max(-1))));
    writes.extend(c.burst().map(|v| Write::new("cpu.burst", "cpu.cfs_burst_us", v)));
    writes.extend(set(c.realtime_period()).map(|v| Write::new("cpu.realtimePeriod", "cpu.rt_period_us", v)));
    writes.extend(set(c.realtime_runtime()).map(|v| Write::new("cpu.realtimeRuntime", "cpu.rt_runtime_us", v)));
    Ok(writes)
}

fn check_shares(shares: u64) -> Result<()> {
    if SHARES.contains(&shares) {
        return Ok(());
    }
    let rule = format!("must be in {}-{}", SHARES.start(), SHARES.end());
    Err(Error::invalid("linux.resources.cpu.shares", rule))
}

pub(super) fn cpuset(c: &LinuxCpu) -> Vec<Write> {
    let sets = [("cpus", c.cpus()), ("mems", c.mems())];
    let given = sets.into_iter().filter_map(|(name, v)| Some((name, v.as_deref().filter(|v| !v.is_empty())?)));
    given.map(|(name, v)| Write::new(format!("cpu.{name}"), format!("cpuset.{name}"), v)).collect()
}

/// Both versions.
pub(super) fn pids(p: &LinuxPids) -> Vec<Write> {
    match p.limit() {
        // Nobody could be forked into it then; with one, neither can anything else be forked in it.
        0 => vec![Write::new("pids.limit", "pids.max", 1)],
        ..0 => vec![Write::new("pids.limit", "pids.max", "max")],
        limit => vec![Write::new("pids.limit", "pids.max", limit)],
    }
}

pub(super) fn block_io(b: &LinuxBlockIo) -> Result<Vec<Write>> {
    let mut writes = Vec::new();
    if let Some(weight) = weight(b.weight(), "blockIO.weight")? {
        writes.push(Write::new("blockIO.weight", "blkio.weight", weight).or("blkio.bfq.weight", weight));
    }
    if let Some(weight) = weight(b.leaf_weight(), "blockIO.leafWeight")? {
        writes.push(Write::new("blockIO.leafWeight", "blkio.leaf_weight", weight));
    }
    for (i, device) in b.weight_device().iter().flatten().enumerate() {
        let field = format!("blockIO.weightDevice[{i}]");
        let id = device_id(device);
        if let Some(weight) = weight(device.weight(), &format!("{field}.weight"))? {
            let value = format!("{id} {weight}");
            let write = Write::new(format!("{field}.weight"), "blkio.weight_device", &value);
            writes.push(write.or("blkio.bfq.weight_device", value));
        }
        if let Some(weight) = weight(device.leaf_weight(), &format!("{field}.leafWeight"))? {
            let value = format!("{id} {weight}");
            writes.push(Write::new(format!("{field}.leafWeight"), "blkio.leaf_weight_device", value));
        }
    }
    for (field, _, file, devices) in throttles(b) {
        for (i, d) in devices.iter().enumerate() {
            let value = format!("{}:{} {}", d.major(), d.minor(), d.rate());
            writes.push(Write::new(format!("blockIO.{field}[{i}]"), format!("blkio.throttle.{file}"), value));
        }
    }
    Ok(writes)
}

/// Field, key in `io.max`, suffix of the v1 file, devices.
type Throttle<'a> = (&'static str, &'static str, &'static str, &'a [LinuxThrottleDevice]);

pub(super) fn throttles(b: &LinuxBlockIo) -> [Throttle<'_>; 4] {
    [
        (
            "throttleReadBpsDevice",
            "rbps",
            "read_bps_device",
            b.throttle_read_bps_device().as_deref().unwrap_or_default(),
        ),
        (
            "throttleWriteBpsDevice",
            "wbps",
            "write_bps_device",
            b.throttle_write_bps_device().as_deref().unwrap_or_default(),
        ),
        (
            "throttleReadIOPSDevice",
            "riops",
            "read_iops_device",
            b.throttle_read_iops_device().as_deref().unwrap_or_default(),
        ),
        (
            "throttleWriteIOPSDevice",
            "wiops",
            "write_iops_device",
            b.throttle_write_iops_device().as_deref().unwrap_or_default(),
        ),
    ]
}

pub(super) fn device_id(device: &LinuxWeightDevice) -> String {
    format!("{}:{}", device.major(), device.minor())
}

/// `weight` when it is set and in range.
pub(super) fn weight(weight: Option<u16>, field: &str) -> Result<Option<u16>> {
    match set(weight) {
        Some(v) if !WEIGHT.contains(&v) => {
            let rule = format!("must be in {}-{}", WEIGHT.start(), WEIGHT.end());
            Err(Error::invalid(format!("linux.resources.{field}"), rule))
        }
        weight => Ok(weight),
    }
}

/// Both versions; `suffix` is what each calls the limit.
pub(super) fn hugepages(limits: &[LinuxHugepageLimit], suffix: &str) -> Result<Vec<Write>> {
    let mut writes = Vec::new();
    for (i, limit) in limits.iter().enumerate() {
        let field = format!("hugepageLimits[{i}]");
        let size = limit.page_size();
        let number = ["KB", "MB", "GB"].iter().find_map(|unit| size.strip_suffix(unit)).unwrap_or_default();
        if number.is_empty() || number.starts_with('0') || !number.bytes().all(|b| b.is_ascii_digit()) {
            let rule = format!("{size:?} is not a page size such as \"2MB\"");
            return Err(Error::invalid(format!("linux.resources.{field}.pageSize"), rule));
        }
        if limit.limit() < 0 {
            return Err(Error::invalid(format!("linux.resources.{field}.limit"), "must not be negative"));
        }
        writes.push(Write::new(&field, format!("hugetlb.{size}.{suffix}"), limit.limit()));
        // Reservations are limited too where the kernel can (5.7): a fault beyond the limit would be a SIGBUS.
        writes.push(Write::new(&field, format!("hugetlb.{size}.rsvd.{suffix}"), limit.limit()).optional());
    }
    Ok(writes)
}

/// Both versions.
pub(super) fn rdma(devices: &HashMap<String, LinuxRdma>) -> Result<Vec<Write>> {
    let mut devices: Vec<_> = devices.iter().collect();
    devices.sort_by_key(|(name, _)| *name);
    let mut writes = Vec::new();
    for (name, limits) in devices {
        let field = format!("rdma.{name}");
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(Error::invalid(format!("linux.resources.{field}"), "is not the name of a device"));
        }
        let limits = [("hca_handle", limits.hca_handles()), ("hca_object", limits.hca_objects())];
        let limits: String = limits.iter().filter_map(|(key, v)| Some(format!(" {key}={}", (*v)?))).collect();
        if !limits.is_empty() {
            writes.push(Write::new(field, "rdma.max", format!("{name}{limits}")));
        }
    }
    Ok(writes)
}

pub(super) fn network_class(n: &LinuxNetwork) -> Vec<Write> {
    let class = set(n.class_id()).map(|v| Write::new("network.classID", "net_cls.classid", v));
    class.into_iter().collect()
}

pub(super) fn network_priorities(n: &LinuxNetwork) -> Result<Vec<Write>> {
    let mut writes = Vec::new();
    for (i, p) in n.priorities().iter().flatten().enumerate() {
        let field = format!("network.priorities[{i}]");
        if p.name().is_empty() || p.name().contains(char::is_whitespace) {
            let rule = format!("{:?} is not the name of an interface", p.name());
            return Err(Error::invalid(format!("linux.resources.{field}.name"), rule));
        }
        writes.push(Write::new(field, "net_prio.ifpriomap", format!("{} {}", p.name(), p.priority())));
    }
    Ok(writes)
}

/// 0 is how "not set" is written.
pub(super) fn set<T: Default + PartialEq>(value: Option<T>) -> Option<T> {
    value.filter(|v| *v != T::default())
}
