//! The build in progress: a directory `.acbuild` under the working path.
//!
//! ```text
//! .acbuild/           0700: what is set-user-ID in the image must not be so for others of the host
//!   lock              flock(2): shared to read the build, exclusive to change it; lives as long as the directory
//!   buildMode         "appc" or "oci"; written last by `begin` and removed first by `end`: with it there is a build
//!   currentaci/       the image as it will be written
//!     manifest        what is said of it (see `document.rs`); replaced by rename, never written in place
//!     rootfs/
//!   layers/N/rootfs/  in oci builds, the layers that were closed, in the form of overlay mounts (see `oci/layers.rs`)
//!   manifest.new      the next manifest, until it is renamed
//!   deleted           what `run` has deleted of the dependencies
//!   cache             in builds with a cache, which state the files are in and what is still to be made (see `cache.rs`)
//!   history           what the steps of such a build came to, a line each
//!   staging/          what `copy` and `run` are about to move into rootfs
//! ```
//!
//! A process that waited for the lock may find that `end` removed the directory meanwhile, so the lock counts only
//! if the file it is on is still the one the path leads to. A `begin` or `end` that was killed leaves a directory
//! without `buildMode`: there is no build in it, and the next `begin` or `end` clears it away.

mod cached;
mod draft;
mod files;

use std::cell::RefCell;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use appc_image::archive::MANIFEST_MAX;
use appc_rooted::{OFlags, Root};
use appc_spec::ImageManifest;
use rustix::fs::{CWD, FlockOperation, RenameFlags};
use rustix::io::Errno;

use crate::cache::{Cache, State};
use crate::document::{Document, Mode};
use crate::error::{Error, Result};
use crate::install::{allow_writing, set_mode};
use crate::oci::Image;
use crate::run::apply;

pub(crate) use draft::Draft;

pub(crate) const NAME: &str = ".acbuild";
const ROOTFS: &str = "currentaci/rootfs";
const BUILD_MODE: &str = "buildMode";
const MANIFEST: &str = "currentaci/manifest";
/// The state of the build's cache, and the next one.
const CACHE: &str = "cache";
const NEW_CACHE: &str = "cache.new";
/// What the steps came to.
const HISTORY: &str = "history";
/// The next manifest.
const NEW_MANIFEST: &str = "manifest.new";
/// Everything that may be in the directory, the original program's leavings too: in this order it is removed.
const ENTRIES: [&str; 14] = [
    BUILD_MODE,
    CACHE,
    NEW_CACHE,
    HISTORY,
    NEW_MANIFEST,
    "deleted",
    "staging",
    "currentaci",
    "layers",
    "target",
    "work",
    "depstore-tar",
    "depstore-expanded",
    "ociblobs",
];
const LOCK: &str = "lock";

/// What a command is going to do with the build.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Look at what is said of it, which is as it was while others change it.
    Look,
    /// Look at it, beside others who look.
    Read,
    /// Change it, alone.
    Change,
}

/// The build's directory, locked for as long as this lives.
#[derive(Debug)]
struct Locked {
    dir: PathBuf,
    _lock: File,
    /// Somebody else has it, to change the build.
    busy: bool,
}

/// A build in progress.
#[derive(Debug)]
pub(crate) struct Build {
    locked: Locked,
    mode: Mode,
    /// That of its cache, as it is on the disk.
    state: RefCell<Option<State>>,
}

/// A manifest on disk that is not yet the build's.
#[derive(Debug)]
pub(crate) struct NewManifest<'b> {
    build: &'b Build,
    committed: bool,
}

impl Locked {
    /// Waits for the lock. `Ok(None)` when there is no directory, or it went away while waiting.
    fn wait(work_path: &Path, access: Access) -> Result<Option<Locked>> {
        loop {
            let Some((dir, lock)) = open_lock(work_path, access)? else { return Ok(None) };
            let operation = match access {
                Access::Look => FlockOperation::NonBlockingLockShared,
                Access::Read => FlockOperation::LockShared,
                Access::Change => FlockOperation::LockExclusive,
            };
            let busy = match rustix::io::retry_on_intr(|| rustix::fs::flock(&lock, operation)) {
                Err(Errno::WOULDBLOCK) if access == Access::Look => true,
                locked => locked.map(|()| false).map_err(|e| Error::io("lock", dir.join(LOCK))(e.into()))?,
            };
            if is_at(&lock, &dir.join(LOCK))? {
                return Ok(Some(Locked { dir, _lock: lock, busy }));
            }
        }
    }

