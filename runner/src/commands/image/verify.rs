//! `rkt image verify`

use std::ffi::OsString;

use appc_image::store::{Fault, Repair, Store, Summary, Verified};
use serde::Serialize;

use crate::cli::Global;
use crate::commands::Format;
use crate::failure::{Context, Failure, OWN_ERROR, Outcome};
use crate::progress::Bar;
use crate::{images, output};

/// The exit status when an image is not what was fetched.
const DIFFERS: u8 = 1;

/// Which images to look at.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  rkt image verify
  rkt image verify --format=json example.com/app:1.0")]
pub(super) struct Args {
    /// Images by their IDs (or the beginnings of these) or names, or by where they came from; all of them when there is none
    #[arg(value_name = "IMAGE")]
    images: Vec<OsString>,
    /// Prints JSON instead of text
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
}

/// What was found of an image.
#[derive(Serialize)]
struct Verdict {
    id: String,
    name: String,
    verified: bool,
    faults: Vec<Fault>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repair: Option<Repair>,
    /// What its trees are made of.
    #[serde(skip)]
    from: &'static str,
}

/// Compares stored images with what was fetched, and makes trees that are damaged again. Ends with 1 when something differs.
pub(super) fn run(global: &Global, args: Args) -> Outcome {
    let store = global.store()?;
    let (images, damaged) = chosen(&store, &args.images)?;
    let mut unreadable = !damaged.is_empty();
    damaged.iter().for_each(|why| global.warn(why));
    let mut verdicts = Vec::new();
    for image in images {
        match store.verify(&image.id, &Bar::default()) {
            Ok(Verified { faults, repair }) => {
                let (id, name) = (image.id.to_string(), image.name_and_version());
                let from = if image.oci.is_some() { "layers" } else { "archive" };
                verdicts.push(Verdict { id, name, verified: faults.is_empty(), faults, repair, from });
            }
            Err(e) => {
                global.warn(Failure::from(e).within(image.describe()).line());
                unreadable = true;
            }
        }
    }
    let text = match args.format {
        Some(format) => format.print(&verdicts)?,
        None => verdicts.iter().map(report).collect(),
    };
    output::print(&text).context("writing to standard output")?;
    Ok(match verdicts.iter().all(|verdict| verdict.verified) {
        _ if unreadable => OWN_ERROR,
        true => 0,
        false => DIFFERS,
    })
}

/// The images that the words mean, and why there are some that cannot be looked at: one that is not there hides no fault of
/// the others.
fn chosen(store: &Store, words: &[OsString]) -> Result<(Vec<Summary>, Vec<String>), Failure> {
    if words.is_empty() {
        let (mut images, damaged) = store.list_all()?;
        images.sort_unstable_by(Summary::by_name);
        return Ok((images, damaged.iter().map(ToString::to_string).collect()));
    }
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for word in words {
        match images::chosen(store, std::slice::from_ref(word)) {
            Ok(images) => found.extend(images),
            Err(why) => missing.push(why.line()),
        }
    }
    Ok((found, missing))
}

fn report(verdict: &Verdict) -> String {
    let (name, id) = (&verdict.name, &verdict.id[..19]);
    if verdict.verified {
        return format!("successfully verified image: {name:?} ({id})\n");
    }
    let mut text = format!("image {name:?} ({id}) is not what was fetched:\n");
    for fault in &verdict.faults {
        let path = fault.path.as_ref().map(|path| format!("{path:?}: ")).unwrap_or_default();
        text.push_str(&format!("  {}: {path}{}\n", fault.part, fault.what));
    }
    match verdict.repair {
        Some(Repair::Rebuilt) => {
            text.push_str(&format!("tree of {name:?} is damaged: rebuilt from its {}\n", verdict.from))
        }
        Some(Repair::InUse) => {
            let hint = "it is in use: stop what runs it, and verify it again to have it rebuilt";
            text.push_str(&format!("tree of {name:?} is damaged: {hint}\n"));
        }
        None => {}
    }
    if !verdict.faults.iter().all(Fault::is_of_tree) {
        text.push_str(&format!("what was fetched of {name:?} is damaged: `rkt image rm {id}` and fetch it again\n"));
    }
    text
}
