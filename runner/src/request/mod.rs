//! What was asked for on the command line of `rkt run`, as plain data.
//!
//! `rkt run [POD FLAGS] IMAGE [APP FLAGS] [-- ARGS… [---]] [IMAGE2 …]`: one walk over the words ([`parse()`]), one table
//! of flags ([`flags::FLAGS`]) that also gives the help text. Nothing here looks at files or the environment.

pub mod flags;
mod parse;
mod values;

use std::ffi::OsString;
use std::path::PathBuf;

use appc_image::archive::Limit;
use appc_image::fetch::{Insecure, PullPolicy};
use appc_spec::{AcName, Mount, Quantity, Volume};

pub use parse::parse;

/// A whole command line.
#[derive(Debug, Default)]
pub struct Request {
    /// What holds for the pod.
    pub pod: PodOptions,
    /// The apps, in the order given.
    pub apps: Vec<AppRequest>,
    /// `--help` was given: nothing else counts.
    pub help: bool,
}

/// The network of a pod.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// A network namespace of its own, with the loopback device up.
    #[default]
    Loopback,
    /// The host's network namespace.
    Host,
}

/// What holds for the whole pod.
#[derive(Debug, Default)]
pub struct PodOptions {
    /// `--dir`, when it came after the command.
    pub dir: Option<PathBuf>,
    /// `--debug`, when it came after the command.
    pub debug: bool,
    /// `--insecure-options`, when it came after the command.
    pub insecure: Insecure,
    /// `--max-image-size`, when it came after the command.
    pub max_image_size: Option<Limit>,
    /// `--trust-keys-from-https`, when it came after the command.
    pub trust_keys_from_https: bool,
    /// `--pull-policy`
    pub pull_policy: Option<PullPolicy>,
    /// `--net`
    pub network: Network,
    /// `--inherit-env`
    pub inherit_env: bool,
    /// `--no-overlay`
    pub no_overlay: bool,
    /// `--interactive`
    pub interactive: bool,
    /// `--set-env`, in order.
    pub set_env: Vec<(String, String)>,
    /// `--set-env-file`, in order.
    pub set_env_files: Vec<PathBuf>,
    /// `--hostname`
    pub hostname: Option<String>,
    /// `--uuid-file-save`
    pub uuid_file_save: Option<PathBuf>,
    /// `--volume`
    pub volumes: Vec<Volume>,
    /// `--mount` before the first image: for every app.
    pub mounts: Vec<Mount>,
}

/// One image and what was said about it.
#[derive(Debug, Default)]
pub struct AppRequest {
    /// The image as it was typed: a file, an ID or a name.
    pub image: OsString,
    /// `--signature`
    pub signature: Option<PathBuf>,
    /// What followed `--`.
    pub args: Vec<String>,
    /// `--exec`
    pub exec: Option<String>,
    /// `--user`
    pub user: Option<String>,
    /// `--group`
    pub group: Option<String>,
    /// `--supplementary-gids`
    pub supplementary_gids: Option<Vec<u32>>,
    /// `--name`
    pub name: Option<AcName>,
    /// `--working-dir`
    pub working_dir: Option<String>,
    /// `--environment`, in order.
    pub environment: Vec<(String, String)>,
    /// `--memory`
    pub memory: Option<Quantity>,
    /// `--cpu`
    pub cpu: Option<Quantity>,
    /// `--cpu-shares`
    pub cpu_shares: Option<u64>,
    /// `--caps-retain`
    pub caps_retain: Option<Vec<String>>,
    /// `--caps-remove`
    pub caps_remove: Option<Vec<String>>,
    /// `--readonly-rootfs`
    pub readonly_rootfs: Option<bool>,
    /// `--oom-score-adj`
    pub oom_score_adj: Option<i32>,
    /// `--mount` after the image.
    pub mounts: Vec<Mount>,
}