    /// What kind of image is built here; nothing when there is no build.
    fn mode(&self) -> Result<Option<Mode>> {
        match files::read(&self.dir, BUILD_MODE) {
            // Killed while writing it.
            Ok(mode) if mode.is_empty() => Ok(None),
            Ok(mode) => match std::str::from_utf8(&mode).ok().and_then(Mode::parse) {
                Some(mode) => Ok(Some(mode)),
                None => {
                    let mode = mode.escape_ascii();
                    Err(Error::Refused(format!("the build mode is \"{mode}\", and only appc and oci are supported")))
                }
            },
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io("read", self.dir.join(BUILD_MODE))(e)),
        }
    }

    /// The state of the build's cache, if it has one.
    fn state(&self) -> Result<Option<State>> {
        match files::read(&self.dir, CACHE) {
            Ok(bytes) => Ok(Some(State::parse(&bytes)?)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io("read", self.dir.join(CACHE))(e)),
        }
    }

    /// Removes everything but the lock, the sign that there is a build first.
    fn clear(&self) -> Result<()> {
        for name in ENTRIES {
            remove_tree(self.dir.join(name))?;
        }
        Ok(())
    }

    /// Removes the directory. The lock goes last, as others wait on it.
    fn remove(&self) -> Result<()> {
        self.clear()?;
        let lock = self.dir.join(LOCK);
        fs::remove_file(&lock).map_err(Error::io("remove", lock))?;
        fs::remove_dir(&self.dir).map_err(Error::io("remove", &self.dir))
    }
}

/// Whether `dir` holds anything that no build made.
fn has_foreign_entry(dir: &Path) -> Result<bool> {
    for entry in fs::read_dir(dir).map_err(Error::io("read", dir))? {
        let name = entry.map_err(Error::io("read", dir))?.file_name();
        if name != LOCK && !ENTRIES.iter().any(|known| name == *known) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn foreign(dir: &Path) -> Error {
    Error::Refused(format!("{} holds files that acbuild did not make: remove it by hand", dir.display()))
}

/// Opens the lock file of the build below `work_path`, unless there is none.
fn open_lock(work_path: &Path, access: Access) -> Result<Option<(PathBuf, File)>> {
    let dir = work_path.join(NAME);
    let path = dir.join(LOCK);
    // NFS locks exclusively only what is open for writing.
    let opened = files::open_lock(&path, OpenOptions::new().read(true).write(access == Access::Change));
    match opened {
        Ok(lock) => Ok(Some((dir, lock))),
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("lock", path)(e)),
        // A build of the original program has a lock file only while a command runs.
        Err(_) if dir.join(BUILD_MODE).exists() => {
            create_lock(&path)?;
            open_lock(work_path, access)
        }
        Err(_) => Ok(None),
    }
}

fn create_lock(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o644);
    files::open_lock(path, &mut options).map_err(Error::io("lock", path))
}

/// Whether `path` still leads to the open file.
pub(crate) fn is_at(file: &File, path: &Path) -> Result<bool> {
    let ours = file.metadata().map_err(Error::io("lock", path))?;
    match fs::metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Error::io("lock", path)(e)),
    }
}

impl Build {
    /// Opens the build below `work_path`, waiting for others to be done with it. Its files may still have to be made: see
    /// [`Build::open_whole`].
    ///
    /// # Errors
    /// [`Error::NoBuild`] also when the build ended while this waited.
    pub(crate) fn open(work_path: &Path, access: Access) -> Result<Build> {
        let Some(locked) = Locked::wait(work_path, access)? else { return Err(Error::NoBuild) };
        let mode = match locked.mode()? {
            Some(mode) => mode,
            // It is being begun, or ended.
            None if locked.busy => return Build::open(work_path, Access::Read),
            None => return Err(Error::NoBuild),
        };
        let state = RefCell::new(locked.state()?);
        let build = Build { locked, mode, state };
        if build.locked.busy || !apply::is_pending(build.dir()) {
            return Ok(build);
        }
        // A `run` was killed when it had succeeded already.
        if access != Access::Change {
            drop(build);
            drop(Build::open(work_path, Access::Change)?);
            return Build::open(work_path, access);
        }
        apply::finish(&build)?;
        Ok(build)
    }

    /// Removes the build below `work_path`, also one that a killed `begin` left half made.
    pub(crate) fn end(work_path: &Path) -> Result<()> {
        let Some(locked) = Locked::wait(work_path, Access::Change)? else { return Err(Error::NoBuild) };
        if has_foreign_entry(&locked.dir)? {
            return Err(foreign(&locked.dir));
        }
        if let Ok(Some(state)) = locked.state() {
            Cache::forget(&state);
        }
        locked.remove()
    }

    /// What kind of image it is.
    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// The bytes of the manifest: in appc builds, as they will be written.
    pub(crate) fn manifest_bytes(&self) -> Result<Vec<u8>> {
        files::read(&self.locked.dir, MANIFEST).map_err(Error::io("read", self.locked.dir.join(MANIFEST)))
    }

    /// The manifest of an appc build.
    pub(crate) fn manifest(&self) -> Result<ImageManifest> {
        self.expect(Mode::Appc)?;
        ImageManifest::parse(&self.manifest_bytes()?).map_err(Error::BadManifest)
    }

