//! The counters of one upstream.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use super::lanes::Lanes;
use super::metrics::{count, lock};

/// The metrics of one upstream, resolved when the snapshot is built.
#[derive(Clone)]
pub struct UpstreamMetrics {
    pub(super) series: Arc<UpstreamSeries>,
}

impl UpstreamMetrics {
    pub(super) fn new(series: Arc<UpstreamSeries>) -> Self {
        Self { series }
    }

    /// A connection to a server was opened.
    #[inline]
    pub fn connected(&self) {
        self.series.lanes.mine().connected.fetch_add(1, Relaxed);
    }

    /// A request took a connection from the pool.
    #[inline]
    pub fn reused(&self) {
        self.series.lanes.mine().reused.fetch_add(1, Relaxed);
    }

    /// A server could not be connected to: refused, unreachable, timed out, or its TLS failed.
    #[inline]
    pub fn connect_failed(&self) {
        self.series.lanes.mine().connect_failed.fetch_add(1, Relaxed);
    }

    /// A request was sent again.
    pub fn retried(&self) {
        self.series.lanes.mine().retried.fetch_add(1, Relaxed);
    }

    /// A request was not sent again because the budget was used up.
    pub fn over_budget(&self) {
        self.series.lanes.mine().over_budget.fetch_add(1, Relaxed);
    }

    /// A request was sent to a second server.
    pub fn hedged(&self) {
        self.series.lanes.mine().hedged.fetch_add(1, Relaxed);
    }

    /// The second server was the quicker one.
    pub fn hedge_won(&self) {
        self.series.lanes.mine().hedges_won.fetch_add(1, Relaxed);
    }

    /// A server was taken out, for one of few reasons.
    pub fn ejected(&self, reason: &'static str) {
        count(&self.series.ejections, reason);
    }

    /// How many servers were taken out, by reason.
    pub fn ejections(&self) -> Vec<(&'static str, u64)> {
        lock(&self.series.ejections).clone()
    }
}

/// The counts of one upstream.
pub(super) struct UpstreamSeries {
    pub(super) name: Box<str>,
    pub(super) lanes: Lanes<UpstreamLane>,
    /// Servers taken out, by reason.
    pub(super) ejections: Mutex<Vec<(&'static str, u64)>>,
}

/// What one worker counts for one upstream.
#[derive(Default)]
#[repr(align(64))]
pub(super) struct UpstreamLane {
    pub(super) connected: AtomicU64,
    pub(super) reused: AtomicU64,
    pub(super) connect_failed: AtomicU64,
    pub(super) retried: AtomicU64,
    pub(super) over_budget: AtomicU64,
    pub(super) hedged: AtomicU64,
    pub(super) hedges_won: AtomicU64,
}

impl UpstreamSeries {
    pub(super) fn new(name: &str, workers: usize) -> Self {
        Self { name: name.into(), lanes: Lanes::new(workers), ejections: Mutex::default() }
    }
}
