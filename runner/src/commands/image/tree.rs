//! `rkt image tree`

use std::ffi::OsString;

use appc_image::store::Outline;

use crate::cli::Global;
use crate::commands::Format;
use crate::failure::{Context, Outcome};
use crate::{human, images, output};

/// Whose parts to show.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  rkt image tree example.com/app:1.0")]
pub(super) struct Args {
    /// An image in the store by its ID (or the beginning of it) or name, or one elsewhere
    image: OsString,
    /// Prints whole IDs and sizes in bytes
    #[arg(long)]
    full: bool,
    /// Prints JSON instead of a tree
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
}

/// Prints what the image depends on, or its layers: the lowest first.
pub(super) fn run(global: &Global, args: Args) -> Outcome {
    let store = global.store()?;
    let outline = store.outline(&images::stored(global, &store, &args.image)?)?;
    let text = match args.format {
        Some(format) => format.print(&outline)?,
        None => {
            let heading = ["NAME", "ID", "SIZE", "TREE SIZE"].map(str::to_owned).to_vec();
            let mut rows = vec![heading];
            branch(&outline, "", "", args.full, &mut rows);
            output::table(&rows)
        }
    };
    output::print(&text).context("writing to standard output")?;
    Ok(0)
}

/// One row for the outline and those below it; `stem` is in front of the first, `next` in front of the others.
fn branch(outline: &Outline, stem: &str, next: &str, full: bool, rows: &mut Vec<Vec<String>>) {
    let size = |bytes| if full { format!("{bytes}") } else { human::size(bytes) };
    let short = |text: &str| if full { text.to_owned() } else { text.chars().take(19).collect() };
    let name = if outline.name.starts_with("sha") { short(&outline.name) } else { outline.name.clone() };
    let mut row = vec![format!("{stem}{name}")];
    match &outline.id {
        Some(id) => row.extend([short(id), size(outline.size), size(outline.tree_size)]),
        None => row.push("-".into()),
    }
    row.extend(outline.note.iter().map(|note| format!("({note})")));
    rows.push(row);
    for (at, below) in outline.below.iter().enumerate() {
        let (turn, on) = if at + 1 == outline.below.len() { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        branch(below, &format!("{next}{turn}"), &format!("{next}{on}"), full, rows);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outline(name: &str, below: Vec<Outline>) -> Outline {
        Outline {
            name: name.into(),
            id: Some("sha512-0123456789abcdef".into()),
            size: 1024,
            tree_size: 2048,
            note: None,
            below,
        }
    }

    #[test]
    fn branches_are_drawn() {
        let tree = outline("a", vec![outline("b", vec![outline("d", vec![])]), outline("c", vec![])]);
        let mut rows = Vec::new();
        branch(&tree, "", "", false, &mut rows);
        let text: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
        assert_eq!(text, ["a", "├─ b", "│  └─ d", "└─ c"]);
        assert_eq!(rows[0][1..], ["sha512-0123456789ab", "1.0KiB", "2.0KiB"]);
    }
}
