//! The counters and histograms of the process, counted per worker and added up when Prometheus asks.
//!
//! Nothing is looked up per request: a snapshot holds a [`RouteMetrics`] per route and an [`UpstreamMetrics`] per
//! upstream, made when it is built. Their series go when the last snapshot that holds them goes, so what a reload
//! removed disappears by itself. All atomics are relaxed: each is a count of its own, none orders another.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::StatusCode;

use super::lanes::Lanes;
pub use super::upstream_metrics::UpstreamMetrics;
use super::upstream_metrics::UpstreamSeries;

/// The route label of requests that no route took.
pub const UNROUTED: &str = "-";

/// Upper bounds of the duration histogram's buckets in nanoseconds, with their label in seconds; one more is +Inf.
pub(super) const BUCKETS: [(u64, f64); 16] = [
    (500_000, 0.0005),
    (1_000_000, 0.001),
    (2_500_000, 0.0025),
    (5_000_000, 0.005),
    (10_000_000, 0.01),
    (25_000_000, 0.025),
    (50_000_000, 0.05),
    (100_000_000, 0.1),
    (250_000_000, 0.25),
    (500_000_000, 0.5),
    (1_000_000_000, 1.0),
    (2_500_000_000, 2.5),
    (5_000_000_000, 5.0),
    (10_000_000_000, 10.0),
    (30_000_000_000, 30.0),
    (60_000_000_000, 60.0),
];

/// All metrics of the process. Made once, lives as long as the process, so that guards are one pointer.
pub struct Metrics {
    workers: usize,
    pub(super) started: SystemTime,
    pub(super) process: Lanes<ProcessLane>,
    pub(super) unrouted: RouteMetrics,
    routes: Mutex<BTreeMap<Box<str>, Weak<RouteSeries>>>,
    upstreams: Mutex<BTreeMap<Box<str>, Weak<UpstreamSeries>>>,
    listeners: Mutex<Vec<&'static ListenerMetrics>>,
    pub(super) config: ConfigSeries,
    pub(super) access_log: AccessLogSeries,
}

/// The metrics of one route, resolved when the snapshot is built. Cloning is for building, not for requests.
#[derive(Clone)]
pub struct RouteMetrics {
    series: Arc<RouteSeries>,
}

/// The metrics of one listener; listeners live as long as the process.
pub struct ListenerMetrics {
    pub(super) name: Box<str>,
    pub(super) lanes: Lanes<ListenerLane>,
}

/// A request that is being worked on; ends when dropped.
#[must_use = "the request counts as in flight until this is dropped"]
pub struct InFlight(&'static Metrics);

/// A client's connection that is open; ends when dropped.
#[must_use = "the connection counts as open until this is dropped"]
pub struct OpenConnection(&'static ListenerMetrics);

/// An upgraded connection (WebSocket) that is open; ends when dropped.
#[must_use = "the connection counts as upgraded until this is dropped"]
pub struct Upgraded(&'static Metrics);

impl Metrics {
    /// The metrics of a process with this many workers.
    pub fn new(workers: usize) -> &'static Self {
        Box::leak(Box::new(Self {
            workers,
            started: SystemTime::now(),
            process: Lanes::new(workers),
            unrouted: RouteMetrics { series: Arc::new(RouteSeries::new(UNROUTED, workers)) },
            routes: Mutex::default(),
            upstreams: Mutex::default(),
            listeners: Mutex::default(),
            config: ConfigSeries::default(),
            access_log: AccessLogSeries::default(),
        }))
    }

    /// The metrics of the route of this name; the ones it already has if a living snapshot knows it.
    pub fn route(&self, name: &str) -> RouteMetrics {
        let series = series(&self.routes, name, || RouteSeries::new(name, self.workers));
        RouteMetrics { series }
    }

    /// The metrics of the upstream of this name; the ones it already has if a living snapshot knows it.
    pub fn upstream(&self, name: &str) -> UpstreamMetrics {
        let series = series(&self.upstreams, name, || UpstreamSeries::new(name, self.workers));
        UpstreamMetrics::new(series)
    }

    /// The metrics of requests that no route took (label `-`): 404, 405, and what was refused before routing.
    pub fn unrouted(&self) -> &RouteMetrics {
        &self.unrouted
    }

    /// The metrics of a listener, named as in the config; call once per listener and worker, when accepting starts.
    pub fn listener(&self, name: &str) -> &'static ListenerMetrics {
        let mut listeners = lock(&self.listeners);
        if let Some(known) = listeners.iter().find(|listener| &*listener.name == name) {
            return known;
        }
        let listener: &'static ListenerMetrics = Box::leak(Box::new(ListenerMetrics {
            name: name.into(),
            lanes: Lanes::new(self.workers),
        }));
        listeners.push(listener);
        listener
    }

    /// A request's head has arrived; keep the guard until its response is sent.
    pub fn in_flight(&'static self) -> InFlight {
        self.process.mine().in_flight.fetch_add(1, Relaxed);
        InFlight(self)
    }

    /// A connection was upgraded; keep the guard while both sides talk.
    pub fn upgraded(&'static self) -> Upgraded {
        self.process.mine().upgraded.fetch_add(1, Relaxed);
        Upgraded(self)
    }

    /// Something was refused: a request by strictness, a limit or a plugin, a connection by a limit.
    ///
    /// The reasons are words of the program, so their number is bounded by it.
    pub fn refused(&self, reason: &'static str) {
        count(&self.process.mine().refusals, reason);
    }

    /// A configuration was loaded, at start or by a reload.
    pub fn config_loaded(&self, generation: u64) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.config.generation.store(generation, Relaxed);
        self.config.last_success_millis.store(millis(now), Relaxed);
        self.config.loaded.fetch_add(1, Relaxed);
    }

    /// A reload was refused; the old configuration stays.
    pub fn config_refused(&self) {
        self.config.refused.fetch_add(1, Relaxed);
    }

    /// Access log lines were dropped because the disk was too slow or failed.
    pub(super) fn access_log_dropped(&self, lines: u64) {
        self.access_log.dropped.fetch_add(lines, Relaxed);
    }

    /// Writing, or opening, the access log failed.
    pub(super) fn access_log_failed(&self) {
        self.access_log.errors.fetch_add(1, Relaxed);
    }

    /// The series of all routes that a living snapshot knows.
    pub(super) fn route_series(&self) -> Vec<Arc<RouteSeries>> {
        living(&self.routes)
    }

    /// The series of all upstreams that a living snapshot knows.
    pub(super) fn upstream_series(&self) -> Vec<Arc<UpstreamSeries>> {
        living(&self.upstreams)
    }

    /// All listeners.
    pub(super) fn listener_series(&self) -> Vec<&'static ListenerMetrics> {
        lock(&self.listeners).clone()
    }
}

