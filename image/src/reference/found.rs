//! What there is of a word on this host.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Reference;
use crate::archive::looks_like_aci;
use crate::error::Result;
use crate::layout::{ArchiveKind, archive_kind, is_layout};
use crate::oci::DOCUMENT_MAX;
use crate::open_regular;

/// What there is of a name on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Something that can be read as a file: a device and a pipe too.
    File,
    /// A directory with an OCI layout.
    Layout,
    /// A directory with the `config.json` of a bundle.
    Bundle,
    /// Another directory.
    Directory,
}

impl Found {
    /// Looks for `path`.
    pub fn at(path: &Path) -> Option<Found> {
        let found = std::fs::metadata(path).ok()?;
        Some(match () {
            () if !found.is_dir() => Found::File,
            () if is_layout(path) => Found::Layout,
            () if is_bundle(path) => Found::Bundle,
            () => Found::Directory,
        })
    }
}

/// Whether a directory has the configuration of a container, and not any `config.json`.
fn is_bundle(dir: &Path) -> bool {
    #[derive(Deserialize)]
    struct Config {
        #[serde(rename = "ociVersion")]
        _version: String,
    }
    let Ok(file) = File::open(dir.join("config.json")) else { return false };
    serde_json::from_reader::<_, Config>(std::io::BufReader::new(file.take(DOCUMENT_MAX))).is_ok()
}

impl Reference {
    /// The image that `word` names on this host: what [`Reference::from_word`] says, but a file as what it is.
    ///
    /// # Errors
    /// [`Error::Reference`](crate::Error::Reference), and those of [`Reference::of_file`].
    pub fn of_image(word: impl AsRef<OsStr>) -> Result<Reference> {
        match Reference::from_word(word)? {
            Reference::File(file) => Reference::of_file(file),
            other => Ok(other),
        }
    }

    /// A file as what it is: an archive of OCI or for docker has the name of its kind before it elsewhere.
    ///
    /// # Errors
    /// When it cannot be read. What is not there, or no archive, is for whoever reads it to tell of.
    pub fn of_file(file: PathBuf) -> Result<Reference> {
        if open_regular(&file).map_or(true, |archive| looks_like_aci(archive).unwrap_or(true)) {
            return Ok(Reference::File(file));
        }
        Ok(match archive_kind(&file)? {
            ArchiveKind::Oci => Reference::OciArchive { file, name: None },
            ArchiveKind::Docker => Reference::DockerArchive { file, name: None },
            ArchiveKind::Other => Reference::File(file),
        })
    }
}
