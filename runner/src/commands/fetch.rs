//! `rkt fetch`

use std::ffi::OsString;
use std::path::Path;

use appc_image::store::Store;

use crate::cli::Global;
use crate::failure::{Context, Failure, Outcome};
use crate::images::{self, Reference};
use crate::output;

/// How many hexadecimal digits of an image ID are printed without `--full`.
const SHORT_ID: usize = 32;

/// Which images to fetch.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Image archives
    #[arg(required = true, value_name = "FILE")]
    images: Vec<OsString>,
    /// Prints whole image IDs
    #[arg(long)]
    full: bool,
}

/// Imports each file into the store and prints its image ID.
pub fn run(global: &Global, args: Args) -> Outcome {
    let store = Store::open(&global.dir)?;
    for word in &args.images {
        let image = images::import(global, &store, local(word)?)?;
        let id = image.id.to_string();
        let length = if args.full { id.len() } else { id.len().min("sha512-".len() + SHORT_ID) };
        output::print(&format!("{}\n", &id[..length])).context("writing to standard output")?;
    }
    Ok(0)
}

/// The file that `word` names.
fn local(word: &OsString) -> Result<&Path, Failure> {
    match images::classify(word, Path::is_file) {
        Reference::File(path) => Ok(path),
        Reference::Stored(_) | Reference::Remote(_) => Err(Failure::new(format!(
            "{}: only local files can be fetched by this version, and there is no file of that name",
            word.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_told_from_files() {
        for file in ["/no/such/image", "./x", "x.aci", "../x.aci", "file:///no/such.aci"] {
            assert!(local(&file.into()).is_ok(), "{file}");
        }
        for other in ["example.com/app:1.0", "https://example.com/app.aci", "docker://busybox", "sha512-abcd"] {
            let error = local(&other.into()).unwrap_err().line();
            assert!(error.starts_with(other) && error.contains("only local files"), "{error}");
        }
    }
}
