//! The store: images, and the trees made from them, in one directory.
//!
//! ```text
//! <dir>/store/format                          "1": what this text describes
//! <dir>/store/blobs/sha512/<hex>              the image as it was fetched, byte for byte; <hex> is the image ID's
//! <dir>/store/trees/<image ID>/rootfs/        its root file system, never written to again
//! <dir>/store/trees/<…>/files                 what it has, to find what it shares with others (`share.rs`); can be lost
//! <dir>/store/trees/rendered-<hex>/rootfs/    an image with a path whitelist and its dependencies, merged
//! <dir>/store/trees/rendered-<hex>/images     the IDs of the images that it was made from, one a line, itself last
//! <dir>/store/images/<image ID>/manifest      the image manifest, byte for byte
//! <dir>/store/images/<image ID>/metadata      JSON: name, labels, where it came from, when, sizes (`metadata.rs`)
//! <dir>/store/blobs/sha256/, trees/layer-…/       parts of OCI images, which these share (`oci.rs`)
//! <dir>/tmp/store-<random>/                   an import or rendering on its way, or what a killed one left, whose blobs the
//!                                             next import of the same image goes on with
//! <dir>/tmp/store-blob-<hex>                  locked by who fetches this layer of an OCI image
//! <dir>/locks/store                           held while names in `store/` change
//! ```
//!
//! **What counts.** An image is in the store when its `metadata` is. Everything else (a blob, a tree, an image's
//! directory without metadata) is left over, belongs to nobody and may be deleted under the lock.
//!
//! **Writing.** An import writes below `tmp/`, syncs the file system once, takes the lock, renames blob and tree in place,
//! and last the image's directory: that rename is the import. Removing goes backwards: first the metadata. So killing
//! either anywhere leaves whole images and leftovers, which [`Store::gc`] and the next import of the same image remove.
//!
//! **Locks** are `flock(2)`s and end with their process. A directory in `tmp/` is locked by who works in it; an image's
//! directory is locked (shared) by who uses the image ([`Store::pin`]) and (exclusive) by who removes it. When an image was last
//! used is the modification time of its `metadata`.
//!
//! `trees/` and `tmp/` are for the owner only: a tree may hold any set-user-ID program that an image's author liked.

pub(crate) mod beside;
mod export;
mod gc;
mod import;
mod lookup;
mod mend;
mod metadata;
mod names;
mod oci;
mod outline;
mod pin;
pub(crate) mod remove_tree;
mod rendered;
mod share;
mod usage;
mod verify;
mod work;

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use appc_spec::ImageId;

pub use export::ExtractOptions;
pub(crate) use gc::RENDERED;
pub use gc::Report;
pub(crate) use import::{place, sync_file_system};
pub use lookup::{Query, StoredImage};
pub use mend::Repair;
pub use metadata::{OtherName, Summary};
pub use names::Untagged;
pub use oci::{About, OciParts, Referrer, StoredLayer, StoredOci};
pub(crate) use oci::{layer_key, oci_image_id};
pub use outline::Outline;
pub use pin::Pin;
pub use remove_tree::remove as remove_tree;
pub use usage::{ImageUsage, Usage};
pub use verify::{Fault, Verified};
pub(crate) use work::WorkDir;

use crate::archive::Limit;
use crate::error::{Error, Result};

/// What is written into `format`. A store with another one is refused, not guessed at.
const FORMAT: &str = "1";

/// The directories of a store and their modes. The first one's existence tells a store from an empty directory.
const LAYOUT: [(&str, u32); 7] = [
    ("store", 0o755),
    ("store/blobs", 0o755),
    ("store/blobs/sha512", 0o755),
    ("store/images", 0o755),
    ("store/trees", 0o700),
    ("tmp", 0o700),
    ("locks", 0o755),
];

/// The data directory when nobody names one: `$RKT_DIR`, else `/var/lib/rkt` for root, else `$XDG_DATA_HOME/rkt`
/// (`~/.local/share/rkt`).
pub fn default_dir() -> PathBuf {
    choose_dir(crate::caller::is_root(), |name| std::env::var_os(name).filter(|v| !v.is_empty()))
}

fn choose_dir(root: bool, variable: impl Fn(&str) -> Option<OsString>) -> PathBuf {
    let shared = PathBuf::from("/var/lib/rkt");
    if let Some(dir) = variable("RKT_DIR") {
        return dir.into();
    }
    if root {
        return shared;
    }
    // The XDG specification: a relative path in the variable is to be ignored.
    let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let data = absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/share")));
    data.map_or(shared, |data| data.join("rkt"))
}

/// An open store. Cheap to open: nothing is read but the format.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    limit: Limit,
}

impl Store {
    /// Opens the store in the data directory `dir` and makes what is missing.
    ///
    /// # Errors
    /// When the directory cannot be made, or another version's store is in it. A store that can only be read is opened; what writes fails later.
    pub fn open(dir: impl AsRef<Path>) -> Result<Store> {
        let store = Store { dir: absolute(dir.as_ref())?, limit: Limit::Usual };
        match store.check_format() {
            Ok(true) => return Ok(store),
            Ok(false) => {}
            Err(e) => return Err(e),
        }
        fs::create_dir_all(&store.dir).on("create the data directory", &store.dir)?;
        for (name, mode) in LAYOUT {
            make_dir(&store.dir.join(name), mode)?;
        }
        // Last: where it stands, the directories do too.
        let work = WorkDir::new(&store)?;
        let (new, path) = (work.path().join("format"), store.dir.join("store/format"));
        fs::write(&new, format!("{FORMAT}\n")).on("write", &path)?;
        fs::set_permissions(&new, Permissions::from_mode(0o644)).on("write", &path)?;
        fs::rename(&new, &path).on("write", &path)?;
        Ok(store)
    }

