//! Containers on disk, for commands that come after the one that made them.
//!
//! ```text
//! <root>/<id>/              mode 0711; its making is what claims the name. Files are for their owner alone
//!     config.json           the configuration as it was read: what `exec` goes by
//!     state.json            written under a temporary name and renamed; before the cgroup is made, and again with the pid
//!     notify/notify.sock    where the container says that it is ready, when somebody wants to know
//!     state.json.spare      the same again, for when that is damaged: what runs must be found and killed
//!     exec.fifo             while the container is created and not started: init waits at it
//! ```
//! A directory without `state.json` is what a command left that was killed in its first moments; `delete --force` removes
//! it. The kernel's start time of the first process tells it from a later one with the same number.

mod record;

use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::error::{Context, Error, Result};
use crate::files::read_regular;
use crate::{fault, fifo};
pub(crate) use record::Creator;
pub use record::{Record, alive_since};

const STATE: &str = "state.json";
const SPARE: &str = "state.json.spare";
/// What is kept for all containers; no container is called so.
pub(crate) const CACHE: &str = ".cache";
/// The longest record, in MiB: it has the annotations of a configuration, and its hooks.
const STATE_MAX: u64 = 32;
const CONFIG: &str = "config.json";
/// The mode of files that may hold secrets: what is in a container's environment and annotations.
const PRIVATE: u32 = 0o600;
/// The longest configuration, in MiB.
pub const CONFIG_MAX: u64 = 16;
/// The longest name a directory can have.
const ID_MAX: usize = 255;

/// What a container is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is being made.
    Creating,
    /// It waits to be started.
    Created,
    /// Its program runs.
    Running,
    /// Its cgroup is frozen.
    Paused,
    /// Its first process has ended.
    Stopped,
}

impl Status {
    /// The word for it in the runtime specification.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        }
    }
}

/// A container's directory.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
}

impl Directory {
    /// Claims the name `id` below `root`.
    ///
    /// # Errors
    /// When the name is not one or is taken.
    pub fn create(root: &Path, id: &str) -> Result<Directory> {
        check_id(id)?;
        let mut builder = DirBuilder::new();
        builder.mode(0o711).recursive(true).create(root).context(|| format!("make {}", root.display()))?;
        let path = root.join(id);
        match builder.recursive(false).create(&path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                Err(Error::State("container with given ID already exists".to_owned()))
            }
            made => {
                made.context(|| format!("make {}", path.display()))?;
                fault::point("directory made");
                Ok(Directory { path })
            }
        }
    }

    /// Finds a container.
    ///
    /// # Errors
    /// [`Error::NoContainer`] when there is none, [`Error::State`] when it belongs to somebody else.
    pub fn open(root: &Path, id: &str) -> Result<Directory> {
        let directory = Directory::look(root, id)?;
        let (owner, own) = (directory.owner(), rustix::process::geteuid().as_raw());
        // What it says is acted on: processes are killed, cgroups removed.
        if owner != own && owner != 0 {
            let path = directory.path.display();
            let why =
                format!("{path} belongs to user {owner}, who may have written anything there: run this as that user");
            return Err(Error::State(why));
        }
        Ok(directory)
    }

    /// Finds a container only to show it, whoever it belongs to.
    ///
    /// # Errors
    /// [`Error::NoContainer`] when there is none.
    pub fn look(root: &Path, id: &str) -> Result<Directory> {
        check_id(id)?;
        let path = root.join(id);
        // No link, which could lead to the directory of another.
        match std::fs::symlink_metadata(&path) {
            Ok(found) if found.is_dir() => Ok(Directory { path }),
            _ => Err(Error::NoContainer),
        }
    }

    /// All names below `root`, sorted.
    ///
    /// # Errors
    /// When `root` cannot be read; that it does not exist is no error.
    pub fn list(root: &Path) -> Result<Vec<String>> {
        let entries = match std::fs::read_dir(root) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.context(|| format!("read {}", root.display()))?,
        };
        let names = entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir()) && e.file_name() != CACHE);
        let mut names: Vec<String> = names.filter_map(|e| e.file_name().into_string().ok()).collect();
        names.sort();
        Ok(names)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The user it belongs to.
    pub fn owner(&self) -> u32 {
        std::fs::metadata(&self.path).map_or(0, |m| m.uid())
    }

    /// Reads the record.
    ///
    /// # Errors
    /// [`Error::NoContainer`] when the container was never finished.
    pub fn load(&self) -> Result<Record> {
        self.load_from(STATE).or_else(|e| self.load_from(SPARE).map_err(|_| e))
    }

    fn load_from(&self, name: &str) -> Result<Record> {
        let path = self.path.join(name);
        match read_regular(&path, STATE_MAX) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(Error::NoContainer),
            text => serde_json::from_slice(&text.context(|| format!("read {}", path.display()))?)
                .map_err(|e| Error::State(format!("{}: {e}", path.display()))),
        }
    }

    /// Writes the record.
    ///
    /// # Errors
    /// When the file system refuses; then the old record stands.
    pub fn save(&self, record: &Record) -> Result<()> {
        let text = serde_json::to_vec(record).map_err(|e| Error::Other(format!("write state: {e}")))?;
        replace(&self.path.join(STATE), &text, PRIVATE)?;
        replace(&self.path.join(SPARE), &text, PRIVATE)
    }

    /// Keeps the text of the configuration.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn save_config(&self, text: &[u8]) -> Result<()> {
        let path = self.path.join(CONFIG);
        let file = File::options().write(true).create(true).truncate(true).mode(PRIVATE).open(&path);
        file.and_then(|mut file| file.write_all(text)).context(|| format!("write {}", path.display()))
    }

    /// The text of the configuration that the container was made from.
    ///
    /// # Errors
    /// When it is not there any more.
    pub fn config(&self) -> Result<Vec<u8>> {
        let path = self.path.join(CONFIG);
        read_regular(&path, CONFIG_MAX).context(|| format!("read {}", path.display()))
    }

    /// Makes the fifo at which init waits for [`Directory::release`], and opens the directory for init.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn make_fifo(&self) -> Result<OwnedFd> {
        fifo::make(&self.path)
    }

    /// Whether init still waits.
    pub fn has_fifo(&self) -> bool {
        fifo::is_in(&self.path)
    }

    /// Lets init go on, and waits until it has executed the program.
    ///
    /// # Errors
    /// What init fails with, or that it has died.
    pub fn release(&self, pidfd: &OwnedFd) -> Result<()> {
        fifo::release(&self.path, pidfd)
    }

    /// Removes everything.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn remove(self) -> Result<()> {
        match std::fs::remove_dir_all(&self.path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.context(|| format!("remove {}", self.path.display())),
        }
    }
}

