//! How the kernel shares processors, disks and memory nodes out to the calling thread, and its personality.
#![allow(unsafe_code)]

use std::io;

/// `struct sched_attr` of linux/sched/types.h, as of its second version (Linux 5.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SchedulerAttributes {
    /// Filled in by [`set_scheduler`].
    pub size: u32,
    /// `SCHED_*`
    pub policy: u32,
    /// `SCHED_FLAG_*`
    pub flags: u64,
    /// For `SCHED_OTHER` and `SCHED_BATCH`.
    pub nice: i32,
    /// For `SCHED_FIFO` and `SCHED_RR`.
    pub priority: u32,
    /// For `SCHED_DEADLINE`, as the next two: nanoseconds of work.
    pub runtime: u64,
    /// Nanoseconds in which it is to be done.
    pub deadline: u64,
    /// Nanoseconds after which there is more.
    pub period: u64,
    /// Utilisation clamps, which the runtime specification has flags for but no values.
    pub clamps: [u32; 2],
}

/// Sets policy and parameters of `sched_setattr(2)`.
pub fn set_scheduler(attributes: &SchedulerAttributes) -> io::Result<()> {
    let size = size_of::<SchedulerAttributes>() as u32;
    let attributes = SchedulerAttributes { size, ..attributes.clone() };
    // SAFETY: the structure outlives the call, and its size is its own.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) })
}

/// Sets class and level of `ioprio_set(2)`, as the kernel packs them.
pub fn set_io_priority(packed: u16) -> io::Result<()> {
    /// linux/ioprio.h: one thread, by its number; 0 is the caller.
    const IOPRIO_WHO_PROCESS: i32 = 1;
    // SAFETY: no memory is involved.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, i32::from(packed)) })
}

/// Allows this thread the processors whose bits are set. The kernel ignores those it does not have.
pub fn set_affinity(mask: &[u64]) -> io::Result<()> {
    // SAFETY: pointer and length belong to `mask`.
    check(unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(mask), mask.as_ptr()) })
}

/// Sets the memory policy of `set_mempolicy(2)`.
pub fn set_memory_policy(mode: i32, nodes: &[u64]) -> io::Result<()> {
    // The kernel takes one more than the number of bits.
    let bits = nodes.len() * 64 + 1;
    // SAFETY: the kernel reads at most `bits` - 1 bits, which `nodes` has.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, nodes.as_ptr(), bits) })
}

/// Sets the execution domain of `personality(2)`.
pub fn set_personality(persona: u32) -> io::Result<()> {
    // SAFETY: no memory is involved.
    check(unsafe { libc::personality(persona.into()) }.into())
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
