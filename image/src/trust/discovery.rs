//! Keys from the network: where pages say they are.

use appc_spec::AcIdentifier;
use appc_spec::discovery::{keys, meta_tags, page, prefixes};

use super::key::{self, Key};
use crate::error::{Error, Result};
use crate::fetch::http::{Client, retry};

/// More than the home page of anybody.
const LONGEST_PAGE: u64 = 4 << 20;

/// The addresses of the keys for images below `prefix`, from the first page on the way up to the host that names any.
///
/// # Errors
/// What was wrong with each of the pages, when there is none.
pub fn discover_keys(client: &Client, prefix: &AcIdentifier) -> Result<Vec<String>> {
    let schemes: &[&str] = if client.options().insecure_http { &["https", "http"] } else { &["https"] };
    let mut faults = Vec::new();
    for above in prefixes(prefix) {
        for scheme in schemes {
            let url = page(scheme, above, None);
            match get(client, &url, LONGEST_PAGE, false) {
                Ok(content) => {
                    let tags = meta_tags(&content);
                    let mut found: Vec<String> =
                        keys(&tags, prefix.as_str()).into_iter().map(|tag| tag.template.clone()).collect();
                    found.dedup();
                    if !found.is_empty() {
                        return Ok(found);
                    }
                    faults.push(format!("{url} names no key"));
                }
                Err(error) => faults.push(error.to_string()),
            }
        }
    }
    Err(Error::Key { what: format!("no key for {prefix} was found:"), rule: faults.join("; ") })
}

/// The keys at an address, which `foreign` tells to come from a page and not from the user.
///
/// # Errors
/// When they cannot be had, or there is something else.
pub fn fetch_keys(client: &Client, url: &str, foreign: bool) -> Result<Vec<Key>> {
    let content = get(client, url, key::LONGEST as u64, foreign)?;
    key::fingerprints(&content).map_err(|error| match error {
        Error::Key { what, rule } => Error::Key { what: format!("{url}: the {what}"), rule },
        other => other,
    })
}

fn get(client: &Client, url: &str, longest: u64, foreign: bool) -> Result<Vec<u8>> {
    retry(|_| {
        let request = client.get(url);
        let request = if foreign { request.chosen_by_a_server() } else { request };
        request.send()?.expect(&[200])?.bytes(longest)
    })
}
