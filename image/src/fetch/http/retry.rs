//! Asking again, later and later.

use std::thread;
use std::time::Duration;

use crate::error::{Again, Error, Result};

/// How often the same is tried.
pub const ATTEMPTS: u32 = 5;
/// As which a failure counts that had to be waited for: the second is the last.
const TIMED_OUT: u32 = ATTEMPTS.div_ceil(2);
/// Before the second attempt; doubled before each following one.
const FIRST_WAIT: Duration = Duration::from_millis(400);
/// A server that wants more is down.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Does `act` until it succeeds, fails for good, or has failed [`ATTEMPTS`] times, or twice because it took too long. `act` gets
/// the number of failures that came before without anything gained, and may set it back to zero.
///
/// # Errors
/// The last one.
pub fn retry<T>(mut act: impl FnMut(&mut u32) -> Result<T>) -> Result<T> {
    let mut failures = 0;
    loop {
        let error = match act(&mut failures) {
            Err(error) => error,
            done => return done,
        };
        failures += weight(&error);
        let asked = match &error {
            Error::Fetch { again: Some(Again::After(asked)), .. } => *asked,
            Error::Fetch { again: Some(Again::Faster), .. } => Duration::ZERO,
            _ => return Err(error),
        };
        if failures >= ATTEMPTS || asked > LONGEST_WAIT {
            return Err(error);
        }
        thread::sleep(wait(failures).max(asked));
    }
}

/// As how many failures one counts.
pub fn weight(error: &Error) -> u32 {
    let slow = matches!(error, Error::Fetch { again: Some(Again::Faster), .. });
    if slow { TIMED_OUT } else { 1 }
}

/// Doubled each time, and not the same for all who failed at once.
pub(crate) fn wait(failures: u32) -> Duration {
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |now| now.subsec_nanos());
    let wait = FIRST_WAIT * 2_u32.pow(failures.saturating_sub(1));
    wait + wait.mul_f64(f64::from(nanos % 1000) / 4000.0)
}

/// After how long to ask again when the answer has this status; never, when that will not help.
pub(super) fn again(status: u16, retry_after: Option<&str>) -> Option<Again> {
    // A date instead of seconds is not worth its parser.
    let asked = || retry_after.and_then(|text| text.trim().parse().ok()).map_or(Duration::ZERO, Duration::from_secs);
    matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504).then(|| Again::After(asked()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(again: Option<Again>) -> Error {
        Error::Fetch { url: "x".into(), why: "y".into(), again }
    }

    #[test]
    fn what_may_help_is_tried_again() {
        let mut calls = 0;
        let third = retry(|_| {
            calls += 1;
            if calls < 3 { Err(failure(Some(Again::SOON))) } else { Ok(calls) }
        });
        assert_eq!(third.unwrap(), 3);
        let mut calls = 0;
        let never = retry(|_| -> Result<()> {
            calls += 1;
            Err(failure(if calls == 2 { None } else { Some(Again::SOON) }))
        });
        assert!(never.is_err() && calls == 2);
        // A server that is away for an hour is not waited for.
        let hour = Again::After(Duration::from_secs(3600));
        assert!(retry(|_| -> Result<()> { Err(failure(Some(hour))) }).is_err());
        let mut calls = 0;
        let slow = retry(|_| -> Result<()> {
            calls += 1;
            Err(failure(Some(Again::Faster)))
        });
        assert!(slow.is_err() && calls == 2);
    }

    #[test]
    fn statuses() {
        assert_eq!(again(503, Some(" 7 ")), Some(Again::After(Duration::from_secs(7))));
        assert_eq!(again(429, Some("Fri, 31 Dec 1999 23:59:59 GMT")), Some(Again::SOON));
        assert_eq!((again(404, None), again(401, Some("1"))), (None, None));
    }
}
