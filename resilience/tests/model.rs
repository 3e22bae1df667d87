//! What is lock free, under every order of threads that loom finds: `cargo test -p resilience --features model --test model`.
#![allow(
    clippy::unwrap_used,
    reason = "clippy allows it in #[test] functions only, and threads are begun beside them"
)]

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;
use resilience::Moment;
use resilience::breaker::{Breaker, Call, Cause, Change, Pass, Phase, Settings};
use resilience::budget::{self, Budget};
use resilience::quantiles::{self, Quantiles};
use resilience::window::{Kind, Totals, Window};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn at(seconds: u32) -> Moment {
    Moment::after(SECOND * seconds)
}

/// Runs both at once and gives what they say.
fn both<S, A, B>(shared: &Arc<S>, one: fn(&S) -> A, other: fn(&S) -> B) -> (A, B)
where
    S: Send + Sync + 'static,
    A: Send + 'static,
    B: 'static,
{
    let theirs = Arc::clone(shared);
    let first = thread::spawn(move || one(&theirs));
    let second = other(shared);
    (first.join().unwrap(), second)
}

#[test]
fn window_two_that_take_over_a_slice_both_count() {
    loom::model(|| {
        let window = Arc::new(Window::new(SECOND * 10));
        window.record(at(0), Kind::Good);
        window.record(at(1), Kind::Good);
        both(&window, |w| w.record(at(10), Kind::Good), |w| w.record(at(10), Kind::Good));
        assert_eq!(window.totals(at(10)).calls, 3);
    });
}

#[test]
fn window_late_and_early_neither_lose_nor_double_a_call() {
    loom::model(|| {
        let window = Arc::new(Window::new(SECOND * 10));
        window.record(at(0), Kind::Good);
        both(
            &window,
            |w| w.record(at(0), Kind::Good),
            |w| {
                w.record(at(10), Kind::Good);
                w.record(at(10), Kind::Good);
            },
        );
        // The late one is left out, or counts in the present slice if it was held up between reading and adding.
        let calls = window.totals(at(10)).calls;
        assert!(calls == 2 || calls == 3, "{calls}");
    });
}

#[test]
fn window_what_comes_while_it_is_cleared_is_counted_once_or_forgotten() {
    loom::model(|| {
        let window = Arc::new(Window::new(SECOND * 10));
        window.record(at(0), Kind::Good);
        both(&window, Window::clear, |w| w.record(at(0), Kind::Good));
        assert!(window.totals(at(0)).calls <= 1);
        window.record(at(0), Kind::Failed);
        assert_eq!(window.totals(at(0)).failed, 1);
        window.clear();
        assert_eq!(window.totals(at(0)), Totals::default());
    });
}

fn breaker(probes: u32) -> Breaker {
    let breaker = Breaker::new(Settings {
        error_rate: Some(0.5),
        slow_rate: None,
        slow: SECOND,
        window: SECOND * 10,
        minimum: 1,
        open_for: SECOND,
        probes,
    });
    let pass = breaker.try_pass(at(0)).unwrap();
    assert!(matches!(breaker.finish(pass, BAD, at(0)), Some(Change::Opened(..))));
    breaker
}

const GOOD: Call = Call { failed: false, took: Duration::ZERO };
const BAD: Call = Call { failed: true, took: Duration::ZERO };

/// A breaker, and how many probes are out as those who send them see it.
struct Watched {
    breaker: Breaker,
    out: AtomicUsize,
    most: usize,
}

impl Watched {
    fn new(probes: u32) -> Self {
        Self { breaker: breaker(probes), out: AtomicUsize::new(0), most: probes as usize }
    }

    fn probe(&self) -> Option<Pass> {
        let pass = self.breaker.try_pass(at(1)).ok()?;
        if pass.is_probe() {
            assert!(
                self.out.fetch_add(1, Ordering::Relaxed) < self.most,
                "too many probes are out"
            );
        }
        Some(pass)
    }

    fn back(&self, pass: Pass, call: Option<Call>) -> Option<Change> {
        if pass.is_probe() {
            self.out.fetch_sub(1, Ordering::Relaxed);
        }
        match call {
            Some(call) => self.breaker.finish(pass, call, at(1)),
            None => {
                self.breaker.abandon(pass);
                None
            }
        }
    }

    fn phase(&self) -> Phase {
        self.breaker.state(at(1)).phase
    }
}

#[test]
fn breaker_one_of_many_is_the_first_probe() {
    loom::model(|| {
        let watched = Arc::new(Watched::new(1));
        let send = |w: &Watched| w.probe().map(|pass| (pass.change(), w.back(pass, None)));
        let (one, other) = both(&watched, send, send);
        let first = [&one, &other].iter().filter(|sent| matches!(sent, Some((Some(_), _)))).count();
        assert_eq!(first, 1);
        assert_eq!(watched.phase(), Phase::HalfOpen { out: 0, good: 0 });
    });
}

/// A probe that is given back, if there is one.
fn send(watched: &Watched) {
    let Some(pass) = watched.probe() else { return };
    watched.back(pass, None);
}

#[test]
fn breaker_probes_never_exceed_their_number_and_all_come_back() {
    for probes in [1, 2] {
        // Three threads: all orders with at most three preemptions, where nearly all faults show (Musuvathi, CHESS).
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(move || {
            let watched = Arc::new(Watched::new(probes));
            let more = Arc::clone(&watched);
            let third = thread::spawn(move || send(&more));
            both(&watched, send, send);
            third.join().unwrap();
            assert_eq!(watched.phase(), Phase::HalfOpen { out: 0, good: 0 });
        });
    }
}

