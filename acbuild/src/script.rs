//! Scripts: a file of commands, one on each line, that are run one after the other.
//!
//! ```text
//! bytes ── lines ──► joined lines, numbered ── words ──► words, with values for $NAME ── plan ──► steps ── run
//! ```
//!
//! A script is read completely, with those it calls, before its first command runs: what can be told from its text alone
//! to be wrong changes nothing. The commands then run as processes of their own, so that whatever one of them does to
//! itself, or is done to it, ends with it.

mod lines;
mod plan;
mod run;
mod words;

use std::fmt;
use std::path::PathBuf;

pub(crate) use plan::{Call, Step, plan};
pub(crate) use run::{handed_on, run, wait};
pub(crate) use words::is_name;

/// A line of a script, the first when several were joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    file: PathBuf,
    line: usize,
    /// The line that called the script it is in.
    caller: Option<Box<Place>>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)?;
        self.caller.as_ref().map_or(Ok(()), |caller| write!(f, ", called at {caller}"))
    }
}
