//! Keeping images in the store while they are used.

use std::fs::File;

use appc_spec::ImageId;
use rustix::fs::{AtFlags, FlockOperation, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};

use super::metadata::now;
use super::{IoContext, Store, work};
use crate::error::{Error, Result};

/// Keeps images, and the trees made from them, in the store until it is dropped or the process ends.
#[derive(Debug, Default)]
pub struct Pin {
    /// Locked directories.
    images: Vec<File>,
}

impl Pin {
    /// Notes that the images are used now, for whoever wants to remove those that are not. A store that can only be
    /// read does without.
    pub fn mark_used(&self) {
        self.images.iter().for_each(touch);
    }

    /// Lets go of the images at once: a process that another thread is just starting has the same descriptors until it
    /// executes its program, and would keep them.
    pub(crate) fn release(self) {
        for image in &self.images {
            // Closing it does the same a little later.
            let _still_locked = rustix::fs::flock(image, FlockOperation::Unlock);
        }
    }

    /// Keeps one more image.
    pub(crate) fn add(&mut self, store: &Store, id: &ImageId) -> Result<()> {
        self.images.push(store.pin_one(id)?);
        Ok(())
    }
}

impl Store {
    /// Keeps `images` in the store for as long as the pin lives.
    ///
    /// # Errors
    /// [`Error::NotStored`] when one of them is not there (any more).
    pub fn pin<'i>(&self, images: impl IntoIterator<Item = &'i ImageId>) -> Result<Pin> {
        let mut pin = Pin::default();
        for id in images {
            pin.add(self, id)?;
        }
        Ok(pin)
    }

    /// Notes that the image is used now, if it is (still) there.
    pub fn note_use(&self, id: &ImageId) {
        if let Ok(pin) = self.pin([id]) {
            pin.mark_used();
        }
    }

    fn pin_one(&self, id: &ImageId) -> Result<File> {
        let missing = || Error::NotStored(id.to_string());
        let path = self.image_dir(id);
        let dir = work::found(File::open(&path)).on("open", &path)?.ok_or_else(missing)?;
        work::flock(&dir, FlockOperation::LockShared).on("lock", &path)?;
        // Somebody may have removed it between the two.
        if !work::still_at(&dir, &path).on("open", &path)? || !path.join("metadata").exists() {
            return Err(missing());
        }
        Ok(dir)
    }

    /// The image's directory, locked so that nobody uses the image; nothing when somebody does.
    pub(super) fn lock_unused(&self, id: &ImageId) -> Result<Option<File>> {
        let path = self.image_dir(id);
        let dir = File::open(&path).on("open", &path)?;
        match work::flock(&dir, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(dir)),
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
            Err(e) => Err(e).on("lock", &path),
        }
    }
}

/// Sets the time of the metadata in an image's directory.
fn touch(dir: &File) {
    let set = |last_modification| {
        let times = Timestamps { last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT }, last_modification };
        rustix::fs::utimensat(dir, "metadata", &times, AtFlags::empty())
    };
    // By the clock that also says when an image was imported: the kernel's own for files is some milliseconds late.
    let now = now();
    if set(Timespec { tv_sec: now / 1_000_000_000, tv_nsec: now % 1_000_000_000 }).is_err() {
        // Only the owner may say which time it is, whoever may write that it is now (utimensat(2)). Who may do neither has
        // a store that can only be read, see `mark_used`.
        let _ = set(Timespec { tv_sec: 0, tv_nsec: UTIME_NOW });
    }
}
