//! What is counted for Prometheus.

use std::time::Duration;

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

/// Every figure of the service, and the registry that prints them.
pub(crate) struct Metrics {
    registry: Registry,
    requests: HistogramVec,
    /// Commands by outcome: added, stale.
    pub(crate) commands: IntCounterVec,
    /// Events in the log that readers do not see yet.
    pub(crate) events_behind: IntGauge,
    /// Events in the log that the broker does not have yet.
    pub(crate) events_unpublished: IntGauge,
}

impl Metrics {
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let requests = HistogramVec::new(
            HistogramOpts::new("news_request_seconds", "Seconds from head to answer")
                .buckets(vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0]),
            &["route", "status"],
        )?;
        let commands = IntCounterVec::new(
            Opts::new("news_commands_total", "Wishes to add a version, by outcome"),
            &["outcome"],
        )?;
        let events_behind =
            IntGauge::new("news_events_behind", "Events in the log that readers do not see yet")?;
        let events_unpublished = IntGauge::new(
            "news_events_unpublished",
            "Events in the log that the broker does not have yet; 0 without a broker",
        )?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(commands.clone()))?;
        registry.register(Box::new(events_behind.clone()))?;
        registry.register(Box::new(events_unpublished.clone()))?;
        for outcome in ["added", "stale"] {
            commands.with_label_values(&[outcome]);
        }
        Ok(Self { registry, requests, commands, events_behind, events_unpublished })
    }

    /// `route` is a pattern of the router's, so that clients cannot add to the series.
    pub(crate) fn answered(&self, route: &str, status: u16, took: Duration) {
        let status = status.to_string();
        self.requests.with_label_values(&[route, status.as_str()]).observe(took.as_secs_f64());
    }

    /// The exposition text.
    pub(crate) fn print(&self) -> Result<String, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}
