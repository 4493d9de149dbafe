//! What refers to an image: signatures, lists of its parts, and the like.

use std::collections::HashSet;

use super::refusal::{nothing, refusal};
use super::{Registry, locked};
use crate::fetch::http;
use crate::fetch::http::types::Method;
use crate::oci::{DOCUMENT_MAX, Descriptor, Digest, Index, media_type};
use crate::{Error, Result};

/// A list that goes on for longer has no end.
const PAGES: usize = 64;

/// As often a list is looked at again after it was written.
const MENDED: u32 = 4;

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
                    400 | 404 | 405 => return Ok(nothing(answer)),
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
        self.list(subject, std::slice::from_ref(&descriptor))?;
        locked(&self.added).entry(subject.clone()).or_default().push(descriptor);
        Ok(())
    }

    /// Puts back what was added and others wrote over, who had read the list before. Registries do nothing against that.
    pub(super) fn mend_lists(&self) -> Result<()> {
        let mut added = std::mem::take(&mut *locked(&self.added));
        for round in 1..=MENDED {
            if added.is_empty() {
                return Ok(());
            }
            // Who had read one has written it by then.
            std::thread::sleep(http::wait(round));
            for (subject, mine) in std::mem::take(&mut added) {
                if self.list(&subject, &mine)? {
                    added.insert(subject, mine);
                }
            }
        }
        match added.keys().next() {
            None => Ok(()),
            Some(subject) => Err(self.bad_list(subject, "others write to it all the time: push again later")),
        }
    }

    /// Puts what is not there into the list for `subject`, and tells whether there was any.
    fn list(&self, subject: &Digest, referrers: &[Descriptor]) -> Result<bool> {
        let mut index = self.tagged_referrers(subject)?;
        let there: HashSet<Digest> = index.manifests.iter().map(|one| one.digest.clone()).collect();
        let missing: Vec<_> = referrers.iter().filter(|one| !there.contains(&one.digest)).cloned().collect();
        if missing.is_empty() {
            return Ok(false);
        }
        index.manifests.extend(missing);
        let bytes = serde_json::to_vec(&index).map_err(|e| self.bad_list(subject, &e.to_string()))?;
        self.put_document(&subject.referrers_tag(), media_type::INDEX, &bytes)?;
        Ok(true)
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
