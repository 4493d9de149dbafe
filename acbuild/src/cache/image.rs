//! Images that were written, kept to be written again.

use std::fs::File;
use std::io::{self, Seek};

use rustix::fs::{FlockOperation, ioctl_ficlone};

use super::step::{Inputs, find};
use super::{Cache, Change, Hashed, Kept, Key, Lock, digest};
use crate::context::Build;
use crate::error::{Error, Result};
use crate::outfile::OutFile;
use crate::output;
use crate::session::Session;

/// The image that a build with a cache is at the moment.
pub(crate) struct StoredImage<'s> {
    session: &'s Session,
    keyed: Option<(Cache, String)>,
    found: Option<(Kept, Lock)>,
}

impl<'s> StoredImage<'s> {
    /// Looks for it. `inputs` are whatever it depends on beside the files of the build.
    pub(crate) fn find(session: &'s Session, build: &Build, inputs: &Inputs<'_>) -> Result<StoredImage<'s>> {
        let mut image = StoredImage { session, keyed: None, found: None };
        let Some(state) = build.state() else { return Ok(image) };
        // Without the cache it is written as ever.
        let Ok(Some(cache)) = Cache::of_build(&state, build.dir()) else { return Ok(image) };
        let mut key = Key::new(&cache, &state.state, "write");
        inputs(&mut key)?;
        let key = key.finish();
        image.found = find(session, &cache, &key).unwrap_or_default();
        image.keyed = Some((cache, key));
        Ok(image)
    }

    /// Makes `out` the image, and returns its ID; without one, `out` is as empty as it was.
    pub(crate) fn give(&self, out: &OutFile) -> Result<Option<String>> {
        let (Some((cache, _)), Some((kept, _))) = (&self.keyed, &self.found) else { return Ok(None) };
        let Change::Image { id } = &kept.change else { return Ok(None) };
        let (file, mut to) = (cache.result(&kept.digest).map_err(Error::io("read", &cache.shown))?, out.file()?);
        let copied = copy(&file, &mut to).map_err(|e| out.failed(e))?;
        if copied == kept.digest {
            return Ok(Some(id.clone()));
        }
        cache.drop_result(kept);
        to.set_len(0).and_then(|()| to.rewind()).map_err(|e| out.failed(e))?;
        Ok(None)
    }

    /// Keeps `out`, which is the image `id`.
    pub(crate) fn keep(self, id: &str, out: &OutFile) -> Result<()> {
        if let Some((cache, key)) = &self.keyed {
            store_copy(cache, self.session.line(), key, Change::Image { id: id.to_owned() }, Some(&out.file()?));
        }
        Ok(())
    }
}

/// Keeps a copy of `from` as what the step `key` came to.
pub(super) fn store_copy(cache: &Cache, line: &str, key: &str, change: Change, from: Option<&File>) {
    let keep = || -> io::Result<()> {
        let _lock = cache.lock(FlockOperation::LockShared).map_err(|e| io::Error::other(e.to_string()))?;
        let new = cache.new_file()?;
        let digest = match from {
            Some(mut from) => {
                from.rewind()?;
                copy(from, &mut new.as_file().try_clone()?)?
            }
            None => digest(new.as_file())?,
        };
        let size = new.as_file().metadata()?.len();
        cache.put(key, line, Kept { change, digest, size, deletes: false }, new)
    };
    if let Err(e) = keep() {
        output::warning(format_args!("the image is not cached: {e}"));
    }
}

/// Copies a whole file to an empty one; where the file system can, its blocks are shared. Returns the digest of what was
/// copied.
fn copy(from: &File, to: &mut File) -> io::Result<String> {
    if ioctl_ficlone(&*to, from).is_ok() {
        return digest(to);
    }
    let mut from = Hashed::new(from);
    io::copy(&mut from, to)?;
    Ok(from.finish())
}
