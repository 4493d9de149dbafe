//! Images of one format made images of another, and back without loss.
//!
//! | | how | and back |
//! |---|---|---|
//! | App Container → OCI | one layer from the archive, in its order; the manifest mapped by [`appc_spec::oci`] | the manifest is in an annotation, and so is a record of how the archive is made of the layer: the same image ID |
//! | OCI → App Container | the layers squashed | the two documents are in the manifest, the layers behind the archive: the same manifest digest, and the same layers when the manifest was edited |
//! | either → bundle | the layers squashed into a root file system; the app mapped by [`appc_spec::runtime`] | the manifest is in an annotation of `config.json`: the same image, in one layer, but for what was changed in the files |
//!
//! What was edited in between is merged, the rest is kept.
//!
//! ```text
//! archive ── layer::from_archive ──► layer + record ──► Sink        to_oci
//! Source ──── squash::squash ──────► archive + tail                 to_aci
//! Source ──── copy ────────────────► Sink
//! ```

mod archive_again;
mod bundle;
mod copy;
mod in_the_way;
mod index;
mod kept_index;
mod layer;
mod record;
mod squash;
mod tail;
mod to_aci;
mod to_oci;
mod whitelist;

use std::path::PathBuf;

use crate::archive::{Compression, Limit, WriteOptions};
use crate::oci::{Platform, media_type};

pub use archive_again::{WrittenAgain, archive_again};
pub use bundle::{WrittenBundle, archive_to_bundle, from_bundle, to_bundle_dir};
pub(crate) use copy::copy_referrers;
pub use copy::{Referrers, copy, count_referrers};
pub(crate) use tail::{carry as carry_originals, is_tail};
pub use to_aci::{to_aci, validate};
pub use to_oci::{Below, Converted, Files, to_oci};

/// How images are converted.
#[derive(Debug, Clone)]
pub struct Options {
    /// How archives and layers that have to be written anew are compressed.
    pub write: WriteOptions,
    /// The image of an index that is converted into something that holds only one.
    pub platform: Platform,
    /// Whether an App Container image carries the layers it was made of.
    pub originals: bool,
    /// Where layers lie until they are whole.
    pub temp_dir: PathBuf,
    /// How large what is converted may be.
    pub limit: Limit,
}

impl Options {
    /// For this host, with everything kept.
    pub fn new(temp_dir: impl Into<PathBuf>) -> Options {
        let write = WriteOptions::default();
        Options { write, platform: Platform::host(), originals: true, temp_dir: temp_dir.into(), limit: Limit::Usual }
    }
}

/// What a layer of this compression is called; none if OCI has no name for it.
fn layer_type(compression: Compression) -> Option<&'static str> {
    match compression {
        Compression::None => Some(media_type::LAYER_TAR),
        Compression::Gzip => Some(media_type::LAYER_GZIP),
        Compression::Zstd => Some(media_type::LAYER_ZSTD),
        Compression::Bzip2 | Compression::Xz => None,
    }
}
