//! What has to be signed beyond images from the network, whose signatures are always looked at.
//!
//! Files `trust.d/*.json` in the configuration directories:
//!
//! ```json
//! {
//!     "rktKind": "trust",
//!     "rktVersion": "v1",
//!     "localFiles": "signed",
//!     "registries": [{"prefix": "registry.example.com/team", "keys": ["team.pub"]}]
//! }
//! ```
//!
//! Files of images are taken without a signature unless `localFiles` is `signed`; `any` in a later directory takes that back.
//! Images in registries below a prefix (host, then whole parts of the repository; the longest counts, and `*` is before all) must
//! have a cosign signature by one of its keys, PEM files beside the policy unless their path is absolute. A later directory's
//! entry for the same prefix replaces an earlier one, and one without keys demands nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::cosign::{self, PublicKey};
use crate::error::{Error, Result};
use crate::oci::{Digest, Source};
use crate::reference::{DOCKER_HUB, DockerName};

/// The prefix of all images.
const ALL: &str = "*";

/// What must be signed.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    files: Option<Files>,
    registries: BTreeMap<String, Vec<PublicKey>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Files {
    Any,
    Signed,
}

/// A misspelt field must not be a demand that nobody makes.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    rkt_kind: String,
    rkt_version: String,
    local_files: Option<Files>,
    #[serde(default)]
    registries: Vec<Below>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Below {
    prefix: String,
    keys: Vec<PathBuf>,
}

impl Policy {
    /// Reads the policy in these configuration directories, later ones over earlier ones. No file demands nothing.
    ///
    /// # Errors
    /// When a file cannot be read or breaks a rule: what is demanded is not known then.
    pub fn read(dirs: impl IntoIterator<Item = impl AsRef<Path>>) -> Result<Policy> {
        let mut policy = Policy::default();
        for dir in dirs {
            let mut here = Policy::default();
            for path in files(&dir.as_ref().join("trust.d"))? {
                here.add(&path)?;
            }
            policy.files = here.files.or(policy.files);
            policy.registries.append(&mut here.registries);
        }
        Ok(policy)
    }

    /// Whether an image in a file of this host needs a signature.
    pub fn demands_signed_files(&self) -> bool {
        self.files == Some(Files::Signed)
    }

    /// Whether the image `name` needs a signature.
    pub fn demands_signature_of(&self, name: &DockerName) -> bool {
        !self.keys_for(name).is_empty()
    }

    /// Checks the signature of the image `name`, of which `image` is the digest of the manifest or index, when one is
    /// demanded. `open` reaches another name in the same registry.
    ///
    /// # Errors
    /// When there is no good one, or it cannot be had.
    pub fn check<S: Source>(
        &self,
        name: &DockerName,
        image: &Digest,
        open: impl FnOnce(DockerName) -> Result<S>,
    ) -> Result<()> {
        match self.keys_for(name) {
            [] => Ok(()),
            keys => {
                let signatures = cosign::signatures_of(name, image);
                cosign::verify(&open(signatures)?, name, image, keys)
            }
        }
    }

    fn keys_for(&self, name: &DockerName) -> &[PublicKey] {
        let whole = format!("{}/{}", name.registry, name.repository);
        let ends = whole.match_indices('/').map(|(at, _)| at).chain([whole.len()]);
        let longest = ends.filter_map(|end| self.registries.get(&whole[..end])).next_back();
        longest.or_else(|| self.registries.get(ALL)).map_or(&[], Vec::as_slice)
    }

    fn add(&mut self, path: &Path) -> Result<()> {
        let refuse = |rule: String| Error::Configuration { path: path.into(), rule };
        let text = fs::read_to_string(path).map_err(Error::io(format!("read {}", path.display())))?;
        let document: Document = serde_json::from_str(&text).map_err(|e| refuse(e.to_string()))?;
        if (document.rkt_kind.as_str(), document.rkt_version.as_str()) != ("trust", "v1") {
            return Err(refuse("rktKind must be \"trust\" and rktVersion \"v1\"".into()));
        }
        if document.local_files.is_some_and(|files| self.files.is_some_and(|other| other != files)) {
            return Err(refuse("another file of this directory says something else about localFiles".into()));
        }
        self.files = document.local_files.or(self.files);
        for Below { prefix, keys } in document.registries {
            let keys: Vec<PublicKey> =
                keys.iter().map(|key| read_key(&path.with_file_name(key))).collect::<Result<_>>()?;
            for prefix in meant(&prefix).map_err(refuse)? {
                if self.registries.insert(prefix.clone(), keys.clone()).is_some() {
                    return Err(refuse(format!("{prefix:?} is in this directory twice")));
                }
            }
        }
        Ok(())
    }
}

/// What images' names, as they are when they are looked up, begin with for a prefix in a policy. One that no name can begin
/// with would demand nothing.
fn meant(prefix: &str) -> Result<Vec<String>, String> {
    if prefix == ALL {
        return Ok(vec![prefix.to_owned()]);
    }
    let (registry, rest) = prefix.split_once('/').unwrap_or((prefix, ""));
    let broken = || format!("{prefix:?} is not the beginning of an image's name, such as example.com/team");
    if prefix.split('/').any(str::is_empty) {
        return Err(broken());
    }
    // Read as a name: it is written here as it is there, or refused for the same reason.
    let whole = if rest.is_empty() { format!("{prefix}/x") } else { prefix.to_owned() };
    let name: DockerName = whole.parse().map_err(|why| format!("{}: {why}", broken()))?;
    let has_registry = registry.contains(['.', ':']) || registry == "localhost";
    if !has_registry || name.tag.as_deref() != Some("latest") || name.digest.is_some() {
        return Err(format!("{} or docker.io/library", broken()));
    }
    Ok(match (name.registry, rest) {
        (host, "") => vec![host],
        // On the hub it may be somebody's images, or one that belongs to nobody.
        (host, rest) if host == DOCKER_HUB && !rest.contains('/') => {
            vec![format!("{host}/{rest}"), format!("{host}/{}", name.repository)]
        }
        (host, rest) => vec![format!("{host}/{rest}")],
    })
}

fn read_key(path: &Path) -> Result<PublicKey> {
    let text = fs::read_to_string(path).map_err(Error::io(format!("read {}", path.display())))?;
    PublicKey::from_pem(&text).map_err(|rule| Error::Configuration { path: path.into(), rule })
}

/// The files named `*.json`, in the order of their names.
fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let what = || format!("read {}", dir.display());
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::io(what()))?,
    };
    let paths: Result<Vec<PathBuf>, _> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths = paths.map_err(Error::io(what()))?;
    paths.retain(|path| path.extension().is_some_and(|end| end == "json"));
    paths.sort();
    Ok(paths)
}
