//! What a step did to the files of a build, and doing it again.
//!
//! Each change can be made again after it was made, or half of it: a command that is killed in between leaves it to the next.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use appc_image::Quiet;
use appc_image::archive::{self, Compression, Kind, Limit, Ownership, UnpackOptions, WriteOptions};
use appc_rooted::Root;
use rustix::fs::Mode;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::{Cache, Hashed, Kept, State, digest};
use crate::context::Build;
use crate::error::{Error, Result};
use crate::install::Staged;
use crate::oci;
use crate::run::apply;
use crate::run::deleted::Deleted;
use crate::whole::discard;

/// What a step did, but for the files and the lists in its result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Change {
    /// Nothing.
    Nothing,
    /// The result is the root file system.
    Whole,
    /// The result's files go where the list says.
    Copy,
    /// The result is an upper layer, with the steps that bring it in and what is deleted of the dependencies.
    Run,
    /// What the list says is removed; the second list is what is deleted of the dependencies.
    Remove,
    /// The result is a layer of an OCI image that was closed.
    Layer { number: u32 },
    /// The result is an image archive.
    Image { id: String },
    /// The result is a layer of an OCI image as it was written, compressed; the newest time in it, in seconds since 1970.
    Compressed { media_type: String, diff_id: String, newest: i64 },
}

/// What goes with a change: files, and two lists of bytes.
#[derive(Default)]
pub(crate) struct Effect<'e> {
    pub(crate) tree: Option<&'e Root>,
    pub(crate) lists: [Vec<u8>; 2],
}

impl<'e> Effect<'e> {
    pub(crate) fn of_tree(tree: &'e Root) -> Effect<'e> {
        Effect { tree: Some(tree), ..Effect::default() }
    }

    /// Files that go to `destinations`, by their numbers.
    pub(crate) fn copied(tree: &'e Root, destinations: &[PathBuf]) -> Effect<'e> {
        Effect { tree: Some(tree), lists: [of_paths(destinations), Vec::new()] }
    }

    pub(crate) fn removed(own: &[PathBuf], deleted: &Deleted) -> Effect<'static> {
        Effect { tree: None, lists: [of_paths(own), deleted.to_bytes()] }
    }
}

/// Each path with a NUL behind it.
fn of_paths(paths: &[PathBuf]) -> Vec<u8> {
    paths.iter().flat_map(|path| [path.as_os_str().as_bytes(), b"\0"].concat()).collect()
}

fn to_paths(list: &[u8]) -> Vec<PathBuf> {
    let ended = list.strip_suffix(b"\0").map(|list| list.split(|byte| *byte == 0));
    ended.into_iter().flatten().map(|path| PathBuf::from(OsStr::from_bytes(path))).collect()
}

/// Two lists as one, with the length of the first before it.
fn join(lists: &[Vec<u8>; 2]) -> Vec<u8> {
    [format!("{}\n", lists[0].len()).as_bytes(), &lists[0], &lists[1]].concat()
}

fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let len = std::str::from_utf8(&bytes[..end]).ok()?.parse().ok()?;
    bytes[end + 1..].split_at_checked(len)
}

/// Makes a result of `effect`, which has no name yet.
///
/// # Errors
/// Why it cannot be kept, in words.
pub(super) fn keep(cache: &Cache, effect: &Effect<'_>) -> Result<(NamedTempFile, String, u64), String> {
    let options = WriteOptions { compression: Compression::Zstd, level: Some(1), ..WriteOptions::default() };
    let file = cache.new_file().map_err(|e| e.to_string())?;
    let out = file.as_file().try_clone().map_err(|e| e.to_string())?;
    let write =
        |tree: &Root| archive::write(&join(&effect.lists), tree, out, &options, &Quiet).map_err(|e| e.to_string());
    let written = match effect.tree {
        Some(tree) => write(tree)?,
        None => {
            let empty = tempfile::tempdir().map_err(|e| e.to_string())?;
            write(&Root::open(empty.path()).map_err(|e| e.to_string())?)?
        }
    };
    if let Some(socket) = written.sockets.first() {
        return Err(format!("it left the socket /{}, which no archive can hold", socket.display()));
    }
    let digest = digest(file.as_file()).map_err(|e| e.to_string())?;
    Ok((file, digest, written.size))
}

