//! From the tar's plain bytes to a compressed file: hashing and compression on threads of their own.
//!
//! Whatever the format, the tar is cut into blocks which are compressed independently, each a whole gzip member, bzip2 or
//! xz stream or zstd frame. All four formats define such a row as one file. So every core can help, and the bytes do not
//! depend on how many did. Blocks have a fixed length, but for the last, and for an image's manifest, which has its own: with
//! another one, nothing else has to be compressed again.

use std::fs::File;
use std::io::{Read, Write};
use std::sync::Arc;
use std::thread::{Scope, ScopedJoinHandle};

use super::block::{BLOCK_LEN, Block, Pool};
use super::decode::died;
use super::digest::Digest;
use super::gzip::Deflater;
use super::pipeline::{self, Closed, Input, Output};
use super::{Compression, WriteOptions};
use crate::oci::{self, Algorithm, Hasher};
use crate::{Error, Progress, Result};

/// Where the tar's bytes go.
pub(super) struct Sink<'scope, 'p> {
    current: Block,
    block_len: usize,
    pool: Pool,
    digest: Digest<'scope>,
    input: Input<Arc<Block>, Result<Compressed>>,
    output: ScopedJoinHandle<'scope, Result<(u64, Option<oci::Digest>)>>,
    progress: &'p dyn Progress,
}

/// What has been written.
pub(crate) struct Finished {
    /// The digest of the plain bytes.
    pub(crate) plain: oci::Digest,
    /// The digest of what lies in the file, if it was asked for.
    pub(crate) packed: Option<oci::Digest>,
    /// The size of the file.
    pub(crate) size: u64,
}

/// What a worker made of a block.
enum Compressed {
    As(Block),
    /// As it was.
    Plain(Arc<Block>),
}

impl<'scope, 'p> Sink<'scope, 'p> {
    pub(super) fn start(
        scope: &'scope Scope<'scope, '_>,
        out: File,
        options: &WriteOptions,
        (algorithm, packed_too): (Algorithm, bool),
        progress: &'p dyn Progress,
    ) -> Result<Sink<'scope, 'p>> {
        let level = level(options)?;
        let compression = options.compression;
        let pool = Pool::default();
        let packed = Pool::default();
        let make = || {
            let mut compressor = Compressor::new(compression, level);
            let packed = packed.clone();
            move |block: Arc<Block>| compressor.compress(block, &packed)
        };
        let block_len = block_len(compression);
        let (threads, waiting) = (pipeline::threads(options.threads), pipeline::WAITING * BLOCK_LEN / block_len);
        let (input, compressed) = pipeline::start(scope, threads, waiting, make);
        let output = scope.spawn(move || write_out(out, &compressed, packed_too.then(|| Hasher::new(algorithm))));
        let mut sink = Sink {
            current: pool.take(),
            block_len,
            pool,
            digest: Digest::start(scope, algorithm, block_len),
            input,
            output,
            progress,
        };
        sink.current.data.reserve(block_len);
        Ok(sink)
    }

    /// Takes bytes of the tar. `Closed` when writing has failed, see [`Sink::finish`].
    pub(super) fn put(&mut self, mut data: &[u8]) -> std::result::Result<(), Closed> {
        while !data.is_empty() {
            let len = data.len().min(self.block_len - self.current.len());
            self.current.data.extend_from_slice(&data[..len]);
            data = &data[len..];
            self.flush(false)?;
        }
        Ok(())
    }

    /// Takes up to `len` bytes straight from a file, and tells how many there were.
    pub(super) fn read_from(
        &mut self,
        file: &mut impl Read,
        len: u64,
    ) -> std::io::Result<std::result::Result<u64, Closed>> {
        let mut done = 0;
        while done < len {
            let room = (self.block_len - self.current.len()) as u64;
            let read = file.by_ref().take(room.min(len - done)).read_to_end(&mut self.current.data)? as u64;
            if read == 0 {
                break;
            }
            done += read;
            if let Err(closed) = self.flush(false) {
                return Ok(Err(closed));
            }
        }
        Ok(Ok(done))
    }

    /// Has what comes next begin a block of its own.
    pub(super) fn cut(&mut self) -> std::result::Result<(), Closed> {
        self.flush(true)
    }

    fn flush(&mut self, cut: bool) -> std::result::Result<(), Closed> {
        if self.current.len() < self.block_len && !cut || self.current.is_empty() {
            return Ok(());
        }
        let mut next = self.pool.take();
        next.data.reserve(self.block_len);
        let block = Arc::new(std::mem::replace(&mut self.current, next));
        self.progress.advance(block.len() as u64);
        self.digest.update(block.clone())?;
        self.input.job(block)
    }

