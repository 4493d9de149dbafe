//! `rkt`: runs container images as pods.

pub mod capabilities;
pub mod cli;
pub mod commands;
pub mod configuration;
pub mod duration;
pub mod failure;
pub mod human;
pub mod images;
pub mod output;
pub mod pod;
pub mod progress;
pub mod request;
pub mod review;