/// Makes the files of `build`, which is open to be changed, what they are to be.
pub(crate) fn materialise(build: &Build) -> Result<()> {
    while let Some(state) = build.state().filter(|state| state.is_pending()) {
        let Some(next) = state.pending.first() else { break };
        // What is made on the way must not depend on who builds.
        rustix::process::umask(Mode::from(0o022));
        let cache = Cache::open(&state.store)?.ok_or_else(|| gone(next))?;
        let done = apply_one(build, &cache, next);
        let cleared = build.clear_staging();
        done.and(cleared)?;
        let pending = state.pending[1..].to_vec();
        build.set_state(State { pending, ..state })?;
    }
    Ok(())
}

fn apply_one(build: &Build, cache: &Cache, kept: &Kept) -> Result<()> {
    let staging = build.staging()?;
    let path = staging.join(if matches!(kept.change, Change::Layer { .. }) { "rootfs" } else { "upper" });
    std::fs::create_dir(&path).map_err(Error::io("create", &path))?;
    let tree = Root::open(&path).map_err(Error::io("open", &path))?;
    let bytes = unpack(cache, kept, &tree)?;
    let (first, second) = split(&bytes).ok_or_else(|| damaged(kept))?;
    match &kept.change {
        Change::Nothing | Change::Image { .. } | Change::Compressed { .. } => Ok(()),
        Change::Whole => {
            build.exchange_rootfs(&path)?;
            Deleted::default().save(build.dir())
        }
        Change::Copy => Staged::again(build, tree, to_paths(first))?.install(),
        Change::Run => apply::again(build, first, second),
        Change::Remove => {
            let trash = Root::open(&staging).map_err(Error::io("open", &staging))?;
            Deleted::from_bytes(second).save(build.dir())?;
            let (own, removed) = (build.rootfs_in_making()?, to_paths(first));
            build.touch(&removed)?;
            for (number, path) in removed.iter().enumerate() {
                discard(&own, path, &trash, number).map_err(Error::io("remove", Path::new("/").join(path)))?;
            }
            Ok(())
        }
        Change::Layer { number } => oci::place(build, *number).and_then(|()| build.settle()),
    }
}

/// Unpacks a result, and returns its lists. What has another digest than it should is not used.
fn unpack(cache: &Cache, kept: &Kept, tree: &Root) -> Result<Vec<u8>> {
    let file = cache.result(&kept.digest).map_err(|_| gone(kept))?;
    let mut source = Hashed::new(file);
    let options = UnpackOptions {
        ownership: Ownership::of_this_process(),
        kind: Kind::Aci,
        limit: Limit::NONE,
        ..UnpackOptions::default()
    };
    let unpacked = archive::unpack(&mut source, tree, &options, &Quiet);
    // To its end, whatever the archive says.
    let read = std::io::copy(&mut source.by_ref(), &mut std::io::sink());
    let whole = read.is_ok() && source.finish() == kept.digest;
    match unpacked {
        Ok(unpacked) if whole && unpacked.omitted.is_empty() => Ok(unpacked.manifest),
        // The disk's fault, not the result's.
        Err(e) if whole => Err(e.into()),
        _ => {
            cache.drop_result(kept);
            Err(damaged(kept))
        }
    }
}

fn gone(kept: &Kept) -> Error {
    Error::Refused(format!(
        "the result {} of an earlier step is not in the cache any more: try \"acbuild end\" and build again",
        &kept.digest[..12]
    ))
}

fn damaged(kept: &Kept) -> Error {
    Error::Refused(format!(
        "the result {} of an earlier step is damaged and was removed from the cache: try \"acbuild end\" and build again",
        &kept.digest[..12]
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_come_back() {
        let paths = ["/a b", "caf\u{e9}\n", "1\n2"].map(PathBuf::from);
        let lists = [of_paths(&paths), b"4\n\0x".to_vec()];
        let joined = join(&lists);
        let (first, second) = split(&joined).unwrap();
        assert_eq!((to_paths(first), second), (paths.to_vec(), &lists[1][..]));
        assert_eq!(split(&join(&[Vec::new(), Vec::new()])), Some((&b""[..], &b""[..])));
        assert_eq!(to_paths(b""), Vec::<PathBuf>::new());
        for broken in [&b""[..], b"1", b"x\n", b"5\nabc"] {
            assert_eq!(split(broken), None);
        }
    }
}
