//! Which manifests of a layout are about others.
//!
//! An index lists them beside the images, without a name; some programs write a list of them under the tag that stands for
//! it in registries.

use std::collections::HashSet;

use super::REF_NAME;
use super::files::Files;
use super::oci::open_blob;
use crate::Result;
use crate::oci::{DOCUMENT_MAX, Descriptor, Digest, Index, media_type, subject, verified};

/// More manifests without a name are not looked into.
const LOOKED_INTO: usize = 1000;

/// A manifest and what it is about.
pub(super) struct Referrer {
    pub(super) subject: Digest,
    pub(super) descriptor: Descriptor,
}

/// The manifests of `index` that have no name and are about others.
pub(super) fn referrers(files: &Files, index: &Index) -> Vec<Referrer> {
    let mut seen = HashSet::new();
    let unnamed = index.manifests.iter().filter(|one| !one.annotations.contains_key(REF_NAME));
    let unnamed = unnamed.filter(|one| seen.insert(&one.digest)).take(LOOKED_INTO);
    let about = |one: &Descriptor| {
        let subject = subject(&document(files, one)?)?;
        Some(Referrer { subject, descriptor: one.clone() })
    };
    unnamed.filter_map(about).collect()
}

/// Those that the list with the tag for `about` has.
pub(super) fn tagged(files: &Files, index: &Index, about: &Digest) -> Vec<Descriptor> {
    let tag = about.referrers_tag();
    let list = index.manifests.iter().find(|one| one.annotations.get(REF_NAME) == Some(&tag));
    let list = list.filter(|list| media_type::is_index(&list.media_type)).and_then(|list| document(files, list));
    let list: Option<Index> = list.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    list.map(|list| list.manifests).unwrap_or_default()
}

/// A manifest or index. What is not there, or not what it should be, is about nothing.
pub(super) fn document(files: &Files, descriptor: &Descriptor) -> Option<Vec<u8>> {
    let is_document = media_type::is_manifest(&descriptor.media_type) || media_type::is_index(&descriptor.media_type);
    let read = || -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let content = open_blob(files, "the layout", descriptor)?;
        std::io::Read::read_to_end(&mut verified(content, descriptor), &mut bytes)
            .map_err(crate::Error::io("read a manifest"))?;
        Ok(bytes)
    };
    if is_document && descriptor.size <= DOCUMENT_MAX { read().ok() } else { None }
}
