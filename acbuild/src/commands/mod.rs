//! One file per command: its arguments, its help, and what it does.

pub(crate) mod annotation;
pub(crate) mod begin;
pub(crate) mod build;
pub(crate) mod cache;
pub(crate) mod cat_manifest;
pub(crate) mod convert;
pub(crate) mod copy;
pub(crate) mod copy_to_dir;
pub(crate) mod dependency;
pub(crate) mod diff;
pub(crate) mod discover;
pub(crate) mod end;
pub(crate) mod environment;
pub(crate) mod file;
pub(crate) mod history;
pub(crate) mod isolator;
pub(crate) mod label;
pub(crate) mod layer;
pub(crate) mod mount;
pub(crate) mod patch_manifest;
pub(crate) mod port;
pub(crate) mod replace_manifest;
pub(crate) mod run;
pub(crate) mod script;
pub(crate) mod set_event_handler;
pub(crate) mod set_exec;
pub(crate) mod set_group;
pub(crate) mod set_name;
pub(crate) mod set_stop_signal;
pub(crate) mod set_supp_groups;
pub(crate) mod set_tag;
pub(crate) mod set_user;
pub(crate) mod set_working_directory;
pub(crate) mod sign;
pub(crate) mod squash;
pub(crate) mod status;
pub(crate) mod validate;
pub(crate) mod verify;
pub(crate) mod verify_reproducible;
pub(crate) mod version;
pub(crate) mod write;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use appc_image::fetch::Insecure;

use crate::error::{Error, Result};
use crate::output;

/// A format for programs.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// One line of JSON
    Json,
}

impl Format {
    /// Prints `value`.
    fn print(self, value: &serde_json::Value) -> Result<()> {
        match self {
            Format::Json => output::result(value),
        }
    }
}

/// What need not be proven by who is asked over the network.
#[derive(Debug, clap::Args)]
struct Unchecked {
    /// What is not checked of an image that is fetched: a list of none, image, tls, http, pubkey, all-fetch
    #[arg(long, value_name = "LIST", default_value = "none")]
    insecure_options: Insecure,
    /// The same as --insecure-options=tls,http: any certificate, and servers without TLS
    #[arg(long)]
    insecure: bool,
}

impl Unchecked {
    fn insecure(&self) -> Insecure {
        self.insecure_options.and(Insecure { tls: self.insecure, http: self.insecure, ..Insecure::default() })
    }
}

/// More than any manifest or isolator has; what is longer was not meant to be one.
const LONGEST_JSON: u64 = 16 << 20;

/// Reads the JSON file that a command was given; `-` is standard input.
fn read_json(path: &Path) -> Result<Vec<u8>> {
    if path == Path::new("-") {
        return read_all(io::stdin().lock(), path);
    }
    let file = File::open(path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => Error::Refused(format!("no such file or directory: {}", path.display())),
        _ => Error::io("open", path)(e),
    })?;
    if file.metadata().map_err(Error::io("read", path))?.is_dir() {
        return Err(Error::Refused(format!("{} is a directory, not a file of JSON", path.display())));
    }
    read_all(file, path)
}

fn read_all(source: impl Read, path: &Path) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    source.take(LONGEST_JSON + 1).read_to_end(&mut text).map_err(Error::io("read", path))?;
    if text.len() as u64 > LONGEST_JSON {
        return Err(Error::Refused(format!("{} is longer than {LONGEST_JSON} bytes", path.display())));
    }
    Ok(text)
}

/// What comes of a removal: an error of its own kind when there was nothing to remove.
pub(crate) fn removed(done: bool, what: &str, name: &str) -> Result<()> {
    if done { Ok(()) } else { Err(Error::NotFound(format!("{what} {name:?}"))) }
}
