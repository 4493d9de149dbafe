//! From a compressed source to the tar's plain bytes, on threads or at once.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::thread::{Scope, ScopedJoinHandle};

use super::block::{BLOCK_LEN, Block, Pool};
use super::digest::Digest;
use super::gzip::{self, Member};
use super::intake::{Intake, detect, read_error};
use super::limit::{Bound, Limit};
use super::pipeline::{self, Closed, Input, Output};
use super::reader::{Dialect, Source};
use super::{Compression, header};
use crate::oci::{self, Algorithm};
use crate::{Error, Progress, Result};

/// The largest window of a zstd frame, as a power of two: what the `zstd` program takes unless told otherwise.
const ZSTD_WINDOW_LOG: u32 = 27;

/// What an xz stream may make its decoder allocate: enough for `xz -9`, which wants 65 MiB.
const XZ_MEMORY: u64 = 100 << 20;

/// A decompressor for anything but our own gzip members. Stops at the source's end only: garbage behind is an error.
fn decoder<'r>(compression: Compression, input: impl BufRead + 'r) -> io::Result<Box<dyn Read + 'r>> {
    Ok(match compression {
        Compression::None => Box::new(input),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(input)),
        Compression::Xz => {
            let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, liblzma::stream::CONCATENATED)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(input, stream))
        }
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
    })
}

/// A decompressor for the next of the members, streams or frames that a file is a row of. It takes nothing of what is
/// behind that. Of what is not compressed it gives a block.
pub(super) fn single<'r>(compression: Compression, input: impl BufRead + 'r) -> io::Result<Box<dyn Read + 'r>> {
    Ok(match compression {
        Compression::None => Box::new(input.take(BLOCK_LEN as u64)),
        Compression::Gzip => Box::new(flate2::bufread::GzDecoder::new(input)),
        Compression::Bzip2 => Box::new(bzip2::bufread::BzDecoder::new(input)),
        Compression::Xz => {
            let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, 0)?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(input, stream))
        }
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?.single_frame();
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
    })
}

/// The plain bytes, decompressed as they are asked for on this thread.
pub(super) struct Direct<'r> {
    decoder: Box<dyn Read + 'r>,
    compression: Compression,
    bound: Bound,
    buffer: Vec<u8>,
    from: usize,
    to: usize,
}

impl<'r> Direct<'r> {
    pub(super) fn new(source: impl Read + 'r, limit: Limit) -> Result<Direct<'r>> {
        let mut intake = Intake::new(source, None, &crate::Quiet);
        let compression = begin(&mut intake)?;
        let bound = Bound::new(limit, intake.counter());
        let decoder = decoder(compression, intake).map_err(|e| read_error(compression, 0, e))?;
        Ok(Direct { decoder, compression, bound, buffer: vec![0; 64 * 1024], from: 0, to: 0 })
    }
}

/// The plain bytes of a tar that is compressed or not.
pub(crate) fn plain<'r>(source: impl Read + 'r) -> Result<Box<dyn Read + 'r>> {
    Direct::new(source, Limit::NONE).map(|direct| direct.decoder)
}

impl Source for Direct<'_> {
    fn fill(&mut self) -> Result<&[u8]> {
        if self.from == self.to {
            let read = self.decoder.read(&mut self.buffer);
            (self.from, self.to) = (0, read.map_err(|e| read_error(self.compression, 0, e))?);
            self.bound.add(self.to)?;
        }
        Ok(&self.buffer[self.from..self.to])
    }

    fn consume(&mut self, len: usize) {
        self.from += len;
    }
}

fn begin<R: Read>(intake: &mut Intake<'_, R>) -> Result<Compression> {
    let start = intake.peek(header::BLOCK).map_err(|e| read_error(Compression::None, 0, e))?;
    detect(start)
}

/// A layer without files may be nothing but the end mark, or nothing at all.
fn begin_layer<R: Read>(intake: &mut Intake<'_, R>) -> Result<Compression> {
    let start = intake.peek(header::BLOCK).map_err(|e| read_error(Compression::None, 0, e))?;
    if start.iter().all(|b| *b == 0) { Ok(Compression::None) } else { detect(start) }
}

/// How a source is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct How {
    /// What is computed of the plain bytes.
    pub(crate) algorithm: Algorithm,
    pub(crate) dialect: Dialect,
    pub(crate) limit: Limit,
}

/// The plain bytes, decompressed and hashed by threads of their own.
pub(crate) struct Stream<'scope> {
    blocks: Output<Result<Block>>,
    current: Option<Arc<Block>>,
    from: usize,
    digest: Digest<'scope>,
    /// Gives the number of compressed bytes.
    feeder: ScopedJoinHandle<'scope, u64>,
}

