//! The limit beside a simulated server: it finds the capacity, holds it under overload, and comes back.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use super::{Adaptive, End, Settings};
use crate::Moment;

fn settings() -> Settings {
    Settings {
        min: 8,
        max: 1024,
        window: Duration::from_millis(100),
        tolerance: 1.5,
        probe_every: Duration::from_secs(30),
    }
}

/// A server that works on so many at once, first come first served; the others wait in it.
struct Simulation {
    adaptive: Adaptive,
    capacity: usize,
    base: f64,
    random: u64,
    now: f64,
    /// When each began that waits in the server.
    queue: VecDeque<f64>,
    /// When each ends that is worked on, in nanoseconds, and when it began.
    working: BinaryHeap<Reverse<(u64, u64)>>,
}

/// What came of a stretch of time.
#[derive(Debug, Default)]
struct Outcome {
    refused: u32,
    latencies: Vec<f64>,
    least: u32,
    most: u32,
}

impl Outcome {
    fn quantile(&mut self, share: f64) -> f64 {
        self.latencies.sort_unstable_by(f64::total_cmp);
        self.latencies[((self.latencies.len() - 1) as f64 * share) as usize]
    }
}

impl Simulation {
    fn new(settings: Settings) -> Self {
        let adaptive = Adaptive::new(settings, Moment::ZERO);
        let (queue, working) = (VecDeque::new(), BinaryHeap::new());
        Self { adaptive, capacity: 50, base: 0.010, random: 88_172_645, now: 0.0, queue, working }
    }

    fn exponential(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let share = (self.random >> 11) as f64 / (1_u64 << 53) as f64;
        -(1.0 - share).ln()
    }

    fn begin_next(&mut self) {
        while self.working.len() < self.capacity
            && let Some(began) = self.queue.pop_front()
        {
            // Half of the time is fixed, half by chance.
            let took = self.base * (0.5 + 0.5 * self.exponential());
            let end = ((self.now + took) * 1e9) as u64;
            self.working.push(Reverse((end, (began * 1e9) as u64)));
        }
    }

    fn end_until(&mut self, time: f64, outcome: &mut Outcome) {
        while let Some(Reverse((end, began))) = self.working.peek().copied()
            && end as f64 / 1e9 <= time
        {
            let in_flight = self.working.len() + self.queue.len();
            self.working.pop();
            self.now = end as f64 / 1e9;
            let latency = Duration::from_nanos(end.saturating_sub(began));
            outcome.latencies.push(latency.as_secs_f64());
            let now = Moment::from_nanoseconds(end);
            if let Some(limit) = self.adaptive.record(now, End::Answered(latency), in_flight as u32)
            {
                outcome.least = outcome.least.min(limit);
                outcome.most = outcome.most.max(limit);
            }
            self.begin_next();
        }
        self.now = time;
    }

    fn run(&mut self, rate: f64, seconds: f64) -> Outcome {
        let limit = self.adaptive.limit();
        let mut outcome = Outcome { least: limit, most: limit, ..Outcome::default() };
        let end = self.now + seconds;
        loop {
            let next = self.now + self.exponential() / rate;
            self.end_until(next.min(end), &mut outcome);
            if next >= end {
                return outcome;
            }
            if self.working.len() + self.queue.len() >= self.adaptive.limit() as usize {
                outcome.refused += 1;
                continue;
            }
            self.queue.push_back(next);
            self.begin_next();
        }
    }
}

/// What the server can do at all: fifty at once, ten milliseconds each.
const PEAK: f64 = 5000.0;

#[test]
fn four_times_overload_leaves_goodput_and_bounds_latency() {
    let mut simulation = Simulation::new(settings());
    simulation.run(0.5 * PEAK, 10.0);
    // Two minutes: four probes are in it.
    let mut overload = simulation.run(4.0 * PEAK, 120.0);
    let goodput = overload.latencies.len() as f64 / 120.0 / PEAK;
    let (half, tail) = (overload.quantile(0.5), overload.quantile(0.99));
    assert!(goodput > 0.95, "{goodput}, between {} and {}", overload.least, overload.most);
    assert!(half < 0.022 && tail < 0.060, "{half} {tail}, most {}", overload.most);
    // Nobody is refused when the load has gone.
    simulation.run(0.5 * PEAK, 2.0);
    let mut after = simulation.run(0.5 * PEAK, 60.0);
    assert_eq!(after.refused, 0, "between {} and {}", after.least, after.most);
    assert!(after.quantile(0.5) < 0.011);
}

#[test]
fn it_finds_the_capacity_from_the_least_limit_in_a_second() {
    let mut simulation = Simulation::new(settings());
    simulation.run(4.0 * PEAK, 1.0);
    let second = simulation.run(4.0 * PEAK, 1.0);
    assert!(second.latencies.len() as f64 / PEAK > 0.9, "{}", second.latencies.len());
}

#[test]
fn a_server_that_loses_capacity_gets_less() {
    let mut simulation = Simulation::new(settings());
    simulation.run(4.0 * PEAK, 10.0);
    simulation.capacity = 20;
    simulation.run(4.0 * PEAK, 90.0);
    let mut later = simulation.run(4.0 * PEAK, 60.0);
    assert!(later.quantile(0.5) < 0.030, "{}", later.quantile(0.5));
    assert!(later.latencies.len() as f64 / 60.0 > 0.9 * PEAK * 0.4);
}

