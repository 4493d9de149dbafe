//! Where a pod is in its life: the directory it lies in, and a lock that its living process holds.
//!
//! ```text
//! embryo ─> prepare (locked: preparing) ─> run (locked: running)
//!              │ unlocked: aborted prepare    │ unlocked: exited
//!              v                              v
//!           garbage ─> gone                exited-garbage ─> gone
//! ```
//!
//! A state changes by `rename(2)` of the directory. The lock is `flock(2)` on the directory itself, exclusive for who
//! runs or deletes the pod, shared (for an instant) for who asks about it. It goes with the process that holds it,
//! however that ends.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;
use uuid::Uuid;

pub use super::state::{Place, State};

/// Why no single pod was found.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// Nothing was asked for.
    #[error("UUID cannot be empty")]
    Empty,
    /// Nothing there.
    #[error("no matches found for {0:?}: `rkt list` shows the pods there are")]
    None(String),
    /// More than one there.
    #[error("ambiguous uuid, {0} matches")]
    Ambiguous(usize),
    /// The directory cannot be read.
    #[error("reading the pods in {1}")]
    Read(#[source] io::Error, PathBuf),
}

/// All pods of a data directory.
#[derive(Debug, Clone)]
pub struct Pods {
    root: PathBuf,
}

impl Pods {
    /// The pods of the data directory `data`. Nothing is made yet.
    pub fn new(data: &Path) -> Pods {
        Pods { root: data.join("pods") }
    }

    /// Makes a new pod, locked by the caller, in [`Place::Prepare`].
    pub fn create(&self) -> io::Result<Pod> {
        loop {
            let uuid = Uuid::new_v4();
            let path = self.path(Place::Embryo, uuid);
            match DirBuilder::new().mode(0o750).create(&path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    self.make_places()?;
                    continue;
                }
                done => done?,
            }
            // Before it was locked a `gc` may have taken it for an orphan: then another one is made.
            let mut pod = match Pod::open(self, Place::Embryo, uuid) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                pod => pod?,
            };
            if pod.try_lock()? == Lock::Taken {
                pod.move_to(Place::Prepare)?;
                return Ok(pod);
            }
        }
    }

    /// The first of them last: who finds it counts on the others.
    fn make_places(&self) -> io::Result<()> {
        Place::ALL
            .iter()
            .rev()
            .try_for_each(|place| DirBuilder::new().mode(0o750).recursive(true).create(self.root.join(place.name())))
    }

    /// The pods in one place, in the order of their UUIDs. A place that does not exist is empty.
    pub fn in_place(&self, place: Place) -> io::Result<Vec<Pod>> {
        let entries = match fs::read_dir(self.root.join(place.name())) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut pods = Vec::new();
        for entry in entries {
            let Some(uuid) = entry?.file_name().to_str().and_then(|name| Uuid::try_parse(name).ok()) else { continue };
            match Pod::open(self, place, uuid) {
                Ok(pod) => pods.push(pod),
                // Moved on or gone since.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        pods.sort_by_key(|pod| pod.uuid);
        Ok(pods)
    }

    /// Every pod in `places`, each once.
    pub fn all(&self, places: &[Place]) -> Result<Vec<Pod>, FindError> {
        let mut pods: Vec<Pod> = Vec::new();
        for place in places {
            let here = self.in_place(*place).map_err(|e| FindError::Read(e, self.root.clone()))?;
            for pod in here {
                match pods.iter_mut().find(|p| p.uuid == pod.uuid) {
                    Some(earlier) => *earlier = pod,
                    None => pods.push(pod),
                }
            }
        }
        Ok(pods)
    }

    /// The one pod whose UUID begins with `prefix`.
    pub fn find(&self, prefix: &str) -> Result<Pod, FindError> {
        let wanted = prefix.trim().to_ascii_lowercase();
        if wanted.is_empty() {
            return Err(FindError::Empty);
        }
        let pods = self.all(&[Place::Prepare, Place::Run, Place::ExitedGarbage])?;
        let mut matching: Vec<Pod> = pods.into_iter().filter(|pod| pod.uuid.to_string().starts_with(&wanted)).collect();
        match (matching.pop(), matching.len()) {
            (Some(pod), 0) => Ok(pod),
            (Some(_), more) => Err(FindError::Ambiguous(more + 1)),
            (None, _) => Err(FindError::None(prefix.into())),
        }
    }

    fn path(&self, place: Place, uuid: Uuid) -> PathBuf {
        self.root.join(place.name()).join(uuid.to_string())
    }
}

/// What came of asking for the exclusive lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    /// The caller has it.
    Taken,
    /// A living process has it.
    Held,
    /// The pod is no longer there.
    Gone,
}

