//! Putting trees of the host into the root file system: staged beside it first, then moved in.
//!
//! Copying is what takes long and what fails, so it happens outside the image. Moving is planned completely before the
//! first rename: a copy that cannot be done changes nothing. Every path in the root file system is resolved below it.
//!
//! Where a directory is already there, the two are merged and the one that is there keeps its owner, mode and times.
//! A file replaces a file or a link, never a directory; a directory never replaces a file. What is copied has the times
//! that it had, and so have the directories that it goes to: the same copy makes the same image whenever it is made.

mod times;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use appc_image::archive::{Omission, Ownership};
use appc_image::copy::{CopyOptions, copy_tree};
use appc_rooted::{Mode, OFlags, Root};
use rustix::fs::{AtFlags, CWD, Dir, FileType, RenameFlags, Stat};
use rustix::io::Errno;

use crate::cache::Effect;
use crate::context::Build;
use crate::error::{Error, Result};
use crate::links::{Last, resolve, target};
use crate::output;
use crate::progress::Bar;

/// One rename, from the staging directory to the root file system.
#[derive(Debug)]
struct Move {
    from: PathBuf,
    to: PathBuf,
}

/// Trees that were copied beside the root file system and wait to be moved in.
#[derive(Debug)]
pub(crate) struct Staged<'b> {
    build: &'b Build,
    staging: Root,
    rootfs: Root,
    moves: Vec<Move>,
    destinations: Vec<PathBuf>,
}

impl<'b> Staged<'b> {
    /// Nothing staged yet.
    pub(crate) fn new(build: &'b Build) -> Result<Staged<'b>> {
        let rootfs = build.rootfs()?;
        let path = build.staging()?;
        let staging = Root::open(&path).map_err(Error::io("open", path))?;
        Ok(Staged { build, staging, rootfs, moves: Vec::new(), destinations: Vec::new() })
    }

    /// What was staged before, in `staging` by its numbers, for the same `destinations`.
    pub(crate) fn again(build: &'b Build, staging: Root, destinations: Vec<PathBuf>) -> Result<Staged<'b>> {
        let rootfs = build.rootfs_in_making()?;
        let mut staged = Staged { build, staging, rootfs, moves: Vec::new(), destinations: Vec::new() };
        destinations.into_iter().try_for_each(|destination| staged.place(destination))?;
        Ok(staged)
    }

    /// The root file system that it all goes to.
    pub(crate) fn rootfs(&self) -> &Root {
        &self.rootfs
    }

    /// Copies the host's `source`, and plans how it gets to `destination` in the image.
    pub(crate) fn add(&mut self, source: &Path, destination: &Path) -> Result<()> {
        let name = self.next();
        copy_from_host(source, &self.staging, &name, self.build.dir())?;
        match self.staging.lstat(&name) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let device = fs::symlink_metadata(source).is_ok_and(|found| found.rdev() != 0);
                let why = match device {
                    true => "is a device, which takes root or subordinate ids (see \"acbuild begin --help\")",
                    false => "is a socket, a device 0:0 or the build itself, which no image has: copy something else",
                };
                return Err(Error::Refused(format!("{} {why}", source.display())));
            }
            _ => {}
        }
        self.place(destination.to_owned())
    }

    /// The name of what is staged next.
    fn next(&self) -> PathBuf {
        PathBuf::from(self.destinations.len().to_string())
    }

    /// Plans how what was staged last gets to `destination`.
    fn place(&mut self, destination: PathBuf) -> Result<()> {
        let name = self.next();
        self.destinations.push(destination.clone());
        self.plan(name, destination)
    }

