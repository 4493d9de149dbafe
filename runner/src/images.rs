//! From the word that names an image on the command line to an image in the store.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};

use appc_image::store::{Query, Store, StoredImage};

use crate::cli::Global;
use crate::failure::{Context, Failure};

/// What a word means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference<'w> {
    /// A file of this host.
    File(&'w Path),
    /// An ID or a name, to be looked up in the store.
    Stored(&'w str),
    /// Something that is elsewhere; its scheme.
    Remote(&'w str),
}

/// Sorts a word out. `is_file` says whether a file of this name exists.
pub fn classify(word: &OsStr, is_file: impl FnOnce(&Path) -> bool) -> Reference<'_> {
    let path = Path::new(word);
    let Some(text) = word.to_str() else { return Reference::File(path) };
    if text.starts_with("sha512-") {
        return Reference::Stored(text);
    }
    if let Some(rest) = text.strip_prefix("file://") {
        return Reference::File(Path::new(rest));
    }
    if let Some(scheme) = ["docker:", "http://", "https://", "cimd:", "oci:"].iter().find(|s| text.starts_with(*s)) {
        return Reference::Remote(scheme.trim_end_matches('/').trim_end_matches(':'));
    }
    if path.is_absolute() || is_file(path) {
        return Reference::File(path);
    }
    // A colon is for a version; no name begins with a dot or ends like an archive.
    let path_like = text.contains("./") || text.ends_with(".aci");
    if path_like && !text.contains(':') { Reference::File(path) } else { Reference::Stored(text) }
}

/// The image that `word` names. A file is imported first.
pub fn find(global: &Global, store: &Store, word: &OsStr) -> Result<StoredImage, Failure> {
    match classify(word, Path::is_file) {
        Reference::File(path) => import(global, store, path),
        Reference::Stored(text) => stored(store, text),
        Reference::Remote(scheme) => Err(Failure::new(format!(
            "{}: this version fetches nothing over the network ({scheme}): give it a local file",
            word.display()
        ))),
    }
}

fn stored(store: &Store, text: &str) -> Result<StoredImage, Failure> {
    let query: Query = text.parse().context(format!("{text:?} is neither a file, an image ID nor an image name"))?;
    match store.resolve(&query) {
        Err(appc_image::Error::NotStored(_)) => Err(Failure::new(format!(
            "image {text:?} is not in the store, nor is there a file of that name: `rkt fetch FILE` puts one there"
        ))),
        image => Ok(image?),
    }
}

/// Puts the file into the store and says when there is a signature that nobody looked at.
pub fn import(global: &Global, store: &Store, path: &Path) -> Result<StoredImage, Failure> {
    let file = File::open(path).context(format!("opening {}", path.display()))?;
    let signature = signature_of(path);
    if signature.exists() {
        global.warn(format!("signature {} was not checked: this version trusts every local file", signature.display()));
    }
    let origin = std::path::absolute(path).context(format!("opening {}", path.display()))?;
    let origin = format!("file://{}", origin.display());
    let image = store.import(file, &origin, &crate::progress::Bar::new()).context(path.display())?;
    if let Some((omitted, what)) = image.omitted.first() {
        let others = match image.omitted.len() {
            1 => String::new(),
            all => format!(" and {} more", all - 1),
        };
        global.warn(format!("{}: only root can make all of it, left out: {omitted} ({what}){others}", path.display()));
    }
    Ok(image)
}

fn signature_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".asc");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        use Reference::{File, Remote, Stored};
        let cases = [
            ("sha512-abcdef", Stored("sha512-abcdef")),
            ("/tmp/x", File(Path::new("/tmp/x"))),
            ("file:///tmp/x.aci", File(Path::new("/tmp/x.aci"))),
            ("./x", File(Path::new("./x"))),
            ("../x:y", Stored("../x:y")),
            ("x.aci", File(Path::new("x.aci"))),
            ("example.com/hello", Stored("example.com/hello")),
            ("example.com/hello:1.0,arch=amd64", Stored("example.com/hello:1.0,arch=amd64")),
            ("docker://busybox", Remote("docker")),
            ("https://example.com/x.aci", Remote("https")),
        ];
        for (word, expected) in cases {
            assert_eq!(classify(OsStr::new(word), |_| false), expected, "{word}");
        }
        assert_eq!(classify(OsStr::new("hello"), |_| true), File(Path::new("hello")));
    }
}