impl RouteMetrics {
    /// A request has ended with this status (499 when the client left first) after this time.
    #[inline]
    pub fn finished(&self, status: StatusCode, duration: Duration) {
        let lane = self.series.lanes.mine();
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        lane.classes[class].fetch_add(1, Relaxed);
        let nanos = nanos(duration);
        let bucket = BUCKETS.iter().position(|(bound, _)| nanos <= *bound).unwrap_or(BUCKETS.len());
        lane.buckets[bucket].fetch_add(1, Relaxed);
        lane.nanos.fetch_add(nanos, Relaxed);
    }

    /// Its counts.
    pub(super) fn series(&self) -> &Arc<RouteSeries> {
        &self.series
    }
}

impl ListenerMetrics {
    /// A connection was accepted; keep the guard until it is closed.
    pub fn accepted(&'static self) -> OpenConnection {
        let lane = self.lanes.mine();
        lane.accepted.fetch_add(1, Relaxed);
        lane.open.fetch_add(1, Relaxed);
        OpenConnection(self)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.process.mine().in_flight.fetch_sub(1, Relaxed);
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.lanes.mine().open.fetch_sub(1, Relaxed);
    }
}

impl Drop for Upgraded {
    fn drop(&mut self) {
        self.0.process.mine().upgraded.fetch_sub(1, Relaxed);
    }
}

/// What one worker counts for the whole process. Gauges of a lane may be negative; their sum is not.
#[derive(Default)]
#[repr(align(64))]
pub(super) struct ProcessLane {
    pub(super) in_flight: AtomicI64,
    pub(super) upgraded: AtomicI64,
    pub(super) refusals: Mutex<Vec<(&'static str, u64)>>,
}

/// What one worker counts for one listener.
#[derive(Default)]
#[repr(align(64))]
pub(super) struct ListenerLane {
    pub(super) open: AtomicI64,
    pub(super) accepted: AtomicU64,
}

/// The counts of one route.
pub(super) struct RouteSeries {
    pub(super) name: Box<str>,
    pub(super) lanes: Lanes<RouteLane>,
}

/// What one worker counts for one route.
#[derive(Default)]
#[repr(C, align(64))]
pub(super) struct RouteLane {
    /// The sum of all durations; 584 years fit. In the same cache line as the classes: with thousands of routes each
    /// line is one to wait for.
    pub(super) nanos: AtomicU64,
    /// 1xx to 5xx.
    pub(super) classes: [AtomicU64; 5],
    /// Not cumulative; the last is +Inf.
    pub(super) buckets: [AtomicU64; BUCKETS.len() + 1],
}

impl RouteSeries {
    fn new(name: &str, workers: usize) -> Self {
        Self { name: name.into(), lanes: Lanes::new(workers) }
    }
}

/// What is known of the configuration.
#[derive(Default)]
pub(super) struct ConfigSeries {
    pub(super) generation: AtomicU64,
    pub(super) loaded: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) last_success_millis: AtomicU64,
}

/// What is known of the access log.
#[derive(Default)]
pub(super) struct AccessLogSeries {
    pub(super) dropped: AtomicU64,
    pub(super) errors: AtomicU64,
}

/// The living series of this name, or a new one.
fn series<S>(
    all: &Mutex<BTreeMap<Box<str>, Weak<S>>>,
    name: &str,
    make: impl FnOnce() -> S,
) -> Arc<S> {
    let mut all = lock(all);
    if let Some(known) = all.get(name).and_then(Weak::upgrade) {
        return known;
    }
    let made = Arc::new(make());
    all.insert(name.into(), Arc::downgrade(&made));
    made
}

/// The series that live; the others are forgotten.
fn living<S>(all: &Mutex<BTreeMap<Box<str>, Weak<S>>>) -> Vec<Arc<S>> {
    let mut all = lock(all);
    all.retain(|_, series| series.strong_count() > 0);
    all.values().filter_map(Weak::upgrade).collect()
}

/// The content of a lock; no holder leaves a count half changed, so poison means nothing here.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One more for this word. The words are the program's, so their number is bounded by it.
pub(super) fn count(counts: &Mutex<Vec<(&'static str, u64)>>, word: &'static str) {
    let mut counts = lock(counts);
    match counts.iter_mut().find(|(known, _)| *known == word) {
        Some((_, count)) => *count += 1,
        None => counts.push((word, 1)),
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
