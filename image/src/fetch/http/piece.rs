//! Ends the wait for the next piece of a body.
//!
//! A server may send what is no content without end: extensions of chunks, and trailers (RFC 9112, section 7.1). `ureq`
//! reads all that within one call, which its time-outs begin anew with every byte.

use std::cell::Cell;
use std::io;
use std::time::{Duration, Instant};

use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

/// What may come between two pieces. A connection's buffer holds an eighth of it.
const MOST: usize = 1 << 20;

thread_local! {
    /// That of this thread, which a call to `ureq` does not leave.
    static WAIT: Cell<Option<Wait>> = const { Cell::new(None) };
}

#[derive(Clone, Copy)]
struct Wait {
    since: Instant,
    limit: Duration,
    bytes: usize,
}

impl Wait {
    fn after(self, bytes: usize) -> Result<Wait, ureq::Error> {
        let bytes = self.bytes + bytes;
        if bytes > MOST {
            return Err(ureq::Error::Io(io::Error::other("it sends much that belongs to no content")));
        }
        if self.since.elapsed() > self.limit {
            let text = "no answer in time";
            return Err(ureq::Error::Io(io::Error::new(io::ErrorKind::TimedOut, text)));
        }
        Ok(Wait { bytes, ..self })
    }
}

/// Has `read` read from a connection, until a piece is there or `limit` has passed.
pub(super) fn within<T>(limit: Duration, read: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    WAIT.set(Some(Wait { since: Instant::now(), limit, bytes: 0 }));
    let piece = read();
    WAIT.set(None);
    piece
}

/// Comes last of the connectors, where the bytes are those of HTTP.
#[derive(Debug)]
pub(super) struct Watching;

impl<In: Transport> Connector<In> for Watching {
    type Out = Watched<In>;

    fn connect(&self, _: &ConnectionDetails<'_>, made: Option<In>) -> Result<Option<Watched<In>>, ureq::Error> {
        Ok(made.map(Watched))
    }
}

/// A connection that counts what comes.
#[derive(Debug)]
pub(super) struct Watched<T>(T);

impl<T: Transport> Transport for Watched<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.0.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.0.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let before = self.0.buffers().input().len();
        let progress = self.0.await_input(timeout)?;
        if let Some(wait) = WAIT.get() {
            let came = self.0.buffers().input().len().saturating_sub(before);
            WAIT.set(Some(wait.after(came)?));
        }
        Ok(progress)
    }

    fn is_open(&mut self) -> bool {
        self.0.is_open()
    }

    fn is_tls(&self) -> bool {
        self.0.is_tls()
    }
}
