//! An image archive as another one: the same image, compressed in another way.

use std::fs::File;
use std::io;

use appc_spec::ImageId;

use super::Options;
use super::to_oci::{Original, again};
use crate::archive;
use crate::layer::digest_layer;
use crate::oci::Algorithm;
use crate::{Error, Progress, Result};

/// An image archive that was written again.
#[derive(Debug)]
pub struct WrittenAgain {
    /// The image ID, the same as before.
    pub image_id: ImageId,
    /// It no longer has the layers behind it that it was made of.
    pub without_originals: bool,
}

/// Writes the image archive `aci` to `out`, byte for byte when it is compressed as asked for. The layers that it may have
/// been made of lie behind it where they were, and cannot follow it into another compression.
///
/// # Errors
/// When `aci` breaks a rule of image archives.
pub fn archive_again(aci: &File, out: &File, options: &Options, progress: &dyn Progress) -> Result<WrittenAgain> {
    archive::validate(again(aci)?)?;
    let has_originals = Original::of(aci)?.is_some();
    let write = &options.write;
    let same = archive::compression_of(aci)? == write.compression && write.level.is_none();
    if !same || has_originals && !options.originals {
        let image_id = archive::recompress(aci, out, write, progress)?;
        return Ok(WrittenAgain { image_id, without_originals: has_originals });
    }
    let (plain, _) = digest_layer(again(aci)?, None, Algorithm::Sha512, options.limit, progress)?;
    io::copy(&mut again(aci)?, &mut &*out).map_err(Error::io("write the archive"))?;
    Ok(WrittenAgain { image_id: archive::image_id(&plain)?, without_originals: false })
}
