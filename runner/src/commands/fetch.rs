//! `rkt fetch`

use std::ffi::OsString;
use std::path::PathBuf;

use appc_image::fetch::PullPolicy;
use appc_image::reference::Reference;

use crate::cli::Global;
use crate::failure::{Context, Failure, Outcome};
use crate::images::{self, Screen};
use crate::output;

/// How many hexadecimal digits of an image ID are printed without `--full`.
const SHORT_ID: usize = 32;

/// Which images to fetch.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  rkt fetch ./hello.aci
  rkt fetch docker://registry.example.com/debian:12")]
pub struct Args {
    /// Names: NAME[:VERSION][,LABEL=VALUE...], files, https://..., docker://..., oci:DIR[:REF], oci-archive:FILE[:REF], docker-archive:FILE[:TAG], bundle:DIR
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<OsString>,
    /// Prints whole image IDs
    #[arg(long)]
    full: bool,
    /// The image's detached signature
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
    /// When images are fetched: never, new (unless they are in the store), update (unless they have not changed)
    #[arg(long, value_name = "POLICY", default_value = "update")]
    pull_policy: PullPolicy,
}

/// Puts each image and what it depends on into the store and prints its image ID.
pub fn run(global: &Global, args: Args) -> Outcome {
    if args.signature.is_some() && args.images.len() > 1 {
        return Err(Failure::new("--signature is for one image: fetch the others apart"));
    }
    let store = global.new_store()?;
    let screen = Screen::new(global);
    let fetcher = images::fetcher(global, &store, &screen, args.pull_policy)?;
    let mut fetched = Vec::new();
    for word in &args.images {
        let reference = Reference::of_image(word)?;
        let image = fetcher.fetch_alone(&reference, args.signature.as_deref());
        let image = image.context(images::shown(&reference, word))?;
        let id = image.id.to_string();
        let length = if args.full { id.len() } else { id.len().min("sha512-".len() + SHORT_ID) };
        output::print(&format!("{}\n", &id[..length])).context("writing to standard output")?;
        fetched.push((reference, image));
    }
    // After all of them: one may be what another depends on.
    for (reference, image) in &fetched {
        match (fetcher.fetch_dependencies(reference, image), reference) {
            // What was asked for is there; the rest may come from another file.
            (Err(error), Reference::File(path)) => global.warn(format!("{}: {error}", path.display())),
            (done, _) => done?,
        }
    }
    Ok(0)
}
