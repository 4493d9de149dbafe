//! Counts of version 2, under the names that version 1 has for them.

use super::super::{Result, events};
use super::read::Files;
use super::{Blkio, BlkioEntry, Hugetlb, MemoryEntry, Stats};

pub(super) fn read(files: &Files<'_>, stats: &mut Stats) -> Result<()> {
    cpu(files, stats)?;
    memory(files, stats)?;
    pids(files, stats)?;
    let io = files.text("io.stat")?.unwrap_or_default();
    stats.blkio = block_io(&io).ok_or_else(|| files.malformed("io.stat"))?;
    stats.blkio.psi = files.pressure("io.pressure")?;
    read_hugetlb(files, stats)
}

fn cpu(files: &Files<'_>, stats: &mut Stats) -> Result<()> {
    let cpu = &mut stats.cpu;
    for (key, value) in files.pairs("cpu.stat")? {
        match key.as_str() {
            "usage_usec" => cpu.usage.total = value.saturating_mul(1000),
            "user_usec" => cpu.usage.user = value.saturating_mul(1000),
            "system_usec" => cpu.usage.kernel = value.saturating_mul(1000),
            "nr_periods" => cpu.throttling.periods = value,
            "nr_throttled" => cpu.throttling.throttled_periods = value,
            "throttled_usec" => cpu.throttling.throttled_time = value.saturating_mul(1000),
            _ => {}
        }
    }
    cpu.psi = files.pressure("cpu.pressure")?;
    Ok(())
}

fn memory(files: &Files<'_>, stats: &mut Stats) -> Result<()> {
    let memory = &mut stats.memory;
    memory.raw = files.pairs("memory.stat")?.into_iter().collect();
    memory.cache = memory.raw.get("file").copied().unwrap_or_default();
    memory.usage = memory_entry(files, "memory")?;
    memory.swap = MemoryEntry { max: 0, ..memory_entry(files, "memory.swap")? };
    memory.swap.usage = memory.swap.usage.saturating_add(memory.usage.usage);
    if memory.swap.limit != u64::MAX {
        memory.swap.limit = memory.swap.limit.saturating_add(memory.usage.limit);
    }
    memory.psi = files.pressure("memory.pressure")?;
    Ok(())
}

fn memory_entry(files: &Files<'_>, name: &str) -> Result<MemoryEntry> {
    Ok(MemoryEntry {
        limit: files.number_or_0(&format!("{name}.max"))?,
        usage: files.number_or_0(&format!("{name}.current"))?,
        max: files.number_or_0(&format!("{name}.peak"))?,
        failcnt: 0,
    })
}

fn pids(files: &Files<'_>, stats: &mut Stats) -> Result<()> {
    stats.pids.current = match files.number("pids.current")? {
        Some(current) => current,
        // Without the controller: the processes, at least.
        None => files.text("cgroup.procs")?.unwrap_or_default().lines().count() as u64,
    };
    stats.pids.limit = files.number("pids.max")?.filter(|&limit| limit != u64::MAX).unwrap_or_default();
    Ok(())
}

/// `8:0 rbytes=1024 wbytes=0 rios=1 wios=0 dbytes=0 dios=0`
pub(super) fn block_io(text: &str) -> Option<Blkio> {
    let mut blkio = Blkio::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some((major, minor)) = words.next().and_then(|device| device.split_once(':')) else { continue };
        let (major, minor) = (major.parse().ok()?, minor.parse().ok()?);
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let (op, table) = match key {
                "rbytes" => ("Read", &mut blkio.io_service_bytes_recursive),
                "wbytes" => ("Write", &mut blkio.io_service_bytes_recursive),
                "rios" => ("Read", &mut blkio.io_serviced_recursive),
                "wios" => ("Write", &mut blkio.io_serviced_recursive),
                _ => continue,
            };
            table.push(BlkioEntry { major, minor, op: op.to_owned(), value: value.parse().ok()? });
        }
    }
    Some(blkio)
}

pub(super) fn read_hugetlb(files: &Files<'_>, stats: &mut Stats) -> Result<()> {
    for size in page_sizes() {
        let reserved = files.number(&format!("hugetlb.{size}.rsvd.current"))?;
        let Some(usage) = reserved.or(files.number(&format!("hugetlb.{size}.current"))?) else { continue };
        let counted = files.text(&format!("hugetlb.{size}.events"))?.unwrap_or_default();
        let failcnt = events::value(&counted, "max").unwrap_or_default();
        stats.hugetlb.insert(size, Hugetlb { usage, max: 0, failcnt });
    }
    Ok(())
}

/// The sizes of huge pages that this kernel has, as cgroup files name them: `2MB`.
pub(super) fn page_sizes() -> Vec<String> {
    let entries = std::fs::read_dir("/sys/kernel/mm/hugepages").into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter_map(|name| page_size(&name)).collect()
}

/// From `hugepages-2048kB`.
pub(super) fn page_size(name: &str) -> Option<String> {
    let kilobytes: u64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
    Some(match kilobytes {
        size if size >= 1 << 20 => format!("{}GB", size >> 20),
        size if size >= 1 << 10 => format!("{}MB", size >> 10),
        size => format!("{size}KB"),
    })
}