    /// What is staged, and where it goes.
    pub(crate) fn effect(&self) -> Effect<'_> {
        Effect::copied(&self.staging, &self.destinations)
    }

    /// The paths of the image at which there will be something of it.
    pub(crate) fn paths(&self) -> Result<Vec<PathBuf>> {
        let destinations = self.destinations.iter();
        // One that only merges with a directory is not moved.
        let mut paths = destinations.map(|path| self.real(path, Last::Followed)).collect::<Result<Vec<_>>>()?;
        for Move { from, to } in &self.moves {
            let mut waiting = vec![(from.clone(), self.real(to, Last::Meant)?)];
            while let Some((from, to)) = waiting.pop() {
                let stat = self.staging.lstat(&from).map_err(Error::io("read", &from))?;
                if is(&stat, FileType::Directory) {
                    let names = list(&self.staging, &from).map_err(Error::io("read", &from))?;
                    waiting.extend(names.into_iter().map(|name| (from.join(&name), to.join(&name))));
                }
                paths.push(to);
            }
        }
        Ok(paths)
    }

    /// Where `path` leads in the image.
    fn real(&self, path: &Path, last: Last) -> Result<PathBuf> {
        resolve(path, last, |path| target(&self.rootfs, path)).map_err(Error::io("copy to", path))
    }

    /// Moves everything to where it belongs.
    pub(crate) fn install(self) -> Result<()> {
        for Move { from, to } in &self.moves {
            // Only now: what was moved before may be a link on the way.
            self.build.touch([self.real(to, Last::Meant)?])?;
            let above = to.parent().unwrap_or(Path::new(""));
            let times = times::of_directories(&self.rootfs, above);
            self.rename(from, to).and_then(|()| times?.put_back(&self.rootfs)).map_err(Error::io("copy to", to))?;
        }
        Ok(())
    }

    fn plan(&mut self, from: PathBuf, to: PathBuf) -> Result<()> {
        let mut waiting = vec![Move { from, to }];
        while let Some(Move { from, to }) = waiting.pop() {
            let ours = self.staging.lstat(&from).map_err(Error::io("read", &from))?;
            let theirs = match self.rootfs.lstat(&to) {
                Ok(stat) => stat,
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    self.moves.push(Move { from, to });
                    continue;
                }
                Err(e) => return Err(Error::io("copy to", to)(e)),
            };
            let leads_to_directory = is(&theirs, FileType::Directory) || self.leads_to_directory(&to);
            match is(&ours, FileType::Directory) {
                true if leads_to_directory => self.plan_children(&from, &to, &mut waiting)?,
                true => {
                    let why =
                        format!("{} exists in the image and is not a directory: choose another path", to.display());
                    return Err(Error::Refused(why));
                }
                // A link may be put in the place of a link, wherever that one leads.
                false if is(&theirs, FileType::Directory) || leads_to_directory && !is(&ours, FileType::Symlink) => {
                    let why = format!("{} is a directory in the image: use copy-to-dir to copy into it", to.display());
                    return Err(Error::Refused(why));
                }
                false => self.moves.push(Move { from, to }),
            }
        }
        Ok(())
    }

    fn leads_to_directory(&self, path: &Path) -> bool {
        self.rootfs.stat(path).is_ok_and(|stat| is(&stat, FileType::Directory))
    }

    fn plan_children(&self, from: &Path, to: &Path, waiting: &mut Vec<Move>) -> Result<()> {
        let names = list(&self.staging, from).map_err(Error::io("read", from))?;
        waiting.extend(names.into_iter().map(|name| Move { from: from.join(&name), to: to.join(&name) }));
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (old_parent, old_name) = self.staging.parent(from)?;
        let above = to.parent().unwrap_or(Path::new(""));
        let new_parent = self.rootfs.mkdir_all(above, Mode::from(0o755))?;
        let (_, new_name) = self.rootfs.parent(to)?;
        let stat = rustix::fs::statat(&old_parent, old_name, AtFlags::SYMLINK_NOFOLLOW)?;
        let is_directory = is(&stat, FileType::Directory);
        // Over a directory nothing is moved; whether there is one was looked up when this was planned.
        let flags = if is_directory { RenameFlags::NOREPLACE } else { RenameFlags::empty() };
        let rename = || rustix::fs::renameat_with(&old_parent, old_name, &new_parent, new_name, flags);
        match rename() {
            Err(Errno::ACCESS) => {}
            done => return Ok(done?),
        }
        // An ordinary user's own directories may be read-only: the two parents, and what is moved when that is a
        // directory, as its `..` changes.
        allow_writing(&old_parent)?;
        let before = allow_writing(&new_parent)?;
        let moved = is_directory.then(|| open_directory(&old_parent, old_name)).transpose()?;
        let moved = moved.map(|fd| Ok::<_, Errno>((allow_writing(&fd)?, fd))).transpose()?;
        let renamed = rename();
        if let Some((mode, fd)) = moved {
            set_mode(&fd, mode)?;
        }
        set_mode(&new_parent, before)?;
        Ok(renamed?)
    }
}

