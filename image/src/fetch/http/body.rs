//! Reading the body of an answer: not too long, and not for ever.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use ureq::BodyReader;

use super::{Patience, agent, piece};
use crate::error::{Again, Error};

/// What is small comes whole at so many bytes a second, after the time that anything may take.
const WHOLE: u64 = 64 << 10;

/// The body of an answer.
pub struct Body {
    content: BodyReader<'static>,
    url: String,
    limit: u64,
    pace: Pace,
}

impl Body {
    pub(super) fn new(body: ureq::Body, url: String, patience: &Patience) -> Body {
        // Not ureq's limit, which ends a body silently where it is.
        let content = body.into_with_config().limit(u64::MAX).reader();
        Body { content, url, limit: u64::MAX, pace: Pace::new(patience) }
    }

    pub(super) fn limited(self, limit: u64) -> Body {
        Body { limit, ..self }
    }

    /// Ends it, too, when so many bytes have had time enough.
    pub(super) fn ending(mut self, bytes: u64) -> Body {
        self.pace.longest = Some(self.pace.window + Duration::from_secs(bytes / WHOLE));
        self
    }

    /// The address that the body comes from, for people.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("Body").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // One byte more than is allowed shows that there is more.
        let most = usize::try_from(self.limit.saturating_add(1)).unwrap_or(usize::MAX).min(buffer.len());
        let content = &mut self.content;
        let read = piece::within(self.pace.window, || content.read(&mut buffer[..most]))?;
        let left = self.limit.checked_sub(read as u64);
        self.limit = left.ok_or_else(|| io::Error::new(io::ErrorKind::FileTooLarge, "it is longer than allowed"))?;
        if read > 0 {
            self.pace.check(read as u64)?;
        }
        Ok(read)
    }
}

/// Tells a slow line from a server that wants to be waited for until the end of days.
struct Pace {
    begun: Instant,
    /// For how long it may come.
    longest: Option<Duration>,
    since: Instant,
    bytes: u64,
    window: Duration,
    least: u64,
}

impl Pace {
    fn new(patience: &Patience) -> Pace {
        let (begun, since) = (Instant::now(), Instant::now());
        Pace { begun, longest: None, since, bytes: 0, window: patience.window, least: patience.least }
    }

    fn check(&mut self, bytes: u64) -> io::Result<()> {
        if let Some(longest) = self.longest.filter(|longest| self.begun.elapsed() > *longest) {
            let text = format!("it takes more than the {} seconds that are enough for it", longest.as_secs());
            return Err(io::Error::other(text));
        }
        self.bytes += bytes;
        if self.bytes >= self.least {
            (self.bytes, self.since) = (0, Instant::now());
        } else if self.since.elapsed() > self.window {
            let text = format!("it sends less than {} bytes in {} seconds", self.least, self.window.as_secs());
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        Ok(())
    }
}

/// What went wrong while a body was read, as an error of this crate.
pub fn error(url: String, error: &io::Error) -> Error {
    let (why, again) = match error.kind() {
        io::ErrorKind::TimedOut if error.get_ref().is_some_and(|e| e.is::<ureq::Error>()) => agent::io_words(error),
        io::ErrorKind::FileTooLarge => (error.to_string(), None),
        io::ErrorKind::TimedOut => (error.to_string(), Some(Again::Faster)),
        _ => agent::io_words(error),
    };
    Error::Fetch { url, why, again }
}

pub(super) fn too_long(limit: u64) -> String {
    format!("it is longer than the {limit} bytes that are allowed")
}
