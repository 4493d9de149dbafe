//! Blocks of bytes that are handed from thread to thread and used again.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

/// What plain data is cut into: large enough to make hand-overs rare, small enough for caches and for memory.
pub(super) const BLOCK_LEN: usize = 1 << 20;

/// Buffers waiting to be used again. Allocating a megabyte means 256 page faults.
#[derive(Clone, Default)]
pub(super) struct Pool(Arc<Mutex<Vec<Vec<u8>>>>);

impl Pool {
    /// An empty buffer.
    pub(super) fn take(&self) -> Block {
        let mut block = self.take_used();
        block.data.clear();
        block
    }

    /// A buffer with what it last held, for those who write over it: making a megabyte of zeros for that is work for nothing.
    pub(super) fn take_used(&self) -> Block {
        let data = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        Block { data, home: self.clone() }
    }
}

/// A buffer that goes back to its pool.
pub(super) struct Block {
    pub(super) data: Vec<u8>,
    home: Pool,
}

impl Deref for Block {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.data
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let data = std::mem::take(&mut self.data);
        // The queues are bounded, hence so is the number of buffers.
        self.home.0.lock().unwrap_or_else(PoisonError::into_inner).push(data);
    }
}