fn open_directory(parent: &OwnedFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

/// Gives the owner of a directory all rights on it, and returns the mode it had.
pub(crate) fn allow_writing(directory: impl AsFd) -> Result<Mode, Errno> {
    let mode = Mode::from_raw_mode(rustix::fs::fstat(&directory)?.st_mode);
    set_mode(directory, mode | Mode::RWXU)?;
    Ok(mode)
}

/// fchmod(2) that works on an `O_PATH` handle.
pub(crate) fn set_mode(directory: impl AsFd, mode: Mode) -> Result<(), Errno> {
    let handle = format!("/proc/self/fd/{}", directory.as_fd().as_raw_fd());
    rustix::fs::chmodat(CWD, handle, mode, AtFlags::empty())
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        // What is left is cleared by the next copy.
        let _ = self.build.clear_staging();
    }
}

/// Copies `source`, a path of the host, to `name` below `to`; the build's own directory is left out.
///
/// A link as the last component is copied as a link, unless a slash behind it says otherwise.
pub(crate) fn copy_from_host(source: &Path, to: &Root, name: &Path, leave_out: &Path) -> Result<()> {
    let (from, last) = of_host(source)?;
    let leave_out = Root::open(leave_out).map_err(Error::io("open", leave_out))?;
    let bar = Bar::new();
    let options = CopyOptions {
        ownership: Ownership::of_this_process(),
        from_host: true,
        exclude: Some(&leave_out),
        progress: Some(&bar),
        ..CopyOptions::default()
    };
    let copied =
        copy_tree(&from, last, to, name, &options).map_err(|error| Error::Copy { path: source.to_owned(), error })?;
    let shown = |path: PathBuf| if path.as_os_str().is_empty() { source.to_owned() } else { source.join(path) };
    output::sockets(&copied.sockets.into_iter().map(shown).collect::<Vec<_>>());
    let omitted = copied.omitted.into_iter().map(|Omission { path, what }| Omission { path: shown(path), what });
    output::omissions(&omitted.collect::<Vec<_>>());
    Ok(())
}

/// The directory that `source`, a path of the host, is in, and its name there; the name is empty when it is a directory itself.
pub(crate) fn of_host(source: &Path) -> Result<(Root, &OsStr)> {
    let missing = |what: &'static str| {
        move |e: io::Error| match e.kind() {
            io::ErrorKind::NotFound => Error::Refused(format!("no such file or directory: {}", source.display())),
            _ => Error::io(what, source)(e),
        }
    };
    let (above, last) = split_source(source);
    let from = Root::open(&above).map_err(missing("open"))?;
    from.lstat(last).map_err(missing("read"))?;
    Ok((from, last))
}

/// The directory to open and the name in it; the name is empty when the path is that of a directory itself.
fn split_source(source: &Path) -> (PathBuf, &OsStr) {
    let bytes = source.as_os_str().as_bytes();
    match source.file_name() {
        Some(name) if !bytes.ends_with(b"/") && !bytes.ends_with(b"/.") => {
            let above = source.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            (above.to_owned(), name)
        }
        _ => (source.to_owned(), OsStr::new("")),
    }
}

/// The name that `source` gets in a directory.
pub(crate) fn name_of(source: &Path) -> Result<OsString> {
    if let Some(name) = source.file_name() {
        return Ok(name.to_owned());
    }
    // `.` and `..` have a name too, it is only not written there.
    let full = fs::canonicalize(source).map_err(Error::io("find", source))?;
    let name = full.file_name().ok_or_else(|| Error::refused("/ has no name: use copy to copy what is in it"))?;
    Ok(name.to_owned())
}

fn is(stat: &Stat, kind: FileType) -> bool {
    FileType::from_raw_mode(stat.st_mode) == kind
}

/// The names in a directory.
pub(crate) fn list(root: &Root, path: &Path) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::new(root.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY)?)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_behind_a_source_means_the_directory_itself() {
        let cases = [
            ("a", ".", "a"),
            ("a/b", "a", "b"),
            ("/a", "/", "a"),
            ("a/", "a/", ""),
            ("a/.", "a/.", ""),
            (".", ".", ""),
            ("..", "..", ""),
            ("/", "/", ""),
        ];
        for (source, above, name) in cases {
            assert_eq!(split_source(Path::new(source)), (above.into(), OsStr::new(name)), "{source}");
        }
    }

    #[test]
    fn every_source_has_a_name_except_the_root() {
        assert_eq!(name_of(Path::new("x/dir/")).unwrap(), "dir");
        let here = std::env::current_dir().unwrap();
        assert_eq!(name_of(Path::new(".")).unwrap(), here.file_name().unwrap());
        assert!(name_of(Path::new("/")).is_err());
    }
}
