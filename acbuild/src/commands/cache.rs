//! `acbuild cache list|gc`

use std::time::{Duration, SystemTime};

use appc_spec::Quantity;
use clap::{Args, Subcommand};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::Format;
use crate::cache::{self, Entry, Limits};
use crate::error::Result;
use crate::output;
use crate::session::Session;

/// What stays that was used within so many hours, when nothing is said: two weeks.
const KEPT: &str = "336h";
/// As much of a key as is shown.
const SHORT: usize = 12;

/// Manage the results of steps
///
/// They are kept by builds that were begun with "acbuild begin --cache", in the folder "cache" beside the image store; each
/// user has its own.
#[derive(Debug, Args)]
pub(crate) struct Cache {
    #[command(subcommand)]
    command: CacheCommand,
}

#[derive(Debug, Subcommand)]
enum CacheCommand {
    List(List),
    Gc(Gc),
}

/// List the steps whose results are known, the one that was used last first
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  acbuild cache list\n  acbuild cache list --format=json")]
struct List {
    /// Print JSON instead of a table
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<Format>,
}

/// Remove results that were not used for long, or are too many
///
/// Without a limit, what was not used for two weeks goes. With both of them, what is beyond either. What killed commands
/// left goes always, and what a build in progress still needs never does.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  acbuild cache gc\n  acbuild cache gc --older-than 24h\n  acbuild cache gc --max-size 10Gi"
)]
struct Gc {
    /// Remove results that were not used for so long, as in 90m or 36h; 0s for all
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    older_than: Option<Duration>,
    /// Keep so many bytes of those that were used last; k, M, G and Ki, Mi, Gi may follow
    #[arg(long, value_name = "BYTES", value_parser = parse_size)]
    max_size: Option<u64>,
    /// Print JSON instead of a sentence
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<Format>,
}

impl Cache {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        let cache = cache::Cache::open(&session.store_dir())?;
        match &self.command {
            CacheCommand::List(list) => list.run(cache),
            CacheCommand::Gc(gc) => gc.run(cache),
        }
    }
}

impl List {
    fn run(&self, cache: Option<cache::Cache>) -> Result<()> {
        let entries = cache.map_or(Ok(Vec::new()), |cache| cache.list())?;
        if let Some(format) = self.format {
            let entries: Vec<_> = entries.iter().map(described).collect();
            return format.print(&json!(entries));
        }
        let mut table = output::Table::new(["KEY", "LAST USED", "SIZE (BYTES)", "COMMAND"]);
        for entry in entries {
            let (used, key) = (time(&entry), entry.key[..SHORT].to_owned());
            table.row([key, used, entry.size.to_string(), entry.command]);
        }
        table.print()
    }
}

impl Gc {
    fn run(&self, cache: Option<cache::Cache>) -> Result<()> {
        let older_than = match (self.older_than, self.max_size) {
            (None, None) => parse_duration(KEPT).ok(),
            (older_than, _) => older_than,
        };
        let limits = Limits { older_than, max_size: self.max_size };
        let removed = cache.map_or(Ok(Default::default()), |cache| cache.collect(limits, SystemTime::now()))?;
        let cache::Removed { entries, bytes, left } = removed;
        match self.format {
            Some(format) => format.print(&json!({ "removed": entries, "bytes": bytes, "left": left })),
            None => output::result(format_args!(
                "removed the results of {entries} steps, {bytes} bytes; {left} bytes are left"
            )),
        }
    }
}

fn described(entry: &Entry) -> serde_json::Value {
    json!({ "key": entry.key, "command": entry.command, "size": entry.size, "lastUsed": time(entry) })
}

/// To the second, in UTC.
fn time(entry: &Entry) -> String {
    let time = Timestamp::try_from(entry.used).unwrap_or_default();
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration = text.parse::<SignedDuration>().ok().and_then(|duration| Duration::try_from(duration).ok());
    duration.ok_or_else(|| "it must be a duration such as 90m or 36h".to_owned())
}

fn parse_size(text: &str) -> Result<u64, String> {
    let bytes = text.parse::<Quantity>().ok().and_then(|quantity| u64::try_from(quantity.value()).ok());
    bytes.ok_or_else(|| "it must be a number of bytes such as 500M or 10Gi".to_owned())
}
