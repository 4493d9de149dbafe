//! `rkt-oci features`

use std::process::ExitCode;

use appc_container::Error;
use appc_container::features::features;
use clap::Args;
use serde::Serialize as _;
use serde_json::ser::{PrettyFormatter, Serializer};

use super::{Outcome, print};

/// Print what this runtime can do, as JSON
///
/// The structure is that of the runtime specification's features.md. Engines ask for it before they use something
/// that not every runtime has, and so may a script:
///
///   rkt-oci features | jq .linux.seccomp.enabled
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Features {}

impl Features {
    pub(crate) fn run(&self) -> Outcome {
        let mut text = Vec::new();
        // Indented like runc's.
        let mut json = Serializer::with_formatter(&mut text, PrettyFormatter::with_indent(b"    "));
        features().serialize(&mut json).map_err(|e| Error::Other(e.to_string()))?;
        text.push(b'\n');
        print(&String::from_utf8_lossy(&text))?;
        Ok(ExitCode::SUCCESS)
    }
}
