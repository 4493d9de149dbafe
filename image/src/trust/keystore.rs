//! The keys that are trusted, one a file, found by what they are trusted for.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, DirEntry, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use appc_spec::AcIdentifier;
use pgp::packet::Signature;

use super::key::{Key, LONGEST};
use super::refused::Refused;
use super::standing::Component;
use crate::error::{Error, Result};

/// What a key may sign.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Every image.
    Root,
    /// The image of this name and those whose names begin with it and a slash.
    Prefix(AcIdentifier),
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Scope::Root => f.write_str("every image"),
            Scope::Prefix(prefix) => write!(f, "prefix {prefix}"),
        }
    }
}

impl Scope {
    /// Where its keys lie below `trustedkeys`.
    fn dir(&self) -> Result<PathBuf> {
        match self {
            Scope::Root => Ok("root.d".into()),
            Scope::Prefix(prefix) if is_path(prefix) => Ok(Path::new("prefix.d").join(prefix.as_str())),
            Scope::Prefix(prefix) => {
                Err(Error::Key { what: format!("prefix {prefix}"), rule: "has empty or dotted parts".into() })
            }
        }
    }
}

/// Whether a name can be used as a path: identifiers may have `//` and `/../` in them.
fn is_path(name: &AcIdentifier) -> bool {
    name.as_str().split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// The trusted keys below some configuration directories. Nothing is read until it is asked for.
#[derive(Debug, Clone)]
pub struct Keystore {
    dirs: Vec<PathBuf>,
}

/// A key file that is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedKey {
    /// What the key may sign.
    pub scope: Scope,
    /// Its fingerprint, which is the file's name.
    pub fingerprint: String,
    /// The file.
    pub path: PathBuf,
}

impl Keystore {
    /// The keys in `trustedkeys/` of each of the configuration directories, such as `/usr/lib/rkt` and `/etc/rkt`.
    /// Later ones win, and new keys go into the last. None of them need exist.
    pub fn open(dirs: impl IntoIterator<Item = impl Into<PathBuf>>) -> Keystore {
        Keystore { dirs: dirs.into_iter().map(|dir| dir.into().join("trustedkeys")).collect() }
    }

    /// The keys that may sign the image `name`.
    ///
    /// # Errors
    /// When a directory cannot be read. A file that is no key is left out and told when a key is missed.
    pub fn keyring(&self, name: &AcIdentifier) -> Result<Keyring> {
        let mut keyring = Keyring { name: name.clone(), keys: Vec::new(), unusable: None, store: self.clone() };
        for scope in scopes(name) {
            for found in self.files(&scope)? {
                match found.read() {
                    Ok(key) => keyring.keys.push((found.scope, key)),
                    Err(e) => keyring.unusable = Some(e.to_string()),
                }
            }
        }
        Ok(keyring)
    }

    /// All keys that are trusted, those for every image first.
    ///
    /// # Errors
    /// When a directory cannot be read.
    pub fn list(&self) -> Result<Vec<TrustedKey>> {
        let mut all = vec![Scope::Root];
        for dir in &self.dirs {
            prefixes(&dir.join("prefix.d"), "", &mut all)?;
        }
        all.sort();
        all.dedup();
        let files: Result<Vec<_>> = all.iter().map(|scope| self.files(scope)).collect();
        Ok(files?.concat())
    }

    /// Trusts `key` and returns the file that says so.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn trust(&self, key: &Key, scope: &Scope) -> Result<PathBuf> {
        let path = self.own()?.join(scope.dir()?).join(key.fingerprint());
        write(&path, &key.armored()?)?;
        Ok(path)
    }

    /// Trusts a key no longer. One that lies in a directory of others is hidden by an empty file.
    ///
    /// # Errors
    /// When it is not trusted, or the file cannot be removed or written.
    pub fn distrust(&self, fingerprint: &str, scope: &Scope) -> Result<()> {
        let found = self.files(scope)?.into_iter().find(|f| f.fingerprint.eq_ignore_ascii_case(fingerprint));
        let Some(found) = found else {
            let rule = format!("is not trusted for {scope}: `rkt trust --list` shows what is");
            return Err(Error::Key { what: format!("key {fingerprint}"), rule });
        };
        let own = self.own()?.join(scope.dir()?).join(&found.fingerprint);
        let others = self.dirs[..self.dirs.len() - 1].iter();
        let below = others.rev().map(|dir| Ok(dir.join(scope.dir()?).join(&found.fingerprint)));
        let below: Result<Vec<PathBuf>> = below.collect();
        // What the nearest of the others says would come into force.
        match below?.iter().find_map(|path| fs::metadata(path).ok()) {
            Some(file) if file.len() > 0 => write(&own, b""),
            _ => fs::remove_file(&own).map_err(Error::io(format!("remove {}", own.display()))),
        }
    }

    fn own(&self) -> Result<&Path> {
        let none = || Error::Key { what: "key store".into(), rule: "has no directory".into() };
        self.dirs.last().map(PathBuf::as_path).ok_or_else(none)
    }

    /// The key files for just this scope that nothing hides.
    fn files(&self, scope: &Scope) -> Result<Vec<TrustedKey>> {
        let mut found = BTreeMap::new();
        for dir in &self.dirs {
            let dir = dir.join(scope.dir()?);
            for entry in entries(&dir)? {
                let path = entry.path();
                // Links too: some systems put all their configuration elsewhere.
                let Ok(file) = fs::metadata(&path) else { continue };
                let fingerprint = entry.file_name().to_string_lossy().to_ascii_lowercase();
                if !file.is_file() || !is_fingerprint(&fingerprint) {
                    continue;
                }
                match file.len() {
                    0 => found.remove(&fingerprint),
                    _ => found.insert(fingerprint.clone(), TrustedKey { scope: scope.clone(), fingerprint, path }),
                };
            }
        }
        Ok(found.into_values().collect())
    }
}

