//! Fixtures shared by the end-to-end tests: the built programs, places to work in, inputs, and what the host must look like afterwards.

pub mod command;
pub mod guard;
pub mod host;
pub mod image;
pub mod need;
pub mod programs;
pub mod rootfs;
pub mod scratch;
pub mod terminal;
pub mod tree;

pub use command::{Cmd, Outcome, Running};
pub use host::HostState;
pub use image::busybox_image;
pub use scratch::Scratch;
pub use terminal::Terminal;
pub use tree::Tree;
