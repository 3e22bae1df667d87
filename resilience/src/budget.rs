//! A budget for tries beyond the first (retries and hedges): a share of the requests, and a floor for quiet times.
//!
//! Each request pays `share` of a try into the present slice of a window; a try takes a whole one, the oldest parts first;
//! what nobody took in time is gone with its slice. So each try is paid for by requests of the last `window`, and none of
//! them pays twice. Where that is not enough, the floor gives: `floor` tries a second, at most `window` of it saved up. What
//! the share pays is taken from the floor too, so a busy upstream gets its share and no more. Exact, for any interval:
//!
//! tries ≤ share × (requests in the interval and one window before) + floor × length + max(1, floor × window)
//!
//! linkerd and Finagle have the same budget (ratio, minimum a second, ttl) but add the floor always.

use crate::Moment;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::window::{SLICES, Slices, oldest};
use std::time::Duration;

/// How many tries beyond the first there may be.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Tries for each request, 0 to 1, in steps of 1/4096 rounded down.
    pub share: f64,
    /// Tries a second there may be however few requests there are; 0 for none.
    pub floor: f64,
    /// How long a request pays for, and for how long the floor is saved up; at least 100 ms. After so long without failures
    /// that many tries may go at once: share × window × requests a second.
    pub window: Duration,
}

/// Counts requests and tries beyond the first.
#[derive(Debug)]
pub struct Budget {
    /// What a request pays, of [`ONE`].
    share: u64,
    paid: Slices<1>,
    floor: Option<Floor>,
}

/// What is left, for whoever asks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    /// Tries that requests have paid for.
    pub share: f64,
    /// Tries that the floor gives.
    pub floor: f64,
}

/// A whole try.
const ONE: u64 = 1 << 12;

impl Budget {
    /// One that no request has paid for yet; its floor is saved up.
    pub fn new(settings: &Settings) -> Self {
        // A float becomes an integer without wrapping, and what is not a number becomes 0.
        let share = (settings.share.clamp(0.0, 1.0) * ONE as f64) as u64;
        let floor = (settings.floor > 0.0).then(|| Floor::new(settings.floor, settings.window));
        Self { share, paid: Slices::new(settings.window), floor }
    }

    /// A request, not counting its further tries: pays its share. One load and one addition. A slice (a tenth of the window)
    /// holds up to 32,768 tries, then more requests pay nothing.
    #[inline]
    pub fn request(&self, now: Moment) {
        self.paid.add(self.paid.number(now), 0, self.share);
    }

    /// Whether one more try may be sent; if so it is taken.
    pub fn try_take(&self, now: Moment) -> bool {
        if self.try_take_share(now) {
            if let Some(floor) = &self.floor {
                floor.use_up(now);
            }
            return true;
        }
        self.floor.as_ref().is_some_and(|floor| floor.try_take(now))
    }

    /// What is left.
    pub fn view(&self, now: Moment) -> View {
        let [paid] = self.paid.sums(self.paid.number(now));
        let floor = self.floor.as_ref().map_or(0.0, |floor| floor.left(now));
        View { share: paid as f64 / ONE as f64, floor }
    }

    // Parts of a try are gathered from several slices. Two that gather at once may both find too little and put it back, where
    // there was just one left: none is ever taken that was not there.
    fn try_take_share(&self, now: Moment) -> bool {
        let number = self.paid.number(now);
        // Under a storm most find nothing: they only read.
        if self.paid.sums(number)[0] < ONE {
            return false;
        }
        let mut parts = [0; SLICES];
        let mut missing = ONE;
        for (part, slice) in parts.iter_mut().zip(oldest(number)..) {
            *part = self.paid.take(slice, 0, missing);
            missing -= *part;
        }
        if missing > 0 {
            let back = (oldest(number)..).zip(parts).filter(|(_, part)| *part > 0);
            back.for_each(|(slice, part)| self.paid.add(slice, 0, part));
        }
        missing == 0
    }
}

