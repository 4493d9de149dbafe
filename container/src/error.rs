//! What can go wrong between a configuration and a process.

use std::fmt::Display;
use std::io;

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the engine. Its text is the whole story: a cause is part of it, so print it once.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration asks for what cannot be given; nothing was done yet.
    #[error("{field}: {rule}")]
    Refused {
        /// Where in `config.json`, such as `linux.namespaces[2].path`.
        field: String,
        /// What is asked of that field, and what to do about it.
        rule: String,
    },
    /// The kernel refused an operation.
    #[error("{what}: {}", errno_text(.cause))]
    System {
        /// The operation and its object, such as `open /run/x`.
        what: String,
        /// What the kernel said.
        cause: io::Error,
    },
    /// The container's first process could not be set up; the text came from it.
    #[error("unable to start container process: error during container init: {0}")]
    Init(String),
    /// The program of the container could not be executed.
    #[error("unable to start container process: {0}")]
    Exec(String),
    /// The container was killed by its memory limit before its program ran.
    #[error("unable to start container process: container init was OOM-killed (memory limit too low?)")]
    OutOfMemory,
    /// The cgroup could not be planned, made or removed.
    #[error(transparent)]
    Cgroup(#[from] crate::cgroup::Error),
    /// A hook failed.
    #[error("error running {name} hook #{index}: {why}")]
    Hook {
        /// The hook's stage as the configuration spells it.
        name: &'static str,
        /// Its place in the list, from zero.
        index: usize,
        /// What happened.
        why: String,
    },
    /// A signal came while the container was being made.
    #[error("stopped by {0} before the container was made")]
    Interrupted(&'static str),
    /// A container's recorded state does not allow the operation.
    #[error("{0}")]
    State(String),
    /// There is no container of that name.
    #[error("container does not exist")]
    NoContainer,
    /// The container's first process has ended.
    #[error("container not running")]
    NotRunning,
    /// A sentence that stands for itself.
    #[error("{0}")]
    Other(String),
}

impl Error {
    pub(crate) fn refused(field: impl Display, rule: impl Display) -> Error {
        Error::Refused { field: field.to_string(), rule: rule.to_string() }
    }

    pub(crate) fn stopped() -> Error {
        Error::State("cannot exec in a stopped container".to_owned())
    }
}

/// Adds the operation to an error of the kernel.
pub(crate) trait Context<T> {
    /// Names the operation that failed; called only then.
    fn context<W: Display>(self, what: impl FnOnce() -> W) -> Result<T>;
}

impl<T, E: Into<io::Error>> Context<T> for std::result::Result<T, E> {
    fn context<W: Display>(self, what: impl FnOnce() -> W) -> Result<T> {
        self.map_err(|e| Error::System { what: what().to_string(), cause: e.into() })
    }
}

impl Error {
    /// What its user can do about it, where that does not depend on what was to be done.
    pub fn advice(&self) -> Option<&'static str> {
        let Error::System { cause, .. } = self else { return None };
        match cause.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some("make room, or use another place"),
            io::ErrorKind::ReadOnlyFilesystem => Some("make it writable, or use another place"),
            io::ErrorKind::PermissionDenied => Some("run this as a user who may, such as root"),
            _ => None,
        }
    }
}

/// The kernel's sentence in lower case and without the number: callers of runtimes match on "no such file or directory".
pub(crate) fn errno_text(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_lowercase(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_sentence_is_lower_case() {
        let error = io::Error::from_raw_os_error(libc::ENOENT);
        assert_eq!(errno_text(&error), "no such file or directory");
        assert_eq!(errno_text(&io::Error::other("Kept As Is")), "Kept As Is");
    }
}
