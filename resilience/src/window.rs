//! Counts of the last so many seconds, by a ring of time slices that many threads write without a lock.
//!
//! A count and the number of the slice it belongs to are one word, so a slice is taken over and begun anew in one step.
//! Each call is counted exactly once, however many threads write and whenever time goes on. Two bounds only:
//! - The window is between 9/10 and 10/10 of its length: the present slice has only begun.
//! - Who brings a call when its slice has already come round again (a whole window late) is not counted; who is held up for
//!   that long between reading and adding counts in the present slice. Both at most one call a thread.

use crate::Moment;
use crate::sync::atomic::{AtomicU64, Ordering};
use std::cmp::Ordering::{Equal, Greater, Less};
use std::time::Duration;

/// How calls went in the last so many seconds.
#[derive(Debug)]
pub struct Window {
    slices: Slices<4>,
}

/// How a call went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An answer, in time.
    Good = 0,
    /// No answer, or one that counts as a failure.
    Failed = 1,
    /// An answer, but late.
    Slow = 2,
    /// A failure, and late.
    FailedSlowly = 3,
}

/// What a window holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// All calls.
    pub calls: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// Those of them that were slow, failed or not.
    pub slow: u64,
}

impl Window {
    /// Holds calls for so long; at least 100 ms.
    pub fn new(length: Duration) -> Self {
        Self { slices: Slices::new(length) }
    }

    /// Counts a call: one load and one addition, a compare-and-swap for the first of a slice. A slice counts up to
    /// 134 million calls of a kind, then stands still.
    #[inline]
    pub fn record(&self, now: Moment, kind: Kind) {
        self.slices.add(self.slices.number(now), kind as usize, 1);
    }

    /// The calls of the window that ends now.
    pub fn totals(&self, now: Moment) -> Totals {
        let [good, failed, slow, both] = self.slices.sums(self.slices.number(now));
        Totals { calls: good + failed + slow + both, failed: failed + both, slow: slow + both }
    }

    /// Forgets all calls; each that comes meanwhile is either forgotten or counted.
    pub fn clear(&self) {
        self.slices.clear();
    }
}

/// How many slices a window has.
pub(crate) const SLICES: usize = 10;

/// A ring of slices, each with a few columns of amounts.
#[derive(Debug)]
pub(crate) struct Slices<const COLUMNS: usize> {
    periods: Periods,
    slots: [Slot<COLUMNS>; SLICES],
}

// A slice has a cache line to itself: who reads the earlier ones does not disturb who writes the present one.
#[derive(Debug)]
#[repr(align(64))]
struct Slot<const COLUMNS: usize> {
    columns: [AtomicU64; COLUMNS],
}

// A word: the number of the slice in the upper 36 bits (21 years of slices of 10 ms), the amount in the lower 28.
const AMOUNT_BITS: u32 = 28;
const AMOUNT: u64 = (1 << AMOUNT_BITS) - 1;
// Half of what fits: who has found room may still add, be they as many as they like, and the number is never touched.
const FULL: u64 = 1 << (AMOUNT_BITS - 1);

impl<const COLUMNS: usize> Slices<COLUMNS> {
    pub(crate) fn new(length: Duration) -> Self {
        let slot = |_| Slot { columns: std::array::from_fn(|_| AtomicU64::new(0)) };
        Self { periods: Periods::new(length / SLICES as u32), slots: std::array::from_fn(slot) }
    }

    /// Which slice it is. The first is not 0: an untouched word belongs to no window.
    #[inline]
    pub(crate) fn number(&self, now: Moment) -> u64 {
        self.periods.number(now) + SLICES as u64
    }

