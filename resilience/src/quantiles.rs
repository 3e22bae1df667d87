//! Quantiles of durations, such as the p95: many threads record, old ones are forgotten, nobody waits.
//!
//! A histogram of 32 equal steps in each power of two, told by the middle of a step: within 1.6 % from 2 µs to 36 min (a step
//! below that is 64 ns). Two halves: the present one is written, both are read, and at its end the older one is emptied and
//! becomes the present one. So what is known is between one half and the whole of the window old. Nothing is lost in that;
//! but after a rest of more than a half both are emptied, and what comes in the microseconds of that may go with them.

use crate::Moment;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::window::Periods;
use std::time::Duration;

/// What is remembered, and which quantile is kept at hand.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The one that [`Quantiles::present`] tells, above 0 to 1: 0.95 for the p95.
    pub quantile: f64,
    /// How long a duration is remembered at most; half of that at least. At least 20 ms, and short enough for less than four
    /// billion calls.
    pub window: Duration,
    /// With fewer durations than these nothing is told. 20 ÷ (1 − quantile) gives twenty beyond it.
    pub minimum: u32,
}

/// Durations of the last so many seconds, and their quantiles.
#[derive(Debug)]
pub struct Quantiles {
    settings: Settings,
    periods: Periods,
    /// The number of the present half, doubled; odd while it is being changed.
    half: AtomicU64,
    /// When the kept quantile is computed again, in nanoseconds.
    again: AtomicU64,
    /// The kept quantile in nanoseconds; [`NOTHING`] if there are too few.
    kept: AtomicU64,
    counts: [Box<[AtomicU32]>; 2],
}

impl Quantiles {
    /// How long [`Quantiles::present`] keeps what it has computed.
    pub const KEPT: Duration = Duration::from_millis(100);

    /// Without any durations; 8 KiB.
    pub fn new(settings: Settings) -> Self {
        let counts = || (0..STEPS).map(|_| AtomicU32::new(0)).collect();
        Self {
            periods: Periods::new(settings.window / 2),
            settings,
            half: AtomicU64::new(0),
            again: AtomicU64::new(0),
            kept: AtomicU64::new(NOTHING),
            counts: [counts(), counts()],
        }
    }

    /// What it was made with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Takes note of a duration: one load and one addition.
    // Relaxed: counts are added up, no more. Who is held up here for a whole half counts in the one after it.
    #[inline]
    pub fn record(&self, now: Moment, duration: Duration) {
        let half = self.half(now);
        let nanoseconds = Moment::after(duration).nanoseconds();
        self.counts[(half & 1) as usize][step(nanoseconds)].fetch_add(1, Ordering::Relaxed);
    }

    /// The quantile of the settings, at most [`Quantiles::KEPT`] old; None with too few durations. Usually two loads; whoever
    /// comes first after that time computes it for all.
    pub fn present(&self, now: Moment) -> Option<Duration> {
        let again = self.again.load(Ordering::Relaxed);
        if now.nanoseconds() >= again {
            let next = (now + Self::KEPT).nanoseconds();
            let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
            if self.again.compare_exchange(again, next, success, failure).is_ok() {
                let found = self.quantile(now, self.settings.quantile);
                let nanoseconds = found.map_or(NOTHING, |found| Moment::after(found).nanoseconds());
                self.kept.store(nanoseconds, Ordering::Relaxed);
            }
        }
        let kept = self.kept.load(Ordering::Relaxed);
        (kept != NOTHING).then_some(Duration::from_nanos(kept))
    }

    /// How many durations are remembered.
    pub fn count(&self, now: Moment) -> u64 {
        self.half(now);
        let counts = self.counts.iter().flatten();
        counts.map(|count| u64::from(count.load(Ordering::Relaxed))).sum()
    }

