//! The image ID, computed beside everything else.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

use appc_spec::ImageId;
use ring::digest::{Context, SHA512};

use super::block::Block;
use super::pipeline::Closed;

/// Blocks that may wait to be hashed. Making many small files takes long and large ones go fast, while hashing is
/// steady: with fewer, one waits for the other in turn.
const WAITING: usize = 24;

/// A thread that hashes the uncompressed archive.
pub(super) struct Digest<'scope> {
    blocks: SyncSender<Arc<Block>>,
    thread: ScopedJoinHandle<'scope, [u8; 64]>,
}

impl<'scope> Digest<'scope> {
    pub(super) fn start(scope: &'scope Scope<'scope, '_>) -> Digest<'scope> {
        let (blocks, queue) = sync_channel::<Arc<Block>>(WAITING);
        let thread = scope.spawn(move || {
            let mut context = Context::new(&SHA512);
            for block in queue {
                context.update(&block);
            }
            let mut digest = [0; 64];
            digest.copy_from_slice(context.finish().as_ref());
            digest
        });
        Digest { blocks, thread }
    }

    pub(super) fn update(&self, block: Arc<Block>) -> Result<(), Closed> {
        self.blocks.send(block).map_err(|_| Closed)
    }

    /// The image ID of everything that came by.
    pub(super) fn finish(self) -> Result<ImageId, Closed> {
        drop(self.blocks);
        self.thread.join().map(ImageId::from_digest).map_err(|_| Closed)
    }
}
