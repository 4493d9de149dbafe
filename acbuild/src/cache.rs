//! The build cache: what steps did to the files of an image, kept to be done again without running them.
//!
//! ```text
//! <dir>/cache/<uid>/               one for each user, who alone can write to it
//!   steps/<key>                    JSON: what the step changed, and which result that is; as old as its last use
//!   results/<sha256>               an archive: the files that the step made, or an image or a layer that was written
//!   builds/<id>                    JSON: where a build is that has a cache
//!   contents/<what stat(2) says>   the digest of a large file of the host
//!   lock                           flock(2): shared to look up and to store, exclusive to remove
//!   new-<random>                   a result on its way, or what a killed process left
//! ```
//!
//! **Keys** (`key.rs`) are digests over everything that a step depends on: the state before it, the command, the files that
//! it copies, the images that it sees. **States** are chained: that after a step is the digest of its key and its result.
//! So two builds in the same state have the same files, also when a command did not do the same twice.
//!
//! **A build** (`state.rs`) keeps its state in `.acbuild/cache`. A step that is known is only added to what is pending there;
//! the files are made of the results (`change.rs`) before a step has to run, or when something looks at them. Before files
//! are changed in another way the state is removed, and written again when it is known what came of it: a build whose step
//! was broken off goes on without the cache.
//!
//! **Trust.** What can be written by anyone but the caller (and root) is not used: neither a folder nor an entry. A result is
//! used when its digest is what the step says; one that looks touched since it was stored is read before the step counts as
//! known. A build takes part only if the cache knows its directory, so that an `.acbuild` which came with a checkout cannot
//! give results to others.

mod change;
mod collect;
mod image;
mod key;
mod layers;
mod memory;
mod state;
mod step;
mod steps;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use appc_image::oci::{Algorithm, Hasher};
use appc_rooted::{OFlags, Root};
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

pub(crate) use change::{Change, Effect, materialise};
pub(crate) use collect::{Entry, Limits, Removed};
pub(crate) use image::StoredImage;
pub(crate) use key::Key;
pub(crate) use layers::{Compressed, Known, StoredLayers};
pub(crate) use state::State;
pub(crate) use step::{Inputs, Step, fill};
pub(crate) use steps::Row;

use crate::error::{Error, Result};

/// Longer ones are none of ours.
const LONGEST_RECORD: u64 = 1 << 20;
const FOLDERS: [&str; 4] = ["steps", "results", "builds", "contents"];
const NEW: &str = "new-";

/// One user's cache.
#[derive(Debug)]
pub(crate) struct Cache {
    /// By way of a descriptor: whoever owns a directory above cannot put another folder in its place.
    path: PathBuf,
    _dir: OwnedFd,
    /// For messages.
    shown: PathBuf,
}

/// Keeps entries in the cache for as long as it lives.
#[derive(Debug)]
pub(crate) struct Lock(#[allow(dead_code, reason = "the lock ends with the file")] File);

/// What a step did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) change: Change,
    /// The SHA-256 of the file in `results`.
    pub(crate) digest: String,
    /// How long that is.
    pub(crate) size: u64,
    /// Whether something of the dependencies is deleted from then on.
    pub(crate) deletes: bool,
}

/// The content of a file in `steps`, behind its own digest.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    key: String,
    command: String,
    kept: Kept,
    /// What the result looked like when it was last known to be whole.
    seen: Seen,
}

/// What changes when a file does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Seen {
    fn of(file: &File) -> io::Result<Seen> {
        let found = file.metadata()?;
        let (modified, changed) = ((found.mtime(), found.mtime_nsec()), (found.ctime(), found.ctime_nsec()));
        Ok(Seen { inode: found.ino(), size: found.size(), modified, changed })
    }
}

impl Cache {
    /// The caller's cache in the data directory `store`, made if need be.
    ///
    /// # Errors
    /// When it cannot be made, or others could write to it.
    pub(crate) fn create(store: &Path) -> Result<Cache> {
        let path = folder(store);
        let make = |path: &Path, mode| {
            DirBuilder::new().recursive(true).mode(mode).create(path).map_err(Error::io("create", path))
        };
        make(&store.join("cache"), 0o755)?;
        make(&path, 0o700)?;
        let cache = Cache::open(store)?.ok_or_else(|| Error::io("open", &path)(io::ErrorKind::NotFound.into()))?;
        FOLDERS.iter().try_for_each(|name| make(&cache.path.join(name), 0o700))?;
        Ok(cache)
    }

