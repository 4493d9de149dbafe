//! Fixtures shared by the end-to-end tests: the built programs, places to work in, inputs, and what the host must look like afterwards.

pub mod cases;
pub mod command;
pub mod engine;
pub mod gpg;
pub mod guard;
pub mod host;
pub mod image;
pub mod need;
pub mod nowhere;
pub mod programs;
pub mod rootfs;
pub mod scratch;
pub mod server;
pub mod terminal;
pub mod tree;

pub use command::{Cmd, Outcome, Running};
pub use gpg::Gpg;
pub use host::HostState;
pub use image::busybox_image;
pub use scratch::Scratch;
pub use server::{Reply, Server};
pub use terminal::Terminal;
pub use tree::Tree;

/// How often a test kills what it watches: `APPC_KILLS`, as a soak run sets it, or this.
pub fn kills(default: u32) -> u32 {
    std::env::var("APPC_KILLS").ok().and_then(|count| count.parse().ok()).unwrap_or(default)
}
