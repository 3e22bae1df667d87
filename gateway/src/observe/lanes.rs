//! A value per worker, so that workers count without fighting over a cache line.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use smallvec::SmallVec;

/// The number of the next thread that counts something.
static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The number of this thread. Relaxed: only distinctness matters.
    static NUMBER: usize = NEXT.fetch_add(1, Ordering::Relaxed);
}

/// One `T` per worker, made when the worker first needs it: a route that is never asked for costs a pointer a worker.
///
/// Threads beyond the number of lanes share them, so `T` must be safe to share (atomics, short locks).
pub(super) struct Lanes<T> {
    /// A power of two of them. The usual number stands where the rest of a series does, one cache line less to wait for.
    lanes: SmallVec<[OnceLock<Box<T>>; 4]>,
}

impl<T: Default> Lanes<T> {
    /// Lanes for this many workers.
    pub(super) fn new(workers: usize) -> Self {
        let count = workers.max(1).next_power_of_two();
        Self { lanes: (0..count).map(|_| OnceLock::new()).collect() }
    }

    /// This thread's.
    #[inline]
    pub(super) fn mine(&self) -> &T {
        let number = NUMBER.with(|number| *number);
        self.lanes[number & (self.lanes.len() - 1)].get_or_init(Default::default)
    }

    /// Those that exist.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.lanes.iter().filter_map(|lane| lane.get().map(AsRef::as_ref))
    }
}
