//! Writing archives so that the same tree gives the same bytes.
//!
//! `manifest` comes first, then `rootfs` and what is in it, each directory's names in the order of their bytes.
//! Owners are numbers only. Of hard links the first name has the content. Sparse files are written with their zeros,
//! which compress to nothing: where a file system keeps holes says nothing about the content, and the image ID must
//! not depend on it.
//!
//! Layers of OCI images are written likewise: there is no manifest, the tree is at the top, and what hides files of the
//! layers below becomes the entries that say so.

use std::fs::File;
use std::path::PathBuf;

use appc_rooted::{OFlags, Root};

use super::digest::image_id;
use super::encode::{Finished, Sink};
use super::entries::Entries;
use super::{Omission, WriteOptions, Written};
use crate::layer::Changes;
use crate::oci::Algorithm;
use crate::tree::walk::walk;
use crate::{Error, Progress, Result};

/// Writes `manifest`, verbatim, and the tree `rootfs` as an image archive to `out`.
///
/// Nothing is synced to disk, and nothing may change the tree meanwhile. The bytes depend on the arguments only.
///
/// # Errors
/// [`Error::Tree`] names a file that changed or cannot be archived. What `out` holds then is no archive.
pub fn write(
    manifest: &[u8],
    rootfs: &Root,
    out: File,
    options: &WriteOptions,
    progress: &dyn Progress,
) -> Result<Written> {
    let (finished, told) = write_tree(What::Image(manifest), rootfs, out, options, progress)?;
    Ok(Written {
        image_id: image_id(&finished.plain)?,
        size: finished.size,
        sockets: told.sockets,
        omitted: told.omitted,
    })
}

/// What is made of a tree.
#[derive(Clone, Copy)]
pub(crate) enum What<'w> {
    /// An image with this manifest.
    Image(&'w [u8]),
    /// A layer, of a tree in the form of overlay mounts.
    Layer,
    /// A layer, of what a root file system has over those below it.
    Changes(&'w Changes),
}

/// What there is to say of a tree that was written.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// The sockets that were left out.
    pub(crate) sockets: Vec<PathBuf>,
    /// What else was.
    pub(crate) omitted: Vec<Omission>,
    /// The latest of the times in the archive, in seconds since 1970; 0 when all are earlier.
    pub(crate) newest: i64,
}

/// Writes an image archive or a layer. Returns what there is to say of it, too.
pub(crate) fn write_tree(
    what: What<'_>,
    tree: &Root,
    out: File,
    options: &WriteOptions,
    progress: &dyn Progress,
) -> Result<(Finished, Told)> {
    let top = tree.open_at("", OFlags::RDONLY | OFlags::DIRECTORY).map_err(Error::io("open the root file system"))?;
    let digests = match what {
        What::Image(_) => (Algorithm::Sha512, false),
        What::Layer | What::Changes(_) => (Algorithm::Sha256, true),
    };
    progress.start(None, "write");
    let written = std::thread::scope(|scope| {
        let sink = Sink::start(scope, out, options, digests, progress)?;
        let mut entries = Entries::new(sink, what, options);
        let begun = if let What::Image(manifest) = what { entries.manifest(manifest) } else { Ok(()) };
        let walked = begun.and_then(|()| walk(top, &mut entries)).and_then(|()| entries.end());
        entries.finish(walked)
    })?;
    progress.finish();
    Ok(written)
}
