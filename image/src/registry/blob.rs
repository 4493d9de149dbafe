//! Reading a blob, over again from where it broke off.

use std::io::{self, Read};

use super::Registry;
use super::refusal::refusal;
use crate::fetch::http::types::Method;
use crate::fetch::http::{self, Body, Response};
use crate::oci::Descriptor;
use crate::{Error, Result};

/// So much must come before a broken connection is forgiven: else a server could hand out single bytes for ever.
const GAIN: u64 = 1 << 20;

/// A blob on its way.
pub(super) struct Blob<'r> {
    registry: &'r Registry,
    descriptor: Descriptor,
    /// The connection; none after an error, and at the end.
    body: Option<Body>,
    /// How much has been read.
    position: u64,
    /// Where the last failure was.
    failed_at: u64,
    failures: u32,
}

impl<'r> Blob<'r> {
    /// Asks for the blob from the byte `position` on, which is not its end.
    pub(super) fn open(registry: &'r Registry, descriptor: &Descriptor, position: u64) -> Result<Blob<'r>> {
        let descriptor = descriptor.clone();
        let mut blob = Blob { registry, descriptor, body: None, position, failed_at: position, failures: 0 };
        http::retry(|failures| {
            blob.failures = *failures;
            blob.connect()
        })?;
        blob.failures = 0;
        Ok(blob)
    }

    /// Asks for what has not been read yet.
    fn connect(&mut self) -> Result<()> {
        let connection = &self.registry.connection;
        let url = connection.url(&format!("blobs/{}", self.descriptor.digest))?;
        let range = format!("bytes={}-", self.position);
        let answer = connection.send(Method::GET, &url, |request| match self.position {
            0 => request.send(),
            _ => request.header("range", &range).send(),
        })?;
        let mut skip = 0;
        match answer.status {
            200 => skip = self.position,
            206 if self.position > 0 && begins_at(&answer, self.position) => {}
            206 => return Err(self.wrong("the registry answers with another range than the one asked for")),
            404 if self.is_foreign() => {
                return Err(self.wrong(
                    "the registry does not hold it, and the addresses that the manifest names for it are not asked: \
                     the image cannot be had from here",
                ));
            }
            _ => return Err(refusal(connection, answer)),
        }
        let left = self.descriptor.size - self.position;
        if let Some(length) = answer.length().filter(|length| *length != left + skip) {
            let size = self.descriptor.size;
            return Err(self.wrong(&format!("the registry says that it is {length} bytes long, not {size}")));
        }
        let mut body = answer.reader(left + skip);
        let skipped = io::copy(&mut (&mut body).take(skip), &mut io::sink());
        skipped.map_err(|e| http::read_error(body.url().to_owned(), &e))?;
        self.body = Some(body);
        Ok(())
    }

    fn is_foreign(&self) -> bool {
        self.descriptor.extra.get("urls").and_then(|urls| urls.as_array()).is_some_and(|urls| !urls.is_empty())
    }

    fn wrong(&self, rule: &str) -> Error {
        let noun = crate::oci::media_type::noun(&self.descriptor.media_type);
        let what = format!("{noun} {} of docker://{}", self.descriptor.digest, self.registry.name);
        Error::Oci { what, rule: rule.into() }
    }

    /// Goes on after `error`, if that may help.
    fn recover(&mut self, error: Error) -> Result<()> {
        self.body = None;
        if self.position >= self.failed_at + GAIN {
            self.failures = 0;
        }
        self.failed_at = self.position;
        let mut pending = Some(error);
        let already = self.failures;
        http::retry(|failures| {
            // The first time round there is the error to wait for.
            let result = match pending.take() {
                Some(error) => {
                    *failures = already;
                    Err(error)
                }
                None => self.connect(),
            };
            self.failures = *failures + result.as_ref().err().map_or(0, http::weight);
            result
        })
    }
}

impl Read for Blob<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        loop {
            let Some(body) = &mut self.body else { return Ok(0) };
            let read = match body.read(into) {
                // Without a length in its head an answer that is cut off looks like one that ends.
                Ok(0) if self.position < self.descriptor.size => {
                    Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended early"))
                }
                read => read,
            };
            match read {
                Ok(len) => {
                    self.position += len as u64;
                    return Ok(len);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    let error = http::read_error(body.url().to_owned(), &e);
                    self.recover(error)?;
                }
            }
        }
    }
}

/// Whether the answer's `Content-Range` is `bytes POSITION-…`.
fn begins_at(answer: &Response, position: u64) -> bool {
    let range = answer.header("content-range").and_then(|range| range.trim().strip_prefix("bytes"));
    let first = range.and_then(|range| range.trim().split('-').next());
    first.and_then(|first| first.parse().ok()) == Some(position)
}
