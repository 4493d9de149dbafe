//! How large images may be: who sends or packs one can make it endless.

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use appc_spec::Quantity;

use crate::{Error, Result};

/// The longest image of which it is said before how long it is.
const ANNOUNCED: u64 = 64 << 30;

/// The longest of which it is not, and the most that any archive may be unpacked to.
const UNANNOUNCED: u64 = 8 << 30;

/// Beyond that an archive may be unpacked to so many times its own length. Images are packed about four-fold; what is made
/// to fill disks reaches a thousand.
const RATIO: u64 = 128;

/// How large an image may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Limit {
    /// As large as one may be that means well: 64 GiB where it is said before, else 8 GiB; and unpacked 128 times as long as
    /// it is, or 8 GiB.
    #[default]
    Usual,
    /// So many bytes, packed or unpacked.
    Bytes(u64),
}

/// A number of bytes, as App Containers write quantities: `20Gi`, `500M`.
impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Limit, String> {
        let wrong = || format!("{text:?} is no size: write it like 500M or 20Gi");
        let quantity: Quantity = text.parse().map_err(|_| wrong())?;
        u64::try_from(quantity.value()).ok().filter(|bytes| *bytes > 0).map(Limit::Bytes).ok_or_else(wrong)
    }
}

impl Limit {
    /// For what has been taken before.
    pub const NONE: Limit = Limit::Bytes(u64::MAX);

    /// The most bytes that may come, be it `announced` or not how many do.
    pub(crate) fn packed(self, announced: bool) -> u64 {
        match (self, announced) {
            (Limit::Bytes(most), _) => most,
            (Limit::Usual, true) => ANNOUNCED,
            (Limit::Usual, false) => UNANNOUNCED,
        }
    }

    /// The most bytes that what has `packed` bytes may be unpacked to.
    fn unpacked(self, packed: u64) -> u64 {
        match self {
            Limit::Bytes(most) => most,
            Limit::Usual => UNANNOUNCED.max(packed.saturating_mul(RATIO)),
        }
    }
}

/// Counts what an archive is unpacked to.
pub(super) struct Bound {
    limit: Limit,
    /// How many bytes have been taken of the archive.
    taken: Arc<AtomicU64>,
    made: u64,
}

impl Bound {
    pub(super) fn new(limit: Limit, taken: Arc<AtomicU64>) -> Bound {
        Bound { limit, taken, made: 0 }
    }

    /// Counts `len` bytes more.
    ///
    /// # Errors
    /// When these are too many.
    pub(super) fn add(&mut self, len: usize) -> Result<()> {
        self.made += len as u64;
        let most = self.limit.unpacked(self.taken.load(Ordering::Relaxed));
        if self.made <= most {
            return Ok(());
        }
        let rule = match self.limit {
            Limit::Bytes(_) => format!("unpacked it is longer than the {most} bytes that are allowed"),
            Limit::Usual => format!(
                "unpacked it is longer than {most} bytes and {RATIO} times as long as it is, which images are not: if \
                 this one is, give --max-image-size"
            ),
        };
        Err(Error::TooLarge(rule))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_well_may_be_large_but_not_endless() {
        let taken = Arc::new(AtomicU64::new(1000));
        let mut bound = Bound::new(Limit::Usual, Arc::clone(&taken));
        bound.add(8 << 30).unwrap();
        assert!(bound.add(1).unwrap_err().to_string().contains("--max-image-size"));
        taken.store(1 << 30, Ordering::Relaxed);
        bound.add(100 << 30).unwrap();
        assert!(bound.add(28 << 30).is_err());
        let mut bound = Bound::new(Limit::Bytes(10), taken);
        bound.add(10).unwrap();
        assert!(bound.add(1).unwrap_err().to_string().contains("10 bytes"));
        assert_eq!(("20Gi".parse(), "500M".parse()), (Ok(Limit::Bytes(20 << 30)), Ok(Limit::Bytes(500_000_000))));
        for bad in ["", "0", "-1", "much"] {
            assert!(bad.parse::<Limit>().unwrap_err().contains("20Gi"), "{bad}");
        }
        assert!(Limit::Usual.packed(false) < Limit::Usual.packed(true));
    }
}
