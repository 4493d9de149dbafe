//! The only place that prints: results to standard output, everything about them to standard error.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::PathBuf;

use appc_image::archive::Omission;

use crate::error::{Error, Result};

/// Prints a result.
///
/// # Errors
/// When it cannot be written, so that a full disk behind `>` does not pass for success.
pub(crate) fn result(text: impl Display) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(|e| match e.kind() {
        io::ErrorKind::BrokenPipe => Error::Closed,
        _ => Error::io("write to", "standard output")(e),
    })
}

/// Lines of the same columns. Numbers are not told from words: all begin where their heading does.
pub(crate) struct Table<const N: usize>(Vec<[String; N]>);

impl<const N: usize> Table<N> {
    /// With nothing in it but the headings.
    pub(crate) fn new(headings: [&str; N]) -> Table<N> {
        Table(vec![headings.map(str::to_owned)])
    }

    pub(crate) fn row(&mut self, cells: [String; N]) {
        self.0.push(cells);
    }

    /// Prints it as a result.
    pub(crate) fn print(self) -> Result<()> {
        let width = |column: usize| self.0.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..N).map(width).collect();
        let lines = self.0.iter().map(|row| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        });
        result(lines.collect::<Vec<_>>().join("\n"))
    }
}

/// Says something that does not stop the command.
pub(crate) fn warning(text: impl Display) {
    note(format_args!("warning: {text}"));
}

/// Says one line about what happens, as it is.
pub(crate) fn note(text: impl Display) {
    // Nothing can be said about a standard error that cannot be written to.
    let _unsaid = writeln!(io::stderr().lock(), "{text}");
}

/// Says which sockets an image is made without.
pub(crate) fn sockets(paths: &[PathBuf]) {
    for path in paths {
        warning(format_args!("skipped the socket {}: an image cannot hold one", path.display()));
    }
}

/// So many files are named that something was left out of; of more there is only the number.
const NAMED: usize = 100;

/// Says what is made without what.
pub(crate) fn omissions(omissions: &[Omission]) {
    let (named, more) = omissions.split_at(omissions.len().min(NAMED));
    for omission in named {
        warning(format_args!("left out of {}: {}", omission.path.display(), omission.what));
    }
    if !more.is_empty() {
        warning(format_args!("and {} more of the kind", more.len()));
    }
}
