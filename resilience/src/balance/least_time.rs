//! How long a server takes to answer: an average that rises at once and falls with time, in one atomic.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::Moment;

/// One tick of the clock inside: 2^18 ns, about a quarter of a millisecond. Half of 32 bits of it are six days.
const TICK_BITS: u32 = 18;
/// Where the exponent of an `f32` begins.
const MANTISSA_BITS: u32 = 23;

/// The peak EWMA of a server's times (Finagle's `PeakEwma`): a time above the average becomes the average at once, one
/// below it counts by how long ago the last one was. What is not renewed halves every half-life, so a server that is
/// avoided for being slow is tried again after a while: one 100 times slower than the others after 6.6 half-lives.
///
/// The figure and its time are one word, so that they always belong together. Relaxed: nothing else hangs on it.
#[derive(Debug)]
pub struct PeakTime {
    /// Above: nanoseconds as an `f32`, 0 for not known. Below: the tick they were recorded at.
    figure: AtomicU64,
    /// What a tick takes from the bits of an `f32` so that it halves in a half-life, in 2^-8 of the last bit.
    fall: u64,
}

impl PeakTime {
    /// Not known yet; what will be halves every `half_life` (5 to 10 seconds do well; a millisecond at least).
    pub fn new(half_life: Duration) -> Self {
        let ticks = (half_life.as_nanos() >> TICK_BITS).clamp(4, 1 << 31);
        // At most 2^29, and at least 1.
        let fall = u64::try_from((1_u128 << (MANTISSA_BITS + 8)) / ticks).unwrap_or(1).max(1);
        Self { figure: AtomicU64::new(0), fall }
    }

    /// Counts how long a call took that ended well. At most one write a tick, but for a time above the average.
    pub fn record(&self, now: Moment, took: Duration) {
        // At least one: 0 is for not known.
        let took = (took.as_nanos() as f32).max(1.0);
        let tick = tick(now);
        let mut word = self.figure.load(Ordering::Relaxed);
        loop {
            let before = f32::from_bits((word >> 32) as u32);
            let age = age(word, tick);
            let average = if before == 0.0 || took >= before {
                took
            } else if age == 0 {
                return;
            } else {
                let kept = self.faded(before, age) / before;
                took + (before - took) * kept
            };
            let next = u64::from(average.to_bits()) << 32 | u64::from(tick);
            let exchanged =
                self.figure.compare_exchange_weak(word, next, Ordering::Relaxed, Ordering::Relaxed);
            match exchanged {
                Ok(_) => return,
                Err(other) => word = other,
            }
        }
    }

    /// Counts a call that failed: its time only if it was slow. A server that fails at once must not look quick.
    pub fn record_failed(&self, now: Moment, took: Duration) {
        let known = u128::from(self.read(now));
        if known != 0 && took.as_nanos() > known {
            self.record(now, took);
        }
    }

    /// The average now, in nanoseconds; 0 if nothing is known, or was so long ago that it does not count any more.
    pub fn read(&self, now: Moment) -> u64 {
        let word = self.figure.load(Ordering::Relaxed);
        self.faded(f32::from_bits((word >> 32) as u32), age(word, tick(now))) as u64
    }

    /// Halved for each half-life. Taken from the bits: the exponent falls by one a half-life, and between powers of two
    /// the figure falls in a straight line, which is off the curve by at most 6 % and spares the exponential.
    fn faded(&self, figure: f32, age: u32) -> f32 {
        let fall = (u64::from(age) * self.fall) >> 8;
        let bits = u64::from(figure.to_bits()).saturating_sub(fall);
        f32::from_bits(bits as u32)
    }
}

fn tick(now: Moment) -> u32 {
    (now.nanoseconds() >> TICK_BITS) as u32
}