/// So many tries a second, however few requests there are.
#[derive(Debug)]
struct Floor {
    /// How long it takes until there is one more, in nanoseconds.
    interval: u64,
    /// How long it is saved up.
    longest: u64,
    /// Since when it is being saved, in nanoseconds: what there is follows from the time.
    since: AtomicU64,
}

impl Floor {
    fn new(a_second: f64, window: Duration) -> Self {
        let interval = ((1e9 / a_second).ceil() as u64).max(1);
        // Saved up: who begins has had no requests that could pay.
        let longest = Moment::after(window).nanoseconds().max(interval);
        Self { interval, longest, since: AtomicU64::new(0) }
    }

    fn try_take(&self, now: Moment) -> bool {
        self.advance(now, |since, now| {
            let later = since.saturating_add(self.interval);
            (later <= now).then_some(later)
        })
    }

    // One fewer if there is one, else none.
    fn use_up(&self, now: Moment) {
        self.advance(now, |since, now| {
            let later = since.saturating_add(self.interval).min(now);
            (later > since).then_some(later)
        });
    }

    fn left(&self, now: Moment) -> f64 {
        let now = self.clock(now);
        let since = self.since.load(Ordering::Relaxed).max(now.saturating_sub(self.longest));
        (now.saturating_sub(since) / self.interval) as f64
    }

    // Relaxed: the word is whole in itself.
    fn advance(&self, now: Moment, later: impl Fn(u64, u64) -> Option<u64>) -> bool {
        let now = self.clock(now);
        let mut since = self.since.load(Ordering::Relaxed);
        loop {
            let saved = since.max(now.saturating_sub(self.longest));
            let Some(next) = later(saved, now) else { return false };
            let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
            match self.since.compare_exchange_weak(since, next, success, failure) {
                Ok(_) => return true,
                Err(now_there) => since = now_there,
            }
        }
    }

