//! Work done by several threads whose results come out in the order the work went in.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;

/// The other end is gone: it failed, and knows why.
pub(super) struct Closed;

/// Where work goes in.
pub(super) struct Input<J, R> {
    jobs: SyncSender<(J, SyncSender<R>)>,
    order: SyncSender<Receiver<R>>,
}

/// Where results come out.
pub(super) struct Output<R> {
    order: Receiver<Receiver<R>>,
}

/// Results of the usual length that may wait, done or not: stages of uneven speed lend each other time, and memory is still
/// bounded.
pub(super) const WAITING: usize = 12;

/// Starts `threads` threads, each with its own worker from `make`. So many results may be `waiting`, at least one for each
/// thread.
pub(super) fn start<'scope, J, R, W>(
    scope: &'scope Scope<'scope, '_>,
    threads: usize,
    waiting: usize,
    mut make: impl FnMut() -> W,
) -> (Input<J, R>, Output<R>)
where
    J: Send + 'scope,
    R: Send + 'scope,
    W: FnMut(J) -> R + Send + 'scope,
{
    let (jobs, queue) = sync_channel::<(J, SyncSender<R>)>(threads);
    let (order, results) = sync_channel(waiting.max(threads));
    let queue = Arc::new(Mutex::new(queue));
    for _ in 0..threads {
        let (queue, mut work) = (queue.clone(), make());
        scope.spawn(move || {
            loop {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                let Ok((job, slot)) = next else { return };
                // Nobody may want the result any more.
                let _ = slot.send(work(job));
            }
        });
    }
    (Input { jobs, order }, Output { order: results })
}

impl<J, R> Input<J, R> {
    /// Has a job done.
    pub(super) fn job(&self, job: J) -> Result<(), Closed> {
        let (slot, result) = sync_channel(1);
        self.order.send(result).map_err(|_| Closed)?;
        self.jobs.send((job, slot)).map_err(|_| Closed)
    }

    /// Passes on what needs no work.
    pub(super) fn done(&self, value: R) -> Result<(), Closed> {
        let (slot, result) = sync_channel(1);
        // The slot is empty: this cannot block.
        let _ = slot.send(value);
        self.order.send(result).map_err(|_| Closed)
    }
}

impl<R> Output<R> {
    /// The next result; `None` at the end. `Err` when a worker died.
    pub(super) fn next(&self) -> Result<Option<R>, Closed> {
        match self.order.recv() {
            Err(_) => Ok(None),
            Ok(slot) => slot.recv().map(Some).map_err(|_| Closed),
        }
    }
}

/// How many threads to use when `asked` for so many, 0 meaning one per core.
pub(super) fn threads(asked: usize) -> usize {
    // Each holds a few megabytes, and beyond some the others cannot keep up.
    const MOST: usize = 8;
    let threads = if asked == 0 { std::thread::available_parallelism().map_or(1, usize::from) } else { asked };
    threads.clamp(1, MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_their_order() {
        std::thread::scope(|scope| {
            let (input, output) = start(scope, 3, WAITING, || {
                |n: u64| {
                    std::thread::sleep(std::time::Duration::from_micros(n % 7 * 50));
                    n * 2
                }
            });
            scope.spawn(move || {
                for n in 0..200 {
                    let sent = if n % 10 == 0 { input.done(n * 2) } else { input.job(n) };
                    assert!(sent.is_ok());
                }
            });
            let mut expected = 0;
            while let Ok(Some(result)) = output.next() {
                assert_eq!(result, expected);
                expected += 2;
            }
            assert_eq!(expected, 400);
        });
    }

    #[test]
    fn a_consumer_that_leaves_stops_the_producer() {
        std::thread::scope(|scope| {
            let (input, output) = start(scope, 2, WAITING, || |n: u32| n);
            drop(output);
            let stopped = (0..1000).find(|n| input.job(*n).is_err());
            assert!(stopped.is_some());
        });
    }
}
