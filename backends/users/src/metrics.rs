//! What Prometheus may ask: requests, cache, jobs, and what waits.

use std::time::Duration;

use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

use crate::intake::Backlog;

/// Seconds; a cached read takes less than one of them, a hash some tens.
const BUCKETS: [f64; 11] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

/// See the file's own words.
pub(crate) struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    request_seconds: HistogramVec,
    cache_reads: IntCounterVec,
    jobs_applied: IntCounter,
    jobs_buried: IntCounter,
    letters_retried: IntCounter,
    queue_jobs: IntGauge,
    dead_letters: IntGauge,
}

/// Whether a read found what it asked for without the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CacheRead {
    Hit,
    Miss,
}

impl Metrics {
    /// All at zero.
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let metrics = Self {
            registry: Registry::new(),
            requests: IntCounterVec::new(
                Opts::new("users_requests_total", "Requests answered, over HTTP and gRPC"),
                &["method", "route", "status"],
            )?,
            request_seconds: HistogramVec::new(
                HistogramOpts::new("users_request_seconds", "Time from head to answer, in seconds")
                    .buckets(BUCKETS.to_vec()),
                &["method", "route"],
            )?,
            cache_reads: IntCounterVec::new(
                Opts::new("users_cache_reads_total", "Reads of one user, by what the cache knew"),
                &["result"],
            )?,
            jobs_applied: IntCounter::new(
                "users_jobs_applied_total",
                "Jobs this instance brought to the database",
            )?,
            jobs_buried: IntCounter::new(
                "users_jobs_buried_total",
                "Jobs that the database refused this instance",
            )?,
            letters_retried: IntCounter::new(
                "users_dead_letters_retried_total",
                "Dead letters this instance put back into the queue",
            )?,
            queue_jobs: IntGauge::new(
                "users_queue_jobs",
                "Answered writes that are not in the database yet",
            )?,
            dead_letters: IntGauge::new(
                "users_dead_letters",
                "Answered writes that the database refused and somebody has to look at",
            )?,
        };
        metrics.register()?;
        Ok(metrics)
    }

    fn register(&self) -> Result<(), prometheus::Error> {
        let Self { registry, requests, request_seconds, cache_reads, .. } = self;
        let Self { jobs_applied, jobs_buried, letters_retried, queue_jobs, dead_letters, .. } =
            self;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(request_seconds.clone()))?;
        registry.register(Box::new(cache_reads.clone()))?;
        registry.register(Box::new(jobs_applied.clone()))?;
        registry.register(Box::new(jobs_buried.clone()))?;
        registry.register(Box::new(letters_retried.clone()))?;
        registry.register(Box::new(queue_jobs.clone()))?;
        registry.register(Box::new(dead_letters.clone()))
    }

    /// Counts an answered request. The route is one of ours, not a path that a client may choose.
    pub(crate) fn answered(&self, method: &str, route: &str, status: &str, time: Duration) {
        self.requests.with_label_values(&[method, route, status]).inc();
        self.request_seconds.with_label_values(&[method, route]).observe(time.as_secs_f64());
    }

    pub(crate) fn cache_read(&self, result: CacheRead) {
        let result = match result {
            CacheRead::Hit => "hit",
            CacheRead::Miss => "miss",
        };
        self.cache_reads.with_label_values(&[result]).inc();
    }

    pub(crate) fn jobs_applied(&self, count: usize) {
        self.jobs_applied.inc_by(count as u64);
    }

    pub(crate) fn job_buried(&self) {
        self.jobs_buried.inc();
    }

    pub(crate) fn letters_retried(&self, count: u64) {
        self.letters_retried.inc_by(count);
    }

    pub(crate) fn set_backlog(&self, backlog: Backlog) {
        let Backlog { jobs, dead_letters, span: _ } = backlog;
        self.queue_jobs.set(i64::try_from(jobs).unwrap_or(i64::MAX));
        self.dead_letters.set(i64::try_from(dead_letters).unwrap_or(i64::MAX));
    }

    /// Everything in Prometheus' text format.
    pub(crate) fn text(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}