    /// Opens the store in the data directory `dir` without making anything: a missing store is an empty one.
    pub fn open_existing(dir: impl AsRef<Path>) -> Result<Store> {
        let store = Store { dir: absolute(dir.as_ref())?, limit: Limit::Usual };
        store.check_format()?;
        Ok(store)
    }

    /// The same store, which takes images as large as `limit` says.
    #[must_use]
    pub fn limited(self, limit: Limit) -> Store {
        Store { limit, ..self }
    }

    /// How large images may be that are taken.
    pub(crate) fn limit(&self) -> Limit {
        self.limit
    }

    /// Refuses `what`, which takes so many bytes at least, when there is no room for it.
    pub(crate) fn check_room(&self, what: &str, bytes: u64) -> Result<()> {
        let room = rustix::fs::statvfs(&self.dir).map_err(io::Error::from).on("look at", &self.dir)?;
        let free = room.f_bavail.saturating_mul(room.f_frsize);
        if bytes <= free {
            return Ok(());
        }
        let cause =
            io::Error::new(io::ErrorKind::StorageFull, format!("it is {bytes} bytes long, and {free} are free"));
        Err(Error::io(format!("cannot keep {what} in {}", self.dir.display()))(cause))
    }

    /// The data directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The root file system of the image, in the store. Not to be written to.
    pub fn tree(&self, id: &ImageId) -> PathBuf {
        self.tree_dir(&id.to_string()).join("rootfs")
    }

    /// The file that the image was fetched as.
    pub fn blob(&self, id: &ImageId) -> PathBuf {
        self.dir.join("store/blobs/sha512").join(id.hex())
    }

    pub(crate) fn tree_dir(&self, key: &str) -> PathBuf {
        self.dir.join("store/trees").join(key)
    }

    fn image_dir(&self, id: &ImageId) -> PathBuf {
        self.dir.join("store/images").join(id.to_string())
    }

    /// Whether there is a store that this program understands.
    fn check_format(&self) -> Result<bool> {
        let path = self.dir.join("store/format");
        match work::read(&path).map(|text| String::from_utf8_lossy(&text).into_owned()) {
            Ok(format) if format.trim_end() == FORMAT => Ok(true),
            Ok(format) => Err(Error::StoreFormat { dir: self.dir.clone(), format: format.trim_end().into() }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e).on("read", path),
        }
    }

    /// The lock under which names in `store/` change, held until the file is dropped.
    pub(crate) fn lock(&self) -> Result<File> {
        let path = self.dir.join("locks/store");
        let open = || File::options().write(true).create(true).truncate(false).open(&path);
        let file = match open() {
            // Somebody tidied up: what is only locked looks like nothing. Unlike the rest, nothing is lost with it.
            Err(e) if e.kind() == io::ErrorKind::NotFound && self.dir.join("store").is_dir() => {
                make_dir(&self.dir.join("locks"), 0o755)?;
                open()
            }
            file => file,
        };
        let file = file.on("open", &path)?;
        work::flock(&file, rustix::fs::FlockOperation::LockExclusive).on("lock", &path)?;
        Ok(file)
    }
}

/// What locks and renames are relative to must not change with the working directory.
fn absolute(dir: &Path) -> Result<PathBuf> {
    std::path::absolute(dir).on("use the data directory", dir)
}

fn make_dir(path: &Path, mode: u32) -> Result<()> {
    match fs::create_dir(path) {
        // Whatever the umask is.
        Ok(()) => fs::set_permissions(path, Permissions::from_mode(mode)).on("create", path),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(e).on("create", path),
    }
}

/// Says which file it was, in the words of "cannot <what> <path>".
pub(crate) trait IoContext<T> {
    fn on(self, what: &str, path: impl AsRef<Path>) -> Result<T>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn on(self, what: &str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|e| Error::io(format!("cannot {what} {}", path.as_ref().display()))(e))
    }
}

/// Makes the names in the directory `path` durable.
pub(crate) fn sync_dir(path: &Path) -> Result<()> {
    File::open(path).and_then(|dir| dir.sync_all()).on("sync", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(root: bool, variables: &[(&str, &str)]) -> PathBuf {
        choose_dir(root, |name| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| value.into()))
    }

    #[test]
    fn the_data_directory_follows_the_variables() {
        let all = [("RKT_DIR", "/r"), ("XDG_DATA_HOME", "/x"), ("HOME", "/h")];
        assert_eq!(chosen(true, &all), Path::new("/r"));
        assert_eq!(chosen(true, &all[1..]), Path::new("/var/lib/rkt"));
        assert_eq!(chosen(false, &all[1..]), Path::new("/x/rkt"));
        assert_eq!(chosen(false, &[("XDG_DATA_HOME", "relative"), all[2]]), Path::new("/h/.local/share/rkt"));
        assert_eq!(chosen(false, &[]), Path::new("/var/lib/rkt"));
    }

    #[test]
    fn opening_twice_makes_it_once_and_reading_makes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        assert!(Store::open_existing(&path).unwrap().list().unwrap().is_empty());
        assert!(!dir.path().join("a").exists());
        Store::open(&path).unwrap();
        let mode = |name: &str| fs::metadata(path.join(name)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("store/trees"), mode("store/images"), mode("tmp")), (0o700, 0o755, 0o700));
        assert!(Store::open(&path).unwrap().list().unwrap().is_empty());
        assert_eq!(fs::read_dir(path.join("tmp")).unwrap().count(), 0);
    }

    #[test]
    fn another_version_s_store_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        Store::open(dir.path()).unwrap();
        fs::write(dir.path().join("store/format"), "2\n").unwrap();
        let error = Store::open(dir.path()).unwrap_err();
        assert!(error.to_string().contains("format 2"), "{error}");
    }
}
