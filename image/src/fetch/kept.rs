//! What was fetched is not collected before it is used.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use appc_spec::ImageId;

use crate::error::{Error, Result};
use crate::store::{Pin, Store, StoredImage};

/// How often an image is fetched that somebody removes before it can be kept.
const ATTEMPTS: usize = 3;

/// Images that nobody can remove meanwhile.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<BTreeMap<ImageId, Pin>>);

impl Kept {
    /// Fetches an image and keeps it. One that another process has removed in between is fetched again.
    pub(super) fn keeping(&self, store: &Store, fetch: impl Fn() -> Result<StoredImage>) -> Result<StoredImage> {
        for _ in 1..ATTEMPTS {
            let image = fetch()?;
            match store.pin([&image.id]) {
                Err(Error::NotStored(_)) => {}
                pin => {
                    self.pins().insert(image.id.clone(), pin?);
                    return Ok(image);
                }
            }
        }
        fetch()
    }

    /// Lets go of it.
    pub(super) fn release(&self, id: &ImageId) {
        self.pins().remove(id).into_iter().for_each(Pin::release);
    }

    fn pins(&self) -> MutexGuard<'_, BTreeMap<ImageId, Pin>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        std::mem::take(&mut *self.pins()).into_values().for_each(Pin::release);
    }
}
