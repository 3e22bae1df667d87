//! What is counted for Prometheus.

use std::time::Duration;

use prometheus::{
    Encoder, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

/// Every figure of the service, and the registry that prints them.
pub(crate) struct Metrics {
    registry: Registry,
    requests: HistogramVec,
    /// Attempts to count an event, by outcome: counted, repeated, postponed, dead.
    pub(crate) events: IntCounterVec,
    /// Events in the inbox that are not counted yet.
    pub(crate) inbox_waiting: IntGauge,
    /// Dead letters in the inbox.
    pub(crate) inbox_dead: IntGauge,
}

impl Metrics {
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let requests = HistogramVec::new(
            HistogramOpts::new("recommendation_request_seconds", "Seconds from head to answer")
                .buckets(vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0]),
            &["route", "status"],
        )?;
        let events = IntCounterVec::new(
            Opts::new("recommendation_events_total", "Attempts to count an event, by outcome"),
            &["outcome"],
        )?;
        let inbox_waiting =
            IntGauge::new("recommendation_inbox_waiting", "Events that came over HTTP and wait")?;
        let inbox_dead =
            IntGauge::new("recommendation_inbox_dead", "Dead letters that came over HTTP")?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(events.clone()))?;
        registry.register(Box::new(inbox_waiting.clone()))?;
        registry.register(Box::new(inbox_dead.clone()))?;
        for outcome in ["counted", "repeated", "postponed", "dead"] {
            events.with_label_values(&[outcome]);
        }
        Ok(Self { registry, requests, events, inbox_waiting, inbox_dead })
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
