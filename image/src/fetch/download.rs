//! One file from one address: resumed where an earlier attempt ended, hashed as it comes.

use std::io::{self, Read, Write};

use super::auth::Authorizations;
use super::cache::{Validators, max_age};
use super::http::{Client, Request, Response, read_error, retry};
use super::partial::Partial;
use crate::archive::Limit;
use crate::error::{Again, Error, Result};
use crate::progress::Progress;

/// After so many bytes a connection that breaks has been worth it: the count of failures begins anew.
const WORTH: u64 = 1 << 20;
const BUFFER: usize = 128 << 10;

/// An address, and how it is asked.
pub(super) struct Place<'a> {
    pub(super) client: &'a Client,
    pub(super) authorizations: &'a Authorizations,
    pub(super) url: &'a str,
    /// Another host has named the address.
    pub(super) foreign: bool,
}

impl<'a> Place<'a> {
    pub(super) fn request(&self) -> Request<'a> {
        let request = self.authorizations.apply(self.client.get(self.url), self.url);
        if self.foreign { request.chosen_by_a_server() } else { request }
    }

    /// Whether there is something. What a server does not want to say without sending it may be there.
    ///
    /// # Errors
    /// When there is nothing.
    pub(super) fn look(&self) -> Result<()> {
        let request = self.authorizations.apply(self.client.head(self.url), self.url);
        let answer = if self.foreign { request.chosen_by_a_server() } else { request }.send()?;
        if matches!(answer.status, 404 | 410) { Err(answer.refusal("")) } else { Ok(()) }
    }
}

/// What came of a download.
pub(super) enum Outcome<W> {
    /// It is what is known already; for so many seconds it need not be asked for again.
    NotModified(u64),
    /// All of it is there.
    Complete {
        /// What has been fed with every byte.
        hasher: W,
        /// For so many seconds it need not be asked for again.
        max_age: u64,
    },
}

/// How long a file may be.
pub(super) struct Room<'a> {
    pub(super) limit: Limit,
    /// Whether so many bytes more have room.
    pub(super) check: &'a dyn Fn(u64) -> Result<()>,
}

/// Fetches the file into `partial`, as far as there is `room`. `known` is what is in the store from there. Every byte goes
/// through what `hasher` makes, which it is asked for once more whenever the file begins anew.
pub(super) fn download<W: Write>(
    place: &Place,
    partial: &mut Partial,
    known: Option<&Validators>,
    room: &Room,
    mut hasher: impl FnMut() -> Result<W>,
    progress: &dyn Progress,
) -> Result<Outcome<W>> {
    let mut hashed: Option<(W, u64)> = None;
    // What comes a second time, from a server that always begins anew, is no progress.
    let mut furthest = partial.have();
    let (came, age) = retry(|failures| {
        // All of it came, but was not used: is it still the same?
        let complete = partial.is_complete();
        let resumed = partial.resumable().map(|validator| (partial.have(), validator.to_owned()));
        let resumed = resumed.filter(|_| !complete);
        let mut request = place.request();
        request = match (&resumed, known) {
            _ if complete => conditional(request, partial.validators()),
            (Some((have, validator)), _) => {
                request.header("Range", &format!("bytes={have}-")).header("If-Range", validator)
            }
            (None, Some(known)) => conditional(request, known),
            (None, None) => request,
        };
        let answer = request.send()?;
        let age = max_age(&answer);
        match (answer.status, &resumed) {
            (304, None) if complete => {
                let mut fresh = hasher()?;
                io::copy(&mut partial.reader()?, &mut fresh).map_err(Error::io("read what was downloaded"))?;
                hashed = Some((fresh, partial.have()));
                return Ok((true, age));
            }
            (304, None) if known.is_some() => return Ok((false, age)),
            (206, Some((have, _))) => {
                if !continues(&answer, partial, *have) {
                    partial.restart(Validators::default(), None)?;
                    return Err(again(place.url, "the server sends another part than it was asked for"));
                }
                // The first attempt of this process: what others fetched has to be hashed, too.
                if hashed.as_ref().is_none_or(|(_, position)| position != have) {
                    let mut fresh = hasher()?;
                    io::copy(&mut partial.reader()?, &mut fresh).map_err(Error::io("read what was downloaded"))?;
                    hashed = Some((fresh, *have));
                }
            }
            (200, _) => {
                partial.restart(Validators::of(&answer), answer.length())?;
                hashed = Some((hasher()?, 0));
            }
            (416, Some(_)) => {
                partial.restart(Validators::default(), None)?;
                return Err(again(place.url, "the file has become shorter"));
            }
            _ => return Err(answer.refusal("")),
        }
        let Some((hasher, position)) = &mut hashed else { return Err(answer.refusal("")) };
        progress.start(partial.total(), &crate::reference::without_secrets(place.url));
        progress.advance(partial.have());
        let done = receive(answer, partial, hasher, room, progress);
        *position = partial.have();
        if partial.have() >= furthest + WORTH {
            *failures = 0;
        }
        furthest = furthest.max(partial.have());
        done?;
        progress.finish();
        Ok((true, age))
    })?;
    Ok(match hashed {
        Some((hasher, _)) if came => Outcome::Complete { hasher, max_age: age },
        _ => Outcome::NotModified(age),
    })
}

