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
//!   measure, touched  what is known of the files until a command changes them (see `known.rs`)
//!   staging/          what `copy` and `run` are about to move into rootfs
//! ```
//!
//! A process that waited for the lock may find that `end` removed the directory meanwhile, so the lock counts only
//! if the file it is on is still the one the path leads to. A `begin` or `end` that was killed leaves a directory
//! without `buildMode`: there is no build in it, and the next `begin` or `end` clears it away.

mod cached;
mod draft;
mod files;
mod known;
mod lock;
mod removal;

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use appc_image::archive::MANIFEST_MAX;
use appc_rooted::{OFlags, Root};
use appc_spec::ImageManifest;
use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use crate::cache::{Cache, State};
use crate::document::{Document, Mode};
use crate::error::{Error, Result};
use crate::install::{allow_writing, set_mode};
use crate::oci::Image;
use crate::run::apply;

pub(crate) use draft::Draft;
pub(crate) use lock::{Access, is_at};
use lock::{LOCK, Locked, create_lock, foreign, has_foreign_entry};

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
/// How much the files are, and the next one.
const MEASURE: &str = "measure";
const NEW_MEASURE: &str = "measure.new";
/// Where they can differ from the layers below.
const TOUCHED: &str = "touched";

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

    /// Removes the build below `work_path`, also one that a killed `begin` left half made. With a data directory `store`,
    /// what takes long goes on in the background.
    pub(crate) fn end(work_path: &Path, store: Option<&Path>) -> Result<()> {
        let Some(locked) = Locked::wait(work_path, Access::Change)? else { return Err(Error::NoBuild) };
        if has_foreign_entry(&locked.dir)? {
            return Err(foreign(&locked.dir));
        }
        if let Ok(Some(state)) = locked.state() {
            Cache::forget(&state);
        }
        match store.map(|store| removal::move_away(&locked.dir, store)) {
            Some(Ok(away)) => removal::remove(away),
            _ => locked.remove(),
        }
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
        self.forget_measure()?;
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