impl<'scope> Stream<'scope> {
    /// Looks at the beginning of `source` and starts the threads.
    pub(crate) fn start<R: Read + Send + 'scope>(
        scope: &'scope Scope<'scope, '_>,
        source: R,
        tee: Option<&'scope File>,
        how: How,
        progress: &'scope dyn Progress,
    ) -> Result<Stream<'scope>> {
        let mut intake = Intake::new(source, tee, progress);
        let compression = match how.dialect {
            Dialect::Image => begin(&mut intake)?,
            Dialect::Layer => begin_layer(&mut intake)?,
        };
        let ours = compression == Compression::Gzip && peek_member(&mut intake)?.is_some();
        let pool = Pool::default();
        let out = pool.clone();
        let make = || {
            let (mut inflater, pool) = (gzip::Inflater::new(), out.clone());
            move |(member, offset): (Member, u64)| {
                let mut block = pool.take_used();
                inflater.inflate(&member, &mut block.data).map(|()| block).map_err(|rule| Error::Compressed {
                    entry: String::new(),
                    compression: Compression::Gzip,
                    offset,
                    rule,
                })
            }
        };
        let (input, blocks) =
            pipeline::start(scope, if ours { pipeline::threads(0) } else { 0 }, pipeline::WAITING, make);
        let feeder = scope.spawn(move || {
            let bound = Bound::new(how.limit, intake.counter());
            let mut feeder = Feeder { intake, compression, bound, pool, members: Pool::default(), input };
            // Closed: whoever took the blocks has failed and says so.
            let _ = feeder.run();
            feeder.intake.taken()
        });
        Ok(Stream { blocks, current: None, from: 0, digest: Digest::start(scope, how.algorithm, BLOCK_LEN), feeder })
    }

    /// The digest of the plain and the number of compressed bytes, once everything has been read.
    pub(crate) fn finish(self) -> Result<(oci::Digest, u64)> {
        self.finish_beside(|| Ok(()))
    }

    /// The same, with something to do between the last byte's arrival and the digest, which takes longer.
    pub(crate) fn finish_beside(self, work: impl FnOnce() -> Result<()>) -> Result<(oci::Digest, u64)> {
        drop((self.blocks, self.current));
        let size = self.feeder.join().map_err(|_| died())?;
        work()?;
        Ok((self.digest.finish().map_err(|_| died())?, size))
    }
}

impl Source for Stream<'_> {
    fn fill(&mut self) -> Result<&[u8]> {
        if self.current.as_ref().is_none_or(|block| self.from == block.len()) {
            self.current = None;
            self.from = 0;
            // An empty block would look like the end.
            while let Some(block) = self.blocks.next().map_err(|_| died())? {
                let block = Arc::new(block?);
                if !block.is_empty() {
                    self.digest.update(block.clone()).map_err(|_| died())?;
                    self.current = Some(block);
                    break;
                }
            }
        }
        Ok(self.current.as_ref().map_or(&[], |block| &block[self.from..]))
    }

    fn consume(&mut self, len: usize) {
        self.from += len;
    }
}

/// A thread can only end early by a panic, which is a bug and has been printed.
pub(super) fn died() -> Error {
    Error::io("work on the archive")(io::Error::other("a thread died"))
}

/// Reads the source and hands on blocks: our gzip members to the workers, anything else decompressed here.
struct Feeder<'p, R> {
    intake: Intake<'p, R>,
    compression: Compression,
    bound: Bound,
    /// For what is plain.
    pool: Pool,
    /// For what the workers decompress.
    members: Pool,
    input: Input<(Member, u64), Result<Block>>,
}

impl<R: Read> Feeder<'_, R> {
    fn run(&mut self) -> std::result::Result<(), Closed> {
        match self.members() {
            Ok(Ok(true)) => return Ok(()),
            Ok(Ok(false)) => {}
            Ok(Err(closed)) => return Err(closed),
            Err(error) => return self.input.done(Err(error)),
        }
        let Feeder { intake, compression, bound, pool, input, .. } = self;
        let mut decoder = match decoder(*compression, &mut *intake) {
            Ok(decoder) => decoder,
            Err(e) => return input.done(Err(read_error(*compression, 0, e))),
        };
        loop {
            let mut block = pool.take();
            block.data.reserve(BLOCK_LEN);
            let read = (&mut decoder).take(BLOCK_LEN as u64).read_to_end(&mut block.data);
            let (end, whole) = match read {
                Ok(len) => (len < BLOCK_LEN, Ok(block)),
                Err(e) => (true, Err(e)),
            };
            match whole {
                Ok(block) => match bound.add(block.len()) {
                    Ok(()) => input.done(Ok(block))?,
                    Err(e) => return input.done(Err(e)),
                },
                Err(e) => {
                    drop(decoder);
                    return input.done(Err(read_error(*compression, intake.position(), e)));
                }
            }
            if end {
                return Ok(());
            }
        }
    }

    /// Hands on members of our own making, and tells whether the source ended with them.
    fn members(&mut self) -> Result<std::result::Result<bool, Closed>> {
        if self.compression != Compression::Gzip {
            return Ok(Ok(false));
        }
        while let Some((len, content)) = peek_member(&mut self.intake)? {
            let offset = self.intake.position();
            self.bound.add(content)?;
            let mut compressed = self.members.take();
            while compressed.len() < len {
                let bytes = self.intake.fill_buf().map_err(|e| read_error(Compression::Gzip, offset, e))?;
                let taken = bytes.len().min(len - compressed.len());
                if taken == 0 {
                    return Err(read_error(Compression::Gzip, offset, io::ErrorKind::UnexpectedEof.into()));
                }
                compressed.data.extend_from_slice(&bytes[..taken]);
                self.intake.consume(taken);
            }
            if let Err(closed) = self.input.job((Member { compressed, content }, offset)) {
                return Ok(Err(closed));
            }
        }
        let at_end = self.intake.fill_buf().map_err(|e| read_error(Compression::Gzip, 0, e))?.is_empty();
        Ok(Ok(at_end))
    }
}

fn peek_member<R: Read>(intake: &mut Intake<'_, R>) -> Result<Option<(usize, usize)>> {
    let start = intake.peek(gzip::HEADER_LEN).map_err(|e| read_error(Compression::Gzip, 0, e))?;
    Ok(gzip::member(start))
}
