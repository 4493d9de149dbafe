//! What a command can fail with, and the exit code of each kind.

use std::io;
use std::path::{Path, PathBuf};

use crate::document::Mode;
use crate::script::Place;

/// Why a command failed. Printed once, by `main`, behind the name of the command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// There is no `.acbuild` with a build in it.
    #[error("no build in progress in this working dir - try \"acbuild begin\"")]
    NoBuild,
    /// `begin` where a build exists.
    #[error("build already in progress in this working dir - try \"acbuild end\" to drop it, or another --work-path")]
    BuildInProgress,
    /// `remove` of what is not there.
    #[error("element to be removed does not exist in this ACI: {0} - try \"acbuild cat-manifest\" to see what does")]
    NotFound(String),
    /// `file remove` of what is not there.
    #[error(
        "element to be removed does not exist in this ACI: file {0:?} - try \"acbuild run -- ls\" to see what does"
    )]
    NoFile(PathBuf),
    /// `remove` of what is not there, in an oci build: the original has no exit code of its own for it there.
    #[error("{0} - try \"acbuild cat-manifest --file config\" to see what there is")]
    NoSuch(String),
    /// Only images of another kind have this.
    #[error("only supported in {supported} builds, and this is an {build} build")]
    OtherMode {
        /// The builds that know this.
        supported: Mode,
        /// What is being built.
        build: Mode,
    },
    /// The manifest of the build cannot be read.
    #[error("error loading manifest: {0} - try \"acbuild replace-manifest\" with a good one")]
    BadManifest(appc_spec::Error),
    /// The change would make the manifest break a rule of the specification.
    #[error(transparent)]
    Manifest(#[from] appc_spec::Error),
    /// The image cannot be read, written or stored.
    #[error("{}", with_advice(.0))]
    Image(#[from] appc_image::Error),
    /// The image in a file cannot be read or changed.
    #[error("{}: {}", path.display(), with_advice(.error))]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, or with what was done.
        error: appc_image::Error,
    },
    /// Files of the host cannot be copied into the image.
    #[error("cannot copy {path:?}: {}", with_advice(.error))]
    Copy {
        /// What was to be copied.
        path: PathBuf,
        /// Where below it, and why.
        error: appc_image::Error,
    },
    /// The system refused to do something to a file.
    #[error("cannot {what} {path:?}: {}", explain(.source))]
    Io {
        /// What was being done, as a verb.
        what: &'static str,
        /// What it was being done to.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line of a script is wrong, or the command on it failed.
    #[error("{at}: {text}")]
    Line {
        /// The line.
        at: Place,
        /// What about it.
        text: String,
        /// What the script exits with for it.
        code: u8,
    },
    /// A command could not be run in the image.
    #[error(transparent)]
    Container(#[from] appc_container::Error),
    /// There is no such user in the image.
    #[error(transparent)]
    User(#[from] appc_image::users::Error),
    /// A command that was run failed; this program ends as it did.
    #[error("exit status {0}")]
    Exited(u8),
    /// Anything else; the text says what to do.
    #[error("{0}")]
    Refused(String),
    /// Standard output is gone: nobody is left to tell.
    #[error("standard output is closed")]
    Closed,
}

pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A refusal in words.
    pub(crate) fn refused(text: impl Into<String>) -> Error {
        Error::Refused(text.into())
    }

    /// For `map_err`: adds what was being done, and to which file.
    pub(crate) fn io(what: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Io { what, path: path.as_ref().to_owned(), source }
    }

    /// About a line of a script.
    pub(crate) fn line(at: &Place, text: String, code: u8) -> Error {
        Error::Line { at: at.clone(), text, code }
    }

    /// What the process exits with.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Error::NotFound(_) | Error::NoFile(_) => 2,
            Error::Line { code, .. } => *code,
            Error::Exited(status) => *status,
            _ => 1,
        }
    }
}

/// An error of the library, with a way out where there is one.
fn with_advice(error: &appc_image::Error) -> String {
    match error.advice() {
        Some(advice) => format!("{error} - {advice}"),
        None => error.to_string(),
    }
}

/// The system's words, with a way out where there is one.
fn explain(error: &io::Error) -> String {
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => "permission denied: please run this as a user with appropriate privileges",
        io::ErrorKind::StorageFull => "no space left on the file system: make room there, or use another --work-path",
        io::ErrorKind::ReadOnlyFilesystem => "the file system is read-only: use another path",
        io::ErrorKind::ResourceBusy => "it is in use: what is mounted there must be unmounted first",
        io::ErrorKind::NotFound => "no such file or directory",
        io::ErrorKind::NotADirectory => "something on the way is not a directory",
        io::ErrorKind::QuotaExceeded => "disk quota exceeded: make room, or use another --work-path",
        _ => return error.to_string(),
    };
    hint.to_owned()
}
