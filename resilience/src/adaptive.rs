//! How many requests a server can take at once, found out by how its latency answers to them.

mod latencies;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::Moment;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use latencies::Latencies;

/// Between what the limit moves, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The least limit; at least 1. Here the latency is taken to be the server's own.
    pub min: u32,
    /// The greatest limit.
    pub max: u32,
    /// How long latencies are gathered before the limit moves; about a tenth of a second. With few calls, longer.
    pub window: Duration,
    /// How many times its own latency a server may take before the limit shrinks; 1.5 allows for as many waiting in it as
    /// half of those it works on.
    pub tolerance: f64,
    /// How often the limit is halved for a window, to see the latency without a queue; about half a minute.
    pub probe_every: Duration,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Answered, after so long.
    Answered(Duration),
    /// Refused by the server because it has too much to do, or not answered in time.
    Dropped,
}

/// A limit that follows the server: latency that grows with the limit means a queue, and the limit shrinks.
///
/// As Netflix's Gradient2 and Envoy's adaptive concurrency: each window, limit = limit × (own latency × tolerance ÷ latency
/// now, at most 1) + √limit. The own latency is the least median of a window, seen anew by probes.
#[derive(Debug)]
pub struct Adaptive {
    settings: Settings,
    limit: AtomicU32,
    window_ends: AtomicU64,
    latencies: Latencies,
    dropped: AtomicU32,
    /// The most in flight in this window.
    peak: AtomicU32,
    state: Mutex<State>,
}

/// Moved once a window.
#[derive(Debug)]
struct State {
    /// The limit, in full and without a probe.
    limit: f64,
    /// The server's own latency, in seconds; none before the first window.
    own: Option<f64>,
    /// The limit doubles each window until a latency says stop.
    ramps: bool,
    probe: Probe,
    next_probe: Moment,
    /// The greatest limit since the last probe: at half of it the own latency is in doubt.
    highest: f64,
}

/// The limit is halved, first until those that came before it are gone, then for a window that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probe {
    None,
    Draining,
    Measuring,
}

/// Calls below which a window goes on.
const ENOUGH: u32 = 20;

/// A window ends after so many of its lengths, whatever came.
const PATIENCE: u32 = 20;

/// The most that a latency shrinks the limit by in a window.
const LEAST_GRADIENT: f64 = 0.5;

/// By how much dropped calls shrink it.
const DROPPED_GRADIENT: f64 = 0.9;

/// The share of dropped calls that does so.
const DROPPED_SHARE: f64 = 0.02;

impl Adaptive {
    /// Begins at the least limit, and doubles from there.
    pub fn new(settings: Settings, now: Moment) -> Self {
        let state = State {
            limit: f64::from(settings.min),
            own: None,
            ramps: true,
            probe: Probe::None,
            next_probe: now + settings.probe_every,
            highest: 0.0,
        };
        Self {
            limit: AtomicU32::new(settings.min),
            window_ends: AtomicU64::new((now + settings.window).nanoseconds()),
            latencies: Latencies::default(),
            dropped: AtomicU32::new(0),
            peak: AtomicU32::new(0),
            state: Mutex::new(state),
            settings,
        }
    }

