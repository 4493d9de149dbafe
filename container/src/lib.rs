//! One Linux container from one OCI runtime configuration.

pub mod cgroup;
pub mod console;
pub mod error;
pub mod rootfs;
pub mod sandbox;
pub mod sys;

pub use error::{Error, Result};
pub use rootfs::overlay::{overlay, overlay_read_only};
pub use sandbox::{Network, Sandbox, SandboxOptions};