impl TrustedKey {
    /// Reads the key.
    ///
    /// # Errors
    /// When there is something else in the file.
    pub fn read(&self) -> Result<Key> {
        let what = || format!("trusted key {}", self.path.display());
        let mut bytes = Vec::new();
        let file = File::open(&self.path).map_err(Error::io(format!("open {}", what())))?;
        file.take(LONGEST as u64 + 1).read_to_end(&mut bytes).map_err(Error::io(format!("read {}", what())))?;
        let key = match Key::parse(&bytes) {
            Err(Error::Key { rule, .. }) => return Err(Error::Key { what: what(), rule }),
            key => key?,
        };
        if key.fingerprint() != self.fingerprint {
            let rule = format!("has a name that is not its fingerprint, {}: rename it", key.fingerprint());
            return Err(Error::Key { what: what(), rule });
        }
        Ok(key)
    }
}

/// The keys that may sign one image.
#[derive(Debug, Clone)]
pub struct Keyring {
    name: AcIdentifier,
    keys: Vec<(Scope, Key)>,
    unusable: Option<String>,
    store: Keystore,
}

impl Keyring {
    /// These keys and no others, for the image `name`, whatever is trusted on this host.
    pub fn of(name: AcIdentifier, keys: Vec<Key>) -> Keyring {
        let keys = keys.into_iter().map(|key| (Scope::Root, key)).collect();
        Keyring { name, keys, unusable: None, store: Keystore { dirs: Vec::new() } }
    }

    /// Whether nobody may sign the image.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The image's name.
    pub fn name(&self) -> &AcIdentifier {
        &self.name
    }

    /// Each key and what makes it one for this image.
    pub fn iter(&self) -> impl Iterator<Item = (&Scope, &Key)> {
        self.keys.iter().map(|(scope, key)| (scope, key))
    }

    /// Why a signature by none of these keys is refused: there may be one among those for other images.
    pub(super) fn refuse_unknown(&self, signature: &Signature, made: impl Fn(&Component) -> bool) -> Refused {
        let mut scopes = Vec::new();
        let mut signer = None;
        for file in self.store.list().unwrap_or_default() {
            let Ok(key) = file.read() else { continue };
            if key.components().filter(|c| c.is_issuer_of(signature)).any(|c| made(&c)) {
                signer = Some((key.fingerprint(), key.identity()));
                scopes.push(file.scope);
            }
        }
        let name = self.name.to_string();
        match signer {
            Some((key, identity)) => Refused::WrongPrefix { key, identity, scopes, name },
            None => {
                let (key, unusable) = (issuer(signature), self.unusable.clone());
                Refused::UnknownKey { key, name, others: !self.is_empty(), unusable }
            }
        }
    }
}

fn issuer(signature: &Signature) -> String {
    let fingerprint = signature.issuer_fingerprint().first().map(ToString::to_string);
    let id = || signature.issuer_key_id().first().map(ToString::to_string);
    fingerprint.or_else(id).unwrap_or_else(|| "of no name".into())
}

/// What keys for `name` may be trusted for: everything, and each of the beginnings of the name.
fn scopes(name: &AcIdentifier) -> Vec<Scope> {
    let mut scopes = vec![Scope::Root];
    if is_path(name) {
        let text = name.as_str();
        let ends = text.match_indices('/').map(|(at, _)| at).chain([text.len()]);
        scopes.extend(ends.filter_map(|end| text[..end].parse().ok()).map(Scope::Prefix));
    }
    scopes
}

fn is_fingerprint(name: &str) -> bool {
    matches!(name.len(), 40 | 64) && name.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Collects the directories below `dir` as prefixes.
fn prefixes(dir: &Path, above: &str, found: &mut Vec<Scope>) -> Result<()> {
    for entry in entries(dir)? {
        let Some(name) = entry.file_name().to_str().map(|name| format!("{above}{name}")) else { continue };
        // Real directories only: links could lead in a circle.
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if let Ok(prefix) = name.parse() {
            found.push(Scope::Prefix(prefix));
        }
        prefixes(&entry.path(), &format!("{name}/"), found)?;
    }
    Ok(())
}

/// What is in a directory; one that is missing is empty.
fn entries(dir: &Path) -> Result<Vec<DirEntry>> {
    let what = || format!("read {}", dir.display());
    match fs::read_dir(dir) {
        Ok(entries) => entries.collect::<io::Result<_>>().map_err(Error::io(what())),
        // A key's file may have the name that a directory would have.
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(Vec::new()),
        Err(e) => Err(Error::io(what())(e)),
    }
}

/// Writes a file that is never seen half written.
fn write(path: &Path, content: &[u8]) -> Result<()> {
    let what = format!("write {}", path.display());
    let written = || -> io::Result<()> {
        let dir = path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(dir)?;
        let mut new = tempfile::NamedTempFile::new_in(dir)?;
        new.write_all(content)?;
        new.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
        new.as_file().sync_all()?;
        new.persist(path).map_err(|e| e.error)?;
        File::open(dir)?.sync_all()
    };
    written().map_err(Error::io(what))
}
