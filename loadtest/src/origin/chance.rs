//! Chance: which answers fail, and how long each is held back.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::script::{Delay, Errors, WAIT_MAX};

/// The numbers of one origin: the same from start to start, so that a run can be repeated.
pub(super) struct Chance {
    state: Cell<u64>,
    started: Instant,
}

impl Default for Chance {
    fn default() -> Self {
        Self { state: Cell::new(0x5eed), started: Instant::now() }
    }
}

impl Chance {
    /// From 0 to below 1 (splitmix64, of which the upper 53 bits are used).
    fn next(&self) -> f64 {
        let state = self.state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.state.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// The status of an answer that shall fail.
    pub(super) fn failure(&self, errors: Errors) -> Option<u16> {
        (self.next() < errors.share).then_some(errors.status)
    }

    pub(super) async fn wait(&self, delay: Delay) {
        match delay {
            Delay::Stall { every, pause } => {
                let left = pause_left(self.started.elapsed(), every, pause);
                // Even a sleep of nothing waits for the timer's next tick.
                if !left.is_zero() {
                    sleep(left).await;
                }
            }
            Delay::Fixed(wait) => sleep(wait).await,
            Delay::Uniform { .. } | Delay::Exponential { .. } => sleep(self.length(delay)).await,
        }
    }

    /// How long a delay that needs chance is this time.
    fn length(&self, delay: Delay) -> Duration {
        match delay {
            Delay::Fixed(wait) => wait,
            Delay::Uniform { least, most } => least + (most - least).mul_f64(self.next()),
            Delay::Exponential { mean } => mean.mul_f64(-(1.0 - self.next()).ln()).min(WAIT_MAX),
            Delay::Stall { pause, .. } => pause,
        }
    }
}

/// How much of the pause is left so long after the start; nothing outside of pauses.
fn pause_left(since_start: Duration, every: Duration, pause: Duration) -> Duration {
    let into_period = since_start.as_nanos() % every.as_nanos();
    let left = every - Duration::from_nanos(u64::try_from(into_period).unwrap_or(0));
    if left <= pause { left } else { Duration::ZERO }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUNDS: u32 = 100_000;

    fn mean(delay: Delay) -> f64 {
        let chance = Chance::default();
        let all: Duration = (0..ROUNDS).map(|_| chance.length(delay)).sum();
        all.as_secs_f64() * 1e3 / f64::from(ROUNDS)
    }

    #[test]
    fn delays_have_the_distribution_asked_for() {
        let ms = Duration::from_millis;
        let uniform = Delay::Uniform { least: ms(10), most: ms(30) };
        assert!((mean(uniform) - 20.0).abs() < 0.1);
        let exponential = Delay::Exponential { mean: ms(20) };
        assert!((mean(exponential) - 20.0).abs() < 0.3);
        let chance = Chance::default();
        let lengths: Vec<_> = (0..ROUNDS).map(|_| chance.length(exponential)).collect();
        // Of an exponential distribution 1/e is longer than the mean; of a uniform one none is outside.
        let longer = lengths.iter().filter(|&&length| length > ms(20)).count() as f64;
        assert!((longer / f64::from(ROUNDS) - 0.3679).abs() < 0.01);
        assert!((0..ROUNDS).all(|_| (ms(10)..=ms(30)).contains(&chance.length(uniform))));
    }

    #[test]
    fn errors_have_the_share_asked_for() {
        let chance = Chance::default();
        let count = |share| {
            (0..ROUNDS).filter(|_| chance.failure(Errors { share, status: 503 }).is_some()).count()
        };
        assert_eq!((count(0.0), count(1.0)), (0, ROUNDS as usize));
        assert!((count(0.01) as f64 - 1_000.0).abs() < 120.0);
    }

    #[test]
    fn a_stall_holds_all_until_its_end_and_nobody_else() {
        let ms = Duration::from_millis;
        for (arrives, waits) in
            [(0, 0), (3_999, 0), (4_000, 1_000), (4_999, 1), (5_000, 0), (9_500, 500)]
        {
            assert_eq!(pause_left(ms(arrives), ms(5_000), ms(1_000)), ms(waits), "{arrives}");
        }
    }
}