/// One pod's directory, held open.
#[derive(Debug)]
pub struct Pod {
    /// Its name for life.
    pub uuid: Uuid,
    /// Where it was when it was last looked at.
    pub place: Place,
    pods: Pods,
    dir: OwnedFd,
}

impl Pod {
    fn open(pods: &Pods, place: Place, uuid: Uuid) -> io::Result<Pod> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = rustix::fs::open(pods.path(place, uuid), flags, Mode::empty())?;
        Ok(Pod { uuid, place, pods: pods.clone(), dir })
    }

    /// The directory's path.
    pub fn path(&self) -> PathBuf {
        self.pods.path(self.place, self.uuid)
    }

    /// The state now.
    pub fn state(&self) -> io::Result<State> {
        let locked = match flock(&self.dir, FlockOperation::NonBlockingLockShared) {
            Ok(()) => {
                flock(&self.dir, FlockOperation::Unlock)?;
                false
            }
            Err(Errno::WOULDBLOCK) => true,
            Err(e) => return Err(e.into()),
        };
        Ok(match (self.place, locked) {
            (Place::Embryo, _) => State::Embryo,
            (Place::Prepare, true) => State::Preparing,
            (Place::Prepare, false) => State::AbortedPrepare,
            (Place::Run, true) => State::Running,
            (Place::Run, false) => State::Exited,
            (Place::ExitedGarbage, true) => State::ExitedDeleting,
            (Place::ExitedGarbage, false) => State::ExitedGarbage,
            (Place::Garbage, true) => State::Deleting,
            (Place::Garbage, false) => State::Garbage,
        })
    }

    /// Asks for the exclusive lock without waiting for who runs or deletes the pod.
    pub fn try_lock(&self) -> io::Result<Lock> {
        loop {
            match flock(&self.dir, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(Errno::WOULDBLOCK) => {}
                Err(e) => return Err(e.into()),
            }
            match flock(&self.dir, FlockOperation::NonBlockingLockShared) {
                // Only somebody who asks about the state is in the way, and that is over at once.
                Ok(()) => flock(&self.dir, FlockOperation::Unlock)?,
                Err(Errno::WOULDBLOCK) => return Ok(Lock::Held),
                Err(e) => return Err(e.into()),
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        // Until the lock was had the pod may have been moved or removed.
        let here = rustix::fs::fstat(&self.dir)?;
        match rustix::fs::stat(self.path()) {
            Ok(now) if (now.st_dev, now.st_ino) == (here.st_dev, here.st_ino) => Ok(Lock::Taken),
            Ok(_) | Err(Errno::NOENT) => Ok(Lock::Gone),
            Err(e) => Err(e.into()),
        }
    }

    /// Waits until the process that runs the pod is gone.
    pub fn wait_unlocked(&self) -> io::Result<()> {
        flock(&self.dir, FlockOperation::LockShared)?;
        Ok(flock(&self.dir, FlockOperation::Unlock)?)
    }

    /// Renames the directory into another place. Only the holder of the lock does so.
    pub fn move_to(&mut self, place: Place) -> io::Result<()> {
        fs::rename(self.path(), self.pods.path(place, self.uuid))?;
        self.place = place;
        Ok(())
    }

    /// Removes the directory and all that is in it. Only the holder of the lock does so.
    pub fn remove(self) -> io::Result<()> {
        fs::remove_dir_all(self.path())
    }

    /// Writes the file `name` in the directory.
    pub fn write(&self, name: impl AsRef<Path>, content: &[u8]) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.dir, name.as_ref(), flags, Mode::from(0o640))?;
        File::from(fd).write_all(content)
    }

    /// The file `name` in the directory, and its time in nanoseconds since 1970.
    pub fn read(&self, name: impl AsRef<Path>) -> io::Result<(Vec<u8>, i64)> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(&self.dir, name.as_ref(), flags, Mode::empty())?);
        let stat = rustix::fs::fstat(&file)?;
        let mut content = Vec::new();
        file.read_to_end(&mut content)?;
        Ok((content, stat.st_mtime * 1_000_000_000 + i64::try_from(stat.st_mtime_nsec).unwrap_or(0)))
    }

    /// Makes the directory `name` below this one, with those missing on the way.
    pub fn mkdir(&self, name: impl AsRef<OsStr>, mode: u32) -> io::Result<PathBuf> {
        let path = self.path().join(name.as_ref());
        DirBuilder::new().recursive(true).mode(mode).create(&path)?;
        Ok(path)
    }

    /// When the directory itself last changed: for a pod that was marked, when that was.
    pub fn changed(&self) -> io::Result<i64> {
        let stat = rustix::fs::fstat(&self.dir)?;
        Ok(stat.st_ctime * 1_000_000_000 + i64::try_from(stat.st_ctime_nsec).unwrap_or(0))
    }
}

impl AsFd for Pod {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

#[cfg(test)]
#[path = "dir_tests.rs"]
mod tests;
