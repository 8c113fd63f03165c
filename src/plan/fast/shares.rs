//! Work on a list that several threads share.

use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::{Mutex, PoisonError};

/// Threads of one plan at most.
const THREADS: usize = 4;

/// Cuts a list into a share for each thread.
///
/// * `least`: what a share has at least, to pay for its way to another thread; the last may have less.
pub(in crate::plan) fn shares(len: usize, least: usize) -> Vec<Range<usize>> {
    let share = len.div_ceil(threads()).max(least);
    (0..len).step_by(share).map(|from| from..(from + share).min(len)).collect()
}

/// Threads that work on one thing, this one among them.
pub(in crate::plan) fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(THREADS)
}

/// The work on each share, in their order. Where the system has no thread left, there is one less.
pub(in crate::plan) fn side_by_side<S: Send, T: Send>(shares: Vec<S>, work: impl Fn(S) -> T + Sync) -> Vec<T> {
    let threads = threads().min(shares.len());
    let next = Mutex::new(shares.into_iter().enumerate());
    let take = || next.lock().unwrap_or_else(PoisonError::into_inner).next();
    let run = || std::iter::from_fn(take).map(|(at, share)| (at, work(share))).collect::<Vec<_>>();
    let mut done = std::thread::scope(|scope| {
        let others: Vec<_> =
            (1..threads).filter_map(|_| std::thread::Builder::new().spawn_scoped(scope, run).ok()).collect();
        let mut done = run();
        done.extend(others.into_iter().flat_map(|other| other.join().unwrap_or_else(|panic| resume_unwind(panic))));
        done
    });
    done.sort_unstable_by_key(|&(at, _)| at);
    done.into_iter().map(|(_, done)| done).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_worked_on_once_and_results_keep_their_order() {
        for (len, least) in [(0, 1), (1, 1), (7, 3), (1_000, 1)] {
            let done = side_by_side(shares(len, least), |share| share.map(|at| 2 * at).collect::<Vec<_>>());
            assert_eq!(done.concat(), (0..len).map(|at| 2 * at).collect::<Vec<_>>());
        }
        assert_eq!(side_by_side(vec!["a", "b", "c", "d", "e", "f"], str::len).len(), 6);
    }
}