/// Writes a file that everybody may read, so that it is either the old or the new one at every moment.
///
/// # Errors
/// When the file system refuses; then the old one stands.
pub fn replace_file(path: &Path, content: &[u8]) -> Result<()> {
    replace(path, content, 0o666)
}

fn replace(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}", std::process::id()));
    let temporary = path.with_file_name(name);
    let write = || -> io::Result<()> {
        let mut file = File::options().write(true).create_new(true).mode(mode).open(&temporary)?;
        fault::point("state begun");
        file.write_all(content)?;
        fault::point("state written");
        std::fs::rename(&temporary, path)?;
        fault::point("state renamed");
        Ok(())
    };
    write().context(|| format!("write {}", path.display())).inspect_err(|_| {
        // What is left of a failed attempt; it may not even have been made.
        let _absent = std::fs::remove_file(&temporary);
    })
}

/// A name becomes a directory's, so it is kept to what runc allows.
///
/// # Errors
/// Says the rule.
pub fn check_id(id: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '-' | '.');
    let taken = matches!(id, "" | "." | ".." | CACHE);
    if taken || id.len() > ID_MAX || !id.chars().all(allowed) {
        let rule = "use letters, digits and _ + - . (at most 255)";
        return Err(Error::State(format!("invalid container id {id:?}: {rule}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_names() {
        for id in ["a", "web-1.2_x+y", "..."] {
            check_id(id).unwrap();
        }
        for id in ["", ".", "..", CACHE, "a/b", "../x", "ü", "a\n", "a b", &"x".repeat(256)] {
            assert!(check_id(id).is_err(), "{id:?}");
        }
    }

    #[test]
    fn a_name_is_claimed_once() {
        let root = tempfile::tempdir().unwrap();
        let directory = Directory::create(root.path(), "one").unwrap();
        assert!(Directory::create(root.path(), "one").unwrap_err().to_string().contains("already exists"));
        assert!(matches!(directory.load(), Err(Error::NoContainer)));
        assert_eq!(Directory::list(root.path()).unwrap(), ["one"]);
        directory.remove().unwrap();
        assert!(matches!(Directory::open(root.path(), "one"), Err(Error::NoContainer)));
    }
}
