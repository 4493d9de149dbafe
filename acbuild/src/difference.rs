//! What a root file system has over layers, as a layer of its own.

use std::io::Seek;
use std::path::Path;

use appc_image::Quiet;
use appc_image::archive::{Compression, Limit, Ownership, WriteOptions};
use appc_image::layer::{Changes, LayerOptions, settle_layer, unpack_layer, write_changes};
use appc_image::oci::Algorithm;
use appc_rooted::Root;

use crate::error::{Error, Result};
use crate::output;
use crate::progress::Bar;

/// Makes in the empty directory `into` the layer, in the form of overlay mounts, that `changes` of `tree` over `below` are.
/// There is room for a file in `dir`.
pub(crate) fn unpack(changes: &Changes, tree: &Root, below: &[Root], into: &Root, dir: &Path) -> Result<()> {
    // By way of a tar, so that the tree is what everyone makes of the layer.
    let mut tar = tempfile::tempfile_in(dir).map_err(Error::io("write to", dir))?;
    let again = tar.try_clone().map_err(Error::io("write to", dir))?;
    let options = WriteOptions { compression: Compression::None, ..WriteOptions::default() };
    write_changes(changes, tree, again, &options, &Bar::new())?;
    tar.rewind().map_err(Error::io("read from", dir))?;

    let ownership = Ownership::of_this_process();
    let options = LayerOptions { tee: None, ownership, algorithm: Algorithm::Sha256, limit: Limit::NONE };
    let unpacked = unpack_layer(tar, into, &options, &Quiet)?;
    settle_layer(into, &unpacked, below, ownership)?;
    output::omissions(&unpacked.omitted);
    Ok(())
}
