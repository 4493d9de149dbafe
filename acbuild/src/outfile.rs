//! A file that appears under its name when it is complete, and never before.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use tempfile::TempPath;

use crate::error::{Error, Result};

/// A file in the making. Whatever happens to the process, nothing of it is seen before [`OutFile::publish`].
#[derive(Debug)]
pub(crate) struct OutFile {
    target: PathBuf,
    overwrite: bool,
    file: File,
    /// Where the file system knows no files without a name.
    named: Option<TempPath>,
}

impl OutFile {
    /// Begins a file that will be `path`.
    ///
    /// # Errors
    /// When it exists and `overwrite` is not set, or is something that must not be replaced.
    pub(crate) fn create(path: &Path, overwrite: bool) -> Result<OutFile> {
        let target = check(path, overwrite)?;
        let directory = parent(&target);
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let (file, named) = match rustix::fs::open(directory, flags, Mode::from(0o644)) {
            Ok(file) => (File::from(file), None),
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOSYS | Errno::INVAL) => {
                let (file, path) = named(directory).map_err(Error::io("write to", directory))?.into_parts();
                (file, Some(path))
            }
            Err(e) => return Err(Error::io("write to", directory)(e.into())),
        };
        Ok(OutFile { target, overwrite, file, named })
    }

    /// The file to write to.
    pub(crate) fn file(&self) -> Result<File> {
        self.file.try_clone().map_err(Error::io("write", &self.target))
    }

    /// Says that it could not be written.
    pub(crate) fn failed(&self, error: io::Error) -> Error {
        Error::io("write", &self.target)(error)
    }

    /// Puts everything on the disk and then under its name.
    pub(crate) fn publish(self) -> Result<()> {
        let OutFile { target, overwrite, file, named } = self;
        let directory = parent(&target);
        file.sync_all().map_err(Error::io("write", &target))?;
        let linked = match named {
            Some(path) if overwrite => path.persist(&target).map_err(|e| e.error),
            Some(path) => path.persist_noclobber(&target).map_err(|e| e.error),
            None if overwrite => replace(&file, directory, &target),
            None => link(&file, &target),
        };
        linked.map_err(|e| match e.kind() {
            io::ErrorKind::AlreadyExists => exists(&target),
            _ => Error::io("write", &target)(e),
        })?;
        // The name too; a file system that cannot sync a directory has no way to lose it alone.
        let _ = File::open(directory).and_then(|directory| directory.sync_all());
        Ok(())
    }
}

fn exists(path: &Path) -> Error {
    Error::Refused(format!("ACI already exists: {} - use --overwrite to replace it", path.display()))
}

/// What will be written: `path`, or the file that a link there leads to.
fn check(path: &Path, overwrite: bool) -> Result<PathBuf> {
    let refuse = |why: &str| Err(Error::Refused(format!("{} {why}", path.display())));
    let metadata = match fs::symlink_metadata(path) {
        Ok(_) if !overwrite => return Err(exists(path)),
        Ok(found) if found.is_symlink() => fs::metadata(path),
        found => found,
    };
    match metadata {
        Ok(found) if found.is_dir() => refuse("is a directory: give the name of a file in it"),
        Ok(found) if !found.is_file() => refuse("is not a regular file and will not be replaced"),
        Ok(_) => fs::canonicalize(path).map_err(Error::io("write", path)),
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("write", path)(e)),
        Err(_) if path.file_name().is_none() || path.as_os_str().as_encoded_bytes().ends_with(b"/") => {
            refuse("is not the name of a file")
        }
        Err(_) => Ok(path.to_owned()),
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn named(directory: &Path) -> io::Result<tempfile::NamedTempFile> {
    use std::os::unix::fs::PermissionsExt;
    let permissions = fs::Permissions::from_mode(0o644);
    tempfile::Builder::new().prefix(".acbuild-write-").permissions(permissions).tempfile_in(directory)
}

/// Gives the nameless `file` the name `target`, which must be free.
fn link(file: &File, target: &Path) -> io::Result<()> {
    let nameless = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(rustix::fs::linkat(CWD, nameless, CWD, target, AtFlags::SYMLINK_FOLLOW)?)
}

/// Gives the nameless `file` the name `target`, in place of what is there.
fn replace(file: &File, directory: &Path, target: &Path) -> io::Result<()> {
    // A nameless file can only be linked to a free name, which can then be renamed.
    let linked = tempfile::Builder::new().prefix(".acbuild-write-").make_in(directory, |path| link(file, path))?;
    linked.into_temp_path().persist(target).map_err(|e| e.error)
}
