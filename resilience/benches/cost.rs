//! What a decision costs each request, in nanoseconds, by one thread and by two at once: `cargo bench -p resilience`.
#![allow(clippy::print_stdout, reason = "the figures are what it is for")]
#![allow(clippy::disallowed_types, reason = "real time is what is measured")]

use resilience::Moment;
use resilience::breaker::{self, Breaker, Call};
use resilience::budget::{self, Budget};
use resilience::quantiles::{self, Quantiles};
use resilience::window::{Kind, Window};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const TIMES: u64 = 5_000_000;
/// 100,000 calls a second.
const STEP: u64 = 10_000;
static CLOCK: AtomicU64 = AtomicU64::new(0);
const WINDOW: Duration = Duration::from_secs(10);

fn main() {
    let window = Window::new(WINDOW);
    tell("window: record", &|now| window.record(now, black_box(Kind::Good)));

    let breaker = Breaker::new(breaker::Settings {
        error_rate: Some(0.5),
        slow_rate: Some(0.8),
        slow: Duration::from_secs(2),
        window: WINDOW,
        minimum: 20,
        open_for: Duration::from_secs(5),
        probes: 3,
    });
    tell("breaker: try_pass, closed", &|now| {
        black_box(breaker.try_pass(now).is_ok());
    });
    let pass_and_finish = |now, failed| {
        if let Ok(pass) = breaker.try_pass(now) {
            let call = black_box(Call { failed, took: Duration::from_millis(1) });
            black_box(breaker.finish(pass, call, now));
        }
    };
    tell("breaker: try_pass and finish, closed", &|now| pass_and_finish(now, false));
    let chance = |now: Moment| now.nanoseconds().is_multiple_of(100_000);
    tell("breaker: the same, one of ten failed", &|now| pass_and_finish(now, chance(now)));

    let settings = budget::Settings { share: 0.2, floor: 10.0, window: WINDOW };
    let budget = Budget::new(&settings);
    tell("budget: request", &|now| budget.request(now));
    tell("budget: request and try_take, mostly refused", &|now| {
        budget.request(now);
        black_box(budget.try_take(now));
    });

    let settings = quantiles::Settings { quantile: 0.95, window: WINDOW, minimum: 400 };
    let quantiles = Quantiles::new(settings);
    let took = |now: Moment| Duration::from_nanos(now.nanoseconds() >> 8 & 0xff_ffff);
    tell("quantiles: record", &|now| quantiles.record(now, took(now)));
    tell("quantiles: present", &|now| {
        black_box(quantiles.present(now));
    });
    tell("quantiles: quantile, computed", &|_| {
        black_box(quantiles.quantile(Moment::ZERO, 0.95));
    });
}

/// The best of three runs: what others do on the machine only adds.
fn tell(name: &str, decide: &(impl Fn(Moment) + Sync)) {
    let times = if name.ends_with("computed") { TIMES / 1_000 } else { TIMES };
    let best = |threads: usize| {
        (0..3).map(|_| measure(times, threads, decide)).fold(f64::INFINITY, f64::min)
    };
    println!("{name:<48} {:>7.1} ns {:>7.1} ns", best(1), best(2));
}

fn measure(times: u64, threads: usize, decide: &(impl Fn(Moment) + Sync)) -> f64 {
    // Each run begins where the one before ended: what comes a window late is not counted, and cheaper.
    let start = CLOCK.fetch_add(times * STEP, Ordering::Relaxed);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let now = |n| black_box(Moment::from_nanoseconds(start + n * STEP));
                (0..times).for_each(|n| decide(now(n)));
            });
        }
    });
    begun.elapsed().as_nanos() as f64 / times as f64
}
