//! How long work tells how far it is.

/// Told by long work how far it is. Every method may be called from any thread; each does nothing unless implemented.
pub trait Progress: Sync {
    /// `what` begins; `total` bytes will be done when that is known.
    fn start(&self, total: Option<u64>, what: &str) {
        let _ = (total, what);
    }

    /// `bytes` more are done.
    fn advance(&self, bytes: u64) {
        let _ = bytes;
    }

    /// The work is done. Not called after an error.
    fn finish(&self) {}

    /// Told of one of several parts that are done at once, besides the whole; nothing where only the whole is shown.
    fn part(&self) -> Option<Box<dyn Progress + '_>> {
        None
    }
}

/// A part of the work: what is done of it is done of the whole, too, which it neither starts nor finishes.
pub(crate) struct Part<'p> {
    whole: &'p dyn Progress,
    own: Option<Box<dyn Progress + 'p>>,
}

impl<'p> Part<'p> {
    /// The part `what` of `total` bytes.
    pub(crate) fn new(whole: &'p dyn Progress, total: u64, what: &str) -> Part<'p> {
        let own = whole.part();
        if let Some(own) = &own {
            own.start(Some(total), what);
        }
        Part { whole, own }
    }
}

impl Progress for Part<'_> {
    fn advance(&self, bytes: u64) {
        self.whole.advance(bytes);
        if let Some(own) = &self.own {
            own.advance(bytes);
        }
    }
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quiet;

impl Progress for Quiet {}
