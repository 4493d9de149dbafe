//! The digest of the plain archive, computed beside everything else.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

use appc_spec::ImageId;

use super::block::{BLOCK_LEN, Block};
use super::pipeline::Closed;
use crate::oci::{self, Algorithm, Hasher};
use crate::{Error, Result};

/// Bytes that may wait to be hashed. Making many small files takes long and large ones go fast, while hashing is
/// steady: with fewer, one waits for the other in turn. A conversion has up to three such queues and three of `pipeline.rs`, all
/// full in the worst case, and is to stay below 100 MB.
const WAITING: usize = 12 * BLOCK_LEN;

/// The ID of the image whose plain archive has this digest.
pub(crate) fn image_id(digest: &oci::Digest) -> Result<ImageId> {
    format!("{}-{}", digest.algorithm(), digest.hex()).parse().map_err(Error::Manifest)
}

/// A thread that hashes the uncompressed archive.
pub(super) struct Digest<'scope> {
    blocks: SyncSender<Arc<Block>>,
    thread: ScopedJoinHandle<'scope, oci::Digest>,
}

impl<'scope> Digest<'scope> {
    /// `block_len` is the length of the longest block.
    pub(super) fn start(scope: &'scope Scope<'scope, '_>, algorithm: Algorithm, block_len: usize) -> Digest<'scope> {
        let (blocks, queue) = sync_channel::<Arc<Block>>(WAITING / block_len);
        let thread = scope.spawn(move || {
            let mut hasher = Hasher::new(algorithm);
            for block in queue {
                hasher.update(&block);
            }
            hasher.finish()
        });
        Digest { blocks, thread }
    }

    pub(super) fn update(&self, block: Arc<Block>) -> Result<(), Closed> {
        self.blocks.send(block).map_err(|_| Closed)
    }

    /// The digest of everything that came by.
    pub(super) fn finish(self) -> Result<oci::Digest, Closed> {
        drop(self.blocks);
        self.thread.join().map_err(|_| Closed)
    }
}