    /// What has been written. With `failed`, the error that stopped the writing if it was not the caller's.
    pub(super) fn finish(mut self, failed: bool) -> Result<Finished> {
        // A failure is reported by the thread that writes.
        let _ = if failed { Ok(()) } else { self.flush(true) };
        drop(self.input);
        let (size, packed) = self.output.join().map_err(|_| died())??;
        Ok(Finished { plain: self.digest.finish().map_err(|_| died())?, packed, size })
    }
}

fn write_out(
    mut out: File,
    compressed: &Output<Result<Compressed>>,
    mut hasher: Option<Hasher>,
) -> Result<(u64, Option<oci::Digest>)> {
    let mut size = 0;
    while let Some(block) = compressed.next().map_err(|_| died())? {
        let block = block?;
        let bytes: &[u8] = match &block {
            Compressed::As(block) => block,
            Compressed::Plain(block) => block,
        };
        out.write_all(bytes).map_err(Error::io("write the archive"))?;
        size += bytes.len() as u64;
        if let Some(hasher) = &mut hasher {
            hasher.update(bytes);
        }
    }
    Ok((size, hasher.map(Hasher::finish)))
}

/// How much plain data each compressed block holds.
fn block_len(compression: Compression) -> usize {
    match compression {
        Compression::None | Compression::Gzip => BLOCK_LEN,
        // What bzip2 -9 sorts at once; the first step of its compression may make it a little longer.
        Compression::Bzip2 => 890_000,
        // Long enough for the larger windows to be worth something.
        Compression::Xz => 8 * BLOCK_LEN,
        Compression::Zstd => 4 * BLOCK_LEN,
    }
}

fn level(options: &WriteOptions) -> Result<u32> {
    let (range, usual) = match options.compression {
        Compression::None => (0..=0, 0),
        // libdeflate's scale: 5 is a little smaller than gzip -6, in a third of the time.
        Compression::Gzip => (1..=12, 5),
        Compression::Bzip2 => (1..=9, 9),
        Compression::Xz => (0..=9, 6),
        Compression::Zstd => (1..=19, 3),
    };
    let level = options.level.unwrap_or(usual);
    if !range.contains(&level) {
        let (low, high) = (range.start(), range.end());
        return Err(Error::Option(match options.compression {
            Compression::None => "an archive without compression has no compression level".into(),
            other => format!("compression level {level} is not in {other}'s range of {low} to {high}"),
        }));
    }
    Ok(level)
}

enum Compressor {
    None,
    Gzip(Deflater),
    Bzip2(u32),
    Xz(u32),
    Zstd(i32),
}

impl Compressor {
    fn new(compression: Compression, level: u32) -> Compressor {
        match compression {
            Compression::None => Compressor::None,
            Compression::Gzip => Compressor::Gzip(Deflater::new(level)),
            Compression::Bzip2 => Compressor::Bzip2(level),
            Compression::Xz => Compressor::Xz(level),
            Compression::Zstd => Compressor::Zstd(level as i32),
        }
    }

    fn compress(&mut self, block: Arc<Block>, pool: &Pool) -> Result<Compressed> {
        let mut out = pool.take();
        let done = match self {
            Compressor::None => return Ok(Compressed::Plain(block)),
            Compressor::Gzip(deflater) => deflater.deflate(&block, &mut out.data).map_err(std::io::Error::other),
            Compressor::Bzip2(level) => {
                let level = bzip2::Compression::new(*level);
                bzip2::read::BzEncoder::new(&**block, level).read_to_end(&mut out.data).map(drop)
            }
            Compressor::Xz(level) => {
                liblzma::read::XzEncoder::new(&**block, *level).read_to_end(&mut out.data).map(drop)
            }
            Compressor::Zstd(level) => zstd_frame(&block, *level, &mut out.data),
        };
        done.map_err(Error::io("compress the archive"))?;
        Ok(Compressed::As(out))
    }
}

fn zstd_frame(block: &[u8], level: i32, out: &mut Vec<u8>) -> std::io::Result<()> {
    let mut encoder = zstd::stream::write::Encoder::new(out, level)?;
    encoder.include_checksum(true)?;
    encoder.set_pledged_src_size(Some(block.len() as u64))?;
    encoder.write_all(block)?;
    encoder.finish().map(drop)
}
