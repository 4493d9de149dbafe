//! Layers of OCI images: tars that say what changes over the layers below.
//!
//! On disk a layer is a tree in the form of overlay mounts. A file that the layer deletes is a *whiteout* there, a
//! character device 0:0, and a directory that hides what is in it below has the attribute `trusted.overlay.opaque`
//! (`user.overlay.opaque` when an ordinary user made it). In the tar they are empty files called `.wh.NAME` and
//! `.wh..wh..opq`, which only speak of layers below: what the layer itself has under that name stays, wherever in the tar
//! it stands.
//!
//! [`unpack_layer`] makes a tree of a tar without knowing the layers below, so that layers can be unpacked in parallel and
//! a tree be shared by all images that have the layer. What cannot be made so is returned, for [`settle_layer`].
//! [`write_layer`] makes a tar of a tree, the same bytes for the same tree. [`Changes`] are what a whole root file system
//! has over a stack of trees, and [`write_changes`] makes a tar of them.

mod changes;
pub(crate) mod follow;
mod read;
mod settle;

use std::fs::File;
use std::path::PathBuf;

use appc_rooted::Root;

pub use crate::tree::part::Part;
pub use changes::Changes;
pub use read::{LayerOptions, UnpackedLayer, digest_layer, unpack_layer};
pub use settle::settle_layer;

use crate::archive::WriteOptions;
use crate::archive::writer::{Told, What, write_tree};
use crate::oci::{Digest, media_type};
use crate::{Error, Progress, Result};

/// A layer that was written.
#[derive(Debug, Clone)]
pub struct WrittenLayer {
    /// The digest of the plain tar.
    pub diff_id: Digest,
    /// The digest of the layer as it was written, compressed.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// The media type of layers with this compression.
    pub media_type: &'static str,
    /// Sockets, which no archive can hold, and which were left out. Paths below the root.
    pub sockets: Vec<PathBuf>,
    /// The latest of the times of its files, in seconds since 1970; 0 when all are earlier.
    pub newest: i64,
}

/// Writes `tree`, which may be in the form of overlay mounts, as a layer to `out`.
///
/// Nothing is synced to disk, and nothing may change the tree meanwhile. The bytes depend on the arguments only.
///
/// # Errors
/// [`Error::Tree`] names a file that changed or cannot be in a layer, such as one whose name begins with `.wh.`.
/// [`Error::Option`] when layers cannot have the compression.
pub fn write_layer(tree: &Root, out: File, options: &WriteOptions, progress: &dyn Progress) -> Result<WrittenLayer> {
    write_as(What::Layer, tree, out, options, progress)
}

/// Writes what of the root file system `tree` are `changes` as a layer to `out`.
///
/// Nothing is synced to disk, and nothing may change the tree meanwhile. The bytes depend on the arguments only.
///
/// # Errors
/// Those of [`write_layer`].
pub fn write_changes(
    changes: &Changes,
    tree: &Root,
    out: File,
    options: &WriteOptions,
    progress: &dyn Progress,
) -> Result<WrittenLayer> {
    write_as(What::Changes(changes), tree, out, options, progress)
}

fn write_as(
    what: What<'_>,
    tree: &Root,
    out: File,
    options: &WriteOptions,
    progress: &dyn Progress,
) -> Result<WrittenLayer> {
    use crate::archive::Compression::{Bzip2, Gzip, None, Xz, Zstd};
    let media_type = match options.compression {
        None => media_type::LAYER_TAR,
        Gzip => media_type::LAYER_GZIP,
        Zstd => media_type::LAYER_ZSTD,
        Bzip2 | Xz => {
            let compression = options.compression;
            return Err(Error::Option(format!("layers are not compressed with {compression}: use gzip, zstd or none")));
        }
    };
    let (finished, Told { sockets, newest, .. }) = write_tree(what, tree, out, options, progress)?;
    let digest = finished.packed.unwrap_or_else(|| finished.plain.clone());
    Ok(WrittenLayer { diff_id: finished.plain, digest, size: finished.size, media_type, sockets, newest })
}
