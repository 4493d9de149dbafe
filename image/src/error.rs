//! What can go wrong with images, each with its place and its rule.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use appc_spec::ImageId;

use crate::archive::Compression;

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// When something may succeed that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// After so long.
    After(Duration),
    /// Only if it takes less time then, which is seldom.
    Faster,
}

impl Again {
    /// After a moment.
    pub const SOON: Again = Again::After(Duration::ZERO);
}

/// Why something could not be done with an image.
///
/// `Display` is the whole sentence, its cause included, on one line: print it as it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An archive breaks a rule.
    #[error("{}at byte {offset}: {rule}", if entry.is_empty() { String::new() } else { format!("archive entry \"{entry}\" ") })]
    Archive {
        /// The entry's name, made printable; empty when no entry has been read yet.
        entry: String,
        /// Where the entry's header begins in the uncompressed archive.
        offset: u64,
        /// The rule that is broken.
        rule: String,
    },

    /// A compressed stream cannot be read.
    #[error("{}bad {compression} data at byte {offset}: {rule}", if entry.is_empty() { String::new() } else { format!("archive entry \"{entry}\": ") })]
    Compressed {
        /// The name of the entry that was being read, made printable; empty when it is not known.
        entry: String,
        /// The format that the stream begins as.
        compression: Compression,
        /// Where in the compressed stream it was noticed.
        offset: u64,
        /// What is wrong.
        rule: String,
    },

    /// A file is no image archive at all.
    #[error("not an image archive: {0}")]
    NotAnArchive(String),

    /// An image is larger than it may be.
    #[error("the image is too large: {0}")]
    TooLarge(String),

    /// A file of the tree being archived or copied changed meanwhile, or cannot be archived.
    #[error("{}: {rule}", path.display())]
    Tree {
        /// The path below the root.
        path: PathBuf,
        /// What is wrong with it.
        rule: String,
    },

    /// The user or group of an app is not known.
    #[error("{0}")]
    User(crate::users::Error),

    /// An option has a value that cannot be.
    #[error("{0}")]
    Option(String),

    /// An image's manifest breaks a rule.
    #[error("bad image manifest: {0}")]
    Manifest(appc_spec::Error),

    /// No image in the store is meant by this ID or name.
    #[error("no image {0} in the store: fetch it with `rkt fetch {place}`", place = place(.0))]
    NotStored(String),

    /// Several images in the store have an ID that begins so.
    #[error("image ID {prefix} is ambiguous, give more of it: {}", candidates.join(", "))]
    Ambiguous {
        /// What was asked for.
        prefix: String,
        /// Short IDs and names of the images.
        candidates: Vec<String>,
    },

    /// An image cannot be removed while it is pinned.
    #[error("image {} is in use by a pod: stop the pod first", .0.short())]
    InUse(ImageId),

    /// A stored image is not what was imported.
    #[error("the stored image {} is damaged, {why}: fetch it again", id.short())]
    Damaged {
        /// The image.
        id: ImageId,
        /// What is wrong with it.
        why: String,
    },

    /// The store was made by another version.
    #[error("the store in {} has format {format}, which this version does not know: use the version that made it", dir.display())]
    StoreFormat {
        /// The data directory.
        dir: PathBuf,
        /// What its `format` says.
        format: String,
    },

    /// What would be made exists.
    #[error("{} exists", .0.display())]
    Exists(PathBuf),

    /// A dependency cannot be had.
    #[error("dependency {dependency} of {image} {rule}")]
    Dependency {
        /// What the manifest asks for.
        dependency: String,
        /// The image whose manifest asks for it.
        image: String,
        /// What is wrong.
        rule: String,
    },

    /// A word names no image.
    #[error("{word}: {rule}")]
    Reference {
        /// The word, made printable.
        word: String,
        /// The rule that it breaks.
        rule: String,
    },

    /// No page and no server knows an image of that name.
    #[error("image {name} was not found: {}: `rkt fetch FILE` takes one from a file", faults.join("; "))]
    NotFound {
        /// What was asked for.
        name: String,
        /// What each address that was asked said.
        faults: Vec<String>,
    },

    /// An image of that name was found, and nobody has one that may be taken.
    #[error("image {name} was found, and not taken: {}", faults.join("; "))]
    NotTaken {
        /// What was asked for.
        name: String,
        /// What is wrong with each address.
        faults: Vec<String>,
    },

    /// Something that another host has, or says, is not taken.
    #[error("{url}: {why}")]
    Unacceptable {
        /// The address, without anything secret.
        url: String,
        /// Why it is not.
        why: String,
    },

    /// Something could not be had from, or given to, another host.
    #[error("{url}: {why}")]
    Fetch {
        /// The address, without anything secret.
        url: String,
        /// What the host, or the way to it, is at fault of.
        why: String,
        /// When the same may succeed; none when it will not.
        again: Option<Again>,
    },

    /// A part of an OCI image, or a place where one lies, breaks a rule.
    #[error("{what}: {rule}")]
    Oci {
        /// What is wrong, such as `manifest sha256:… of oci:DIR`.
        what: String,
        /// The rule that is broken.
        rule: String,
    },

    /// A configuration file breaks a rule.
    #[error("{}: {rule}", path.display())]
    Configuration {
        /// The file.
        path: PathBuf,
        /// The rule that it breaks.
        rule: String,
    },

    /// A key, or what is to say who may sign images, breaks a rule.
    #[error("{what} {rule}")]
    Key {
        /// What it is about, such as `trusted key /etc/rkt/…`.
        what: String,
        /// What is wrong with it.
        rule: String,
    },

    /// An image is not signed by somebody who may sign it.
    #[error("{refused}: {}", refused.hint())]
    Refused {
        /// What is wrong with the signature.
        refused: crate::trust::Refused,
    },

    /// A system call failed.
    #[error("{what}: {}", errno_text(cause))]
    Io {
        /// What was being done to what, such as `write rootfs/etc/passwd`.
        what: String,
        /// What the kernel said. Part of the `Display` text already, hence not a `source`.
        cause: io::Error,
    },
}

