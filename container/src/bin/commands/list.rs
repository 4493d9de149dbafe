//! `rkt-oci list`

use std::process::ExitCode;

use appc_container::state::Directory;
use appc_container::{Error, manage};
use clap::{Args, ValueEnum};

use super::state::Shown;
use super::{Outcome, print, wrong};
use crate::globals::Globals;
use crate::log::Log;

/// List containers
///
/// Those below --root, whatever they do: creating, created, running, paused or stopped. Stopped ones wait for `rkt-oci delete`.
///
///   rkt-oci list --quiet
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct List {
    /// How to print them
    #[arg(short, long, default_value = "table")]
    format: Format,
    /// Names only
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

impl List {
    pub(crate) fn run(&self, globals: &Globals, log: &Log) -> Outcome {
        let root = globals.containers().map_err(wrong)?;
        if globals.names_root() && !root.exists() {
            return Err(wrong(format!("--root {}: there is no such directory", root.display())));
        }
        let mut shown = Vec::new();
        for id in Directory::list(&root)? {
            match show(&root, &id) {
                Ok(container) => shown.push(container),
                // Just being made, or just removed.
                Err(Error::NoContainer) => {}
                // One that is damaged must not hide the others.
                Err(e) => log.say(&format!("container {id:?}: {e}")),
            }
        }
        let text = match (self.quiet, self.format) {
            (true, _) => shown.iter().map(|c| format!("{}\n", c.id)).collect(),
            (false, Format::Table) => table(&shown),
            (false, Format::Json) => serde_json::to_string(&shown).map_err(|e| Error::Other(e.to_string()))? + "\n",
        };
        print(&text)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn show(root: &std::path::Path, id: &str) -> Result<Shown, Error> {
    let directory = Directory::look(root, id)?;
    let record = directory.load()?;
    let status = manage::status(&directory, &record)?;
    Ok(Shown::new(record, status, user_name(directory.owner())))
}

/// Columns at least 12 wide and 3 apart, as runc prints them.
fn table(containers: &[Shown]) -> String {
    let mut rows = vec![["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned)];
    rows.extend(containers.iter().map(|c| {
        let bundle = c.bundle.display().to_string();
        [c.id.clone(), c.pid.to_string(), c.status.to_owned(), bundle, c.created.clone(), c.owner.clone()]
    }));
    let width = |column: usize| rows.iter().map(|r| r[column].chars().count() + 3).max().unwrap_or(0).max(12);
    let widths: Vec<usize> = (0..5).map(width).collect();
    let line = |row: &[String; 6]| {
        let cells: String = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{cells}{}\n", row[5])
    };
    rows.iter().map(line).collect()
}

/// The name of a user of this host, `#` and the number when it has none.
fn user_name(uid: u32) -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| format!("#{uid}"))
}
