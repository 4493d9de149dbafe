//! `acbuild history`

use clap::Args;
use serde_json::json;

use super::Format;
use crate::cache::Row;
use crate::context::Access;
use crate::error::Result;
use crate::output;
use crate::session::Session;

/// Show the steps of the build in progress
///
/// Of each its number and the command. In a build with a cache ("acbuild begin --cache") also whether its result was known
/// (hit) or not (miss), how long it took, and how large what the cache has of it is; commands that only change the manifest
/// need no result.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  acbuild history\n  acbuild history --format=json")]
pub(crate) struct History {
    /// Print JSON instead of a table
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<Format>,
}

impl History {
    pub(crate) fn run(&self, session: &Session) -> Result<()> {
        let build = session.build(Access::Look)?;
        let rows = match build.rows()? {
            Some(rows) => rows,
            None => build.document()?.steps().into_iter().map(Row::told).collect(),
        };
        if let Some(format) = self.format {
            let steps: Vec<_> = (1..).zip(&rows).map(|(number, row)| numbered(number, row)).collect();
            return format.print(&json!(steps));
        }
        let number = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
        let mut table = output::Table::new(["NUMBER", "CACHE", "TIME (MS)", "SIZE (BYTES)", "COMMAND"]);
        for (count, row) in (1..).zip(rows) {
            let cache = match row.cached {
                Some(true) => "hit",
                Some(false) => "miss",
                None => "-",
            };
            table.row([number(Some(count)), cache.to_owned(), number(row.milliseconds), number(row.size), row.command]);
        }
        table.print()
    }
}

fn numbered(number: u64, row: &Row) -> serde_json::Value {
    let Row { command, cached, milliseconds, size } = row;
    json!({ "number": number, "command": command, "cached": cached, "milliseconds": milliseconds, "size": size })
}