impl From<crate::users::Error> for Error {
    fn from(refused: crate::users::Error) -> Error {
        Error::User(refused)
    }
}

impl From<crate::trust::Refused> for Error {
    fn from(refused: crate::trust::Refused) -> Error {
        Error::Refused { refused }
    }
}

impl Error {
    /// Makes a system call's error say what was being done: `.map_err(Error::io("open x"))`.
    ///
    /// An [`Error`] that came through a reader as an [`io::Error`] comes out as it was.
    pub fn io<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> Error {
        move |cause| match cause.into().downcast::<Carried>() {
            Ok(Carried(error)) => error,
            Err(cause) => Error::Io { what: what.into(), cause },
        }
    }

    /// What the user can do about it, where the text does not say so already.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Error::Archive { .. } | Error::Compressed { .. } | Error::NotAnArchive(_) | Error::Manifest(_) => {
                Some("get or build the image anew")
            }
            Error::Io { cause, .. } => advice_on_io(cause.kind()),
            _ => None,
        }
    }

    /// The same, saying which entry of an archive was being read where compressed data turned out to be bad.
    pub(crate) fn in_entry(mut self, name: &[u8]) -> Error {
        if let Error::Compressed { entry, .. } = &mut self {
            *entry = printable(name);
        }
        self
    }

    /// The kind of the system call error underneath, when there is one.
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            Error::Io { cause, .. } => Some(cause.kind()),
            _ => None,
        }
    }
}

/// What the user can do about something that the system refused to do to a file.
pub fn advice_on_io(kind: io::ErrorKind) -> Option<&'static str> {
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some("make room, or use another file system"),
        io::ErrorKind::ReadOnlyFilesystem => Some("make it writable, or use another place"),
        io::ErrorKind::FileTooLarge => Some("use a file system that has such files, if it is meant to be so large"),
        io::ErrorKind::PermissionDenied => Some("run this as a user who may, such as root, or use another place"),
        _ => None,
    }
}

/// One of our errors on its way through something that knows only `io::Error`, such as a decompressor.
#[derive(Debug)]
pub(crate) struct Carried(pub(crate) Error);

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Carried {}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        io::Error::other(Carried(error))
    }
}

/// What to fetch an image by: where it is, when a word says that.
fn place(word: &str) -> &str {
    let by_place = ["docker:", "oci:", "oci-archive:", "docker-archive:", "bundle:", "http://", "https://"];
    if by_place.iter().any(|scheme| word.starts_with(scheme)) { word } else { "FILE" }
}

/// "Permission denied" rather than "Permission denied (os error 13)".
pub(crate) fn errno_text(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// Bytes from an archive as text that a terminal and a log can take: no control characters, not endless.
pub(crate) fn printable(bytes: &[u8]) -> String {
    const LONGEST: usize = 200;
    let mut text = String::new();
    for c in String::from_utf8_lossy(bytes).chars() {
        if text.len() >= LONGEST {
            text.push('…');
            break;
        }
        match c {
            c if c.is_control() => text.extend(c.escape_default()),
            '"' => text.push_str("\\\""),
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_one_line_and_complete() {
        let error = Error::io("open x")(io::Error::from_raw_os_error(13));
        assert_eq!(error.to_string(), "open x: Permission denied");
        let entry = printable(b"rootfs/\x1b[31m\n\"x\xff");
        let error = Error::Archive { entry, offset: 512, rule: "is bad".into() };
        assert_eq!(error.to_string(), "archive entry \"rootfs/\\u{1b}[31m\\n\\\"x\u{fffd}\" at byte 512: is bad");
        assert!(printable(&[b'a'; 5000]).len() < 210);
    }

    #[test]
    fn advice_is_given_where_there_is_a_way_out() {
        let full = Error::io("write x")(io::Error::from_raw_os_error(28));
        assert!(full.advice().is_some_and(|text| text.contains("make room")));
        assert!(Error::NotAnArchive("it is empty".into()).advice().is_some());
        assert_eq!(Error::io("open x")(io::Error::from_raw_os_error(2)).advice(), None);
        assert_eq!(Error::NotStored("x".into()).advice(), None, "the text says it");
    }
}
