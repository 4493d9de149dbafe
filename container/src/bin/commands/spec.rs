//! `rkt-oci spec`

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{Outcome, wrong};

/// What a bundle without special needs starts from. The content is that of runc's `spec`.
const TEMPLATE: &str = include_str!("spec.json");

/// Write a config.json to start from
#[derive(Debug, Args)]
pub(crate) struct Spec {
    /// Directory of the bundle
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,
}

impl Spec {
    pub(crate) fn run(&self) -> Outcome {
        let path = self.bundle.join("config.json");
        let failed = |e: std::io::Error| match e.kind() {
            std::io::ErrorKind::AlreadyExists => wrong("config.json exists: remove it first"),
            _ => wrong(format!("write {}: {e}", path.display())),
        };
        let mut file = File::options().write(true).create_new(true).open(&path).map_err(failed)?;
        file.write_all(TEMPLATE.as_bytes()).map_err(failed)?;
        Ok(ExitCode::SUCCESS)
    }
}