    /// Adds to a column of a slice, unless that has already been taken over by a later one.
    // Relaxed: a word is whole in itself, nothing else is published with it.
    #[inline]
    pub(crate) fn add(&self, number: u64, column: usize, amount: u64) {
        let place = self.place(number, column);
        let mut word = place.load(Ordering::Relaxed);
        loop {
            match (word >> AMOUNT_BITS).cmp(&number) {
                Equal if word & AMOUNT >= FULL => return,
                Equal => {
                    place.fetch_add(amount, Ordering::Relaxed);
                    return;
                }
                Greater => return,
                Less => {}
            }
            let fresh = number << AMOUNT_BITS | amount;
            match place.compare_exchange_weak(word, fresh, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now_there) => word = now_there,
            }
        }
    }

    /// Takes up to `wanted` from a column of a slice; says how much that was.
    pub(crate) fn take(&self, number: u64, column: usize, wanted: u64) -> u64 {
        let place = self.place(number, column);
        let mut word = place.load(Ordering::Relaxed);
        loop {
            let taken = wanted.min(word & AMOUNT);
            if word >> AMOUNT_BITS != number || taken == 0 {
                return 0;
            }
            let less = word - taken;
            match place.compare_exchange_weak(word, less, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return taken,
                Err(now_there) => word = now_there,
            }
        }
    }

    /// The sums of the window whose last slice this is. Slices that are later still, by another's clock, belong to it.
    pub(crate) fn sums(&self, number: u64) -> [u64; COLUMNS] {
        let oldest = oldest(number);
        let amount = |word: u64| if word >> AMOUNT_BITS >= oldest { word & AMOUNT } else { 0 };
        let words =
            |column| self.slots.iter().map(move |slot: &Slot<COLUMNS>| &slot.columns[column]);
        std::array::from_fn(|column| words(column).map(|w| amount(w.load(Ordering::Relaxed))).sum())
    }

    // The numbers stay, so that what is added meanwhile finds its slice.
    fn clear(&self) {
        for place in self.slots.iter().flat_map(|slot| &slot.columns) {
            place.fetch_and(!AMOUNT, Ordering::Relaxed);
        }
    }

    #[inline]
    fn place(&self, number: u64, column: usize) -> &AtomicU64 {
        &self.slots[(number % SLICES as u64) as usize].columns[column]
    }
}

/// The first slice of the window whose last one this is.
pub(crate) const fn oldest(number: u64) -> u64 {
    (number + 1).saturating_sub(SLICES as u64)
}

/// Time in equal periods, numbered from 0 without a division.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Periods {
    // 2^64 over the length, rounded up. In ten years a period begins early by at most 2 % of its length if that is 1 s.
    reciprocal: u64,
}

impl Periods {
    const SHORTEST: Duration = Duration::from_millis(10);

    /// Periods of this length; at least 10 ms.
    pub(crate) fn new(length: Duration) -> Self {
        let length = Moment::after(length.max(Self::SHORTEST)).nanoseconds();
        Self { reciprocal: u64::MAX / length + 1 }
    }

    #[inline]
    pub(crate) fn number(self, now: Moment) -> u64 {
        ((u128::from(now.nanoseconds()) * u128::from(self.reciprocal)) >> 64) as u64
    }
}

