//! Counts of version 1, each controller from its own hierarchy.

use super::super::Result;
use super::read::Files;
use super::{Blkio, BlkioEntry, Cpuset, Hugetlb, MemoryEntry, Stats};

/// `USER_HZ`, the same on every architecture with containers.
const TICKS: u64 = 100;
const NANOSECONDS: u64 = 1_000_000_000;

pub(super) fn read(files: &Files<'_>, controllers: &[String], stats: &mut Stats) -> Result<()> {
    for controller in controllers {
        match controller.as_str() {
            "cpu" => throttling(files, stats)?,
            "cpuacct" => cpu(files, stats)?,
            "cpuset" => stats.cpuset = cpuset(files)?,
            "memory" => memory(files, stats)?,
            "pids" => pids(files, stats)?,
            "blkio" => block_io(files, &mut stats.blkio)?,
            "hugetlb" => hugetlb(files, stats)?,
            _ => {}
        }
    }
    Ok(())
}

fn throttling(files: &Files<'_>, stats: &mut Stats) -> Result<()> {
    for (key, value) in files.pairs("cpu.stat")? {
        match key.as_str() {
            "nr_periods" => stats.cpu.throttling.periods = value,
            "nr_throttled" => stats.cpu.throttling.throttled_periods = value,
            "throttled_time" => stats.cpu.throttling.throttled_time = value,
            _ => {}
        }
    }
    Ok(())
}

fn cpu(files: &Files<'_>, stats: &mut Stats) -> Result<()> {
    let usage = &mut stats.cpu.usage;
    for (key, ticks) in files.pairs("cpuacct.stat")? {
        match key.as_str() {
            "user" => usage.user = ticks.saturating_mul(NANOSECONDS) / TICKS,
            "system" => usage.kernel = ticks.saturating_mul(NANOSECONDS) / TICKS,
            _ => {}
        }
    }
    usage.total = files.number_or_0("cpuacct.usage")?;
    usage.percpu = files.numbers("cpuacct.usage_percpu")?;
    // cpu user system
    let all = files.text("cpuacct.usage_all")?.unwrap_or_default();
    for line in all.lines().skip(1) {
        let mut words = line.split_whitespace().skip(1).map(|word| word.parse::<u64>());
        let (Some(Ok(user)), Some(Ok(kernel))) = (words.next(), words.next()) else { continue };
        usage.percpu_user.push(user);
        usage.percpu_kernel.push(kernel);
    }
    Ok(())
}

fn cpuset(files: &Files<'_>) -> Result<Cpuset> {
    let level = files.text("cpuset.sched_relax_domain_level")?.unwrap_or_default();
    Ok(Cpuset {
        cpus: files.list("cpuset.cpus")?,
        cpu_exclusive: files.number_or_0("cpuset.cpu_exclusive")?,
        mems: files.list("cpuset.mems")?,
        mem_hardwall: files.number_or_0("cpuset.mem_hardwall")?,
        mem_exclusive: files.number_or_0("cpuset.mem_exclusive")?,
        memory_migrate: files.number_or_0("cpuset.memory_migrate")?,
        memory_spread_page: files.number_or_0("cpuset.memory_spread_page")?,
        memory_spread_slab: files.number_or_0("cpuset.memory_spread_slab")?,
        memory_pressure: files.number_or_0("cpuset.memory_pressure")?,
        sched_load_balance: files.number_or_0("cpuset.sched_load_balance")?,
        sched_relax_domain_level: level.trim().parse().unwrap_or_default(),
    })
}

fn memory(files: &Files<'_>, stats: &mut Stats) -> Result<()> {
    let memory = &mut stats.memory;
    memory.raw = files.pairs("memory.stat")?.into_iter().collect();
    memory.cache = memory.raw.get("cache").copied().unwrap_or_default();
    memory.usage = memory_entry(files, "memory")?;
    memory.swap = memory_entry(files, "memory.memsw")?;
    memory.kernel = memory_entry(files, "memory.kmem")?;
    memory.kernel_tcp = memory_entry(files, "memory.kmem.tcp")?;
    Ok(())
}

fn memory_entry(files: &Files<'_>, name: &str) -> Result<MemoryEntry> {
    Ok(MemoryEntry {
        limit: files.number_or_0(&format!("{name}.limit_in_bytes"))?,
        usage: files.number_or_0(&format!("{name}.usage_in_bytes"))?,
        max: files.number_or_0(&format!("{name}.max_usage_in_bytes"))?,
        failcnt: files.number_or_0(&format!("{name}.failcnt"))?,
    })
}

fn pids(files: &Files<'_>, stats: &mut Stats) -> Result<()> {
    stats.pids.current = files.number_or_0("pids.current")?;
    stats.pids.limit = files.number("pids.max")?.filter(|&limit| limit != u64::MAX).unwrap_or_default();
    Ok(())
}

/// The schedulers count different things, in files of different names: those of the first that is there.
fn block_io(files: &Files<'_>, blkio: &mut Blkio) -> Result<()> {
    for prefix in ["blkio.bfq.", "blkio."] {
        if let Some(sectors) = files.devices(&format!("{prefix}sectors_recursive"))? {
            let read = |name: &str| -> Result<Vec<BlkioEntry>> {
                Ok(files.devices(&format!("{prefix}{name}_recursive"))?.unwrap_or_default())
            };
            *blkio = Blkio {
                io_service_bytes_recursive: read("io_service_bytes")?,
                io_serviced_recursive: read("io_serviced")?,
                io_queue_recursive: read("io_queued")?,
                io_service_time_recursive: read("io_service_time")?,
                io_wait_time_recursive: read("io_wait_time")?,
                io_merged_recursive: read("io_merged")?,
                io_time_recursive: read("time")?,
                sectors_recursive: sectors,
                psi: None,
            };
            return Ok(());
        }
    }
    for (prefix, suffix) in [("blkio.bfq.", "_recursive"), ("blkio.throttle.", "_recursive"), ("blkio.throttle.", "")] {
        if let Some(serviced) = files.devices(&format!("{prefix}io_serviced{suffix}"))? {
            blkio.io_serviced_recursive = serviced;
            blkio.io_service_bytes_recursive =
                files.devices(&format!("{prefix}io_service_bytes{suffix}"))?.unwrap_or_default();
            return Ok(());
        }
    }
    Ok(())
}

fn hugetlb(files: &Files<'_>, stats: &mut Stats) -> Result<()> {
    for size in super::v2::page_sizes() {
        let reserved = files.number(&format!("hugetlb.{size}.rsvd.usage_in_bytes"))?;
        let prefix = if reserved.is_some() { format!("hugetlb.{size}.rsvd") } else { format!("hugetlb.{size}") };
        let read = |name: &str| files.number_or_0(&format!("{prefix}.{name}"));
        let (usage, max, failcnt) = (read("usage_in_bytes")?, read("max_usage_in_bytes")?, read("failcnt")?);
        stats.hugetlb.insert(size, Hugetlb { usage, max, failcnt });
    }
    Ok(())
}
