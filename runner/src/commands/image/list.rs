//! `rkt image list`

use std::cmp::Ordering;

use appc_image::store::Summary;
use clap::ValueEnum;
use serde::Serialize;

use crate::cli::Global;
use crate::commands::Format;
use crate::failure::{Context, Outcome};
use crate::{human, output};

/// How to list images.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  rkt image list --fields=id,name,size --sort=size")]
pub(super) struct Args {
    /// Columns, in the order given
    #[arg(long, value_delimiter = ',', value_name = "FIELD", default_value = "id,name,size,importtime,lastused")]
    fields: Vec<Field>,
    /// What to sort by
    #[arg(long, value_delimiter = ',', value_name = "KEY", default_value = "importtime")]
    sort: Vec<Key>,
    /// Whether the smallest or the largest comes first
    #[arg(long, default_value = "asc", value_name = "ORDER")]
    order: Order,
    /// Prints no line with the names of the columns
    #[arg(long)]
    no_legend: bool,
    /// Prints whole IDs, sizes in bytes and times in full
    #[arg(long)]
    full: bool,
    /// Prints JSON instead of a table
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "lower")]
enum Field {
    Id,
    Name,
    Size,
    ImportTime,
    LastUsed,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "lower")]
enum Key {
    Name,
    ImportTime,
    LastUsed,
    Size,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Order {
    Asc,
    Desc,
}

/// An image as the original describes it.
#[derive(Serialize)]
struct Entry {
    id: String,
    name: String,
    import_time: i64,
    last_used_time: i64,
    size: u64,
    /// Of which `name` is the first.
    names: Vec<String>,
}

/// Prints the images in the store.
pub(super) fn run(global: &Global, args: Args) -> Outcome {
    let (images, damaged) = global.store()?.list_all()?;
    let mut images: Vec<&Summary> = images.iter().collect();
    images.sort_by(|a, b| compare(a, b, &args.sort));
    if matches!(args.order, Order::Desc) {
        images.reverse();
    }
    let text = match args.format {
        None => output::table(&rows(&images, &args, human::now())),
        Some(format) => format.print(&images.iter().map(|image| entry(image)).collect::<Vec<_>>())?,
    };
    output::print(&text).context("writing to standard output")?;
    for why in damaged {
        global.warn(why.to_string());
    }
    Ok(0)
}

fn compare(a: &Summary, b: &Summary, keys: &[Key]) -> Ordering {
    let by = |key: &Key| match key {
        Key::Name => a.name_and_version().cmp(&b.name_and_version()),
        Key::ImportTime => a.imported.cmp(&b.imported),
        Key::LastUsed => a.last_used.cmp(&b.last_used),
        Key::Size => disk_size(a).cmp(&disk_size(b)),
    };
    keys.iter().map(by).find(|order| order.is_ne()).unwrap_or_else(|| a.id.cmp(&b.id))
}

/// What the image takes on the disk: the archive and the tree.
fn disk_size(image: &Summary) -> u64 {
    image.size + image.tree_size
}

fn rows(images: &[&Summary], args: &Args, now: i64) -> Vec<Vec<String>> {
    let legend = args.fields.iter().map(|field| field.title().to_owned()).collect();
    let mut rows = if args.no_legend { vec![] } else { vec![legend] };
    rows.extend(images.iter().map(|image| args.fields.iter().map(|field| field.cell(image, args.full, now)).collect()));
    rows
}

impl Field {
    fn title(self) -> &'static str {
        match self {
            Field::Id => "ID",
            Field::Name => "NAME",
            Field::Size => "SIZE",
            Field::ImportTime => "IMPORT TIME",
            Field::LastUsed => "LAST USED",
        }
    }

    fn cell(self, image: &Summary, full: bool, now: i64) -> String {
        let time = |time| if full { human::time(time) } else { human::ago(time, now) };
        match self {
            Field::Id if full => image.id.to_string(),
            Field::Id => image.id.short(),
            Field::Name => image.names().join(", "),
            Field::Size if full => disk_size(image).to_string(),
            Field::Size => human::size(disk_size(image)),
            Field::ImportTime => time(image.imported),
            Field::LastUsed => time(image.last_used),
        }
    }
}

fn entry(image: &Summary) -> Entry {
    Entry {
        id: image.id.to_string(),
        name: image.name_and_version(),
        import_time: image.imported,
        last_used_time: image.last_used,
        size: disk_size(image),
        names: image.names(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn args(line: &str) -> Args {
        Line::try_parse_from(["list"].into_iter().chain(line.split_whitespace())).unwrap().args
    }

    fn image(digit: u8, name: &str, imported: i64, size: u64) -> Summary {
        let mut labels = appc_spec::Labels::default();
        labels.set("version".parse().unwrap(), "1.0");
        Summary {
            id: appc_spec::ImageId::from_digest([digit; 64]),
            name: name.parse().unwrap(),
            labels,
            also: vec![],
            fetched: imported,
            source: String::new(),
            imported: imported * 1_000_000_000,
            last_used: 3_600_000_000_000,
            size,
            tree_size: 1024,
            omitted: vec![],
            oci: None,
        }
    }

    #[test]
    fn columns_are_the_ones_asked_for() {
        let images = [image(0xab, "example.com/a", 0, 1024)];
        let table = |line: &str| output::table(&rows(&images.each_ref(), &args(line), 3_660_000_000_000));
        assert_eq!(
            table(""),
            "ID                   NAME               SIZE    IMPORT TIME  LAST USED\n\
             sha512-abababababab  example.com/a:1.0  2.0KiB  1 hour ago   1 minute ago\n"
        );
        assert_eq!(table("--no-legend --fields=size,name"), "2.0KiB  example.com/a:1.0\n");
        assert_eq!(table("--no-legend --full --fields=size"), "2048\n");
    }

    #[test]
    fn sorting_takes_several_keys() {
        let images = [image(1, "b", 2, 10), image(2, "a", 2, 20), image(3, "c", 1, 10)];
        let sorted = |line: &str| {
            let mut images = images.to_vec();
            images.sort_by(|a, b| compare(a, b, &args(line).sort));
            images.iter().map(|i| i.name.to_string()).collect::<String>()
        };
        assert_eq!(sorted(""), "cba");
        assert_eq!(sorted("--sort=name"), "abc");
        assert_eq!(sorted("--sort=size,name"), "bca");
    }

    #[test]
    fn json_has_the_fields_of_the_original() {
        let images = [image(0, "a", 1, 1)];
        let text = Format::Json.print(&images.each_ref().map(entry)).unwrap();
        let rest = "\"name\":\"a:1.0\",\"import_time\":1000000000,\"last_used_time\":3600000000000,\"size\":1025,\"names\":[\"a:1.0\"]}]\n";
        assert_eq!(text, format!("[{{\"id\":\"sha512-{}\",{rest}", "0".repeat(128)));
    }
}
