//! From a name to the addresses where it may be: pages are asked, from the name's own up to its host's.

use appc_spec::discovery::{Endpoint, MetaTag, endpoints, for_this_host, keys, meta_tags, page, prefixes};
use appc_spec::{AcIdentifier, ImageName};

use super::auth::Authorizations;
use super::download::{Place, Small, small};
use super::http::Client;
use super::{Options, Reporter};
use crate::error::Result;

/// A page may name as many addresses as it likes; those of one image that are tried.
pub(super) const ENDPOINTS: usize = 16;

/// More than the home page of anybody.
const LONGEST_PAGE: u64 = 4 << 20;

/// Asks pages, one after the other, as long as nobody is content.
pub(super) struct Discovery<'a> {
    pub(super) client: &'a Client,
    pub(super) authorizations: &'a Authorizations,
    pub(super) reporter: &'a dyn Reporter,
    /// Of all hosts, instead of the scheme's own.
    pub(super) port: Option<u16>,
}

/// What pages say about an image.
#[derive(Debug, Clone, Default)]
pub struct Announced {
    /// Where the image may be, best first.
    pub endpoints: Vec<Endpoint>,
    /// Where the keys of those who sign it may be.
    pub keys: Vec<String>,
    /// What was wrong with each page that was asked for the image.
    pub endpoint_faults: Vec<String>,
    /// What was wrong with each page that was asked for keys.
    pub key_faults: Vec<String>,
}

/// Asks the pages that are about the image `name`, and fetches nothing else. `port` is that of all hosts, when they do not
/// listen on the usual one.
///
/// # Errors
/// When the configuration breaks a rule. What is wrong with pages is no error.
pub fn discover(name: &ImageName, port: Option<u16>, options: &Options, reporter: &dyn Reporter) -> Result<Announced> {
    let authorizations = Authorizations::read(&options.config_dirs)?;
    let client = options.client()?;
    let discovery = Discovery { client: &client, authorizations: &authorizations, reporter, port };
    let mut announced = Announced::default();
    announced.endpoints = discovery.endpoints(name, &mut announced.endpoint_faults);
    let keys = discovery.pages(&name.name, &mut announced.key_faults, |tags| {
        let mut found: Vec<String> =
            keys(tags, name.name.as_str()).into_iter().map(|tag| tag.template.clone()).collect();
        found.dedup();
        (!found.is_empty()).then_some(found)
    });
    announced.keys = keys.unwrap_or_default();
    Ok(announced)
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
                let url = page(scheme, prefix, self.port);
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