#[test]
fn breaker_good_probes_close_it_once_and_with_an_empty_window() {
    loom::model(|| {
        let watched = Arc::new(Watched::new(2));
        let send = |w: &Watched| w.probe().and_then(|pass| w.back(pass, Some(GOOD)));
        let (one, other) = both(&watched, send, send);
        let closed = [one, other].iter().filter(|change| **change == Some(Change::Closed)).count();
        let state = watched.breaker.state(at(1));
        assert_eq!((closed, state.phase), (1, Phase::Closed));
        assert_eq!(state.totals.failed, 0);
    });
}

#[test]
fn breaker_a_bad_and_a_good_probe_leave_it_open() {
    loom::model(|| {
        let watched = Arc::new(Watched::new(2));
        let first = watched.probe().unwrap();
        let held = Mutex::new(Some(first));
        let shared = Arc::new((watched, held));
        let (opened, _) = both(
            &shared,
            |(w, held)| {
                let pass = held.lock().unwrap().take().unwrap();
                w.back(pass, Some(BAD))
            },
            |(w, _)| w.probe().map(|pass| w.back(pass, Some(GOOD))),
        );
        assert!(matches!(opened, Some(Change::Opened(Cause::Probe, _))));
        assert_eq!(shared.0.phase(), Phase::Open(at(2)));
    });
}

#[test]
fn breaker_who_sees_it_closed_again_sees_the_window_empty() {
    loom::model(|| {
        let watched = Arc::new(Watched::new(1));
        let (_, change) = both(
            &watched,
            |w| w.probe().and_then(|pass| w.back(pass, Some(GOOD))),
            // One bad call of two would open it; the one that opened it first must not count.
            |w| {
                let pass = w.probe().filter(|pass| !pass.is_probe())?;
                w.back(pass, Some(BAD))
            },
        );
        if let Some(Change::Opened(Cause::Errors(totals), _)) = change {
            assert_eq!((totals.calls, totals.failed), (1, 1));
        }
    });
}

#[test]
fn breaker_opens_once() {
    loom::model(|| {
        let watched = Arc::new(Watched::new(1));
        let closing = watched.probe().unwrap();
        assert_eq!(watched.back(closing, Some(GOOD)), Some(Change::Closed));
        let send = |w: &Watched| w.probe().and_then(|pass| w.back(pass, Some(BAD)));
        let (one, other) = both(&watched, send, send);
        assert_eq!([one, other].iter().flatten().count(), 1);
    });
}

#[test]
fn budget_the_last_one_is_taken_at_most_once_and_never_lost() {
    loom::model(|| {
        let budget = Arc::new(budget(0.5, 0.0));
        budget.request(at(0));
        budget.request(at(1));
        let take = |b: &Budget| b.try_take(at(1));
        let (one, other) = both(&budget, take, take);
        let taken = u8::from(one) + u8::from(other);
        assert_eq!(f64::from(taken) + budget.view(at(1)).share, 1.0);
    });
}

#[test]
fn budget_two_that_were_paid_for_are_both_taken_from_one_slice() {
    loom::model(|| {
        let budget = Arc::new(budget(1.0, 0.0));
        budget.request(at(0));
        budget.request(at(0));
        let take = |b: &Budget| b.try_take(at(0));
        assert_eq!(both(&budget, take, take), (true, true));
    });
}

#[test]
fn budget_what_is_put_back_does_not_outlive_its_slice() {
    loom::model(|| {
        let budget = Arc::new(budget(0.5, 0.0));
        budget.request(at(0));
        budget.request(at(1));
        // The slice of 0 comes round again while its part is taken.
        let (taken, _) = both(&budget, |b| b.try_take(at(1)), |b| b.request(at(10)));
        let left = budget.view(at(10)).share;
        assert!(if taken { left <= 1.0 } else { left == 1.0 }, "{taken} {left}");
        assert!(left + f64::from(u8::from(taken)) <= 1.5);
    });
}

#[test]
fn budget_the_floor_gives_each_of_its_tries_once() {
    loom::model(|| {
        let budget = Arc::new(budget(0.0, 0.1));
        let take = |b: &Budget| b.try_take(at(0));
        let (one, other) = both(&budget, take, take);
        assert!(one != other);
    });
}

fn budget(share: f64, floor: f64) -> Budget {
    Budget::new(&budget::Settings { share, floor, window: SECOND * 10 })
}

#[test]
fn quantiles_what_comes_while_a_half_begins_is_neither_lost_nor_doubled() {
    loom::model(|| {
        let quantiles = Arc::new(quantiles());
        quantiles.record(at(5), Duration::ZERO);
        // One is still in the second half, the other begins the third and empties the first.
        both(&quantiles, |q| q.record(at(5), Duration::ZERO), |q| q.record(at(10), Duration::ZERO));
        assert_eq!(quantiles.count(at(10)), 3);
    });
}

#[test]
fn quantiles_two_that_begin_a_half_both_count() {
    loom::model(|| {
        let quantiles = Arc::new(quantiles());
        quantiles.record(at(0), Duration::ZERO);
        let record = |q: &Quantiles| q.record(at(10), Duration::ZERO);
        both(&quantiles, record, record);
        // One that comes while the other empties counts in the half before, which may just be forgotten.
        let count = quantiles.count(at(10));
        assert!((1..=2).contains(&count), "{count}");
    });
}

fn quantiles() -> Quantiles {
    Quantiles::new(quantiles::Settings { quantile: 0.5, window: SECOND * 10, minimum: 1 })
}
