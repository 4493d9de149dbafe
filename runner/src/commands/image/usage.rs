//! `rkt image usage`

use std::ffi::OsString;

use appc_image::store::ImageUsage;
use serde::Serialize;

use crate::cli::Global;
use crate::commands::Format;
use crate::failure::{Context, Outcome};
use crate::{human, images, output};

/// How to show what images take.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "USED is everything that belongs to an image, FREED what would be free if it alone were removed; the rest is SHARED with
others.

Examples:
  rkt image usage --full
  rkt image usage example.com/app:1.0"
)]
pub(super) struct Args {
    /// Images by their IDs (or the beginnings of these) or names, or by where they came from; all of them when there is none
    #[arg(value_name = "IMAGE")]
    images: Vec<OsString>,
    /// Prints no line with the names of the columns
    #[arg(long)]
    no_legend: bool,
    /// Prints whole IDs and sizes in bytes
    #[arg(long)]
    full: bool,
    /// Prints JSON instead of a table
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
}

#[derive(Serialize)]
struct Entry {
    id: String,
    name: String,
    used: u64,
    shared: u64,
    freed: u64,
}

#[derive(Serialize)]
struct Report {
    images: Vec<Entry>,
    total: u64,
}

/// Prints what each image takes on the disk, the one that would free most first.
pub(super) fn run(global: &Global, args: Args) -> Outcome {
    let store = global.store()?;
    let chosen = images::chosen(&store, &args.images)?;
    let mut usage = store.usage()?;
    if !args.images.is_empty() {
        usage.images.retain(|usage| chosen.iter().any(|image| image.id == usage.image.id));
    }
    usage.images.sort_by_key(|image| std::cmp::Reverse(image.freed));
    let text = match args.format {
        Some(format) => {
            format.print(&Report { images: usage.images.iter().map(entry).collect(), total: usage.total })?
        }
        None => {
            let legend = ["ID", "NAME", "USED", "SHARED", "FREED"].map(str::to_owned).to_vec();
            let mut rows = if args.no_legend { vec![] } else { vec![legend] };
            rows.extend(usage.images.iter().map(|image| row(image, args.full)));
            let size = if args.full { usage.total.to_string() } else { human::size(usage.total) };
            let total = if args.no_legend { String::new() } else { format!("{size} in total\n") };
            output::table(&rows) + &total
        }
    };
    output::print(&text).context("writing to standard output")?;
    Ok(0)
}

fn row(usage: &ImageUsage, full: bool) -> Vec<String> {
    let size = |bytes: u64| if full { bytes.to_string() } else { human::size(bytes) };
    let id = if full { usage.image.id.to_string() } else { usage.image.id.short() };
    vec![id, usage.image.names().join(", "), size(usage.used), size(usage.shared()), size(usage.freed)]
}

fn entry(usage: &ImageUsage) -> Entry {
    Entry {
        id: usage.image.id.to_string(),
        name: usage.image.name_and_version(),
        used: usage.used,
        shared: usage.shared(),
        freed: usage.freed,
    }
}
