//! What a build with a cache has beside its files.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use super::{Access, Build, CACHE, HISTORY, NEW_CACHE, files};
use crate::cache::{Row, State, materialise};
use crate::error::{Error, Result};
use crate::output;

impl Build {
    /// Opens the build below `work_path`, with all its files.
    pub(crate) fn open_whole(work_path: &Path, access: Access) -> Result<Build> {
        loop {
            let build = Build::open(work_path, access)?;
            if !build.is_pending() {
                return Ok(build);
            }
            if access == Access::Change {
                materialise(&build)?;
                return Ok(build);
            }
            // Making them takes the lock that others wait for; meanwhile there may be more to make.
            drop(build);
            materialise(&Build::open(work_path, Access::Change)?)?;
        }
    }

    /// The state of its cache, if it has one.
    pub(crate) fn state(&self) -> Option<State> {
        self.state.borrow().clone()
    }

    /// Makes `state` that of its cache, at once and completely.
    pub(crate) fn set_state(&self, state: State) -> Result<()> {
        let dir = &self.locked.dir;
        files::write(dir, NEW_CACHE, &state.to_bytes()?)?;
        files::rename(dir, NEW_CACHE, CACHE).map_err(Error::io("replace", dir.join(CACHE)))?;
        *self.state.borrow_mut() = Some(state);
        Ok(())
    }

    /// Forgets the state of its cache, as the files are about to be changed. They must be there.
    pub(crate) fn drop_state(&self) -> Result<()> {
        if self.state.borrow_mut().take().is_some() {
            let path = self.locked.dir.join(CACHE);
            fs::remove_file(&path).map_err(Error::io("remove", path))?;
        }
        Ok(())
    }

    /// Whether files are still to be made.
    pub(super) fn is_pending(&self) -> bool {
        self.state.borrow().as_ref().is_some_and(State::is_pending)
    }

    /// Adds what a step came to, where that is kept.
    pub(crate) fn log(&self, row: &Row) {
        let add = |mut file: File| file.write_all(row.to_line().as_bytes());
        match files::append(&self.locked.dir, HISTORY).and_then(add) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            // The step itself has succeeded.
            Err(e) => output::warning(format_args!("the step is not in the history: {e}")),
            Ok(()) => {}
        }
    }

    /// What the steps came to; nothing when that is not kept.
    pub(crate) fn rows(&self) -> Result<Option<Vec<Row>>> {
        match files::read(&self.locked.dir, HISTORY) {
            Ok(text) => Ok(Some(Row::of_lines(&String::from_utf8_lossy(&text)))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io("read", self.locked.dir.join(HISTORY))(e)),
        }
    }
}