    /// How many may be in flight.
    pub fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }

    /// The server's own latency, as far as it is known.
    pub fn own_latency(&self) -> Option<Duration> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.own.map(Duration::from_secs_f64)
    }

    /// A call has ended; `in_flight` were in flight with it. One addition; once a window more. A new limit if it moved, for
    /// [`Bulkhead::set_limit`](crate::bulkhead::Bulkhead::set_limit).
    pub fn record(&self, now: Moment, end: End, in_flight: u32) -> Option<u32> {
        match end {
            End::Answered(latency) => self.latencies.record(latency),
            End::Dropped => drop(self.dropped.fetch_add(1, Ordering::Relaxed)),
        }
        if in_flight > self.peak.load(Ordering::Relaxed) {
            self.peak.fetch_max(in_flight, Ordering::Relaxed);
        }
        if now.nanoseconds() < self.window_ends.load(Ordering::Relaxed) {
            return None;
        }
        self.end_window(now)
    }

    /// Of many that find the window over, one goes on.
    fn end_window(&self, now: Moment) -> Option<u32> {
        let mut state = self.state.try_lock().ok()?;
        let ended = Moment::from_nanoseconds(self.window_ends.load(Ordering::Relaxed));
        if now < ended {
            return None;
        }
        let dropped = self.dropped.load(Ordering::Relaxed);
        let answered = self.latencies.count();
        if answered + dropped < ENOUGH && now.since(ended) < self.settings.window * PATIENCE {
            return None;
        }
        self.dropped.store(0, Ordering::Relaxed);
        let seen = Seen {
            latency: self.latencies.take_median(),
            dropped: f64::from(dropped) / f64::from((answered + dropped).max(1)),
            peak: self.peak.swap(0, Ordering::Relaxed),
        };
        let limit = state.next(&self.settings, now, &seen);
        self.window_ends.store((now + self.settings.window).nanoseconds(), Ordering::Relaxed);
        (self.limit.swap(limit, Ordering::Relaxed) != limit).then_some(limit)
    }
}

/// What a window saw.
struct Seen {
    /// The median, in seconds.
    latency: Option<f64>,
    /// Share of the calls.
    dropped: f64,
    peak: u32,
}

impl State {
    /// The limit of the next window.
    fn next(&mut self, settings: &Settings, now: Moment, seen: &Seen) -> u32 {
        match self.probe {
            Probe::Draining => {
                self.probe = Probe::Measuring;
                return self.halved(settings);
            }
            Probe::Measuring => self.end_probe(settings, now, seen),
            Probe::None => self.adjust(settings, seen),
        }
        let is_in_doubt = self.limit <= self.highest / 2.0 && self.limit > f64::from(settings.min);
        // A server with little to do shows its own latency without being asked.
        let is_used = f64::from(seen.peak) > self.limit / 2.0;
        if self.probe == Probe::None && is_used && (now >= self.next_probe || is_in_doubt) {
            self.probe = Probe::Draining;
            return self.halved(settings);
        }
        self.limit as u32
    }

    fn adjust(&mut self, settings: &Settings, seen: &Seen) {
        let (min, max) = (f64::from(settings.min), f64::from(settings.max));
        // At the least limit there is no queue of ours: what the server takes then is its own, better or worse.
        let is_least = self.limit <= min;
        let Some(latency) = seen.latency else {
            if seen.dropped > DROPPED_SHARE {
                self.limit = (self.limit * LEAST_GRADIENT).max(min);
                self.ramps = false;
            }
            return;
        };
        let own = match self.own {
            Some(own) if !is_least => own.min(latency),
            Some(_) | None => latency,
        };
        self.own = Some(own);
        self.ramps |= is_least;
        let by_latency = (settings.tolerance * own / latency).clamp(LEAST_GRADIENT, 1.0);
        let by_drops = if seen.dropped > DROPPED_SHARE { DROPPED_GRADIENT } else { 1.0 };
        let gradient = by_latency.min(by_drops);
        // Who uses less than half of the limit says nothing about it.
        if f64::from(seen.peak) <= self.limit / 2.0 {
            return;
        }
        self.ramps &= gradient >= 1.0;
        let next = if self.ramps {
            self.limit * 2.0
        } else {
            let room = if by_drops < 1.0 { 0.0 } else { self.limit.sqrt() };
            self.limit * gradient + room
        };
        self.limit = next.clamp(min, max);
        self.highest = self.highest.max(self.limit);
    }

    /// What was seen with half of the limit is the server's own, even if it is more than before: had it been our queue, it
    /// would have gone.
    fn end_probe(&mut self, settings: &Settings, now: Moment, seen: &Seen) {
        self.probe = Probe::None;
        self.next_probe = now + settings.probe_every;
        self.highest = self.limit;
        self.own = seen.latency.or(self.own);
    }

    fn halved(&self, settings: &Settings) -> u32 {
        ((self.limit / 2.0) as u32).max(settings.min)
    }
}

#[cfg(test)]
#[cfg(not(feature = "model"))]
mod tests;