#[cfg(test)]
#[cfg(not(feature = "model"))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(milliseconds: u64) -> Moment {
        Moment::after(Duration::from_millis(milliseconds))
    }

    #[test]
    fn kinds_add_up() {
        let window = Window::new(Duration::from_secs(10));
        for kind in [Kind::Good, Kind::Good, Kind::Failed, Kind::Slow, Kind::FailedSlowly] {
            window.record(at(0), kind);
        }
        assert_eq!(window.totals(at(0)), Totals { calls: 5, failed: 2, slow: 2 });
    }

    #[test]
    fn a_call_leaves_with_its_slice() {
        let window = Window::new(Duration::from_secs(10));
        window.record(at(999), Kind::Failed);
        window.record(at(1000), Kind::Good);
        assert_eq!(window.totals(at(9_999)).calls, 2);
        assert_eq!(window.totals(at(10_000)), Totals { calls: 1, failed: 0, slow: 0 });
        assert_eq!(window.totals(at(11_000)), Totals::default());
    }

    #[test]
    fn a_slice_that_comes_round_begins_anew() {
        let window = Window::new(Duration::from_secs(10));
        window.record(at(500), Kind::Good);
        window.record(at(10_500), Kind::Good);
        assert_eq!(window.totals(at(10_500)).calls, 1);
    }

    #[test]
    fn a_call_a_whole_window_late_is_left_out() {
        let window = Window::new(Duration::from_secs(10));
        window.record(at(10_500), Kind::Good);
        window.record(at(9_900), Kind::Good);
        window.record(at(500), Kind::Good);
        assert_eq!(window.totals(at(10_500)).calls, 2);
    }

    #[test]
    fn a_reader_whose_clock_is_behind_sees_what_others_brought() {
        let window = Window::new(Duration::from_secs(10));
        window.record(at(1_000), Kind::Good);
        assert_eq!(window.totals(at(999)).calls, 1);
    }

    #[test]
    fn a_cleared_window_counts_on() {
        let window = Window::new(Duration::from_secs(10));
        window.record(at(0), Kind::Failed);
        window.clear();
        assert_eq!(window.totals(at(0)), Totals::default());
        window.record(at(0), Kind::Failed);
        assert_eq!(window.totals(at(0)).failed, 1);
    }

    #[test]
    fn a_full_slice_stands_still() {
        let slices = Slices::<1>::new(Duration::from_secs(10));
        slices.add(10, 0, FULL);
        slices.add(10, 0, 1);
        assert_eq!(slices.sums(10), [FULL]);
        assert_eq!(slices.take(10, 0, AMOUNT), FULL);
        assert_eq!(slices.take(10, 0, 1), 0);
    }

    #[test]
    fn a_window_of_no_length_is_a_short_one() {
        let window = Window::new(Duration::ZERO);
        window.record(at(0), Kind::Good);
        assert_eq!((window.totals(at(99)).calls, window.totals(at(100)).calls), (1, 0));
    }

    #[test]
    fn a_window_of_any_length_works_at_any_time() {
        for length in [Duration::ZERO, Duration::from_secs(3600), Duration::MAX] {
            for now in [Moment::ZERO, at(315_360_000_000)] {
                let window = Window::new(length);
                window.record(now, Kind::Good);
                assert_eq!(window.totals(now).calls, 1, "{length:?} {now:?}");
            }
        }
    }

    // Real threads and a clock that runs through 20 rounds of the ring.
    #[test]
    fn threads_lose_no_call_while_slices_are_taken_over() {
        const EACH: u64 = 100;
        let window = Window::new(Duration::from_secs(10));
        let record = |now| (0..EACH).for_each(|_| window.record(now, Kind::Good));
        for round in 0..200 {
            let now = at(round * 1000);
            std::thread::scope(|scope| {
                scope.spawn(|| record(now));
                scope.spawn(|| record(now));
            });
            assert_eq!(window.totals(now).calls, 2 * EACH * (round + 1).min(10));
        }
    }

    proptest! {
        #[test]
        fn a_window_counts_as_a_list_does(
            length in 100u64..20_000,
            calls in prop::collection::vec((0u64..3_000, 0usize..4), 1..200),
        ) {
            let kinds = [Kind::Good, Kind::Failed, Kind::Slow, Kind::FailedSlowly];
            let window = Window::new(Duration::from_millis(length));
            let mut list: Vec<(u64, Kind)> = Vec::new();
            let mut clock = 0;
            for (step, kind) in calls {
                clock += step;
                window.record(at(clock), kinds[kind]);
                list.push((clock, kinds[kind]));
                // Exactly the slices the window spans; between 9/10 and 10/10 of its length.
                let slice = |time: u64| time * 1_000_000 / (length * 100_000);
                let kept = |time: u64| slice(time) + 10 > slice(clock);
                let count = |of: fn(Kind) -> bool| {
                    list.iter().filter(|(time, kind)| kept(*time) && of(*kind)).count() as u64
                };
                prop_assert_eq!(window.totals(at(clock)), Totals {
                    calls: count(|_| true),
                    failed: count(|kind| matches!(kind, Kind::Failed | Kind::FailedSlowly)),
                    slow: count(|kind| matches!(kind, Kind::Slow | Kind::FailedSlowly)),
                });
                let within = |share: u64| {
                    list.iter().filter(|(time, _)| clock - time < length * share / 10).count() as u64
                };
                let calls = window.totals(at(clock)).calls;
                prop_assert!(within(9) <= calls && calls <= within(10));
            }
        }
    }
}
