//! What is counted, for Prometheus to fetch.

use std::time::Duration;

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, TextEncoder};

/// Seconds; a password check takes tens of milliseconds, everything else a few.
const DURATION_BUCKETS: [f64; 9] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5];

/// How a password login ended.
#[derive(Debug, Clone, Copy)]
pub(crate) enum LoginOutcome {
    Success,
    Wrong,
    Throttled,
    Failed,
}

/// For what tokens were issued.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Issued {
    Password,
    Code,
    Refresh,
}

/// What came a second time and ended a grant.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reused {
    Code,
    RefreshToken,
}

/// The counters of one service; several in a process do not share them.
pub(crate) struct Metrics {
    registry: Registry,
    logins: IntCounterVec,
    issued: IntCounterVec,
    reused: IntCounterVec,
    requests: HistogramVec,
}

impl Metrics {
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let counter = |name, help, label| IntCounterVec::new(Opts::new(name, help), &[label]);
        let requests = HistogramOpts::new(
            "auth_request_duration_seconds",
            "Time to answer, by route, method and status",
        )
        .buckets(DURATION_BUCKETS.to_vec());
        let metrics = Self {
            registry: Registry::new(),
            logins: counter("auth_logins_total", "Password logins, by how they ended", "outcome")?,
            issued: counter("auth_tokens_issued_total", "Access tokens, by what for", "grant")?,
            reused: counter(
                "auth_reused_total",
                "Codes and refresh tokens that came again and ended their grant",
                "kind",
            )?,
            requests: HistogramVec::new(requests, &["route", "method", "status"])?,
        };
        metrics.registry.register(Box::new(metrics.logins.clone()))?;
        metrics.registry.register(Box::new(metrics.issued.clone()))?;
        metrics.registry.register(Box::new(metrics.reused.clone()))?;
        metrics.registry.register(Box::new(metrics.requests.clone()))?;
        Ok(metrics)
    }

    pub(crate) fn count_login(&self, outcome: LoginOutcome) {
        let outcome = match outcome {
            LoginOutcome::Success => "success",
            LoginOutcome::Wrong => "wrong",
            LoginOutcome::Throttled => "throttled",
            LoginOutcome::Failed => "failed",
        };
        self.logins.with_label_values(&[outcome]).inc();
    }

    pub(crate) fn count_issued(&self, issued: Issued) {
        let grant = match issued {
            Issued::Password => "password",
            Issued::Code => "authorization_code",
            Issued::Refresh => "refresh_token",
        };
        self.issued.with_label_values(&[grant]).inc();
    }

    pub(crate) fn count_reused(&self, reused: Reused) {
        let kind = match reused {
            Reused::Code => "code",
            Reused::RefreshToken => "refresh_token",
        };
        tracing::warn!(kind, "came again: the grant has ended");
        self.reused.with_label_values(&[kind]).inc();
    }

    /// `route` is a pattern of ours and `method` a known one, so that clients cannot make labels.
    pub(crate) fn observe(&self, route: &str, method: &str, status: &str, duration: Duration) {
        let labels = [route, method, status];
        self.requests.with_label_values(&labels).observe(duration.as_secs_f64());
    }

    /// All of it in the text format.
    pub(crate) fn text(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}
