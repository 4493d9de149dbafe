//! The media types of the blobs of images, OCI's and docker's.

/// An OCI image manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// An OCI image index.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// An OCI image configuration.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// An OCI layer that is a plain tar.
pub const LAYER_TAR: &str = "application/vnd.oci.image.layer.v1.tar";
/// An OCI layer compressed with gzip.
pub const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// An OCI layer compressed with zstd.
pub const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// What `config` and `layers` of an artifact that is no image point to.
pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// Docker's image manifest, version 2, schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's index.
pub const DOCKER_MANIFEST_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker's image configuration.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// A layer as docker names it.
pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
/// A layer that is a plain tar as docker names it.
pub const DOCKER_LAYER_TAR: &str = "application/vnd.docker.image.rootfs.diff.tar";
/// A layer that a registry may not hold, as docker names it.
pub const DOCKER_FOREIGN_LAYER: &str = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";

/// The manifests that are read, for a registry's `Accept`.
pub const ACCEPTED: [&str; 4] = [MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_MANIFEST_LIST];

/// Tells whether it is an image manifest.
pub fn is_manifest(media_type: &str) -> bool {
    matches!(media_type, MANIFEST | DOCKER_MANIFEST)
}

/// Tells whether it is an index of manifests.
pub fn is_index(media_type: &str) -> bool {
    matches!(media_type, INDEX | DOCKER_MANIFEST_LIST)
}

/// Tells whether it is an image configuration.
pub fn is_config(media_type: &str) -> bool {
    matches!(media_type, CONFIG | DOCKER_CONFIG)
}

/// Tells whether it is a layer that can be read. Whether and how it is compressed shows in its bytes.
pub fn is_layer(media_type: &str) -> bool {
    // The older name of layers that a registry may not hold; docker's `foreign` is the same.
    let plain = media_type.replacen("layer.nondistributable.v1", "layer.v1", 1).replacen(".foreign.diff", ".diff", 1);
    matches!(plain.as_str(), LAYER_TAR | LAYER_GZIP | LAYER_ZSTD | DOCKER_LAYER_GZIP | DOCKER_LAYER_TAR)
        || plain == "application/vnd.docker.image.rootfs.diff.tar.zstd"
}

/// What something of this type is called in a sentence.
pub fn noun(media_type: &str) -> &'static str {
    match media_type {
        _ if is_manifest(media_type) => "manifest",
        _ if is_index(media_type) => "index",
        _ if is_config(media_type) => "configuration",
        _ if is_layer(media_type) => "layer",
        _ => "blob",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_by_all_their_names() {
        for layer in [
            LAYER_TAR,
            LAYER_GZIP,
            LAYER_ZSTD,
            DOCKER_LAYER_GZIP,
            DOCKER_LAYER_TAR,
            DOCKER_FOREIGN_LAYER,
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        ] {
            assert!(is_layer(layer), "{layer}");
        }
        assert!(!is_layer("application/vnd.oci.image.layer.v1.tar+gzip+encrypted"));
        assert!(!is_layer(CONFIG));
    }
}