    /// The same; nothing when there is none.
    pub(crate) fn open(store: &Path) -> Result<Option<Cache>> {
        let shown = folder(store);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let opened = shown.file_name().map(|name| Root::open(store.join("cache"))?.open_at(name, flags));
        let dir = match opened.unwrap_or_else(|| Err(io::ErrorKind::NotFound.into())) {
            Ok(dir) => dir,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io("open", shown)(e)),
        };
        let found = rustix::fs::fstat(&dir).map_err(|e| Error::io("open", &shown)(e.into()))?;
        if !is_own(found.st_uid, found.st_mode) {
            return Err(Error::Refused(format!(
                "{} can be written by others, who could put anything into images: remove it",
                shown.display()
            )));
        }
        let path = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()));
        Ok(Some(Cache { path, _dir: dir, shown }))
    }

    fn lock(&self, operation: FlockOperation) -> Result<Lock> {
        let path = self.path.join("lock");
        let fail = || Error::io("lock", self.shown.join("lock"));
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path).map_err(fail())?;
        rustix::io::retry_on_intr(|| rustix::fs::flock(&file, operation)).map_err(|e| fail()(e.into()))?;
        Ok(Lock(file))
    }

    /// What is stored for a step. From now on it was used a moment ago; it stays for as long as the lock lives.
    fn find(&self, key: &str) -> Result<Option<(Kept, Lock)>> {
        let lock = self.lock(FlockOperation::LockShared)?;
        let Some(record) = self.record(key) else { return Ok(None) };
        match self.result(&record.kept.digest) {
            Ok(result) if self.is_whole(&record, &result) => {}
            _ => {
                // Of no use to anyone.
                let _ = fs::remove_file(self.path.join("steps").join(key));
                return Ok(None);
            }
        }
        let used = File::open(self.path.join("steps").join(key));
        // When it was last used matters to gc only.
        let _ = used.and_then(|file| file.set_modified(std::time::SystemTime::now()));
        Ok(Some((record.kept, lock)))
    }

    /// The record of a step, if it is one.
    fn record(&self, key: &str) -> Option<Record> {
        let mut text = String::new();
        self.own_file(&self.path.join("steps").join(key)).ok()?.take(LONGEST_RECORD).read_to_string(&mut text).ok()?;
        let (seal, json) = text.split_once('\n')?;
        let record: Record = (seal == sha256(json.as_bytes())).then(|| serde_json::from_str(json).ok())??;
        (record.key == key).then_some(record)
    }

    fn is_whole(&self, record: &Record, result: &File) -> bool {
        match Seen::of(result) {
            Ok(seen) if seen == record.seen => true,
            Ok(seen) if seen.size == record.kept.size => {
                let whole = digest(result).is_ok_and(|digest| digest == record.kept.digest);
                if whole {
                    let (key, command, kept) = (record.key.clone(), record.command.clone(), record.kept.clone());
                    // Else it is read again the next time.
                    let _ = self.put_record(&Record { key, command, kept, seen });
                }
                whole
            }
            _ => false,
        }
    }

    /// The file with a result, which has not been looked into.
    fn result(&self, digest: &str) -> io::Result<File> {
        self.own_file(&self.path.join("results").join(digest))
    }

    /// Opens a file that nobody else can have written.
    fn own_file(&self, path: &Path) -> io::Result<File> {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
        let found = file.metadata()?;
        match found.is_file() && is_own(found.uid(), found.mode()) {
            true => Ok(file),
            false => Err(io::ErrorKind::PermissionDenied.into()),
        }
    }

    /// A file that will be a result.
    fn new_file(&self) -> io::Result<NamedTempFile> {
        tempfile::Builder::new().prefix(NEW).tempfile_in(&self.path)
    }

    /// Makes `file` the result of the step `key`.
    fn put(&self, key: &str, command: &str, kept: Kept, file: NamedTempFile) -> io::Result<()> {
        let result = self.path.join("results").join(&kept.digest);
        // One that is there may be damaged; this one is not.
        let file = file.persist(&result).map_err(|e| e.error)?;
        let seen = Seen::of(&file)?;
        self.put_record(&Record { key: key.to_owned(), command: command.to_owned(), kept, seen })
    }

    fn put_record(&self, record: &Record) -> io::Result<()> {
        let json = serde_json::to_string(record)?;
        let file = self.new_file()?;
        fs::write(file.path(), format!("{}\n{json}", sha256(json.as_bytes())))?;
        file.persist(self.path.join("steps").join(&record.key)).map_err(|e| e.error)?;
        Ok(())
    }
}

/// Where the caller's cache is.
fn folder(store: &Path) -> PathBuf {
    store.join("cache").join(caller().to_string())
}

/// The caller by the number that the host knows, also when this process is root of a user namespace.
fn caller() -> u32 {
    let own = rustix::process::geteuid().as_raw();
    // user_namespaces(7): the first id inside, the same outside, how many.
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let ranges = map.lines().filter_map(|line| {
        let mut numbers = line.split_whitespace().map(|word| word.parse::<u32>().ok());
        Some((numbers.next()??, numbers.next()??, numbers.next()??))
    });
    let outside = ranges.into_iter().find_map(|(inside, outside, count)| {
        let offset = own.checked_sub(inside).filter(|offset| *offset < count)?;
        outside.checked_add(offset)
    });
    outside.unwrap_or(own)
}

/// Whether a file with this owner and mode can be written by the caller and root only.
fn is_own(owner: u32, mode: u32) -> bool {
    owner == rustix::process::geteuid().as_raw() && mode & 0o022 == 0
}

fn sha256(bytes: &[u8]) -> String {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(bytes);
    hasher.finish().hex().to_owned()
}

/// The SHA-256 of a file, from its beginning.
fn digest(file: &File) -> io::Result<String> {
    let mut reader = Hashed::new(file);
    io::Seek::rewind(&mut &*file)?;
    io::copy(&mut reader, &mut io::sink())?;
    Ok(reader.finish())
}

/// Computes the SHA-256 of what is read.
struct Hashed<R> {
    source: R,
    hasher: Hasher,
}

impl<R: Read> Hashed<R> {
    fn new(source: R) -> Hashed<R> {
        Hashed { source, hasher: Hasher::new(Algorithm::Sha256) }
    }

    fn finish(self) -> String {
        self.hasher.finish().hex().to_owned()
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.source.read(buffer)?;
        self.hasher.update(&buffer[..len]);
        Ok(len)
    }
}
