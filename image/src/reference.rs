//! The word that names an image on a command line, whatever it is and wherever that is.
//!
//! | word | [`Reference`] |
//! |---|---|
//! | `sha512-0123…`, whole or its beginning | [`Reference::Id`], in the store |
//! | `example.com/app:1.0,arch=amd64` | [`Reference::Name`], in the store or found by discovery |
//! | `/x/app.aci`, `./app`, `app.aci`, `file:///x/app.aci`, the name of a file that exists | [`Reference::File`] |
//! | `https://example.com/app.aci` | [`Reference::Url`] |
//! | `docker://[REGISTRY/]REPOSITORY[:TAG][@DIGEST]` | [`Reference::Docker`] |
//! | `oci:DIR[:NAME]`, `oci-archive:FILE[:NAME]` | [`Reference::OciLayout`], [`Reference::OciArchive`] |
//! | `docker-archive:FILE[:NAME]` | [`Reference::DockerArchive`] |
//! | `./DIR`, a directory with an OCI layout | [`Reference::OciLayout`] |
//! | `bundle:DIR`, `./DIR`, a directory with a bundle's `config.json` | [`Reference::Bundle`] |

mod docker;
mod found;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use appc_spec::{ImageIdPrefix, ImageName};

pub use docker::{DOCKER_HUB, DockerName};
pub use found::Found;

use crate::error::{Error, Result, printable};

/// Where an image is, as somebody typed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// An image archive in a file of this host.
    File(PathBuf),
    /// An image in the store, by its ID or the beginning of it.
    Id(ImageIdPrefix),
    /// An App Container image by its name: in the store, or to be discovered.
    Name(ImageName),
    /// An image archive at an `http://` or `https://` address.
    Url(String),
    /// An image in a registry.
    Docker(DockerName),
    /// An image in an OCI layout; which of several, when it says so.
    OciLayout {
        /// The directory.
        dir: PathBuf,
        /// The image's name in its index.
        name: Option<String>,
    },
    /// An image in an archive of an OCI layout.
    OciArchive {
        /// The archive.
        file: PathBuf,
        /// The image's name in its index.
        name: Option<String>,
    },
    /// An image in what `docker save` writes.
    DockerArchive {
        /// The archive.
        file: PathBuf,
        /// The image's name in it, `repository:tag`.
        name: Option<String>,
    },
    /// A directory with a root file system and its `config.json`.
    Bundle(PathBuf),
}

impl Reference {
    /// What `word` means on this host.
    ///
    /// # Errors
    /// [`Error::Reference`] with the word and the rule that it breaks.
    pub fn from_word(word: impl AsRef<OsStr>) -> Result<Reference> {
        Reference::parse(word.as_ref(), Found::at)
    }

    /// What `word` means where `found` says what there is of a path.
    ///
    /// # Errors
    /// [`Error::Reference`] with the word and the rule that it breaks.
    pub fn parse(word: &OsStr, found: impl Fn(&Path) -> Option<Found>) -> Result<Reference> {
        let wrong = |rule: String| Error::Reference { word: without_login(&printable(word.as_bytes())), rule };
        if word.is_empty() {
            return Err(wrong("an empty word names no image".into()));
        }
        let after = |prefix: &str| word.as_bytes().strip_prefix(prefix.as_bytes()).map(OsStr::from_bytes);
        let path_after = |prefix: &str| match after(prefix) {
            Some(path) if path.is_empty() => Err(wrong(format!("a path must follow {prefix}"))),
            path => Ok(path.map(PathBuf::from)),
        };
        if let Some(path) = path_after("file://")? {
            return Ok(Reference::File(path));
        }
        if let Some(path) = path_after("oci-archive:")? {
            let (file, name) = split_name(path, found);
            return Ok(Reference::OciArchive { file, name });
        }
        if let Some(path) = path_after("docker-archive:")? {
            let (file, name) = split_name(path, found);
            return Ok(Reference::DockerArchive { file, name });
        }
        if let Some(path) = path_after("oci:")? {
            let (dir, name) = split_name(path, found);
            return Ok(Reference::OciLayout { dir, name });
        }
        if let Some(path) = path_after("bundle:")? {
            return Ok(Reference::Bundle(path));
        }
        match word.to_str() {
            Some(text) => parse_text(text, found).map_err(wrong),
            None => Ok(on_this_host(Path::new(word), found)),
        }
    }
}

impl Reference {
    /// Whether this is on this host, outside the store.
    pub fn is_on_host(&self) -> bool {
        !matches!(self, Reference::Id(_) | Reference::Name(_) | Reference::Url(_) | Reference::Docker(_))
    }

    /// The same as the store remembers it: wherever it is read, it means the same place.
    ///
    /// # Errors
    /// When the current directory, which a relative path begins at, is gone.
    pub fn origin(&self) -> Result<String> {
        let absolute = |path: &Path| {
            let path = std::path::absolute(path).map_err(Error::io(format!("find {}", path.display())))?;
            // The same with and without a slash at its end.
            Ok::<PathBuf, Error>(path.components().collect())
        };
        Ok(match self {
            Reference::File(path) => format!("file://{}", absolute(path)?.display()),
            Reference::OciLayout { dir, name: of } => {
                Reference::OciLayout { dir: absolute(dir)?, name: of.clone() }.to_string()
            }
            Reference::OciArchive { file, name: of } => {
                Reference::OciArchive { file: absolute(file)?, name: of.clone() }.to_string()
            }
            Reference::DockerArchive { file, name: of } => {
                Reference::DockerArchive { file: absolute(file)?, name: of.clone() }.to_string()
            }
            Reference::Bundle(path) => Reference::Bundle(absolute(path)?).to_string(),
            other => other.to_string(),
        })
    }
}

