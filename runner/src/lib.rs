//! `rkt`: runs container images as pods.

pub mod cli;
pub mod commands;
pub mod failure;
pub mod human;
pub mod output;
