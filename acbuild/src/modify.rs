//! `--modify-appc`: a command that changes an image file instead of the build.
//!
//! What only changes the manifest changes it in the archive, whose files stay as they lie there. What changes files finds
//! a build in a temporary directory, which is written in place of the image when the command has succeeded. Either way
//! the image is replaced by a rename, so that it is the old or the new one whatever happens, and not touched by commands
//! that only read. A lock on the file lets one command at a time change it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use appc_image::archive::{self, Kind, Limit, Rest, WriteOptions};
use appc_spec::ImageManifest;
use rustix::fs::FlockOperation;
use tempfile::TempDir;

use crate::commands::{begin, write};
use crate::context::{Access, Build, Draft, is_at};
use crate::error::{Error, Result};
use crate::outfile::OutFile;
use crate::output;
use crate::progress::Bar;
use crate::run::whitelist;
use crate::session::Session;

/// Commands that are about something else than the image that is built.
const OTHERS: [&str; 17] = [
    "begin",
    "write",
    "end",
    "version",
    "script",
    "convert",
    "status",
    "validate",
    "discover",
    "patch-manifest",
    "build",
    "sign",
    "verify",
    "diff",
    "history",
    "cache",
    "verify-reproducible",
];

/// An image file that is changed where it lies.
#[derive(Debug)]
pub(crate) struct Image {
    path: PathBuf,
    /// The file with the lock on it, once there is something to change.
    locked: OnceLock<File>,
    /// The build that the image was unpacked into.
    unpacked: OnceLock<TempDir>,
    /// Somebody was given the build to change it.
    changed: AtomicBool,
}

impl Image {
    /// The image in `path`, to be changed by `command`.
    ///
    /// # Errors
    /// When there is no such file, or the command does not change images.
    pub(crate) fn new(path: &Path, command: &str) -> Result<Image> {
        if OTHERS.contains(&command) {
            return Err(Error::Refused(format!("Can't use --modify flags with {command}.")));
        }
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => {
                Err(Error::Refused(format!("image to modify is a directory: {}.", path.display())))
            }
            Ok(found) if !found.is_file() => {
                Err(Error::Refused(format!("image to modify is not a regular file: {}.", path.display())))
            }
            Ok(_) => {
                let path = fs::canonicalize(path).map_err(Error::io("find", path))?;
                Ok(Image { path, locked: OnceLock::new(), unpacked: OnceLock::new(), changed: AtomicBool::new(false) })
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                Err(Error::Refused(format!("image doesn't appear to exist: {}.", path.display())))
            }
            Err(e) => Err(Error::io("access the image to modify", path)(e)),
        }
    }

    /// The bytes of its manifest.
    pub(crate) fn manifest_bytes(&self) -> Result<Vec<u8>> {
        let file = File::open(&self.path).map_err(Error::io("open", &self.path))?;
        archive::manifest(file).map_err(|e| self.unreadable(e))
    }

    /// Puts what `change` makes of the manifest's bytes in its place.
    pub(crate) fn edit(&self, change: impl FnOnce(&[u8]) -> Result<ImageManifest>) -> Result<()> {
        let image = self.lock()?;
        let manifest = change(&archive::manifest(image).map_err(|e| self.unreadable(e))?)?;
        manifest.validate()?;
        let out = self.replacement(image)?;
        let options = self.options(image)?;
        let text = manifest.to_json();
        let replaced = archive::replace_manifest(image, text.as_bytes(), &out.file()?, &options, &Bar::new());
        let rest = replaced.map_err(|e| self.unreadable(e))?;
        out.publish()?;
        if rest == Rest::Recompressed {
            let why = "its manifest did not come first, in a piece of its own; now it does";
            output::note(format_args!("{} was compressed anew: {why}", self.path.display()));
        }
        Ok(())
    }

    /// The build that the image is, unpacked.
    pub(crate) fn build(&self, access: Access) -> Result<Build> {
        if access == Access::Change {
            self.lock()?;
            self.changed.store(true, Ordering::Relaxed);
        }
        if self.unpacked.get().is_none() {
            // This is the only thread that comes here: nothing is lost.
            let _ = self.unpacked.set(self.unpack()?);
        }
        match self.unpacked.get() {
            Some(dir) => Build::open(dir.path(), access),
            None => Err(Error::NoBuild),
        }
    }

    /// Writes the image when its files may have been changed.
    pub(crate) fn finish(&self, session: &Session) -> Result<()> {
        if !self.changed.load(Ordering::Relaxed) {
            return Ok(());
        }
        let (image, build) = (self.lock()?, self.build(Access::Change)?);
        let out = self.replacement(image)?;
        let written = write::to_archive(&build, &whitelist::complete(session, &build)?, &out, &self.options(image)?)?;
        out.publish()?;
        output::sockets(&written.sockets);
        Ok(())
    }

    /// The file, for this command alone to change.
    fn lock(&self) -> Result<&File> {
        loop {
            if let Some(file) = self.locked.get() {
                return Ok(file);
            }
            let file = File::open(&self.path).map_err(Error::io("open", &self.path))?;
            rustix::io::retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::LockExclusive))
                .map_err(|e| Error::io("lock", &self.path)(e.into()))?;
            // Whoever had the lock has put another file in its place.
            if is_at(&file, &self.path)? {
                // Set once: no other thread comes here.
                let _ = self.locked.set(file);
            }
        }
    }

    fn unpack(&self) -> Result<TempDir> {
        if !rustix::process::geteuid().is_root() {
            let why = "would lose the owners of its files: do it as root, or see --help of begin and write";
            return Err(Error::Refused(format!("changing files in {} as an ordinary user {why}", self.path.display())));
        }
        let temporary = std::env::temp_dir();
        let dir = tempfile::Builder::new().prefix("acbuild-modify-").tempdir_in(&temporary);
        let dir = dir.map_err(Error::io("write to", temporary))?;
        let draft = Draft::begin(dir.path())?;
        let file = File::open(&self.path).map_err(Error::io("open", &self.path))?;
        begin::unpack(&draft, file, Kind::Aci, Limit::NONE)?.map_err(|e| self.unreadable(e))?;
        draft.finish(&self.manifest_bytes()?)?;
        Ok(dir)
    }

    /// A file that will be the image, with its owner and mode.
    fn replacement(&self, image: &File) -> Result<OutFile> {
        let out = OutFile::create(&self.path, true)?;
        let (file, found) = (out.file()?, image.metadata().map_err(Error::io("read", &self.path))?);
        // Who may not give files away keeps it, as with any editor.
        let _ = fchown(&file, Some(found.uid()), Some(found.gid()));
        file.set_permissions(found.permissions()).map_err(Error::io("set the mode of", &self.path))?;
        Ok(out)
    }

    fn options(&self, image: &File) -> Result<WriteOptions> {
        let compression = archive::compression_of(image).map_err(|e| self.unreadable(e))?;
        Ok(WriteOptions { compression, source_date_epoch: write::source_date_epoch()?, ..WriteOptions::default() })
    }

    fn unreadable(&self, error: appc_image::Error) -> Error {
        Error::File { path: self.path.clone(), error }
    }
}
