//! The container's root file system.

pub mod overlay;
