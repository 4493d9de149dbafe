//! `rkt-oci start`

use std::os::fd::AsFd;
use std::process::ExitCode;

use appc_container::manage;
use appc_container::notify::{self, Proxy};
use appc_container::state::Directory;
use clap::Args;

use super::{Outcome, wrong};
use crate::globals::Globals;

/// Start the program of a container made with `create`
///
/// Returns as soon as it runs; poststart hooks have run then.
///
///   rkt-oci start mycontainer
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Start {
    /// Name of the container
    #[arg(value_name = "CONTAINER")]
    id: String,
}

impl Start {
    pub(crate) fn run(&self, globals: &Globals) -> Outcome {
        let directory = Directory::open(&globals.containers().map_err(wrong)?, &self.id)?;
        let proxy = notify::host_socket().map(|host| Proxy::bind(directory.path(), host)).transpose()?.flatten();
        manage::start(&directory)?;
        let record = directory.load()?;
        if let (Some(proxy), Some(process)) = (proxy, record.process()?) {
            proxy.wait(record.pid, process.as_fd())?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
