//! One file per command: `Args` (its command line, by `clap`) and `run(&Global, Args) -> Outcome`, which calls one
//! function and prints through [`crate::output`]. Errors are returned; [`crate::cli`] prints them.

pub mod fetch;
pub mod gc;
pub mod image;
pub mod list;
pub mod rm;
pub mod run;
pub mod status;
pub mod trust;
pub mod version;

use std::path::Path;

use crate::failure::{Context, Failure};

/// A format for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One line of JSON
    Json,
    /// Indented JSON
    JsonPretty,
}

impl Format {
    /// `value` in this format, with a newline.
    pub fn print(self, value: &impl serde::Serialize) -> Result<String, Failure> {
        let text = match self {
            Format::Json => serde_json::to_string(value),
            Format::JsonPretty => {
                let mut text = Vec::new();
                let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
                value
                    .serialize(&mut serde_json::Serializer::with_formatter(&mut text, formatter))
                    .map(|()| String::from_utf8_lossy(&text).into_owned())
            }
        };
        Ok(text.context("writing JSON")? + "\n")
    }
}

/// The UUID from the command line, or from a file.
fn one_uuid(uuid: Option<String>, file: Option<&Path>) -> Result<String, Failure> {
    match (uuid, file) {
        (Some(uuid), _) => Ok(uuid),
        (None, Some(file)) => {
            let text = std::fs::read_to_string(file).context(format!("reading {}", file.display()))?;
            Ok(text.trim().to_string())
        }
        (None, None) => Err(Failure::new("a UUID is required: `rkt list` shows the pods there are")),
    }
}