    /// Any quantile, computed now: about 1 µs. None with too few durations.
    pub fn quantile(&self, now: Moment, quantile: f64) -> Option<Duration> {
        self.half(now);
        let [first, second] = &self.counts;
        let count = |step: usize| {
            let count = |counts: &[AtomicU32]| u64::from(counts[step].load(Ordering::Relaxed));
            count(first) + count(second)
        };
        let all: u64 = (0..STEPS).map(count).sum();
        if all < u64::from(self.settings.minimum.max(1)) {
            return None;
        }
        // The smallest duration that so many are not longer than: the nearest rank.
        let rank = ((quantile * all as f64).ceil() as u64).clamp(1, all);
        let mut below = 0;
        let found = (0..STEPS).find(|step| {
            below += count(*step);
            below >= rank
        });
        // Others may have emptied a half in between: then it is the longest.
        found.or((0..STEPS).rev().find(|step| count(*step) > 0)).map(middle)
    }

    // The present half; first goes on to it if time has.
    #[inline]
    fn half(&self, now: Moment) -> u64 {
        let (wanted, word) = (self.periods.number(now), self.half.load(Ordering::Acquire));
        if wanted <= word >> 1 { word >> 1 } else { self.go_on(wanted, word) }
    }

    // One empties what has become too old, and then says that it is the present half; the others go on with the one before.
    #[cold]
    fn go_on(&self, wanted: u64, word: u64) -> u64 {
        let before = word >> 1;
        let (success, failure) = (Ordering::Acquire, Ordering::Relaxed);
        if word & 1 == 1 || self.half.compare_exchange(word, word | 1, success, failure).is_err() {
            return before;
        }
        self.empty(wanted);
        if wanted > before + 1 {
            self.empty(wanted + 1);
        }
        self.half.store(wanted << 1, Ordering::Release);
        wanted
    }

    fn empty(&self, half: u64) {
        let counts = self.counts[(half & 1) as usize].iter();
        // Most steps are empty as it is: those are only read.
        for count in counts.filter(|count| count.load(Ordering::Relaxed) > 0) {
            count.swap(0, Ordering::Relaxed);
        }
    }
}

const NOTHING: u64 = u64::MAX;

// The smallest step is 64 ns; 32 of them, then 32 for each power of two up to 2^41 ns. Longer ones are in the last.
const SMALLEST_BITS: u32 = 6;
const STEP_BITS: u32 = 5;
const POWERS: u32 = 41 - SMALLEST_BITS - STEP_BITS;
// loom looks at each access: few steps are enough for it.
const STEPS: usize = if cfg!(feature = "model") { 2 } else { (POWERS as usize + 1) << STEP_BITS };

// The upper six bits of the number, and how many are below them.
#[inline]
fn step(nanoseconds: u64) -> usize {
    let units = nanoseconds >> SMALLEST_BITS;
    let below = (units >> STEP_BITS | 1).ilog2();
    ((u64::from(below) << STEP_BITS) + (units >> below)).min(STEPS as u64 - 1) as usize
}

fn middle(step: usize) -> Duration {
    let below = (step >> STEP_BITS).saturating_sub(1);
    let units = step - (below << STEP_BITS);
    let width = 1u64 << (SMALLEST_BITS as usize + below);
    Duration::from_nanos(units as u64 * width + width / 2)
}

