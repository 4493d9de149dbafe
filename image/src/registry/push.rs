//! Writing images to a registry.

use std::io::Read;

use super::refusal::refusal;
use super::upload::{self, Session};
use super::{Document, Registry, locked};
use crate::fetch::http;
use crate::fetch::http::types::Method;
use crate::layout::REF_NAME;
use crate::oci::{BLOBS_AT_ONCE, DOCUMENT_MAX, Descriptor, Digest, Sink, media_type, subject, verified};
use crate::{Error, Result};

impl Sink for Registry {
    fn has(&self, descriptor: &Descriptor) -> Result<bool> {
        let kind = if is_document(descriptor) { "manifests" } else { "blobs" };
        let url = self.connection.url(&format!("{kind}/{}", descriptor.digest))?;
        let accept = media_type::ACCEPTED.join(", ");
        let there = http::retry(|_| {
            let answer =
                self.connection.send(Method::HEAD, &url, |request| request.header("accept", &accept).send())?;
            match answer.status {
                200 => Ok(true),
                404 => Ok(false),
                _ => Err(refusal(&self.connection, answer)),
            }
        })?;
        Ok(there || (kind == "blobs" && self.mounted(descriptor)?))
    }

    fn put(&self, descriptor: &Descriptor, content: &mut dyn Read) -> Result<()> {
        if !is_document(descriptor) {
            let begun = locked(&self.uploads).remove(&descriptor.digest);
            return upload::send(self, descriptor, content, begun);
        }
        let what = || format!("manifest {} for docker://{}", descriptor.digest, self.name);
        if descriptor.size > DOCUMENT_MAX {
            let rule = format!("it is {} bytes long, more than the {DOCUMENT_MAX} that are allowed", descriptor.size);
            return Err(Error::Oci { what: what(), rule });
        }
        let mut bytes = Vec::new();
        verified(content, descriptor).read_to_end(&mut bytes).map_err(Error::io(format!("read {}", what())))?;
        self.put_document(&descriptor.digest.to_string(), &descriptor.media_type, &bytes)?;
        self.keep(&descriptor.digest, &descriptor.media_type, &bytes);
        Ok(())
    }

    fn at_once(&self) -> usize {
        BLOBS_AT_ONCE
    }

    fn refer(&self, _: &Digest, referrer: &Descriptor) -> Result<()> {
        referrer.annotations.get(REF_NAME).map_or(Ok(()), |tag| self.put_tag(tag, referrer))
    }

    fn finish(&self, top: &Descriptor) -> Result<()> {
        if let Some(digest) = self.name.digest.as_deref().filter(|digest| *digest != top.digest.to_string()) {
            let rule = format!("the image is {}, and cannot be had by the digest {digest}", top.digest);
            return Err(Error::Oci { what: format!("docker://{}", self.name), rule });
        }
        // By its digest it is there already.
        self.name.tag.as_ref().map_or(Ok(()), |tag| self.put_tag(tag, top))?;
        self.mend_lists()
    }
}

impl Registry {
    /// Gives a manifest that has been put a tag.
    fn put_tag(&self, tag: &str, top: &Descriptor) -> Result<()> {
        let kept = || locked(&self.documents).get(&top.digest).cloned();
        let Document { media_type, bytes } = match kept() {
            Some(document) => document,
            None => {
                self.fetch(&top.digest.to_string())?;
                kept().unwrap_or_else(|| Document { media_type: top.media_type.clone(), bytes: Vec::new() })
            }
        };
        self.put_document(tag, &media_type, &bytes)
    }

    /// Stores a manifest or index by a tag or its digest.
    pub(super) fn put_document(&self, reference: &str, media_type: &str, bytes: &[u8]) -> Result<()> {
        let url = self.connection.url(&format!("manifests/{reference}"))?;
        let answer = http::retry(|_| {
            let answer = self.connection.send(Method::PUT, &url, |request| {
                request.header("content-type", media_type).send_body(&mut &*bytes, Some(bytes.len() as u64))
            })?;
            match answer.status {
                200..=202 => Ok(answer),
                _ => Err(refusal(&self.connection, answer)),
            }
        })?;
        match subject(bytes) {
            // A registry that knows referrers says so.
            Some(subject) if answer.header("oci-subject").is_none() => self.add_referrer(&subject, media_type, bytes),
            _ => Ok(()),
        }
    }

    /// Whether the registry has taken the blob from another of its repositories.
    fn mounted(&self, descriptor: &Descriptor) -> Result<bool> {
        for from in &self.mount_from {
            match http::retry(|_| Session::mount(self, descriptor, from))? {
                None => return Ok(true),
                Some(location) => _ = locked(&self.uploads).insert(descriptor.digest.clone(), location),
            }
        }
        Ok(false)
    }
}

fn is_document(descriptor: &Descriptor) -> bool {
    media_type::is_manifest(&descriptor.media_type) || media_type::is_index(&descriptor.media_type)
}
