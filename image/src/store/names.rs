//! The names of a stored image, of which each can be taken away.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, UNIX_EPOCH};

use appc_spec::{ImageId, ImageName};

use super::{IoContext, Store, Summary, WorkDir, sync_dir};
use crate::error::{Error, Result};

/// What became of an image whose names were to go.
#[derive(Debug)]
pub enum Untagged {
    /// None of its names was meant.
    Nothing,
    /// All of them were: it is as it was, for whoever removes it.
    Last,
    /// It has these still.
    Left(Box<Summary>),
}

impl Store {
    /// Takes those names of the image away that are `gone`, by name and by where it was fetched from, as long as one is left.
    ///
    /// # Errors
    /// [`Error::NotStored`]; [`Error::Damaged`] when its names cannot be read.
    pub fn untag(&self, id: &ImageId, gone: impl Fn(&ImageName, &str) -> bool) -> Result<Untagged> {
        let work = WorkDir::new(self)?;
        let _lock = self.lock()?;
        let missing = || Error::NotStored(id.to_string());
        let (mut metadata, last_used) = self.metadata(id)?.ok_or_else(missing)?;
        let (before, left) = (metadata.names(), metadata.without(gone).map_err(|e| super::metadata::broken(id, &e))?);
        match left {
            0 => return Ok(Untagged::Last),
            left if left == before => return Ok(Untagged::Nothing),
            _ => {}
        }
        let (new, path) = (work.path().join("metadata"), self.image_dir(id).join("metadata"));
        metadata.write(&new)?;
        fs::set_permissions(&new, Permissions::from_mode(0o644)).on("write", &new)?;
        // Nobody has used it: the file's time says when somebody did.
        let time = UNIX_EPOCH + Duration::from_nanos(last_used.unsigned_abs());
        let file = File::options().write(true).open(&new).on("write", &new)?;
        file.set_modified(time).and_then(|()| file.sync_all()).on("write", &new)?;
        fs::rename(&new, &path).on("write", &path)?;
        sync_dir(&self.image_dir(id))?;
        self.summary(id)?.map(Box::new).map(Untagged::Left).ok_or_else(missing)
    }
}
