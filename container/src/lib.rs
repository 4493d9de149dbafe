//! One Linux container from one OCI runtime configuration.
//!
//! [`Plan::new`] reads a configuration and refuses what cannot be given; [`Plan::create`] makes the container up to its
//! program, [`Created::start`] has that executed, and the [`Process`] is waited for and destroyed. Whoever calls these
//! must have a single thread, see [`sys::clone::clone3`].
//!
//! The root file system is hostile, the configuration is trusted.

pub mod capabilities;
pub mod cgroup;
pub mod checkpoint;
pub mod config;
pub mod console;
mod container;
pub mod error;
pub mod exec;
pub mod fault;
pub mod features;
mod fifo;
pub mod files;
#[doc(hidden)]
pub mod fuzzing;
pub mod hooks;
mod init;
mod interrupt;
pub mod manage;
mod mappings;
mod namespaces;
mod network;
pub mod notify;
pub mod plan;
mod process;
pub mod protect;
mod protocol;
pub mod resctrl;
pub mod rootfs;
pub mod rootless;
pub mod sandbox;
pub mod seccomp;
pub mod signal_names;
pub mod state;
pub mod supervise;
pub mod sys;

pub use container::{Begun, Created};
pub use error::{Error, Result};
pub use exec::{ExecPlan, ExecSetup};
pub use interrupt::Interrupt;
pub use plan::{Plan, RootSource, Setup, Stdio};
pub use process::{Process, exit_code};
pub use rootfs::overlay::{overlay, overlay_plain, overlay_read_only, overlay_volatile};
pub use sandbox::{Network, Sandbox, SandboxOptions};
pub use sys::namespace::in_user_namespace;
