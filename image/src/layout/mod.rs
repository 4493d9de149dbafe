//! Images in directories and archives of this host, in the formats of OCI and docker.
//!
//! [`OciLayout`] reads an OCI layout, be it a directory or an archive of one, and [`DockerArchive`] what `docker save`
//! writes. Both are [`Source`](crate::oci::Source)s. [`LayoutDir`] and [`LayoutArchive`] are the
//! [`Sink`](crate::oci::Sink)s.

mod archive;
mod docker;
mod files;
mod garbage;
mod index;
mod new_file;
mod oci;
mod referrers;
mod section;
mod staging;
mod write;

pub use archive::{ArchiveKind, archive_kind};
pub use docker::DockerArchive;
pub use oci::OciLayout;
pub(crate) use staging::TEMPORARY;
pub use write::{LayoutArchive, LayoutDir};

/// The annotation of a descriptor in an index that names an image.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Where BuildKit and docker put the whole name.
pub(crate) const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// The file that makes a directory a layout.
pub(crate) const LAYOUT_FILE: &str = "oci-layout";

/// What it says.
pub(crate) const LAYOUT_VERSION: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// The names of images in a layout.
pub(crate) const INDEX_FILE: &str = "index.json";

/// Whether a directory is a layout.
pub(crate) fn is_layout(dir: &std::path::Path) -> bool {
    [LAYOUT_FILE, INDEX_FILE].iter().all(|name| dir.join(name).is_file())
}

/// Where a blob lies in a layout.
pub(crate) fn blob_path(digest: &crate::oci::Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}