/// A word that is neither a path with something in front of it nor bytes that are no text.
fn parse_text(text: &str, found: impl Fn(&Path) -> Option<Found>) -> Result<Reference, String> {
    let path = Path::new(text);
    if text.starts_with("sha512-") {
        return match text.parse() {
            Ok(prefix) => Ok(Reference::Id(prefix)),
            Err(_) if found(path) == Some(Found::File) => Ok(Reference::File(path.into())),
            Err(e) => Err(e.to_string()),
        };
    }
    if let Some(name) = text.strip_prefix("docker:") {
        return name.strip_prefix("//").unwrap_or(name).parse().map(Reference::Docker);
    }
    if text.starts_with("http://") || text.starts_with("https://") {
        return check_url(text).map(|()| Reference::Url(text.into()));
    }
    if let Some((scheme, _)) = text.split_once("://").filter(|(scheme, _)| !scheme.contains(['/', ',', '.'])) {
        let known = "file, http, https and docker";
        return Err(format!("images are not fetched by {scheme}: the schemes are {known}"));
    }
    // No name begins with a dot or a slash.
    if path.is_absolute() || text == "." || text == ".." || text.starts_with("./") || text.starts_with("../") {
        return Ok(on_this_host(path, found));
    }
    match found(path) {
        Some(Found::File | Found::Layout | Found::Bundle) => return Ok(on_this_host(path, found)),
        Some(Found::Directory) | None => {}
    }
    // A colon is for a version; no name ends like an archive or a directory.
    if !text.contains(':') && (text.contains("./") || text.ends_with('/') || text.ends_with(".aci")) {
        return Ok(on_this_host(path, found));
    }
    let name = text.parse().map_err(|e| format!("there is no file of that name, and as the name of an image: {e}"))?;
    Ok(Reference::Name(name))
}

/// What can be nothing but a path.
fn on_this_host(path: &Path, found: impl Fn(&Path) -> Option<Found>) -> Reference {
    match found(path) {
        Some(Found::Layout) => Reference::OciLayout { dir: path.into(), name: None },
        Some(Found::Bundle | Found::Directory) => Reference::Bundle(path.into()),
        Some(Found::File) | None => Reference::File(path.into()),
    }
}

/// `PATH[:NAME]`. The path ends at the first colon, unless a longer one exists.
fn split_name(text: PathBuf, found: impl Fn(&Path) -> Option<Found>) -> (PathBuf, Option<String>) {
    let bytes = text.as_os_str().as_bytes();
    let colons = bytes.iter().enumerate().filter(|(_, byte)| **byte == b':').map(|(at, _)| at);
    let at = |end: usize| {
        let name = String::from_utf8(bytes[end + 1..].to_vec()).ok()?;
        Some((PathBuf::from(OsStr::from_bytes(&bytes[..end])), Some(name).filter(|name| !name.is_empty())))
    };
    let splits: Vec<_> = colons.filter_map(at).filter(|(path, _)| !path.as_os_str().is_empty()).collect();
    if splits.is_empty() || found(&text).is_some() {
        return (text, None);
    }
    let existing = splits.iter().rev().find(|(path, _)| found(path).is_some());
    existing.unwrap_or(&splits[0]).clone()
}

fn check_url(text: &str) -> Result<(), String> {
    match text.parse::<ureq::http::Uri>() {
        Ok(uri) if uri.host().is_some_and(|host| !host.is_empty()) => Ok(()),
        Ok(_) => Err("the address has no host".into()),
        Err(e) => Err(format!("bad address: {e}")),
    }
}

/// What [`Reference::parse`] reads, as far as text can say it. Of an address neither user, password nor query is shown.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let with_name = |f: &mut fmt::Formatter, scheme, path: &Path, name: &Option<String>| {
            write!(f, "{scheme}:{}", path.display())?;
            name.as_ref().map_or(Ok(()), |name| write!(f, ":{name}"))
        };
        match self {
            Reference::File(path) => plain_path(path).display().fmt(f),
            Reference::Id(prefix) => prefix.fmt(f),
            Reference::Name(name) => name.fmt(f),
            Reference::Url(url) => without_secrets(url).fmt(f),
            Reference::Docker(name) => write!(f, "docker://{name}"),
            Reference::OciLayout { dir, name } => with_name(f, "oci", dir, name),
            Reference::OciArchive { file, name } => with_name(f, "oci-archive", file, name),
            Reference::DockerArchive { file, name } => with_name(f, "docker-archive", file, name),
            Reference::Bundle(path) => write!(f, "bundle:{}", path.display()),
        }
    }
}

/// A path that is read as a path, whether it exists or not.
fn plain_path(path: &Path) -> PathBuf {
    let begins = |prefix: &str| path.as_os_str().as_bytes().starts_with(prefix.as_bytes());
    if begins("/") || begins("./") || begins("../") {
        return path.into();
    }
    let mut plain = OsString::from("./");
    plain.push(path);
    plain.into()
}

/// A word as it may be shown: without the user, the password and the query that are in an address, or have no place in a
/// name.
pub fn without_login(word: &str) -> String {
    match word.strip_prefix("docker:") {
        Some(name) => docker::after_login(name).map_or_else(|| word.into(), |name| format!("docker://{name}")),
        None => without_secrets(word),
    }
}

/// `https://user:password@host/x?token=secret` as `https://host/x?…`: what is in a query may be as good as a password.
pub(crate) fn without_secrets(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.into() };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (path, query) = path.split_once('?').map_or((path, ""), |(path, _)| (path, "?…"));
    format!("{scheme}://{host}{path}{query}")
}
