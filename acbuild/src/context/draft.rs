//! A build on its way: what `begin` works on.

use std::cell::RefCell;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::time::UNIX_EPOCH;

use appc_rooted::{OFlags, Root};
use appc_spec::ImageManifest;
use rustix::fs::{FlockOperation, Mode};

use super::{
    BUILD_MODE, CACHE, HISTORY, LOCK, Locked, MANIFEST, NAME, TOUCHED, create_lock, files, foreign, has_foreign_entry,
    is_at, open_rootfs,
};
use crate::cache::{Cache, Lock, Row, State};
use crate::document::{self, Document};
use crate::error::{Error, Result};
use crate::oci::Image;
use crate::session::Session;

/// Nobody else may look into a build: what is set-user-ID in the image is so on the host, too.
const MODE: u32 = 0o700;

/// A build that `begin` is still filling. Dropped before [`Draft::finish`], it is removed.
#[derive(Debug)]
pub(crate) struct Draft {
    locked: Locked,
    finished: bool,
    cached: RefCell<Option<Cached>>,
}

/// What is known of a build that has a cache.
#[derive(Debug)]
struct Cached {
    /// Nothing when it goes on without.
    state: Option<State>,
    row: Row,
    /// Keeps what the build begins with in the cache until the build says so itself.
    _lock: Option<Lock>,
}

impl Draft {
    /// Starts a build below `work_path`: the directory, locked, with an empty root file system.
    pub(crate) fn begin(work_path: &Path) -> Result<Draft> {
        let dir = work_path.join(NAME);
        let fresh = match fs::DirBuilder::new().mode(MODE).create(&dir) {
            Ok(()) => true,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => false,
            Err(e) => return Err(Error::io("create", dir)(e)),
        };
        if !fresh && has_foreign_entry(&dir)? {
            // Without a build in it, sending the user to `end` would be no help.
            return Err(if dir.join(BUILD_MODE).exists() { Error::BuildInProgress } else { foreign(&dir) });
        }
        // Another `begin` may be as far as this: whoever gets the lock goes on.
        let lock = create_lock(&dir.join(LOCK)).inspect_err(|_| {
            if fresh {
                let _ = fs::remove_dir(&dir); // The first error is the one to tell.
            }
        })?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(Error::BuildInProgress),
            Err(e) => return Err(Error::io("lock", dir.join(LOCK))(e.into())),
        }
        if !is_at(&lock, &dir.join(LOCK))? {
            return Err(Error::BuildInProgress);
        }
        let locked = Locked { dir, _lock: lock, busy: false };
        if !matches!(locked.mode(), Ok(None)) {
            return Err(Error::BuildInProgress);
        }
        if !fresh {
            close(&locked.dir).map_err(Error::io("take over", &locked.dir))?;
        }
        let draft = Draft { locked, finished: false, cached: RefCell::default() };
        draft.prepare()?;
        Ok(draft)
    }

    fn prepare(&self) -> Result<()> {
        self.locked.clear()?;
        let current = self.path().join("currentaci");
        for path in [&current, &current.join("rootfs")] {
            fs::create_dir(path).map_err(Error::io("create", path))?;
            let mode = fs::Permissions::from_mode(0o755);
            fs::set_permissions(path, mode).map_err(Error::io("set the mode of", path))?;
            // The same image begins the same whenever it begins.
            let begun = fs::File::open(path).and_then(|directory| directory.set_modified(UNIX_EPOCH));
            begun.map_err(Error::io("set the time of", path))?;
        }
        Ok(())
    }

    /// Has the build use the caller's cache.
    pub(crate) fn use_cache(&self, session: &Session) -> Result<()> {
        let store = session.store_dir();
        let state = State::begin(&Cache::create(&store)?, &store, self.path())?;
        self.set_state(Some(state), Row::of(session, None, None), None);
        Ok(())
    }

    /// The state of the build's cache, if it has one.
    pub(crate) fn state(&self) -> Option<State> {
        self.cached.borrow().as_ref().and_then(|cached| cached.state.clone())
    }

    /// Makes `state` that of the build's cache, and `row` what is told of the beginning.
    pub(crate) fn set_state(&self, state: Option<State>, row: Row, lock: Option<Lock>) {
        *self.cached.borrow_mut() = Some(Cached { state, row, _lock: lock });
    }

    /// The directory `.acbuild`.
    pub(crate) fn path(&self) -> &Path {
        &self.locked.dir
    }

    /// The root file system.
    pub(crate) fn rootfs(&self) -> Result<Root> {
        open_rootfs(self.path())
    }

    /// Makes it an appc build, with these bytes as its manifest.
    ///
    /// # Errors
    /// When they are not a valid manifest.
    pub(crate) fn finish(self, manifest: &[u8]) -> Result<()> {
        ImageManifest::parse(manifest)?;
        self.finish_as(document::Mode::Appc, manifest)
    }

    /// Makes it an oci build of this image.
    pub(crate) fn finish_oci(self, image: &Image) -> Result<()> {
        let bytes = image.to_bytes()?;
        if image.base.is_some() {
            // It has the files of that.
            files::write(self.path(), TOUCHED, b"")?;
        }
        self.finish_as(document::Mode::Oci, &bytes)
    }

    fn finish_as(mut self, mode: document::Mode, manifest: &[u8]) -> Result<()> {
        files::write(self.path(), MANIFEST, manifest)?;
        if let Some(cached) = &*self.cached.borrow() {
            if let Some(state) = &cached.state {
                files::write(self.path(), CACHE, &state.to_bytes()?)?;
            }
            files::write(self.path(), HISTORY, cached.row.to_line().as_bytes())?;
        }
        files::write(self.path(), BUILD_MODE, mode.as_str().as_bytes())?;
        self.finished = true;
        Ok(())
    }
}

/// Keeps everybody else out of a directory that was there before.
fn close(dir: &Path) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let dir = rustix::fs::open(dir, flags, Mode::empty())?;
    rustix::fs::fchown(&dir, Some(rustix::process::geteuid()), None)?;
    Ok(rustix::fs::fchmod(&dir, Mode::from_raw_mode(MODE))?)
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.finished {
            if let Some(state) = self.state() {
                Cache::forget(&state);
            }
            // Already failing; what is left is cleared by the next begin.
            let _ = self.locked.remove();
        }
    }
}
