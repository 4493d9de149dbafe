//! What refers to an image: signatures, lists of its parts, and the like.

use super::Registry;
use super::refusal::refusal;
use crate::fetch::http;
use crate::fetch::http::types::Method;
use crate::oci::{DOCUMENT_MAX, Descriptor, Digest, Index, media_type};
use crate::{Error, Result};

/// A list that goes on for longer has no end.
const PAGES: usize = 64;

impl Registry {
    /// The manifests that say of themselves that they are about `subject`.
    ///
    /// # Errors
    /// When the registry does not answer, or with something that is no index.
    pub(super) fn listed_referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        let mut url = self.connection.url(&format!("referrers/{subject}"))?;
        let mut found = Vec::new();
        for _ in 0..PAGES {
            let page = http::retry(|_| {
                let accept = media_type::INDEX;
                let answer =
                    self.connection.send(Method::GET, &url, |request| request.header("accept", accept).send())?;
                match answer.status {
                    200 => {}
                    400 | 404 | 405 => return Ok(None),
                    _ => return Err(refusal(&self.connection, answer)),
                }
                let next = answer.header("link").and_then(next_page).map(|link| answer.join(link)).transpose()?;
                Ok(Some((next, answer.bytes(DOCUMENT_MAX)?)))
            })?;
            // Older registries have a tag instead.
            let Some((next, bytes)) = page else { return Ok(self.tagged_referrers(subject)?.manifests) };
            found.extend(self.index(subject, &bytes)?.manifests);
            match next {
                Some(next) => url = next,
                None => return Ok(found),
            }
        }
        Err(self.bad_list(subject, &format!("it has more than {PAGES} pages")))
    }

    /// Adds a manifest to those that are about `subject`, where the registry does not do so itself.
    pub(super) fn add_referrer(&self, subject: &Digest, media_type: &str, manifest: &[u8]) -> Result<()> {
        let descriptor = Descriptor::of_referrer(media_type, manifest);
        let mut index = self.tagged_referrers(subject)?;
        if index.manifests.iter().any(|other| other.digest == descriptor.digest) {
            return Ok(());
        }
        index.manifests.push(descriptor);
        let bytes = serde_json::to_vec(&index).map_err(|e| self.bad_list(subject, &e.to_string()))?;
        self.put_document(&subject.referrers_tag(), media_type::INDEX, &bytes)
    }

    /// The index under the tag that stands for a list of referrers.
    fn tagged_referrers(&self, subject: &Digest) -> Result<Index> {
        match self.try_fetch(&subject.referrers_tag())? {
            None => Ok(Index::new(Vec::new())),
            Some(descriptor) => self.index(subject, &crate::oci::small(self, &descriptor)?),
        }
    }

    fn index(&self, subject: &Digest, bytes: &[u8]) -> Result<Index> {
        serde_json::from_slice(bytes).map_err(|e| self.bad_list(subject, &e.to_string()))
    }

    fn bad_list(&self, subject: &Digest, rule: &str) -> Error {
        let what = format!("list of what refers to {subject} in docker://{}", self.name);
        Error::Oci { what, rule: crate::error::printable(rule.as_bytes()) }
    }
}

/// The address in `<address>; rel="next"`.
fn next_page(link: &str) -> Option<&str> {
    let (address, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
    parameters.replace([' ', '"'], "").contains("rel=next").then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_pages_of_lists() {
        let digest: Digest = format!("sha512:{}", "ab".repeat(64)).parse().unwrap();
        assert_eq!(digest.referrers_tag().len(), 71);
        assert_eq!(next_page("</v2/x?last=1>; rel=\"next\""), Some("/v2/x?last=1"));
        assert_eq!((next_page("<x>; rel=prev"), next_page("x")), (None, None));
    }
}