fn conditional<'c>(mut request: Request<'c>, known: &Validators) -> Request<'c> {
    if let Some(etag) = &known.etag {
        request = request.header("If-None-Match", etag);
    } else if let Some(time) = &known.last_modified {
        request = request.header("If-Modified-Since", time);
    }
    request
}

/// Whether an answer is the rest of what has come: the very file, from the very byte on.
fn continues(answer: &Response, partial: &Partial, have: u64) -> bool {
    let range = answer.header("content-range").and_then(|range| range.trim().strip_prefix("bytes "));
    let Some((range, total)) = range.and_then(|range| range.split_once('/')) else { return false };
    let start = range.split_once('-').and_then(|(start, _)| start.parse::<u64>().ok());
    let same_total = partial.total().is_none_or(|known| total == "*" || total.parse() == Ok(known));
    let same_tag =
        answer.header("etag").is_none_or(|tag| partial.validators().etag.as_deref().is_none_or(|t| t == tag));
    start == Some(have) && same_total && same_tag
}

fn receive(
    answer: Response,
    partial: &mut Partial,
    hasher: &mut impl Write,
    room: &Room,
    progress: &dyn Progress,
) -> Result<()> {
    let url = answer.url();
    let limit = room.limit.packed(partial.total().is_some());
    let too_long = |total| {
        let shown = crate::reference::without_secrets(&url);
        let rule = format!("{shown} is longer than the {limit} bytes that are allowed{total}");
        Error::TooLarge(format!("{rule}: --max-image-size allows more"))
    };
    if let Some(total) = partial.total() {
        if total > limit {
            return Err(too_long(format!(" ({total})")));
        }
        (room.check)(total.saturating_sub(partial.have()))?;
    }
    let mut body = answer.reader(limit.saturating_sub(partial.have()));
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = match body.read(&mut buffer) {
            Err(e) if e.kind() == io::ErrorKind::FileTooLarge => return Err(too_long(String::new())),
            read => read.map_err(|e| read_error(url.clone(), &e))?,
        };
        if read == 0 {
            break;
        }
        partial.append(&buffer[..read])?;
        hasher.write_all(&buffer[..read]).map_err(Error::io("hash what was downloaded"))?;
        progress.advance(read as u64);
    }
    match partial.total() {
        Some(total) if total != partial.have() => Err(again(&url, "the connection ended early")),
        _ => Ok(()),
    }
}

fn again(url: &str, why: &str) -> Error {
    Error::Fetch { url: crate::reference::without_secrets(url), why: why.into(), again: Some(Again::SOON) }
}

/// What came instead of a small file.
pub(super) enum Small {
    /// The file.
    Content(Vec<u8>),
    /// "Ask again when you have the rest": 202.
    Deferred,
}

/// Fetches a file of at most `limit` bytes.
pub(super) fn small(place: &Place, limit: u64) -> Result<Small> {
    retry(|_| {
        let answer = place.request().send()?;
        match answer.status {
            202 => Ok(Small::Deferred),
            _ => Ok(Small::Content(answer.expect(&[200])?.bytes(limit)?)),
        }
    })
}
