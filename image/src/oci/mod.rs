//! What OCI images are made of, wherever they lie.
//!
//! An image is a manifest that names a configuration and layers by digest; an index names manifests, one for each
//! platform. All of them are blobs. A [`Source`] gives blobs out and a [`Sink`] takes them: layouts, archives, registries
//! and the store implement them, and everything above works on any of them.
//!
//! What a source gives is not trusted: [`verified`] wraps a blob's content so that nothing that does not match its
//! descriptor is ever read to its end, [`small`] does so for documents, and [`read_image`] finds and checks all the
//! documents of one image.

mod descriptor;
mod digest;
mod document;
pub mod media_type;
mod platform;
mod read;
mod verified;

use std::io::Read;

pub use descriptor::Descriptor;
pub use digest::{Algorithm, Digest, Hasher};
pub(crate) use document::subject;
pub use document::{Index, Manifest};
pub use platform::Platform;
pub use read::{Layer, OciImage, find_manifest, read_image};
pub use verified::{Verified, verified};

use crate::{Error, Result};

/// The longest manifest, index or configuration that is read: what registries take, too.
pub const DOCUMENT_MAX: u64 = 4 << 20;

/// As many blobs go to a place that takes several. More share the same way there.
pub(crate) const BLOBS_AT_ONCE: usize = 4;

/// A place that OCI images are read from.
pub trait Source: Sync {
    /// The manifest or index that was asked for.
    fn top(&self) -> Result<Descriptor>;

    /// A blob's content as it lies there, not verified: wrap it with [`verified`].
    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send + '_>>;

    /// The same from the byte `offset` on, for who has what comes before.
    fn open_at(&self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn Read + Send + '_>> {
        let mut content = self.open(descriptor)?;
        let skipped = std::io::copy(&mut (&mut content).take(offset), &mut std::io::sink());
        skipped.map_err(Error::io(format!("read {}", descriptor.digest)))?;
        Ok(content)
    }

    /// The place in the words of the user, such as `oci:DIR:latest`.
    fn describe(&self) -> String;

    /// The manifests here that say of themselves that they are about `subject`, such as signatures. What the place says
    /// of them is not verified.
    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        // A place that holds one image and nothing about it.
        let _ = subject;
        Ok(Vec::new())
    }

    /// The manifest or index that has this tag beside the image, as cosign's signatures do.
    fn tagged(&self, tag: &str) -> Result<Option<Descriptor>> {
        let _ = tag;
        Ok(None)
    }
}

/// A place that OCI images are written to.
pub trait Sink: Sync {
    /// Tells whether the blob is there already and need not be put.
    fn has(&self, descriptor: &Descriptor) -> Result<bool>;

    /// Stores a blob. What does not match `descriptor` is refused and leaves nothing.
    fn put(&self, descriptor: &Descriptor, content: &mut dyn Read) -> Result<()>;

    /// Lists a manifest that has been put among those that are about `subject`. One with a name
    /// (`org.opencontainers.image.ref.name`) is found by that tag beside the image.
    fn refer(&self, subject: &Digest, referrer: &Descriptor) -> Result<()> {
        // A place that finds it by what it says of itself.
        let _ = (subject, referrer);
        Ok(())
    }

    /// How many blobs may be put at once. One where what is written depends on their order.
    fn at_once(&self) -> usize {
        1
    }

    /// Gives what has been put its name: from now on it is an image. Called once, last, with every blob below `top` put.
    fn finish(&self, top: &Descriptor) -> Result<()>;
}

/// A manifest, index or configuration, verified and not longer than [`DOCUMENT_MAX`].
pub fn small(source: &dyn Source, descriptor: &Descriptor) -> Result<Vec<u8>> {
    let what =
        || format!("{} {} of {}", media_type::noun(&descriptor.media_type), descriptor.digest, source.describe());
    if descriptor.size > DOCUMENT_MAX {
        let rule = format!("it is {} bytes long, more than the {DOCUMENT_MAX} that are allowed", descriptor.size);
        return Err(Error::Oci { what: what(), rule });
    }
    let mut bytes = Vec::with_capacity(descriptor.size as usize);
    verified(source.open(descriptor)?, descriptor)
        .read_to_end(&mut bytes)
        .map_err(|e| Error::io(format!("read {}", what()))(e))?;
    Ok(bytes)
}
