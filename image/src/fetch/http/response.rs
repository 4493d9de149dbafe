//! Answers.

use std::io::Read;

use ureq::http::{HeaderMap, StatusCode, Uri};

use super::address::Address;
use super::{Body, body, fault, retry};
use crate::error::{Error, Result};

/// An answer, of which the head has come.
#[derive(Debug)]
pub struct Response {
    /// The status: 200.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    address: Address,
    body: Body,
}

impl Response {
    pub(super) fn new(status: u16, headers: HeaderMap, address: Address, body: Body) -> Response {
        Response { status, headers, address, body }
    }

    /// The header `name`, when it is there and text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The address that answered, after redirects. May hold secrets: it is for requests, not for people.
    pub fn uri(&self) -> &Uri {
        self.address.uri()
    }

    /// The address that answered, for people.
    pub fn url(&self) -> String {
        self.address.to_string()
    }

    /// Where `location`, such as the header of that name, is relative to the address that answered.
    ///
    /// # Errors
    /// When it is no address.
    pub fn join(&self, location: &str) -> Result<String> {
        let joined = self.address.join(location).map_err(|why| fault(&self.address, why))?;
        Ok(joined.uri().to_string())
    }

    /// How many bytes the server says follow.
    pub fn length(&self) -> Option<u64> {
        self.header("content-length")?.trim().parse().ok()
    }

    /// The answer itself when its status is one of `wanted`.
    ///
    /// # Errors
    /// [`Error::Fetch`] with the status, and with the time after which to ask again when that may help.
    pub fn expect(self, wanted: &[u16]) -> Result<Response> {
        if wanted.contains(&self.status) {
            return Ok(self);
        }
        Err(self.refusal(""))
    }

    /// The error that this answer is; `detail` is what its body says.
    pub fn refusal(&self, detail: &str) -> Error {
        let text = StatusCode::from_u16(self.status).ok().and_then(|s| s.canonical_reason()).unwrap_or("");
        let detail = if detail.is_empty() { String::new() } else { format!(": {detail}") };
        let why = format!("the server answers {} {text}", self.status).trim_end().to_owned() + &detail;
        Error::Fetch { url: self.url(), why, again: retry::again(self.status, self.header("retry-after")) }
    }

    /// The body, as it comes, refused once it is longer than `limit`.
    pub fn reader(self, limit: u64) -> Body {
        self.body.limited(limit)
    }

    /// The body of something small: refused, too, once it has had time enough for `limit`.
    pub fn document(self, limit: u64) -> Body {
        let most = self.length().map_or(limit, |length| length.min(limit));
        self.reader(limit).ending(most)
    }

    /// The whole body of something small.
    ///
    /// # Errors
    /// [`Error::Fetch`] when it is longer than `limit`, or does not come, or not in a time that fits its length.
    pub fn bytes(self, limit: u64) -> Result<Vec<u8>> {
        let address = self.address.clone();
        if self.length().is_some_and(|length| length > limit) {
            return Err(fault(&address, body::too_long(limit)));
        }
        let mut bytes = Vec::new();
        self.document(limit).read_to_end(&mut bytes).map_err(|e| body::error(address.to_string(), &e))?;
        Ok(bytes)
    }
}
