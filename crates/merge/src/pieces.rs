//! Work in numbered pieces that all cores do in any order; results must not depend on it.
//!
//! Used by what moves tensors without a merge rule: [`crate::lora`] and [`crate::diff`].

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::error::{MergeError, Result};

/// Threads where reads come over a network: they mostly wait.
const REMOTE_WORKERS: usize = 16;

/// As many threads as asked for, else one a core, and more if reads wait for a network.
pub(crate) fn workers(asked: Option<usize>, is_local: bool) -> usize {
    let cores = || thread::available_parallelism().map_or(1, usize::from);
    let wanted = asked.unwrap_or_else(cores).max(1);
    if is_local {
        wanted
    } else {
        wanted.max(REMOTE_WORKERS)
    }
}

/// Does `work` for every number below `count`, each worker with its own `begin()`.
///
/// # Errors
/// The error of the lowest number that failed; [`MergeError::Cancelled`]. Nobody begins another piece then.
pub(crate) fn for_each_piece<S>(
    count: usize,
    workers: usize,
    cancel: &AtomicBool,
    begin: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, usize) -> Result<()> + Sync,
) -> Result<()> {
    let next = AtomicUsize::new(0);
    let failure: Mutex<Option<(usize, MergeError)>> = Mutex::new(None);
    let lock = || failure.lock().unwrap_or_else(PoisonError::into_inner);
    let worker = || {
        let mut state = begin();
        loop {
            let piece = next.fetch_add(1, Ordering::Relaxed);
            if piece >= count || lock().is_some() {
                return;
            }
            let done = match cancel.load(Ordering::Relaxed) {
                true => Err(MergeError::Cancelled),
                false => work(&mut state, piece),
            };
            if let Err(error) = done {
                let mut failure = lock();
                if failure.as_ref().is_none_or(|(earliest, _)| piece < *earliest) {
                    *failure = Some((piece, error));
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..workers.min(count) {
            scope.spawn(worker);
        }
        worker();
    });
    let failure = failure.into_inner().unwrap_or_else(PoisonError::into_inner);
    failure.map_or(Ok(()), |(_, error)| Err(error))
}

/// Elements `0..elements` in stretches of `block`.
pub(crate) fn blocks(elements: usize, block: usize) -> impl Iterator<Item = Range<usize>> {
    (0..elements)
        .step_by(block)
        .map(move |start| start..(start + block).min(elements))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_is_done_once_and_the_first_failure_counts() {
        let done: Vec<AtomicUsize> = (0..100).map(|_| AtomicUsize::new(0)).collect();
        let cancel = AtomicBool::new(false);
        let count = |_: &mut (), piece: usize| {
            done[piece].fetch_add(1, Ordering::Relaxed);
            Ok(())
        };
        for_each_piece(100, 7, &cancel, || (), count).unwrap();
        assert!(done.iter().all(|count| count.load(Ordering::Relaxed) == 1));

        let fail = |_: &mut (), piece: usize| Err(MergeError::Internal(piece.to_string()));
        let error = for_each_piece(50, 1, &cancel, || (), fail).unwrap_err();
        assert_eq!(error.to_string(), "internal error: 0");
        cancel.store(true, Ordering::Relaxed);
        let error = for_each_piece(50, 3, &cancel, || (), count).unwrap_err();
        assert!(matches!(error, MergeError::Cancelled));
        let cut: Vec<_> = blocks(5, 2).collect();
        assert_eq!(cut, [0..2, 2..4, 4..5]);
    }
}
