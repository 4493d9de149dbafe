//! Filters of system calls: `linux.seccomp` as a program for the kernel.
//!
//! ```text
//! LinuxSeccomp ─ profile ─▶ checked, names as rows of the table ─ compile ─▶ decision graph ─ assemble ─▶ instructions
//! ```
//! Nothing of this needs a C library: the table of system calls is [`syscalls`], the language the kernel's classic packet
//! filter. Where other compilers leave a choice, ours is that of libseccomp as runc uses it, and a test compares them.

mod arch;
mod assemble;
mod cache;
mod compile;
mod graph;
mod notify;
mod profile;
mod syscalls;

use std::io;
use std::os::fd::OwnedFd;

use oci_spec::runtime::LinuxSeccomp;

pub use cache::Cache;
pub(crate) use notify::announce;
pub use profile::Listener;

use crate::error::{Error, Result};
use crate::sys::seccomp as sys;
pub use crate::sys::seccomp::Instruction;

/// Every action, sorted.
pub const ACTIONS: [&str; 9] = [
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
];

/// Every operator on arguments, sorted.
pub const OPERATORS: [&str; 7] =
    ["SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT", "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE"];

/// Every architecture whose system calls are known, sorted.
pub const ARCHITECTURES: [&str; 18] = {
    let mut names = [""; 18];
    let mut i = 0;
    while i < names.len() {
        names[i] = arch::ARCHITECTURES[i].name;
        i += 1;
    }
    names
};

/// Every flag that a configuration may have.
pub const KNOWN_FLAGS: [&str; 4] = [
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
];

/// The flags of [`KNOWN_FLAGS`] that the running kernel has.
pub fn supported_flags() -> Vec<&'static str> {
    let bits = [
        // Not asked of the kernel: a process with one thread has it anyway.
        0,
        sys::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
        sys::SECCOMP_FILTER_FLAG_LOG,
        sys::SECCOMP_FILTER_FLAG_NEW_LISTENER | sys::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
    ];
    KNOWN_FLAGS.into_iter().zip(bits).filter(|(_, bits)| sys::knows(*bits)).map(|(name, _)| name).collect()
}

/// A filter, ready to be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    program: Vec<Instruction>,
    flags: u32,
    warnings: Vec<String>,
}

impl Filter {
    /// Makes the program of a profile.
    ///
    /// # Errors
    /// [`Error::Refused`] with the field's name for what is wrong with it, or when the program is longer than the kernel takes.
    pub fn compile(spec: &LinuxSeccomp) -> Result<Filter> {
        let profile = profile::Profile::new(spec)?;
        let (graph, start) = compile::compile(&profile);
        let program = assemble::assemble(&graph, start);
        if program.len() > assemble::LONGEST {
            let (length, most) = (program.len(), assemble::LONGEST);
            let advice = match profile.architectures.len() {
                0 | 1 => "",
                n => &format!("name fewer than these {n} architectures, and "),
            };
            let rule = format!(
                "its filter has {length} instructions, the kernel takes {most}: {advice}compare fewer \
                 arguments (syscalls[].args), or give calls of neighbouring numbers the same action"
            );
            return Err(Error::refused("linux.seccomp", rule));
        }
        Ok(Filter { program, flags: profile.flags, warnings: profile.warnings })
    }

    /// Puts it on the calling thread, for ever; what is executed later has it too. With actions that notify somebody, the
    /// descriptor to be notified through is returned.
    ///
    /// # Errors
    /// `EACCES` for a thread without `CAP_SYS_ADMIN` that may still gain privileges (no_new_privs).
    pub fn load(&self) -> io::Result<Option<OwnedFd>> {
        sys::load(&self.program, self.flags)
    }

    /// Whether loading it yields a descriptor.
    pub fn notifies(&self) -> bool {
        self.flags & sys::SECCOMP_FILTER_FLAG_NEW_LISTENER != 0
    }

    /// What the kernel will run.
    pub fn program(&self) -> &[Instruction] {
        &self.program
    }

    /// The flags it is loaded with, as numbers of `linux/seccomp.h`.
    pub fn flags(&self) -> u32 {
        self.flags
    }

    /// What the profile asks for in vain, in sentences.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

/// The filter of a process, and who decides about what it does not decide.
#[derive(Debug, PartialEq, Eq)]
pub struct Seccomp {
    /// The filter.
    pub filter: Filter,
    /// The agent, exactly when the filter notifies.
    pub listener: Option<Listener>,
}

impl Seccomp {
    /// Reads `linux.seccomp`. With a cache the filter need not be made anew.
    ///
    /// # Errors
    /// As [`Filter::compile`], and when there is no agent to notify.
    pub fn new(spec: &LinuxSeccomp, cache: Option<&Cache>) -> Result<Seccomp> {
        let filter = cache.map_or_else(|| Filter::compile(spec), |cache| cache.filter(spec))?;
        // Without any in the configuration there is nothing that a kernel with clone3(2) lacks.
        if spec.flags().as_ref().is_some_and(|flags| !flags.is_empty()) && !sys::knows(filter.flags) {
            let known = supported_flags().join(", ");
            return Err(Error::refused("linux.seccomp.flags", format!("this kernel has no others than {known}")));
        }
        let listener = Listener::new(spec, filter.notifies())?;
        Ok(Seccomp { filter, listener })
    }
}

#[cfg(test)]
mod differential;
#[cfg(test)]
mod tests;
