//! Where a build with a cache is: the state that its files are in, and what is still to be done for them to be so.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::rand::{GetRandomFlags, getrandom};
use serde::{Deserialize, Serialize};

use super::{Cache, Kept};
use crate::error::{Error, Result};

/// The content of `.acbuild/cache`. A build without it has no cache, or none any more.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct State {
    /// The data directory that the cache is in.
    pub(super) store: PathBuf,
    /// By which the cache knows the build.
    pub(super) id: String,
    /// A digest that stands for the files once everything pending is done.
    pub(super) state: String,
    /// Whether something of the dependencies is deleted by then.
    pub(super) deletes: bool,
    /// Results, the first one first.
    pub(super) pending: Vec<Kept>,
}

/// The content of `builds/<id>`.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Registered {
    dir: PathBuf,
    device: u64,
    inode: u64,
}

impl Registered {
    /// Whether that directory is still where it was.
    fn is_there(&self) -> bool {
        Registered::of(&self.dir).is_ok_and(|there| there == *self)
    }

    fn of(dir: &Path) -> Result<Registered> {
        let found = fs::metadata(dir).map_err(Error::io("read", dir))?;
        let full = fs::canonicalize(dir).map_err(Error::io("find", dir))?;
        Ok(Registered { dir: full, device: found.dev(), inode: found.ino() })
    }
}

impl State {
    /// That of a new build in `dir`, which is empty.
    pub(crate) fn begin(cache: &Cache, store: &Path, dir: &Path) -> Result<State> {
        let store = std::path::absolute(store).map_err(Error::io("find", store))?;
        let mut random = [0; 16];
        getrandom(&mut random, GetRandomFlags::empty()).map_err(|e| Error::io("read", "random numbers")(e.into()))?;
        let id: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let path = cache.path.join("builds").join(&id);
        let registered = serde_json::to_vec(&Registered::of(dir)?).unwrap_or_default();
        fs::write(path, registered).map_err(Error::io("write to", &cache.shown))?;
        Ok(State { store, id, state: "empty".into(), deletes: false, pending: Vec::new() })
    }

    /// Reads what [`State::to_bytes`] gave.
    pub(crate) fn parse(bytes: &[u8]) -> Result<State> {
        serde_json::from_slice(bytes).map_err(|e| {
            Error::Refused(format!("the state of the build's cache cannot be read: {e} - try \"acbuild end\""))
        })
    }

    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|e| Error::Refused(format!("the state of the build's cache: {e}")))
    }

    /// Whether something of the dependencies is deleted.
    pub(crate) fn deletes(&self) -> bool {
        self.deletes
    }

    /// Whether files are still to be made.
    pub(crate) fn is_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// The state after a step.
    pub(super) fn after(&self, key: &str, kept: &Kept) -> State {
        let change = serde_json::to_string(&kept.change).unwrap_or_default();
        let state = super::sha256(format!("{key} {change} {}", kept.digest).as_bytes());
        State { state, deletes: kept.deletes, ..self.clone() }
    }
}

impl Cache {
    /// The cache of a build in `dir`, if it is one that was begun there: not a copy, and not one from elsewhere.
    pub(super) fn of_build(state: &State, dir: &Path) -> Result<Option<Cache>> {
        let Some(cache) = Cache::open(&state.store)? else { return Ok(None) };
        let Some(registered) = cache.registered(&state.id) else { return Ok(None) };
        let here = Registered::of(dir)?;
        let same = (registered.device, registered.inode) == (here.device, here.inode);
        Ok(same.then_some(cache))
    }

    fn registered(&self, id: &str) -> Option<Registered> {
        let plain = id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let path = self.path.join("builds").join(id);
        plain.then(|| self.own_file(&path).ok())??;
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    /// Forgets a build that has ended.
    pub(crate) fn forget(state: &State) {
        let Ok(Some(cache)) = Cache::open(&state.store) else { return };
        if cache.registered(&state.id).is_some() {
            // Else gc finds it.
            let _ = fs::remove_file(cache.path.join("builds").join(&state.id));
        }
    }

    /// The results that builds still need. Those that are no more are forgotten.
    pub(super) fn needed(&self) -> Result<Vec<String>> {
        let mut needed = Vec::new();
        for id in super::collect::names(&self.path.join("builds"))? {
            let state = self.registered(&id).map(|build| fs::read(build.dir.join("cache")));
            match state {
                Some(Ok(bytes)) => match State::parse(&bytes) {
                    Ok(state) if state.id == id => needed.extend(state.pending.into_iter().map(|kept| kept.digest)),
                    _ => self.drop_build(&id),
                },
                Some(Err(e)) if e.kind() != ErrorKind::NotFound => {}
                // It is being changed, and needs nothing meanwhile.
                Some(Err(_)) if self.registered(&id).is_some_and(|build| build.is_there()) => {}
                _ => self.drop_build(&id),
            }
        }
        Ok(needed)
    }

    fn drop_build(&self, id: &str) {
        // The next gc tries again.
        let _ = fs::remove_file(self.path.join("builds").join(id));
    }
}
