//! `rkt-oci update`

use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;

use appc_container::state::Directory;
use appc_container::{Error, config, supervise};
use clap::Args;
use serde_json::{Value, json};

use super::{Outcome, wrong};
use crate::globals::Globals;
use crate::log::Log;
use crate::units::bytes;

/// No list of limits is longer; what is would fill the memory.
const RESOURCES_MAX: u64 = 16 << 20;

/// Change the limits of a container
///
/// Limits that are not named stay. Sizes take units, such as 512m or 1GiB; -1 lifts a limit:
///
///   rkt-oci update --memory 512m --pids-limit 100 mycontainer
///   echo '{"cpu": {"quota": 50000, "period": 100000}}' | rkt-oci update --resources - mycontainer
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Update {
    /// File with limits as in linux.resources of config.json, - for standard input; other options then have no effect
    #[arg(short, long, value_name = "FILE")]
    resources: Option<PathBuf>,
    /// Share of block I/O, 10 to 1000
    #[arg(long, value_name = "WEIGHT")]
    blkio_weight: Option<u16>,
    /// Period of --cpu-quota in microseconds
    #[arg(long, value_name = "US")]
    cpu_period: Option<u64>,
    /// Processor time in each period in microseconds, -1 for no limit
    #[arg(long, value_name = "US", allow_hyphen_values = true)]
    cpu_quota: Option<i64>,
    /// Processor time that may be saved up in microseconds
    #[arg(long, value_name = "US")]
    cpu_burst: Option<u64>,
    /// Share of processor time, 2 to 262144
    #[arg(long, value_name = "SHARES")]
    cpu_share: Option<u64>,
    /// Period of --cpu-rt-runtime in microseconds
    #[arg(long, value_name = "US")]
    cpu_rt_period: Option<u64>,
    /// Real-time processor time in each period in microseconds
    #[arg(long, value_name = "US", allow_hyphen_values = true)]
    cpu_rt_runtime: Option<i64>,
    /// Processors to use, such as 0-3,7
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// Memory nodes to use
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// Run only when nothing else does (1), or as usual (0)
    #[arg(long, value_name = "0|1")]
    cpu_idle: Option<i64>,
    /// Ignored by every kernel since 5.15
    #[arg(long, value_name = "BYTES", hide = true, value_parser = bytes, allow_hyphen_values = true)]
    kernel_memory: Option<i64>,
    /// Ignored by every kernel since 5.15
    #[arg(long, value_name = "BYTES", hide = true, value_parser = bytes, allow_hyphen_values = true)]
    kernel_memory_tcp: Option<i64>,
    /// Memory limit
    #[arg(long, value_name = "BYTES", value_parser = bytes, allow_hyphen_values = true)]
    memory: Option<i64>,
    /// Memory that is kept for it when memory is short
    #[arg(long, value_name = "BYTES", value_parser = bytes, allow_hyphen_values = true)]
    memory_reservation: Option<i64>,
    /// Limit of memory and swap together
    #[arg(long, value_name = "BYTES", value_parser = bytes, allow_hyphen_values = true)]
    memory_swap: Option<i64>,
    /// Number of processes and threads, -1 for no limit
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pids_limit: Option<i64>,
    /// Cache allocation of Intel processors
    #[arg(long, value_name = "SCHEMA")]
    l3_cache_schema: Option<String>,
    /// Memory bandwidth allocation of Intel processors
    #[arg(long, value_name = "SCHEMA")]
    mem_bw_schema: Option<String>,
    /// Name of the container
    #[arg(value_name = "CONTAINER")]
    id: String,
}

impl Update {
    pub(crate) fn run<'s>(&'s self, globals: &Globals, log: &Log) -> Outcome {
        let directory = Directory::open(&globals.containers().map_err(wrong)?, &self.id)?;
        let resources = match &self.resources {
            Some(file) => read(file)?,
            None => self.flags(),
        };
        for field in ["kernel", "kernelTCP"] {
            // 0 is how callers say that there is none.
            if resources["memory"][field].as_i64().is_some_and(|limit| limit != 0) {
                log.say(&format!("memory.{field}: limits of kernel memory are ignored by update"));
            }
        }
        let mut resources = config::read_resources(resources).map_err(|e| wrong(format!("resources: {e}")))?;
        // Ignored, as every kernel since 5.15 does itself.
        if let Some(memory) = resources.memory_mut() {
            memory.set_kernel(None);
            memory.set_kernel_tcp(None);
        }
        let given = |schema: &'s Option<String>| schema.as_deref().filter(|s| !s.is_empty());
        let (l3, bandwidth) = (given(&self.l3_cache_schema), given(&self.mem_bw_schema));
        if l3.or(bandwidth).is_some() {
            supervise::update_resctrl(&directory, l3, bandwidth)?;
        }
        supervise::update(&directory, &resources)?;
        Ok(ExitCode::SUCCESS)
    }

    /// The options as the file would have them.
    fn flags(&self) -> Value {
        let mut resources = json!({
            "memory": {
                "limit": self.memory, "swap": self.memory_swap, "reservation": self.memory_reservation,
                "kernel": self.kernel_memory, "kernelTCP": self.kernel_memory_tcp,
            },
            "cpu": {
                "shares": self.cpu_share, "quota": self.cpu_quota, "burst": self.cpu_burst, "period": self.cpu_period,
                "realtimeRuntime": self.cpu_rt_runtime, "realtimePeriod": self.cpu_rt_period,
                "cpus": self.cpuset_cpus, "mems": self.cpuset_mems, "idle": self.cpu_idle,
            },
            "blockIO": {"weight": self.blkio_weight},
            "pids": {"limit": self.pids_limit},
        });
        for (_, group) in resources.as_object_mut().into_iter().flatten() {
            if let Some(group) = group.as_object_mut() {
                group.retain(|_, value| !value.is_null());
            }
        }
        resources
    }
}

fn read(file: &PathBuf) -> Result<Value, Error> {
    let mut text = Vec::new();
    let done = match file.as_os_str() == "-" {
        true => std::io::stdin().lock().take(RESOURCES_MAX + 1).read_to_end(&mut text),
        false => std::fs::File::open(file).and_then(|f| f.take(RESOURCES_MAX + 1).read_to_end(&mut text)),
    };
    done.map_err(|e| wrong(format!("--resources {}: {e}", file.display())))?;
    if text.len() as u64 > RESOURCES_MAX {
        return Err(wrong(format!("--resources {}: it is longer than {} MiB", file.display(), RESOURCES_MAX >> 20)));
    }
    serde_json::from_slice(&text).map_err(|e| wrong(format!("--resources {}: {e}", file.display())))
}
