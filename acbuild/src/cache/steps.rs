//! What the steps of a build with a cache came to, one line of JSON each in `.acbuild/history`.

use serde::{Deserialize, Serialize};

use crate::session::Session;

/// A step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) command: String,
    /// Whether its result was known; nothing for a step that needs none.
    pub(crate) cached: Option<bool>,
    /// How long it took.
    pub(crate) milliseconds: Option<u64>,
    /// Bytes of its result in the cache.
    pub(crate) size: Option<u64>,
}

impl Row {
    /// The present step, which began with this run of the program.
    pub(crate) fn of(session: &Session, cached: Option<bool>, size: Option<u64>) -> Row {
        let milliseconds = u64::try_from(session.elapsed().as_millis()).ok();
        Row { command: session.line().to_owned(), cached, milliseconds, size }
    }

    /// A step of which only the image tells.
    pub(crate) fn told(command: &str) -> Row {
        Row { command: command.to_owned(), cached: None, milliseconds: None, size: None }
    }

    /// One line.
    pub(crate) fn to_line(&self) -> String {
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }

    /// Reads lines; half a line at the end, of a command that was killed, is none.
    pub(crate) fn of_lines(text: &str) -> Vec<Row> {
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}
