//! `rkt-oci state`

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::ExitCode;

use appc_container::state::{Directory, Record, Status};
use appc_container::{Error, manage};
use clap::Args;
use serde::Serialize;

use super::{Outcome, print, wrong};
use crate::globals::Globals;

/// Print the state of a container as JSON
///
/// Its process, its bundle, and whether it is created, running, paused or stopped.
///
///   rkt-oci state mycontainer | jq -r .status
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct State {
    /// Name of the container
    #[arg(value_name = "CONTAINER")]
    id: String,
}

/// What is printed; the names and their order are runc's.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shown {
    oci_version: String,
    pub(super) id: String,
    pub(super) pid: i32,
    pub(super) status: &'static str,
    pub(super) bundle: PathBuf,
    rootfs: PathBuf,
    pub(super) created: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<HashMap<String, String>>,
    pub(super) owner: String,
}

impl Shown {
    /// Puts together what is known of a container now.
    pub(super) fn new(record: Record, status: Status, owner: String) -> Shown {
        Shown {
            oci_version: record.oci_version,
            id: record.id,
            pid: if matches!(status, Status::Stopped | Status::Creating) { 0 } else { record.pid },
            status: status.as_str(),
            bundle: record.bundle,
            rootfs: record.rootfs,
            created: record.created,
            annotations: record.annotations,
            owner,
        }
    }
}

impl State {
    pub(crate) fn run(&self, globals: &Globals) -> Outcome {
        let directory = Directory::open(&globals.containers().map_err(wrong)?, &self.id)?;
        let record = directory.load()?;
        let status = manage::status(&directory, &record)?;
        let shown = Shown::new(record, status, String::new());
        let text = serde_json::to_string_pretty(&shown).map_err(|e| Error::Other(e.to_string()))?;
        print(&text)?;
        Ok(ExitCode::SUCCESS)
    }
}
