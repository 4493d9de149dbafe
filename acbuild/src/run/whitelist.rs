//! The path whitelist of an image that its commands have deleted files of dependencies from: the exact list of what is left.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use appc_image::fetch::Insecure;
use appc_image::stack;
use appc_spec::ImageManifest;

use super::deleted::Deleted;
use super::{dependencies, open_all};
use crate::context::Build;
use crate::error::{Error, Result};
use crate::session::Session;

/// The bytes of the manifest that is written: the build's own, with a whitelist of what is left of the image if something of
/// its dependencies is deleted.
pub(crate) fn complete(session: &Session, build: &Build) -> Result<Vec<u8>> {
    let bytes = build.manifest_bytes()?;
    let deleted = Deleted::load(build.dir())?;
    if deleted.is_empty() {
        return Ok(bytes);
    }
    let mut manifest = ImageManifest::parse(&bytes).map_err(Error::BadManifest)?;
    let rendered = dependencies(session, &manifest, Insecure::default())?;
    let below = stack::paths(&open_all(&rendered)?)?;
    let own = stack::paths(&[build.rootfs()?])?;
    manifest.path_whitelist = left(&below, &deleted, &own).into_iter().map(text).collect::<Result<_>>()?;
    if manifest.path_whitelist.is_empty() {
        // A list of nothing means everything.
        manifest.path_whitelist.push("/".to_owned());
    }
    Ok(manifest.to_json().into_bytes())
}

/// Adds paths, absolute or relative to the root, to a whitelist.
pub(crate) fn add(list: &mut Vec<String>, paths: impl IntoIterator<Item = impl AsRef<Path>>) -> Result<()> {
    let mut listed: BTreeSet<String> = list.iter().cloned().collect();
    for path in paths {
        let path = text(&Path::new("/").join(path))?;
        if listed.insert(path.clone()) {
            list.push(path);
        }
    }
    Ok(())
}

/// Takes the whitelist out of the manifest of an image that was begun with: from here on it is what is deleted. `below` are
/// the paths of the dependencies, `own` those of the build. Also returns what of the latter is not listed.
pub(crate) fn take_out(
    manifest: &mut ImageManifest,
    below: &BTreeMap<PathBuf, bool>,
    own: &BTreeMap<PathBuf, bool>,
    deleted: &mut Deleted,
) -> Vec<PathBuf> {
    let listed: Vec<PathBuf> =
        std::mem::take(&mut manifest.path_whitelist).iter().map(|path| appc_rooted::clean(Path::new(path))).collect();
    let kept: BTreeSet<&Path> = listed.iter().flat_map(|path| path.ancestors()).collect();
    let relative = |path: &Path| path.strip_prefix("/").unwrap_or(path).to_owned();
    // Those above come first, and what is below them needs no mention.
    below.keys().filter(|path| !kept.contains(path.as_path())).for_each(|path| deleted.insert(&relative(path)));
    let mut unlisted: Vec<PathBuf> = Vec::new();
    for path in own.keys().filter(|path| !kept.contains(path.as_path())).map(|path| relative(path)) {
        if !unlisted.last().is_some_and(|above| path.starts_with(above)) {
            unlisted.push(path);
        }
    }
    unlisted
}

/// The paths of the whole image: the build's `own`, and of those `below` what is neither deleted nor covered.
fn left<'p>(
    below: &'p BTreeMap<PathBuf, bool>,
    deleted: &Deleted,
    own: &'p BTreeMap<PathBuf, bool>,
) -> BTreeSet<&'p Path> {
    let covered = |path: &Path| path.ancestors().skip(1).any(|above| own.get(above) == Some(&false));
    let hidden = |path: &Path| deleted.hides(path.strip_prefix("/").unwrap_or(path));
    let below = below.keys().filter(|path| !hidden(path) && !covered(path));
    below.chain(own.keys()).map(PathBuf::as_path).collect()
}

fn text(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        Error::Refused(format!(
            "{path:?} is not valid UTF-8, and cannot be named in a path whitelist, which this image has or, as something of its \
             dependencies was deleted, needs: rename it, or make the dependencies' files the image's own with \"acbuild squash\""
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(paths: &[&str]) -> BTreeMap<PathBuf, bool> {
        paths.iter().map(|path| (PathBuf::from(path.trim_end_matches('/')), path.ends_with('/'))).collect()
    }

    #[test]
    fn a_whitelist_becomes_what_is_deleted_and_comes_back() {
        let below = tree(&["/bin/", "/bin/sh", "/doc/", "/doc/a", "/doc/b/", "/doc/b/c", "/etc/", "/etc/x"]);
        let own = tree(&["/doc/", "/doc/new", "/old/", "/old/y"]);
        let mut manifest = ImageManifest::new("example.com/x".parse().unwrap());
        let list = ["/bin", "/bin/sh", "/doc/new", "/etc/"].map(String::from);
        manifest.path_whitelist = list.into();
        let mut deleted = Deleted::default();
        let unlisted = take_out(&mut manifest, &below, &own, &mut deleted);
        assert!(manifest.path_whitelist.is_empty());
        assert_eq!(deleted.iter().collect::<Vec<_>>(), ["doc/a", "doc/b", "etc/x"].map(Path::new));
        assert_eq!(unlisted, [Path::new("old")]);
        let own = tree(&["/doc/", "/doc/new"]);
        let left: Vec<_> = left(&below, &deleted, &own).into_iter().collect();
        assert_eq!(left, ["/bin", "/bin/sh", "/doc", "/doc/new", "/etc"].map(Path::new));
    }

    #[test]
    fn what_is_left_is_neither_deleted_nor_covered() {
        let below =
            tree(&["/bin/", "/bin/sh", "/doc/", "/doc/a", "/doc/b/", "/doc/b/c", "/etc/", "/etc/x", "/lib/", "/lib/y"]);
        let own = tree(&["/doc/", "/doc/b/", "/doc/b/new", "/lib", "/srv/"]);
        let mut deleted = Deleted::default();
        for path in ["doc/a", "doc/b", "etc/x"] {
            deleted.insert(Path::new(path));
        }
        let left: Vec<_> = left(&below, &deleted, &own).into_iter().collect();
        let expected = ["/bin", "/bin/sh", "/doc", "/doc/b", "/doc/b/new", "/etc", "/lib", "/srv"];
        assert_eq!(left, expected.map(Path::new));
    }
}