#[test]
fn a_server_that_becomes_slower_by_itself_is_not_throttled_for_long() {
    let mut simulation = Simulation::new(settings());
    simulation.run(0.5 * PEAK, 10.0);
    // Three times the latency and three times the room: the same work is done.
    simulation.base = 0.030;
    simulation.capacity = 150;
    simulation.run(0.5 * PEAK, 5.0);
    let later = simulation.run(0.5 * PEAK, 20.0);
    let refused = f64::from(later.refused) / (0.5 * PEAK * 20.0);
    assert!(refused < 0.01, "{refused}, between {} and {}", later.least, later.most);
}

#[test]
fn dropped_calls_shrink_it_although_the_latency_is_fine() {
    let mut drive = Drive::new(settings());
    for _ in 0..4 {
        drive.window(0, 10, 1.0);
    }
    let mut before = drive.window(10, 10, 1.0);
    assert!(before >= 64);
    for _ in 0..3 {
        let now = drive.window(10, 10, 1.0);
        assert!(f64::from(now) < 0.92 * f64::from(before), "{now} of {before}");
        before = now;
    }
}

#[test]
fn from_the_least_limit_it_doubles() {
    let mut drive = Drive::new(settings());
    for _ in 0..4 {
        drive.window(0, 10, 1.0);
    }
    for _ in 0..20 {
        drive.window(100, 10, 1.0);
    }
    assert_eq!(drive.adaptive.limit(), 8);
    for _ in 0..5 {
        drive.window(0, 10, 1.0);
    }
    assert!(drive.adaptive.limit() >= 128, "{}", drive.adaptive.limit());
}

#[test]
fn at_the_least_limit_the_latency_is_the_servers_own() {
    // Half of the greatest is below the least: no doubt arises on the way.
    let mut drive = Drive::new(Settings { min: 20, max: 30, ..settings() });
    for latency in [10, 30] {
        for _ in 0..20 {
            drive.window(0, latency, 1.0);
        }
        assert_eq!(drive.adaptive.limit(), 30, "{latency} ms");
        let own = drive.adaptive.own_latency().unwrap_or_default().as_millis() as u64;
        assert!(own.abs_diff(latency) <= latency / 5, "{own} ms of {latency}");
    }
}

#[test]
fn the_limit_is_halved_now_and_then_if_it_is_used() {
    for (used, probes) in [(1.0, 3), (0.4, 0)] {
        let mut drive = Drive::new(Settings { max: 100, ..settings() });
        for _ in 0..10 {
            drive.window(0, 10, 1.0);
        }
        let limits: Vec<_> = (0..950).map(|_| drive.window(0, 10, used)).collect();
        let begins = |pair: &[u32]| pair[1] < pair[0];
        assert_eq!(limits.windows(2).filter(|pair| begins(pair)).count(), probes, "{used}");
    }
}

/// Windows by hand, of a hundred calls each.
struct Drive {
    adaptive: Adaptive,
    now: Duration,
}

impl Drive {
    fn new(settings: Settings) -> Self {
        Self { adaptive: Adaptive::new(settings, Moment::ZERO), now: Duration::ZERO }
    }

    /// So many of the calls dropped, the others answered after so long, with this share of the limit in flight.
    /// The last call ends the window.
    fn window(&mut self, dropped: u32, milliseconds: u64, used: f64) -> u32 {
        let in_flight = (f64::from(self.adaptive.limit()) * used) as u32;
        for call in 0..100 {
            let end = if call < dropped {
                End::Dropped
            } else {
                End::Answered(Duration::from_millis(milliseconds))
            };
            self.now += Duration::from_millis(1) + Duration::from_micros(1);
            self.adaptive.record(Moment::after(self.now), end, in_flight);
        }
        self.adaptive.limit()
    }
}

#[test]
fn a_load_far_below_the_limit_does_not_move_it() {
    let mut simulation = Simulation::new(settings());
    simulation.run(PEAK, 10.0);
    let limit = simulation.adaptive.limit();
    let low = simulation.run(0.05 * PEAK, 120.0);
    assert_eq!((low.refused, simulation.adaptive.limit()), (0, limit));
}

#[test]
fn it_stays_between_its_ends() {
    let settings = Settings { min: 20, max: 30, ..settings() };
    let mut simulation = Simulation::new(settings);
    let outcome = simulation.run(4.0 * PEAK, 60.0);
    assert!(outcome.least >= 20 && outcome.most <= 30, "{} {}", outcome.least, outcome.most);
}

#[test]
fn the_median_is_right_within_a_tenth() {
    let latencies = super::Latencies::default();
    assert_eq!(latencies.take_median(), None);
    for milliseconds in [1, 3, 10, 33, 100, 1000, 30_000] {
        for share in 1..=100 {
            latencies.record(Duration::from_micros(milliseconds * 20 * share));
        }
        let median = latencies.take_median().unwrap_or_default();
        let ratio = median / (milliseconds as f64 / 1e3);
        assert!((0.95..1.05).contains(&ratio), "{milliseconds}: {ratio}");
        assert_eq!(latencies.count(), 0);
    }
}
