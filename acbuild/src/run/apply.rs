//! Bringing what a command has changed into the build: all of it or nothing.
//!
//! ```text
//! .acbuild/staging/
//!   upper/      what the command has written
//!   manifest    the manifest with this command in its history
//!   deleted     what is deleted of the dependencies from now on
//!   steps       written last, by rename: from here on the changes are made, if need be by the next command
//!   trash/      what was in the way
//! ```

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use appc_image::stack;
use appc_rooted::{OFlags, Root};
use rustix::fs::{AtFlags, FileType, Timespec, Timestamps};

use super::deleted;
use super::steps::{self, Step};
use super::upper::Changes;
use crate::context::Build;
use crate::document::Document;
use crate::error::{Error, Result};

/// The file whose presence means that the changes are decided upon.
const STEPS: &str = "staging/steps";

/// Makes `changes`, which lie in the build's staging directory, and puts `document` in place.
pub(crate) fn commit(build: &Build, changes: &Changes, document: &dyn Document) -> Result<()> {
    write(build, "manifest", &document.to_bytes()?)?;
    again(build, &steps::to_bytes(&changes.steps), &changes.deleted.to_bytes())
}

/// Makes changes whose upper layer lies in the build's staging directory: the `steps`, and what is `deleted` from then on.
pub(crate) fn again(build: &Build, steps: &[u8], deleted: &[u8]) -> Result<()> {
    if !deleted.is_empty() || build.dir().join(deleted::FILE).exists() {
        write(build, deleted::FILE, deleted)?;
    }
    let decided = steps::from_bytes(steps).unwrap_or_default();
    build.touch(decided.iter().map(|step| match step {
        Step::Remove(path) | Step::Put(path) => path.clone(),
        Step::Like(path, _) if path.as_os_str().is_empty() => PathBuf::from("/"),
        Step::Like(path, _) => path.join(""),
    }))?;
    write(build, "steps.new", steps)?;
    rename(&build.dir().join("staging/steps.new"), &build.dir().join(STEPS))?;
    finish(build)
}

fn write(build: &Build, name: &str, content: &[u8]) -> Result<()> {
    let path = build.dir().join("staging").join(name);
    fs::write(&path, content).map_err(Error::io("write", path))
}

/// Whether there are changes to finish, which a command that was killed had decided upon.
pub(crate) fn is_pending(dir: &Path) -> bool {
    dir.join(STEPS).exists()
}

/// Makes the changes that are decided upon, if there are any. What has been made of them already is not made again.
pub(crate) fn finish(build: &Build) -> Result<()> {
    let path = build.dir().join(STEPS);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::io("read", path)(e)),
    };
    let steps = steps::from_bytes(&bytes).ok_or_else(|| {
        Error::Refused(format!("{} is none of acbuild's: try \"acbuild end\" to drop the build", path.display()))
    })?;
    let staging = build.dir().join("staging");
    let trash = staging.join("trash");
    fs::create_dir(&trash).or_else(already).map_err(Error::io("create", &trash))?;
    let tree = Tree {
        own: build.rootfs_in_making()?,
        upper: open(build.dir(), "staging/upper")?,
        trash: open(&staging, "trash")?,
    };
    for (number, step) in steps.iter().enumerate() {
        tree.take(number, step).map_err(|e| Error::io("change", Path::new("/").join(path_of(step)))(e))?;
    }
    for (name, place) in [(deleted::FILE, build.dir().join(deleted::FILE)), ("manifest", build.manifest_path())] {
        if staging.join(name).exists() {
            rename(&staging.join(name), &place)?;
        }
    }
    fs::remove_file(&path).map_err(Error::io("remove", path))?;
    build.clear_staging()
}

struct Tree {
    own: Root,
    upper: Root,
    trash: Root,
}

impl Tree {
    fn take(&self, number: usize, step: &Step) -> io::Result<()> {
        match step {
            Step::Remove(path) => self.discard(path, number),
            Step::Put(path) => self.put(path, number),
            Step::Like(path, (seconds, nanoseconds)) => {
                stack::make_like(&self.upper, path, &self.own)?;
                // Moving things out of it has made the upper layer's younger.
                let time = Timespec { tv_sec: *seconds, tv_nsec: *nanoseconds };
                let directory = self.own.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW)?;
                Ok(rustix::fs::futimens(directory, &Timestamps { last_access: time, last_modification: time })?)
            }
        }
    }

    fn put(&self, path: &Path, number: usize) -> io::Result<()> {
        let (from, name) = self.upper.parent(path)?;
        let Some(new) = kind(&from, name)? else { return Ok(()) };
        let (to, name) = self.own.parent(path)?;
        let old = kind(&to, name)?;
        if old.is_some_and(|old| old == FileType::Directory || new == FileType::Directory) {
            self.discard(path, number)?;
        }
        Ok(rustix::fs::renameat(&from, name, &to, name)?)
    }

    /// Takes what there is out of the tree. It is removed with the staging directory.
    fn discard(&self, path: &Path, number: usize) -> io::Result<()> {
        let (parent, name) = self.own.parent(path)?;
        match rustix::fs::renameat(&parent, name, &self.trash, number.to_string()) {
            Err(rustix::io::Errno::NOENT) => Ok(()),
            done => Ok(done?),
        }
    }
}

fn path_of(step: &Step) -> &Path {
    match step {
        Step::Remove(path) | Step::Put(path) | Step::Like(path, _) => path,
    }
}

/// What is at `name`, if there is something.
fn kind(parent: &OwnedFd, name: &std::ffi::OsStr) -> io::Result<Option<FileType>> {
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// A directory of the build itself; a link in its place is refused.
fn open(dir: &Path, name: &str) -> Result<Root> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let opened = Root::open(dir).and_then(|root| root.open_at(name, flags));
    opened.map(Root::from_fd).map_err(Error::io("open", dir.join(name)))
}

fn rename(from: &Path, to: &PathBuf) -> Result<()> {
    fs::rename(from, to).map_err(Error::io("replace", to))
}

fn already(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) }
}
