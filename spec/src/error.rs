//! The one error of this crate: where in the document, and which rule.

/// Something was refused: where it stands and which rule it breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}{}{rule}", if path.is_empty() { "" } else { ": " })]
pub struct Error {
    /// JSON path such as `app.ports[0].port`; empty for a plain value or a whole document.
    pub path: String,
    /// The rule, as a sentence a user can act on.
    pub rule: String,
}

impl Error {
    pub(crate) fn new(rule: impl Into<String>) -> Error {
        Error { path: String::new(), rule: rule.into() }
    }

    /// The same error, seen from the object that has it in its field `name`.
    pub(crate) fn in_field(mut self, name: &str) -> Error {
        let dot = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("{name}{dot}{}", self.path);
        self
    }

    /// The same error, seen from the list that has it at `index`.
    pub(crate) fn at(self, index: usize) -> Error {
        self.in_field(&format!("[{index}]"))
    }
}

/// Gives an error its place in the document on the way up.
pub(crate) trait Place<T> {
    fn in_field(self, name: &str) -> Result<T, Error>;
    fn at(self, index: usize) -> Result<T, Error>;
}

impl<T> Place<T> for Result<T, Error> {
    fn in_field(self, name: &str) -> Result<T, Error> {
        self.map_err(|e| e.in_field(name))
    }

    fn at(self, index: usize) -> Result<T, Error> {
        self.map_err(|e| e.at(index))
    }
}