#[cfg(test)]
#[cfg(not(feature = "model"))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(milliseconds: u64) -> Moment {
        Moment::after(Duration::from_millis(milliseconds))
    }

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn quantiles(minimum: u32) -> Quantiles {
        Quantiles::new(Settings { quantile: 0.95, window: ms(10_000), minimum })
    }

    fn is_near(found: Option<Duration>, wanted: Duration) -> bool {
        found.is_some_and(|found| {
            found.as_secs_f64() / wanted.as_secs_f64() - 1.0 < 0.016
                && wanted.as_secs_f64() / found.as_secs_f64() - 1.0 < 0.016
        })
    }

    #[test]
    fn steps_follow_each_other_without_gap() {
        assert_eq!((step(0), step(63), step(64)), (0, 0, 1));
        for number in 0..STEPS - 1 {
            let middle = middle(number).as_nanos() as u64;
            assert_eq!(step(middle), number);
            let power = (number >> 5).saturating_sub(1);
            let half = 32 << power;
            assert_eq!(step(middle - half), number);
            assert_eq!(step(middle + half - 1), number);
            assert_eq!(step(middle + half), number + 1);
        }
        assert_eq!(step(u64::MAX), STEPS - 1);
        assert!(middle(STEPS - 1) > Duration::from_secs(36 * 60));
    }

    #[test]
    fn too_few_tell_nothing() {
        let quantiles = quantiles(20);
        (0..19).for_each(|_| quantiles.record(at(0), ms(1)));
        assert_eq!(quantiles.quantile(at(0), 0.5), None);
        quantiles.record(at(0), ms(1));
        assert!(is_near(quantiles.quantile(at(0), 0.5), ms(1)));
    }

    #[test]
    fn one_in_a_hundred_is_beyond_the_p99() {
        let quantiles = quantiles(1);
        (1..=100).for_each(|n| quantiles.record(at(0), ms(n)));
        for (quantile, wanted) in
            [(0.0, 1), (0.5, 50), (0.95, 95), (0.99, 99), (1.0, 100), (7.0, 100)]
        {
            assert!(is_near(quantiles.quantile(at(0), quantile), ms(wanted)), "{quantile}");
        }
    }

    #[test]
    fn old_durations_are_forgotten() {
        let quantiles = quantiles(1);
        quantiles.record(at(4_999), ms(100));
        quantiles.record(at(5_000), ms(1));
        assert!(is_near(quantiles.quantile(at(9_999), 1.0), ms(100)));
        assert!(is_near(quantiles.quantile(at(10_000), 1.0), ms(1)));
        assert_eq!(quantiles.quantile(at(15_000), 1.0), None);
    }

    #[test]
    fn after_a_long_rest_nothing_is_left_of_either_half() {
        for rest in [15_000, 20_000, 25_000] {
            let quantiles = quantiles(1);
            quantiles.record(at(0), ms(100));
            quantiles.record(at(5_000), ms(100));
            quantiles.record(at(rest), ms(1));
            assert!(is_near(quantiles.quantile(at(rest), 1.0), ms(1)), "{rest}");
        }
    }

    #[test]
    fn what_is_kept_is_computed_again_after_its_time() {
        let quantiles = quantiles(1);
        assert_eq!(quantiles.present(at(0)), None);
        quantiles.record(at(10), ms(5));
        assert_eq!(quantiles.present(at(99)), None);
        assert!(is_near(quantiles.present(at(100)), ms(5)));
        (0..100).for_each(|_| quantiles.record(at(150), ms(50)));
        assert!(is_near(quantiles.present(at(199)), ms(5)));
        assert!(is_near(quantiles.present(at(200)), ms(50)));
        assert_eq!(quantiles.present(at(60_000)), None);
    }

    proptest! {
        #[test]
        fn a_quantile_is_within_its_bound_of_the_sorted_list(
            nanoseconds in prop::collection::vec(
                (11u32..41).prop_flat_map(|power| 1u64 << power..2 << power), 1..300),
            quantile in 0.0f64..=1.0,
        ) {
            let quantiles = quantiles(1);
            let mut sorted = nanoseconds.clone();
            sorted.sort_unstable();
            nanoseconds.iter().for_each(|n| quantiles.record(at(0), Duration::from_nanos(*n)));
            let rank = ((quantile * sorted.len() as f64).ceil() as usize).max(1);
            let exact = sorted[rank - 1] as f64;
            let found = quantiles.quantile(at(0), quantile).unwrap().as_nanos() as f64;
            // Half a step of the smallest of 32, and a nanosecond of rounding.
            prop_assert!((found - exact).abs() <= exact / 64.0 + 1.0, "{} for {}", found, exact);
        }
    }
}
