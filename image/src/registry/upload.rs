//! Sending a blob: whole when it is small, else in chunks that can be sent again.

use std::io::{self, Read};

use super::Registry;
use super::authorization::form;
use super::refusal::refusal;
use crate::fetch::http;
use crate::fetch::http::Response;
use crate::fetch::http::types::Method;
use crate::oci::{Descriptor, verified};
use crate::{Error, Result};

/// What is sent at once, and held in memory meanwhile.
const CHUNK: u64 = 8 << 20;
/// A registry that wants larger ones gets none.
const CHUNK_MAX: u64 = 64 << 20;

/// An upload that a registry has agreed to.
pub(super) struct Session<'r> {
    registry: &'r Registry,
    /// Where the next request goes: after each, the registry names another address.
    location: String,
    /// The size of all chunks but the last.
    chunk: u64,
}

/// Sends a blob. `begun` is the address of an upload that is there already.
pub(super) fn send(
    registry: &Registry,
    descriptor: &Descriptor,
    content: &mut dyn Read,
    begun: Option<String>,
) -> Result<()> {
    let mut content = verified(content, descriptor);
    if descriptor.size <= CHUNK {
        let bytes = next(&mut content, CHUNK)?;
        let mut begun = begun;
        return http::retry(|_| {
            let mut session = match begun.take() {
                Some(location) => Session { registry, location, chunk: CHUNK },
                None => Session::begin(registry)?,
            };
            session.finish(descriptor, &mut |request| request.send_body(&mut bytes.as_slice(), Some(descriptor.size)))
        });
    }
    let mut session = match begun {
        Some(location) => Session { registry, location, chunk: CHUNK },
        None => http::retry(|_| Session::begin(registry))?,
    };
    let sent = session.send_chunks(descriptor, &mut content);
    if sent.is_err() {
        session.cancel();
    }
    sent
}

