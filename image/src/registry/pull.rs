//! Reading images from a registry.

use std::io::{Cursor, Read};

use serde::Deserialize;

use super::blob::Blob;
use super::refusal::{nothing, refusal};
use super::{Registry, locked};
use crate::error::printable;
use crate::fetch::http;
use crate::fetch::http::types::Method;
use crate::oci::{DOCUMENT_MAX, Descriptor, Digest, Hasher, Source, media_type};
use crate::{Error, Result};

/// What a document says of itself.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Typed {
    media_type: Option<String>,
}

impl Source for Registry {
    fn top(&self) -> Result<Descriptor> {
        let mut known = locked(&self.top);
        if let Some(top) = &*known {
            return Ok(top.clone());
        }
        let top = self.fetch(self.name.reference())?;
        *known = Some(top.clone());
        Ok(top)
    }

    fn open(&self, descriptor: &Descriptor) -> Result<Box<dyn Read + Send + '_>> {
        let media_type = &descriptor.media_type;
        let is_document = media_type::is_manifest(media_type) || media_type::is_index(media_type);
        let known = || locked(&self.documents).get(&descriptor.digest).map(|document| document.bytes.clone());
        if let Some(bytes) = known() {
            return Ok(Box::new(Cursor::new(bytes)));
        }
        if is_document {
            self.fetch(&descriptor.digest.to_string())?;
            return Ok(Box::new(Cursor::new(known().unwrap_or_default())));
        }
        Ok(Box::new(Blob::open(self, descriptor, 0)?))
    }

    fn open_at(&self, descriptor: &Descriptor, offset: u64) -> Result<Box<dyn Read + Send + '_>> {
        // Who asks for the end of a manifest has it.
        Ok(Box::new(Blob::open(self, descriptor, offset)?))
    }

    fn describe(&self) -> String {
        format!("docker://{}", self.name)
    }

    fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        self.listed_referrers(subject)
    }

    fn tagged(&self, tag: &str) -> Result<Option<Descriptor>> {
        self.try_fetch(tag)
    }
}

impl Registry {
    /// Fetches the manifest or index that `reference`, a tag or digest, means, and keeps it.
    pub(super) fn fetch(&self, reference: &str) -> Result<Descriptor> {
        match self.try_fetch(reference)? {
            Some(descriptor) => Ok(descriptor),
            None => Err(Error::Oci {
                what: format!("docker://{}", self.name),
                rule: match reference.contains(':') {
                    true => format!("there is no manifest {reference} in this repository, or no such repository"),
                    false => format!("there is no tag {reference:?} in this repository, or no such repository"),
                },
            }),
        }
    }

    /// The same; nothing when there is no such manifest.
    pub(super) fn try_fetch(&self, reference: &str) -> Result<Option<Descriptor>> {
        let url = self.connection.url(&format!("manifests/{reference}"))?;
        let accept = media_type::ACCEPTED.join(", ");
        http::retry(|_| {
            let answer = self.connection.send(Method::GET, &url, |request| request.header("accept", &accept).send())?;
            match answer.status {
                200 => {}
                404 => return Ok(nothing(answer)),
                _ => return Err(refusal(&self.connection, answer)),
            }
            let stated = answer.header("docker-content-digest").map(str::to_owned);
            let content_type = answer.header("content-type").unwrap_or_default().to_owned();
            let bytes = answer.bytes(DOCUMENT_MAX)?;
            // A digest that was asked for counts, whatever the registry says.
            let wanted = if reference.contains(':') { Some(reference.to_owned()) } else { stated };
            let digest = self.checked(wanted.as_deref(), &bytes)?;
            let media_type = type_of(&content_type, &bytes);
            self.keep(&digest, &media_type, &bytes);
            Ok(Some(Descriptor::new(media_type, digest, bytes.len() as u64)))
        })
    }

    /// The digest of `bytes`, which is `wanted` if that is known.
    fn checked(&self, wanted: Option<&str>, bytes: &[u8]) -> Result<Digest> {
        let Some(wanted) = wanted else { return Ok(Digest::of(bytes)) };
        let wanted: Digest = wanted.parse()?;
        let mut hasher = Hasher::new(wanted.algorithm());
        hasher.update(bytes);
        let digest = hasher.finish();
        match digest == wanted {
            true => Ok(digest),
            false => Err(Error::Oci {
                what: format!("manifest {wanted} of docker://{}", self.name),
                rule: format!("its content is another, {digest}"),
            }),
        }
    }
}

/// The media type of a document: what its header says, else what it says of itself.
fn type_of(header: &str, bytes: &[u8]) -> String {
    let stated = header.split(';').next().unwrap_or_default().trim();
    if media_type::is_manifest(stated) || media_type::is_index(stated) {
        return stated.to_owned();
    }
    let own = serde_json::from_slice::<Typed>(bytes).ok().and_then(|typed| typed.media_type);
    own.map(|own| printable(own.as_bytes())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types() {
        assert_eq!(type_of("application/vnd.oci.image.index.v1+json; charset=utf-8", b""), media_type::INDEX);
        let own = format!(r#"{{"mediaType":"{}"}}"#, media_type::DOCKER_MANIFEST);
        assert_eq!(type_of("application/json", own.as_bytes()), media_type::DOCKER_MANIFEST);
        assert_eq!(type_of("text/html", b"<html>"), "");
    }
}
