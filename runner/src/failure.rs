//! The one error type that reaches `main`: what failed, and the chain of reasons below it.

use std::error::Error;
use std::fmt::Display;
use std::io;

use appc_image::advice_on_io;

/// The exit status of nearly every error of `rkt` itself, far away from what apps use.
pub const OWN_ERROR: u8 = 254;

/// What a command returns: the exit status, or why it failed.
pub type Outcome = Result<u8, Failure>;

/// Why a command failed. Printed once, by `main`, as `command: what: why`.
#[derive(Debug)]
pub struct Failure {
    what: String,
    source: Option<Box<dyn Error + Send + Sync>>,
    code: u8,
}

impl Failure {
    /// A failure that has no other error below it.
    pub fn new(what: impl Into<String>) -> Failure {
        Failure { what: what.into(), source: None, code: OWN_ERROR }
    }

    /// The same failure with what it happened in put in front.
    pub fn within(self, what: impl Display) -> Failure {
        let code = self.code;
        Failure { what: format!("{what}: {}", self.line()), source: None, code }
    }

    /// The exit status.
    pub fn code(&self) -> u8 {
        self.code
    }

    /// The whole chain in one line. A level that repeats the end of the one above is left out.
    pub fn line(&self) -> String {
        let mut line = self.what.clone();
        let mut below = self.source.as_deref().map(|e| e as &dyn Error);
        let mut advice = None;
        while let Some(error) = below {
            let text = error.to_string();
            advice = advice.or_else(|| advice_on(error));
            if line.is_empty() {
                line = text;
            } else if !line.ends_with(&text) {
                line = format!("{line}: {text}");
            }
            below = error.source();
        }
        let advice = advice.map(|advice| format!(" - {advice}")).unwrap_or_default();
        without_numbers(&line.replace('\n', " ")) + &advice
    }
}

/// What the user can do about one level of the chain.
fn advice_on(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let on_io = || advice_on_io(error.downcast_ref::<io::Error>()?.kind());
    error.downcast_ref::<appc_image::Error>().map_or_else(on_io, appc_image::Error::advice)
}

/// `No such file or directory (os error 2)` says no more than its words do.
fn without_numbers(text: &str) -> String {
    let mut parts = text.split(" (os error ");
    let first = parts.next().unwrap_or_default().to_string();
    parts.fold(first, |line, part| line + part.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start_matches(')'))
}

impl<E: Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure { what: String::new(), source: Some(Box::new(error)), code: OWN_ERROR }
    }
}

/// Says what was being done when an error came.
pub trait Context<T> {
    /// Puts `what` in front of the error's text.
    fn context(self, what: impl Display) -> Result<T, Failure>;
}

impl<T, E: Error + Send + Sync + 'static> Context<T> for Result<T, E> {
    fn context(self, what: impl Display) -> Result<T, Failure> {
        self.map_err(|e| Failure { what: what.to_string(), source: Some(Box::new(e)), code: OWN_ERROR })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_ends_with_what_to_do() {
        let full = || appc_image::Error::io("write x")(std::io::Error::from_raw_os_error(28));
        let expected = "./x.aci: write x: No space left on device - make room, or use another file system";
        assert_eq!(Err::<(), _>(full()).context("./x.aci").unwrap_err().line(), expected);
        assert_eq!(Failure::from(full()).within("./x.aci").line(), expected);
    }

    #[test]
    fn a_full_disk_below_is_no_riddle() {
        let full = Err::<(), _>(std::io::Error::from_raw_os_error(28)).context("writing in pods/prepare");
        let line = full.unwrap_err().line();
        assert_eq!(line, "writing in pods/prepare: No space left on device - make room, or use another file system");
        let denied = Err::<(), _>(std::io::Error::from_raw_os_error(13)).context("reading /x").unwrap_err().line();
        assert!(denied.starts_with("reading /x: Permission denied - run this as a user who may"), "{denied}");
    }

    #[test]
    fn the_chain_is_one_line_without_repeats() {
        let failure = Err::<(), _>(std::io::Error::other("disk\nfull")).context("writing /x").unwrap_err();
        assert_eq!(failure.line(), "writing /x: disk full");
        let failure = Err::<(), _>(std::io::Error::other("disk full")).context("writing /x: disk full").unwrap_err();
        assert_eq!(failure.line(), "writing /x: disk full");
        assert_eq!(Failure::from(std::io::Error::other("alone")).line(), "alone");
        let failure = Failure::from(std::io::Error::from_raw_os_error(2)).within("x").within("y");
        assert_eq!(failure.line(), "y: x: No such file or directory");
    }
}
