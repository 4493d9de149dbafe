//! Image archives: the tar format of the appc specification, compressed or not.
//!
//! An archive is a tar with exactly `manifest` (a regular file) and `rootfs` (a directory) at the top. The SHA-512 of
//! the *uncompressed* tar is the image's ID. [`write()`] makes archives, [`unpack`] reads one into a directory in one
//! pass, [`manifest()`] and [`looks_like_aci`] only peek.
//!
//! Both directions run on a few threads with bounded queues of recycled 1 MiB blocks between them, so memory does not
//! grow with the image.

mod block;
mod compression;
pub(crate) mod decode;
mod digest;
mod edit;
mod encode;
pub(crate) mod entries;
pub(crate) mod entry;
mod fields;
mod gzip;
pub(crate) mod header;
mod intake;
mod limit;
mod options;
mod pax;
mod pipeline;
pub(crate) mod reader;
mod recompress;
mod record;
mod sparse;
pub(crate) mod stream;
pub(crate) mod tar_out;
mod unpack;
mod validate;
pub(crate) mod writer;

pub use crate::copy::{Copied, CopyOptions, copy_tree};
pub use crate::extract::MANIFEST_MAX;
pub use compression::Compression;
pub use edit::{Rest, compression_of, replace_manifest};
pub use limit::Limit;
pub use options::{Kind, Omission, Owners, Ownership, UnpackOptions, Unpacked, WriteOptions, Written};
pub use recompress::recompress;
pub(crate) use unpack::{first_name, unpack_then};
pub use unpack::{looks_like_aci, manifest, unpack};
pub use validate::{validate, validate_layout};
pub use writer::write;

pub(crate) use digest::image_id;
pub(crate) use encode::Finished;
pub(crate) use record::Record;
pub(crate) use stream::each_entry;
pub(crate) use validate::Seen;
