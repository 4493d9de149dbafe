//! The same archive in another compression.

use std::fs::File;

use appc_spec::ImageId;

use super::decode::plain;
use super::edit::{from_start, pass, write};
use super::{WriteOptions, image_id};
use crate::{Progress, Result};

/// Writes to `out` what the image archive `archive` is when it is not compressed, compressed as `options` say. Returns its
/// ID, which is the same. What lies behind the archive is left out.
///
/// # Errors
/// When `archive` cannot be read. Whether it breaks a rule is for [`validate`](super::validate) to say.
pub fn recompress(archive: &File, out: &File, options: &WriteOptions, progress: &dyn Progress) -> Result<ImageId> {
    progress.start(None, "write");
    let mut plain = plain(from_start(archive)?)?;
    let written = write(out, options, progress, |tar| pass(&mut plain, tar))?;
    progress.finish();
    image_id(&written.plain)
}
