//! `rkt-oci events`

use std::process::ExitCode;
use std::time::{Duration, Instant};

use appc_container::Error;
use appc_container::cgroup::Stats;
use appc_container::state::Directory;
use appc_container::supervise::{Sight, Watch};
use clap::Args;
use serde::Serialize;

use super::{Outcome, print, wrong};
use crate::globals::Globals;
use crate::log::Log;
use crate::units::duration;

/// Show what a container uses, and when it runs out of memory
///
/// Prints one line of JSON for each event until the container ends:
///
///   rkt-oci events --interval 1s mycontainer
///   rkt-oci events --stats mycontainer
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Events {
    /// Time between two lines about usage, such as 500ms or 1m
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    interval: Duration,
    /// Print one line about usage and end
    #[arg(long)]
    stats: bool,
    /// Name of the container
    #[arg(value_name = "CONTAINER")]
    id: String,
}

#[derive(Serialize)]
struct Event<'a> {
    r#type: &'static str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Stats>,
}

impl Events {
    pub(crate) fn run(&self, globals: &Globals, log: &Log) -> Outcome {
        let directory = Directory::open(&globals.containers().map_err(wrong)?, &self.id)?;
        if self.interval.is_zero() {
            return Err(wrong("duration interval must be greater than 0"));
        }
        let mut watch = Watch::new(&directory)?;
        if self.stats {
            self.say("stats", Some(watch.stats()?))?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut next = Instant::now() + self.interval;
        loop {
            match watch.wait(next)? {
                Sight::OutOfMemory => self.say("oom", None)?,
                Sight::End => return Ok(ExitCode::SUCCESS),
                Sight::Nothing => {
                    match watch.stats() {
                        Ok(stats) => self.say("stats", Some(stats))?,
                        // It may just be ending.
                        Err(e) => log.detail(|| e.to_string()),
                    }
                    next = Instant::now() + self.interval;
                }
            }
        }
    }

    fn say(&self, r#type: &'static str, data: Option<Stats>) -> Result<(), Error> {
        let event = Event { r#type, id: &self.id, data };
        print(&(serde_json::to_string(&event).map_err(|e| Error::Other(e.to_string()))? + "\n"))
    }
}
