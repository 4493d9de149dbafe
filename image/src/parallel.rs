//! The same work on many things, several at once.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};

/// Does `act` with each of `items`, on `at_once` threads. After an error no more are begun, and those that are worked on
/// are told to stop by the flag that `act` gets.
///
/// # Errors
/// The first one: what the others say follows from being stopped.
pub(crate) fn for_each<T: Sync>(
    items: &[T],
    at_once: usize,
    act: impl Fn(&T, &AtomicBool) -> Result<()> + Sync,
) -> Result<()> {
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let error: Mutex<Option<Error>> = Mutex::new(None);
    std::thread::scope(|scope| {
        let work = || {
            while !failed.load(Ordering::Relaxed)
                && let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed))
            {
                if let Err(e) = act(item, &failed)
                    && !failed.swap(true, Ordering::Relaxed)
                {
                    *error.lock().unwrap_or_else(PoisonError::into_inner) = Some(e);
                }
            }
        };
        for _ in 1..at_once.min(items.len()) {
            scope.spawn(work);
        }
        work();
    });
    error.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_done_and_the_first_error_ends_it() {
        let (done, together) = (AtomicUsize::new(0), std::sync::Barrier::new(3));
        let count = |_: &usize, _: &AtomicBool| {
            // Nobody gets past unless three are at work.
            together.wait();
            done.fetch_add(1, Ordering::Relaxed);
            Ok(())
        };
        for_each(&[0; 9], 3, count).unwrap();
        assert_eq!(done.load(Ordering::Relaxed), 9);
        let refuse = |item: &usize, _: &AtomicBool| match item {
            3 => Err(Error::Option("three".into())),
            _ => Ok(()),
        };
        let error = for_each(&(0..1000).collect::<Vec<_>>(), 4, refuse).unwrap_err();
        assert_eq!(error.to_string(), Error::Option("three".into()).to_string());
    }
}