impl<'r> Session<'r> {
    fn begin(registry: &'r Registry) -> Result<Session<'r>> {
        match Session::begin_or_mount(registry, "")? {
            Some(session) => Ok(session),
            None => Err(Error::Oci {
                what: format!("docker://{}", registry.name),
                rule: "the registry says that an upload is done which was only begun".into(),
            }),
        }
    }

    /// Asks the registry to take a blob from another repository: either it does, or there is an upload to go on with.
    pub(super) fn mount(registry: &'r Registry, descriptor: &Descriptor, from: &str) -> Result<Option<String>> {
        let query = form(&[("mount", &descriptor.digest.to_string()), ("from", from)]);
        let session = Session::begin_or_mount(registry, &format!("?{query}"))?;
        Ok(session.map(|session| session.location))
    }

    fn begin_or_mount(registry: &'r Registry, query: &str) -> Result<Option<Session<'r>>> {
        let connection = &registry.connection;
        let url = connection.url(&format!("blobs/uploads/{query}"))?;
        let answer = connection.send(Method::POST, &url, |request| request.send_body(&mut io::empty(), Some(0)))?;
        match answer.status {
            201 => return Ok(None),
            202 => {}
            _ => return Err(refusal(connection, answer)),
        }
        let least = answer.header("oci-chunk-min-length").and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        let mut session = Session { registry, location: url, chunk: CHUNK.max(least) };
        if !session.moved(&answer)? {
            let why = "the registry does not say where to send a blob".into();
            return Err(Error::Fetch { url: answer.url(), why, again: None });
        }
        Ok(Some(session))
    }

    fn send_chunks(&mut self, descriptor: &Descriptor, content: &mut impl Read) -> Result<()> {
        if self.chunk > CHUNK_MAX {
            return self.send_in_one(descriptor, &mut io::empty(), content);
        }
        let mut position = 0;
        while position < descriptor.size {
            let chunk = next(content, self.chunk)?;
            if !self.send_chunk(&chunk, position)? {
                // There are registries that take no chunks.
                *self = http::retry(|_| Session::begin(self.registry))?;
                return self.send_in_one(descriptor, &mut chunk.as_slice(), content);
            }
            position += chunk.len() as u64;
        }
        http::retry(|_| self.finish(descriptor, &mut |request| request.send_body(&mut io::empty(), Some(0))))
    }

    /// Sends one chunk. False when it is the first one, and the registry does not understand what we want.
    fn send_chunk(&mut self, chunk: &[u8], position: u64) -> Result<bool> {
        let end = position + chunk.len() as u64;
        // How far the registry has got.
        let mut at = position;
        let mut failed = false;
        http::retry(|_| {
            if failed {
                at = self.progress(position, end)?;
            }
            if at == end {
                return Ok(true);
            }
            failed = true;
            let rest = &chunk[(at - position) as usize..];
            let range = format!("{at}-{}", end - 1);
            let connection = &self.registry.connection;
            let answer = connection.send(Method::PATCH, &self.location, |request| {
                let request = request.header("content-type", "application/octet-stream");
                request.header("content-range", &range).send_body(&mut &*rest, Some(rest.len() as u64))
            })?;
            match answer.status {
                200 | 201 | 202 | 204 => self.moved(&answer).map(|_| true),
                400 | 404 | 405 | 411 | 415 | 416 | 501 if position == 0 => Ok(false),
                _ => Err(refusal(connection, answer)),
            }
        })
    }

    /// How much of the blob the registry has; an error when it is not between `from` and `to`.
    fn progress(&mut self, from: u64, to: u64) -> Result<u64> {
        let connection = &self.registry.connection;
        let answer = connection.send(Method::GET, &self.location, |request| request.send())?;
        if answer.status != 204 && answer.status != 200 {
            return Err(refusal(connection, answer));
        }
        self.moved(&answer)?;
        let range = answer.header("range").unwrap_or_default().trim();
        let last: Option<u64> = range.strip_prefix("0-").and_then(|last| last.parse().ok());
        match last {
            // This is how nothing is written, too.
            None | Some(0) if from == 0 => Ok(0),
            Some(last) if (from..=to).contains(&(last + 1)) => Ok(last + 1),
            _ => {
                let why =
                    format!("the upload broke off, and the registry does not have what it took before: {range:?}");
                Err(Error::Fetch { url: answer.url(), why, again: None })
            }
        }
    }

    /// Sends everything in one request, which cannot be repeated.
    fn send_in_one(&mut self, descriptor: &Descriptor, first: &mut dyn Read, rest: &mut impl Read) -> Result<()> {
        let mut content = first.chain(rest);
        let mut failed = None;
        let sent = self.finish(descriptor, &mut |request| {
            let mut kept = Kept { content: &mut content, failed: &mut failed };
            request.send_body(&mut kept, Some(descriptor.size))
        });
        // That the content is wrong says more than that the request broke off.
        failed.map_or(sent, |error| Err(Error::io("read the blob")(error)))
    }

    /// The last request, after which the blob is there.
    fn finish(
        &mut self,
        descriptor: &Descriptor,
        send: &mut dyn FnMut(http::Request) -> Result<Response>,
    ) -> Result<()> {
        let connection = &self.registry.connection;
        let separator = if self.location.contains('?') { '&' } else { '?' };
        let query = form(&[("digest", &descriptor.digest.to_string())]);
        let url = format!("{}{separator}{query}", self.location);
        let answer = connection
            .send(Method::PUT, &url, |request| send(request.header("content-type", "application/octet-stream")))?;
        match answer.status {
            200 | 201 | 204 => Ok(()),
            _ => Err(refusal(connection, answer)),
        }
    }

    /// Tells the registry that nothing more comes. It finds out itself in the end.
    fn cancel(&self) {
        let _ = self.registry.connection.send(Method::DELETE, &self.location, |request| request.send());
    }

    /// Notes where the next request goes; false when the answer does not say so.
    fn moved(&mut self, answer: &Response) -> Result<bool> {
        let Some(location) = answer.header("location") else { return Ok(false) };
        self.location = answer.join(location)?;
        Ok(true)
    }
}

/// Remembers the error of what is sent, which a request that fails because of it does not tell.
struct Kept<'k> {
    content: &'k mut dyn Read,
    failed: &'k mut Option<io::Error>,
}

impl Read for Kept<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.content.read(into).map_err(|error| {
            let kind = error.kind();
            *self.failed = Some(error);
            kind.into()
        })
    }
}

/// The next `size` bytes, fewer only at the end.
fn next(content: &mut impl Read, size: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    content.take(size).read_to_end(&mut bytes).map_err(Error::io("read the blob"))?;
    Ok(bytes)
}