    /// Where the root file system is.
    pub(crate) fn rootfs_path(&self) -> PathBuf {
        self.locked.dir.join(ROOTFS)
    }

    /// Where the manifest is.
    pub(crate) fn manifest_path(&self) -> PathBuf {
        self.locked.dir.join("currentaci/manifest")
    }

    /// What is said of the image of an oci build.
    pub(crate) fn image(&self) -> Result<Image> {
        self.expect(Mode::Oci)?;
        Image::parse(&self.manifest_bytes()?)
    }

    /// What is said of the image, whichever kind it is.
    pub(crate) fn document(&self) -> Result<Box<dyn Document>> {
        Ok(match self.mode {
            Mode::Appc => Box::new(self.manifest()?),
            Mode::Oci => Box::new(self.image()?),
        })
    }

    fn expect(&self, mode: Mode) -> Result<()> {
        if self.mode == mode { Ok(()) } else { Err(Error::OtherMode { supported: mode, build: self.mode }) }
    }

    /// The root file system.
    ///
    /// # Errors
    /// When its files are still to be made, which who opens the build has to see to.
    pub(crate) fn rootfs(&self) -> Result<Root> {
        match self.is_pending() {
            true => Err(Error::refused("the files of the build are still in its cache")),
            false => self.rootfs_in_making(),
        }
    }

    /// The same, for who makes the files.
    pub(crate) fn rootfs_in_making(&self) -> Result<Root> {
        open_rootfs(&self.locked.dir)
    }

    /// Puts the tree `whole` in the place of the root file system, which is where that was from then on.
    pub(crate) fn exchange_rootfs(&self, whole: &Path) -> Result<()> {
        let own = self.rootfs_path();
        let fail = |e: Errno| Error::io("replace", &own)(e.into());
        let exchange = || rustix::fs::renameat_with(CWD, whole, CWD, &own, RenameFlags::EXCHANGE);
        match exchange() {
            Err(Errno::ACCESS) => {}
            done => return done.map_err(fail),
        }
        // An ordinary user's own directories may be read-only, and moving one changes its `..`.
        let new = Root::open(whole).map_err(Error::io("open", whole))?;
        let before = allow_writing(&new).map_err(fail)?;
        allow_writing(self.rootfs_in_making()?).map_err(fail)?;
        exchange().map_err(fail)?;
        set_mode(&new, before).map_err(fail)
    }

    /// Where the build is kept; a tree that is copied into the build must leave it out.
    pub(crate) fn dir(&self) -> &Path {
        &self.locked.dir
    }

    /// An empty directory on the file system of the root file system.
    pub(crate) fn staging(&self) -> Result<PathBuf> {
        self.clear_staging()?;
        let path = self.locked.dir.join("staging");
        fs::DirBuilder::new().mode(0o700).create(&path).map_err(Error::io("create", &path))?;
        Ok(path)
    }

    /// Removes what [`Build::staging`] made.
    pub(crate) fn clear_staging(&self) -> Result<()> {
        remove_tree(self.locked.dir.join("staging"))
    }

    /// Validates `manifest` and puts it beside the present one.
    pub(crate) fn prepare(&self, manifest: &dyn Document) -> Result<NewManifest<'_>> {
        self.expect(manifest.mode())?;
        let bytes = manifest.to_bytes()?;
        if bytes.len() as u64 > MANIFEST_MAX {
            let why = format!("the image's manifest would be longer than {MANIFEST_MAX} bytes: say less in it");
            return Err(Error::Refused(why));
        }
        let new = NewManifest { build: self, committed: false };
        // Not synced: a build in progress need not outlive the machine, what `write` makes must.
        files::write(&self.locked.dir, NEW_MANIFEST, &bytes)?;
        Ok(new)
    }
}

impl NewManifest<'_> {
    /// Makes it the build's manifest, at once and completely.
    pub(crate) fn commit(mut self) -> Result<()> {
        let dir = &self.build.locked.dir;
        files::rename(dir, NEW_MANIFEST, MANIFEST).map_err(Error::io("replace", dir.join(MANIFEST)))?;
        self.committed = true;
        Ok(())
    }
}

impl Drop for NewManifest<'_> {
    fn drop(&mut self) {
        if !self.committed {
            // The next one is written over it anyway.
            let _ = fs::remove_file(self.build.locked.dir.join(NEW_MANIFEST));
        }
    }
}

fn remove_tree(path: PathBuf) -> Result<()> {
    appc_image::store::remove_tree(&path).map_err(Error::io("remove", path))
}

/// The root file system of the build in `dir`. A link in its place is refused: an `.acbuild` may have come with a checkout.
fn open_rootfs(dir: &Path) -> Result<Root> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let rootfs = Root::open(dir).and_then(|build| build.open_at(ROOTFS, flags));
    rootfs.map(Root::from_fd).map_err(Error::io("open", dir.join(ROOTFS)))
}
