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
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quiet;

impl Progress for Quiet {}
