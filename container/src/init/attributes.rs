//! Giving the calling process its [`Attributes`]. `exec` does the same with a process that joins a container.

use crate::error::{Context, Error, Result};
use crate::plan::Attributes;
use crate::sys::scheduling;

/// As many processors as the kernel can be built for.
const PROCESSORS_MAX: usize = 8192;

/// Before the process is in its cgroup, for processes that join a container.
pub(crate) fn apply_initial_affinity(attributes: &Attributes) -> Result<()> {
    set_affinity(&attributes.affinity.initial, "initial")
}

/// Once it is in its cgroup, for processes that join a container.
pub(crate) fn apply_final_affinity(attributes: &Attributes) -> Result<()> {
    if attributes.affinity.last.is_empty() {
        reset_affinity();
        return Ok(());
    }
    set_affinity(&attributes.affinity.last, "final")
}

/// Allows every processor that the cgroup does: what the caller may run on says nothing about the container.
pub(crate) fn reset_affinity() {
    // The container runs on fewer processors then, as its caller does.
    let _kept = scheduling::set_affinity(&[u64::MAX; PROCESSORS_MAX / 64]);
}

fn set_affinity(mask: &[u64], field: &str) -> Result<()> {
    if mask.is_empty() {
        return Ok(());
    }
    scheduling::set_affinity(mask).context(|| format!("set process.execCPUAffinity.{field}"))
}

/// Everything else; while the process still has the privileges for it.
pub(crate) fn apply(attributes: &Attributes) -> Result<()> {
    if let Some(attr) = &attributes.scheduler {
        scheduling::set_scheduler(attr).map_err(|e| match e.raw_os_error() {
            // Why else would the kernel deny it to root.
            Some(libc::EPERM) if attributes.has_cpuset => {
                Error::Other("process scheduler can't be used together with AllowedCPUs".to_owned())
            }
            // Groups of realtime processes (cgroup v1) have to be given their time.
            Some(libc::EPERM) if matches!(attr.policy, 1 | 2) => {
                let hint = "operation not permitted: a v1 cpu cgroup needs linux.resources.cpu.realtimeRuntime for it";
                Error::Other(format!("set process.scheduler: {hint}"))
            }
            _ => Error::System { what: "set process.scheduler".to_owned(), cause: e },
        })?;
    }
    if let Some(packed) = attributes.io_priority {
        scheduling::set_io_priority(packed).context(|| "set process.ioPriority")?;
    }
    if let Some(persona) = attributes.personality {
        scheduling::set_personality(persona).context(|| "set linux.personality")?;
    }
    if let Some(policy) = &attributes.memory_policy {
        scheduling::set_memory_policy(policy.mode, &policy.nodes).context(|| "set linux.memoryPolicy")?;
    }
    Ok(())
}