    // The clock begins a whole saving time before the process does: it begins saved up.
    fn clock(&self, now: Moment) -> u64 {
        now.nanoseconds().saturating_add(self.longest)
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

    fn budget(share: f64, floor: f64) -> Budget {
        Budget::new(&Settings { share, floor, window: Duration::from_secs(10) })
    }

    fn taken(budget: &Budget, wanted: usize, now: Moment) -> usize {
        (0..wanted).filter(|_| budget.try_take(now)).count()
    }

    #[test]
    fn requests_pay_for_their_share() {
        let budget = budget(0.25, 0.0);
        (0..99).for_each(|_| budget.request(at(0)));
        assert_eq!(budget.view(at(0)), View { share: 24.75, floor: 0.0 });
        assert_eq!(taken(&budget, 100, at(0)), 24);
    }

    #[test]
    fn parts_of_several_slices_make_one() {
        let budget = budget(0.25, 0.0);
        (0..4).for_each(|second| budget.request(at(second * 1_000)));
        assert_eq!(taken(&budget, 2, at(9_999)), 1);
        assert_eq!(budget.view(at(9_999)).share, 0.0);
    }

    #[test]
    fn too_few_parts_are_put_back() {
        let budget = budget(0.25, 0.0);
        (0..3).for_each(|second| budget.request(at(second * 1_000)));
        assert_eq!(taken(&budget, 5, at(5_000)), 0);
        budget.request(at(5_000));
        assert_eq!(taken(&budget, 5, at(5_000)), 1);
    }

    #[test]
    fn what_nobody_took_in_time_is_gone() {
        let budget = budget(0.5, 0.0);
        (0..10).for_each(|_| budget.request(at(500)));
        assert_eq!(budget.view(at(9_999)).share, 5.0);
        assert_eq!(taken(&budget, 9, at(10_000)), 0);
    }

    #[test]
    fn the_floor_gives_where_there_are_no_requests() {
        let budget = budget(0.0, 2.0);
        assert_eq!(budget.view(at(0)).floor, 20.0);
        assert_eq!(taken(&budget, 100, at(0)), 20);
        assert_eq!(taken(&budget, 100, at(499)), 0);
        assert_eq!(taken(&budget, 100, at(500)), 1);
        assert_eq!(taken(&budget, 100, at(3_000)), 5);
        assert_eq!(taken(&budget, 100, at(60_000)), 20);
    }

    #[test]
    fn a_floor_below_one_in_a_window_still_gives_one() {
        let budget = budget(0.0, 0.05);
        assert_eq!(taken(&budget, 2, at(0)), 1);
        assert_eq!(taken(&budget, 2, at(19_999)), 0);
        assert_eq!(taken(&budget, 2, at(20_000)), 1);
    }

    #[test]
    fn a_busy_upstream_gets_its_share_and_no_more() {
        let budget = budget(0.2, 10.0);
        // 1,000 requests a second for 60 s, all of which want a further try; 30 s before that all went well.
        let (mut requests, mut tries) = (0, 0);
        for millisecond in 0..90_000 {
            budget.request(at(millisecond));
            if millisecond >= 30_000 {
                requests += 1;
                tries += usize::from(budget.try_take(at(millisecond)));
            }
        }
        // The window held between 9 s and 10 s of the good time.
        let saved_up = 2_000 + 100;
        assert!(tries <= requests / 5 + saved_up, "{tries}");
        assert!(tries > requests / 5 + 1_700, "{tries}");
    }

    #[test]
    fn odd_settings_never_give_more() {
        for share in [f64::NAN, f64::NEG_INFINITY, -1.0, 0.0] {
            for floor in [f64::NAN, -1.0, 0.0] {
                let budget = budget(share, floor);
                (0..100).for_each(|_| budget.request(at(0)));
                assert!(!budget.try_take(at(0)), "{share} {floor}");
            }
        }
        let endless = budget(f64::INFINITY, f64::INFINITY);
        endless.request(at(0));
        assert!(endless.try_take(at(0)));
        assert_eq!(endless.view(at(0)).share, 0.0);
        assert!(budget(0.0, f64::MIN_POSITIVE).try_take(at(0)));
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Requests(u64),
        Takes(u64),
        Wait(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (1u64..50).prop_map(Step::Requests),
            (1u64..20).prop_map(Step::Takes),
            prop_oneof![0u64..20, 0u64..400, 0u64..3_000].prop_map(Step::Wait),
        ];
        prop::collection::vec(step, 1..100)
    }

    proptest! {
        #[test]
        fn no_interval_has_more_tries_than_were_paid_for(
            share in 0.0f64..1.0,
            floor in prop_oneof![Just(0.0), 0.0f64..20.0],
            window in 100u64..2_000,
            steps in steps(),
        ) {
            let settings = Settings { share, floor, window: Duration::from_millis(window) };
            let budget = Budget::new(&settings);
            let (mut requests, mut tries, mut clock) = (Vec::new(), Vec::new(), 0);
            for step in steps {
                match step {
                    Step::Wait(milliseconds) => clock += milliseconds,
                    Step::Requests(count) => {
                        (0..count).for_each(|_| budget.request(at(clock)));
                        requests.push((clock, count));
                    }
                    Step::Takes(count) => {
                        let taken = taken(&budget, count as usize, at(clock)) as u64;
                        // Refused only where nothing whole is left.
                        let view = budget.view(at(clock));
                        prop_assert!(taken == count || view.share < 1.0 && view.floor < 1.0);
                        tries.push((clock, taken));
                    }
                }
            }
            let within = |list: &[(u64, u64)], from: u64, to: u64| -> u64 {
                list.iter().filter(|(time, _)| (from..=to).contains(time)).map(|(_, n)| n).sum()
            };
            for (from, _) in &tries {
                for (to, _) in tries.iter().filter(|(to, _)| to >= from) {
                    let paid = share * within(&requests, from.saturating_sub(window), *to) as f64;
                    let time = floor * (to - from) as f64 / 1e3;
                    let saved = if floor > 0.0 { (floor * window as f64 / 1e3).max(1.0) } else { 0.0 };
                    let bound = paid + time + saved + 1e-6;
                    let tries = within(&tries, *from, *to);
                    prop_assert!(tries as f64 <= bound, "{tries} tries, {bound} paid");
                }
            }
        }
    }
}
