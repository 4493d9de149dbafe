//! An App Container image file that is changed where it lies.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use appc_image::archive::{self, Kind, Limit, Rest, WriteOptions};
use appc_image::caller;
use appc_spec::ImageManifest;

use crate::commands::{begin, write};
use crate::context::{Build, Draft};
use crate::error::{Error, Result};
use crate::outfile::OutFile;
use crate::output;
use crate::progress::Bar;
use crate::run::whitelist;
use crate::session::Session;

/// An image archive.
#[derive(Debug)]
pub(super) struct Aci {
    path: PathBuf,
}

impl Aci {
    pub(super) fn new(path: &Path) -> Result<Aci> {
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => {
                Err(Error::Refused(format!("image to modify is a directory: {}.", path.display())))
            }
            Ok(found) if !found.is_file() => {
                Err(Error::Refused(format!("image to modify is not a regular file: {}.", path.display())))
            }
            Ok(_) => Ok(Aci { path: fs::canonicalize(path).map_err(Error::io("find", path))? }),
            Err(e) => Err(super::missing(path, e)),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn manifest_bytes(&self) -> Result<Vec<u8>> {
        let file = File::open(&self.path).map_err(Error::io("open", &self.path))?;
        archive::manifest(file).map_err(|e| self.unreadable(e))
    }

    /// Puts what `change` makes of the manifest's bytes in its place in `image`, the file that is locked.
    pub(super) fn edit(&self, image: &File, change: impl FnOnce(&[u8]) -> Result<ImageManifest>) -> Result<()> {
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

    /// Fills `draft`, and returns the manifest.
    pub(super) fn unpack(&self, draft: &Draft) -> Result<Vec<u8>> {
        let file = File::open(&self.path).map_err(Error::io("open", &self.path))?;
        begin::unpack(draft, file, Kind::Aci, Limit::NONE)?.map_err(|e| self.unreadable(e))?;
        self.manifest_bytes()
    }

    /// Puts the build in place of `image`, the file that is locked.
    pub(super) fn write(&self, image: &File, build: &Build, session: &Session) -> Result<()> {
        let out = self.replacement(image)?;
        let written = write::to_archive(build, &whitelist::complete(session, build)?, &out, &self.options(image)?)?;
        out.publish()?;
        output::sockets(&written.sockets);
        Ok(())
    }

    /// A file that will be the image, with its owner and mode.
    fn replacement(&self, image: &File) -> Result<OutFile> {
        let out = OutFile::create(&self.path, true)?;
        let (file, found) = (out.file()?, image.metadata().map_err(Error::io("read", &self.path))?);
        caller::give(&file, &found);
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
