//! System calls that have no safe wrapper elsewhere. The only place of this crate with `unsafe` in it.

pub mod bpf;
pub mod clone;
pub mod credentials;
#[cfg(all(target_arch = "x86_64", target_pointer_width = "64"))]
mod entry;
pub(crate) mod environment;
pub mod exec;
pub mod keyring;
pub mod mount;
pub mod namespace;
pub mod network;
pub mod scheduling;
pub mod seccomp;
pub mod signal;