/// Ticks since the word was written. Workers read the clock at their own times: what seems to come is now.
fn age(word: u64, tick: u32) -> u32 {
    let age = tick.wrapping_sub(word as u32);
    if age > u32::MAX / 2 { 0 } else { age }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HALF_LIFE: Duration = Duration::from_secs(4);

    fn at(milliseconds: u64) -> Moment {
        Moment::after(Duration::from_millis(milliseconds))
    }

    fn milliseconds(time: &PeakTime, now: u64) -> f64 {
        time.read(at(now)) as f64 / 1e6
    }

    #[test]
    fn nothing_is_known_of_a_new_server() {
        let time = PeakTime::new(HALF_LIFE);
        assert_eq!(time.read(at(0)), 0);
        assert_eq!(time.read(at(1_000_000)), 0);
    }

    #[test]
    fn a_slow_answer_counts_at_once_and_quick_ones_little_by_little() {
        let time = PeakTime::new(HALF_LIFE);
        time.record(at(0), Duration::from_millis(2));
        assert!((milliseconds(&time, 0) - 2.0).abs() < 0.01);
        time.record(at(10), Duration::from_millis(100));
        assert!((milliseconds(&time, 10) - 100.0).abs() < 0.1);
        for now in (20..=4_010).step_by(10) {
            time.record(at(now), Duration::from_millis(2));
        }
        // After one half-life of quick answers about half the distance is gone: 2 + 98 ÷ 2 = 51.
        let now = milliseconds(&time, 4_010);
        assert!((35.0..53.0).contains(&now), "{now}");
        for now in (4_020..40_010).step_by(10) {
            time.record(at(now), Duration::from_millis(2));
        }
        assert!((milliseconds(&time, 40_010) - 2.0).abs() < 0.5);
    }

    #[test]
    fn what_is_not_renewed_halves() {
        let time = PeakTime::new(HALF_LIFE);
        time.record(at(0), Duration::from_millis(100));
        assert!((milliseconds(&time, 4_000) - 50.0).abs() < 0.1);
        assert!((milliseconds(&time, 8_000) - 25.0).abs() < 0.1);
        for now in 0..20_000 {
            let due = 100.0 * (-(now as f64) / 4_000.0).exp2();
            let off = milliseconds(&time, now) / due - 1.0;
            assert!(off.abs() < 0.065, "off by {off} after {now} ms");
        }
        assert_eq!(time.read(at(1_000_000)), 0);
    }

    #[test]
    fn quick_failures_do_not_make_a_server_look_quick() {
        let time = PeakTime::new(HALF_LIFE);
        time.record_failed(at(0), Duration::from_micros(10));
        assert_eq!(time.read(at(0)), 0);
        time.record(at(0), Duration::from_millis(10));
        time.record_failed(at(100), Duration::from_micros(10));
        assert!(milliseconds(&time, 100) > 9.0);
        time.record_failed(at(200), Duration::from_millis(30));
        assert!(milliseconds(&time, 200) > 29.0);
    }

    #[test]
    fn a_clock_behind_the_figure_changes_nothing() {
        let time = PeakTime::new(HALF_LIFE);
        time.record(at(5_000), Duration::from_millis(10));
        assert!((milliseconds(&time, 4_000) - 10.0).abs() < 0.01);
    }

    proptest! {
        #[test]
        fn the_figure_stays_between_the_least_and_the_greatest(
            times in proptest::collection::vec((1..100_000_u64, 0..500_u64), 1..200), half_life in 1..60_000_u64,
        ) {
            let time = PeakTime::new(Duration::from_millis(half_life));
            let mut now = 0;
            let (mut least, mut greatest) = (u64::MAX, 0);
            for (micros, pause) in times {
                now += pause;
                time.record(at(now), Duration::from_micros(micros));
                least = least.min(micros * 1_000);
                greatest = greatest.max(micros * 1_000);
                let read = time.read(at(now)) as f64;
                prop_assert!(read >= least as f64 * 0.999 && read <= greatest as f64 * 1.001);
            }
        }

        #[test]
        fn it_never_rises_by_itself(micros in 1..10_000_000_u64, half_life in 1..600_000_u64, steps in proptest::collection::vec(0..100_000_u64, 1..50)) {
            let time = PeakTime::new(Duration::from_millis(half_life));
            time.record(at(0), Duration::from_micros(micros));
            let (mut now, mut before) = (0, u64::MAX);
            for step in steps {
                now += step;
                let read = time.read(at(now));
                prop_assert!(read <= before);
                before = read;
            }
        }
    }
}
