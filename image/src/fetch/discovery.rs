//! From a name to the addresses where it may be: pages are asked, from the name's own up to its host's.

use appc_spec::discovery::{Endpoint, MetaTag, endpoints, for_this_host, meta_tags, page, prefixes};
use appc_spec::{AcIdentifier, ImageName};

use super::Reporter;
use super::auth::Authorizations;
use super::download::{Place, Small, small};
use super::http::Client;
use crate::error::Result;

/// More than the home page of anybody.
const LONGEST_PAGE: u64 = 4 << 20;

/// Asks pages, one after the other, as long as nobody is content.
pub(super) struct Discovery<'a> {
    pub(super) client: &'a Client,
    pub(super) authorizations: &'a Authorizations,
    pub(super) reporter: &'a dyn Reporter,
}

impl Discovery<'_> {
    /// Where the image `name` may be, best first, page by page. What went wrong on the way is added to `faults`.
    pub(super) fn endpoints(&self, name: &ImageName, faults: &mut Vec<String>) -> Vec<Endpoint> {
        let wanted = for_this_host(name);
        let found = self.pages(&name.name, faults, |tags| {
            let found = endpoints(tags, &wanted);
            (!found.is_empty()).then_some(found)
        });
        found.unwrap_or_default()
    }

    /// The first page for which `take` finds something.
    pub(super) fn pages<T>(
        &self,
        name: &AcIdentifier,
        faults: &mut Vec<String>,
        take: impl Fn(&[MetaTag]) -> Option<T>,
    ) -> Option<T> {
        let schemes: &[&str] = if self.client.options().insecure_http { &["https", "http"] } else { &["https"] };
        for prefix in prefixes(name) {
            for scheme in schemes {
                let url = page(scheme, prefix, None);
                match self.tags(&url) {
                    Ok(tags) => match take(&tags) {
                        Some(found) => return Some(found),
                        None => faults.push(format!("{url}: no meta tag is about this image")),
                    },
                    Err(error) => faults.push(error.to_string()),
                }
            }
        }
        None
    }

    fn tags(&self, url: &str) -> Result<Vec<MetaTag>> {
        self.reporter.debug(&format!("asking {url}"));
        let place = Place { client: self.client, authorizations: self.authorizations, url, foreign: false };
        match small(&place, LONGEST_PAGE)? {
            Small::Content(page) => Ok(meta_tags(&page)),
            Small::Deferred => Ok(Vec::new()),
        }
    }
}
