//! `--modify-appc` and `--modify-oci`: a command that changes an image where it lies instead of the build.
//!
//! What only changes what is said of the image leaves its files as they lie there. What changes files finds a build in a
//! temporary directory, which is written in place of the image when the command has succeeded. Either way the image is
//! replaced by a rename, so that it is the old or the new one whatever happens, and not touched by commands that only
//! read. A lock lets one command at a time change it.

mod appc;
mod oci;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FlockOperation, OFlags};

use crate::context::{Access, Build, Draft, is_at};
use crate::document::Mode;
use crate::error::{Error, Result};
use crate::session::Session;
use crate::temporary::Temporary;
use appc::Aci;
use oci::Oci;

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

/// An image that is changed where it lies.
#[derive(Debug)]
pub(crate) struct Image {
    kind: Kind,
    /// The file with the lock on it, once there is something to change.
    locked: OnceLock<File>,
    /// The build that the image was unpacked into.
    unpacked: OnceLock<Temporary>,
    /// Somebody was given the build to change it.
    changed: AtomicBool,
}

#[derive(Debug)]
enum Kind {
    Appc(Aci),
    Oci(Oci),
}

impl Image {
    /// The image that one of the flags names, to be changed by `command`; nothing without a flag.
    ///
    /// # Errors
    /// When there is no such image, or the command does not change images.
    pub(crate) fn flagged(appc: Option<&Path>, oci: Option<&Path>, command: &str) -> Result<Option<Image>> {
        if (appc.is_some() || oci.is_some()) && OTHERS.contains(&command) {
            return Err(Error::Refused(format!("Can't use --modify flags with {command}.")));
        }
        match (appc, oci) {
            (None, None) => Ok(None),
            (Some(_), Some(_)) => Err(Error::refused("can't modify an appc image and an oci image at the same time")),
            (Some(path), None) => Image::aci(path).map(Some),
            (None, Some(word)) => Ok(Some(Image::new(Kind::Oci(Oci::new(word)?)))),
        }
    }

    /// The App Container image in `path`.
    ///
    /// # Errors
    /// When there is no such file.
    pub(crate) fn aci(path: &Path) -> Result<Image> {
        Ok(Image::new(Kind::Appc(Aci::new(path)?)))
    }

    fn new(kind: Kind) -> Image {
        Image { kind, locked: OnceLock::new(), unpacked: OnceLock::new(), changed: AtomicBool::new(false) }
    }

    /// What kind of image it is.
    pub(crate) fn mode(&self) -> Mode {
        match &self.kind {
            Kind::Appc(_) => Mode::Appc,
            Kind::Oci(_) => Mode::Oci,
        }
    }

    /// The bytes of the manifest of an appc image.
    pub(crate) fn manifest_bytes(&self) -> Result<Vec<u8>> {
        self.appc()?.manifest_bytes()
    }

    /// What is said of an OCI image.
    pub(crate) fn image(&self) -> Result<crate::oci::Image> {
        self.oci()?.image()
    }

    /// Puts what `change` makes of the manifest's bytes in its place.
    pub(crate) fn edit(&self, change: impl FnOnce(&[u8]) -> Result<appc_spec::ImageManifest>) -> Result<()> {
        let aci = self.appc()?;
        aci.edit(self.lock()?, change)
    }

    /// Puts what `change` makes of what is said of an OCI image in its place.
    pub(crate) fn edit_oci(&self, change: impl FnOnce(crate::oci::Image) -> Result<crate::oci::Image>) -> Result<()> {
        let oci = self.oci()?;
        self.lock()?;
        oci.edit(change)
    }

    fn appc(&self) -> Result<&Aci> {
        match &self.kind {
            Kind::Appc(aci) => Ok(aci),
            Kind::Oci(_) => Err(Error::OtherMode { supported: Mode::Appc, build: Mode::Oci }),
        }
    }

    fn oci(&self) -> Result<&Oci> {
        match &self.kind {
            Kind::Oci(oci) => Ok(oci),
            Kind::Appc(_) => Err(Error::OtherMode { supported: Mode::Oci, build: Mode::Appc }),
        }
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
        match &self.kind {
            Kind::Appc(aci) => aci.write(image, &build, session),
            Kind::Oci(oci) => oci.write(&build),
        }
    }

    /// What is locked, for this command alone to change the image.
    fn lock(&self) -> Result<&File> {
        let path = match &self.kind {
            Kind::Appc(aci) => aci.path().to_owned(),
            Kind::Oci(oci) => oci.lock_path(),
        };
        loop {
            if let Some(file) = self.locked.get() {
                return Ok(file);
            }
            // A pipe in its place must not make us wait.
            let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
            let file =
                OpenOptions::new().read(true).custom_flags(flags).open(&path).map_err(Error::io("open", &path))?;
            rustix::io::retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::LockExclusive))
                .map_err(|e| Error::io("lock", &path)(e.into()))?;
            // Whoever had the lock has put another file in its place.
            if is_at(&file, &path)? {
                // Set once: no other thread comes here.
                let _ = self.locked.set(file);
            }
        }
    }

    fn unpack(&self) -> Result<Temporary> {
        if !rustix::process::geteuid().is_root() {
            let what = match &self.kind {
                Kind::Appc(aci) => aci.path().display(),
                Kind::Oci(oci) => oci.path().display(),
            };
            let why = "would lose the owners of its files: do it as root, or see --help of begin and write";
            return Err(Error::Refused(format!("changing files in {what} as an ordinary user {why}")));
        }
        let dir = Temporary::new("modify")?;
        let draft = Draft::begin(dir.path())?;
        match &self.kind {
            Kind::Appc(aci) => {
                let manifest = aci.unpack(&draft)?;
                draft.finish(&manifest)?;
            }
            Kind::Oci(oci) => {
                let image = oci.unpack(&draft, dir.path())?;
                draft.finish_oci(&image)?;
            }
        }
        Ok(dir)
    }
}

/// Why there is no image at `path`.
fn missing(path: &Path, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => Error::Refused(format!("image doesn't appear to exist: {}.", path.display())),
        _ => Error::io("access the image to modify", path)(error),
    }
}
