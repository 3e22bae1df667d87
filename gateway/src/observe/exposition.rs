//! The metrics as text for Prometheus.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use prometheus::TextEncoder;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

use super::lanes::Lanes;
use super::metrics::{BUCKETS, Metrics, RouteLane, RouteSeries, lock};
use super::process;

/// The content type of [`Metrics::exposition`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

impl Metrics {
    /// Everything, in Prometheus' text format. Takes milliseconds with many routes: not for a worker thread.
    pub fn exposition(&self) -> Result<String, prometheus::Error> {
        let mut families = self.families();
        families.extend(process::families(self.started));
        families.retain(|family| !family.get_metric().is_empty());
        families.sort_by(|one, other| one.name().cmp(other.name()));
        TextEncoder::new().encode_to_string(&families)
    }

    fn families(&self) -> Vec<MetricFamily> {
        let mut families = self.request_families();
        families.extend(self.connection_families());
        families.extend(self.upstream_families());
        families.extend(self.config_families());
        families
    }

    /// Routes that were asked for since they are known, each with all its series.
    fn request_families(&self) -> Vec<MetricFamily> {
        let mut routes = self.route_series();
        routes.push(self.unrouted.series().clone());
        routes.retain(|route| route.lanes.iter().next().is_some());
        let in_flight = gauge_sum(&self.process, |lane| &lane.in_flight);
        vec![
            family(
                "gateway_requests_total",
                "Requests that ended, by route and status class.",
                MetricType::COUNTER,
                routes.iter().flat_map(|route| status_classes(route)).collect(),
            ),
            family(
                "gateway_request_duration_seconds",
                "Time from a request's head to the last byte of its response.",
                MetricType::HISTOGRAM,
                routes.iter().map(|route| histogram(route)).collect(),
            ),
            gauge("gateway_requests_in_flight", "Requests being worked on.", in_flight),
            family(
                "gateway_refusals_total",
                "Requests and connections the gateway refused, by reason.",
                MetricType::COUNTER,
                self.refusals(),
            ),
        ]
    }

    fn refusals(&self) -> Vec<Metric> {
        let mut counts = std::collections::BTreeMap::<&str, u64>::new();
        for lane in self.process.iter() {
            for (reason, count) in lock(&lane.refusals).iter() {
                *counts.entry(reason).or_default() += count;
            }
        }
        counts.into_iter().map(|(reason, count)| counted(&[("reason", reason)], count)).collect()
    }

    fn connection_families(&self) -> Vec<MetricFamily> {
        let listeners = self.listener_series();
        let open = listeners
            .iter()
            .map(|listener| {
                let open = gauge_sum(&listener.lanes, |lane| &lane.open);
                gauged(&[("listener", &listener.name)], open)
            })
            .collect();
        let accepted = listeners
            .iter()
            .map(|listener| {
                let accepted = counter_sum(&listener.lanes, |lane| &lane.accepted);
                counted(&[("listener", &listener.name)], accepted)
            })
            .collect();
        let upgraded = gauge_sum(&self.process, |lane| &lane.upgraded);
        vec![
            family("gateway_connections", "Open client connections.", MetricType::GAUGE, open),
            family(
                "gateway_connections_total",
                "Client connections that were accepted.",
                MetricType::COUNTER,
                accepted,
            ),
            gauge(
                "gateway_upgraded_connections",
                "Open connections that were upgraded, such as WebSockets.",
                upgraded,
            ),
        ]
    }

    fn upstream_families(&self) -> Vec<MetricFamily> {
        let (mut connections, mut failures) = (Vec::new(), Vec::new());
        for upstream in self.upstream_series() {
            let name = &*upstream.name;
            let connected = counter_sum(&upstream.lanes, |lane| &lane.connected);
            let reused = counter_sum(&upstream.lanes, |lane| &lane.reused);
            let failed = counter_sum(&upstream.lanes, |lane| &lane.connect_failed);
            connections.push(counted(&[("upstream", name), ("kind", "new")], connected));
            connections.push(counted(&[("upstream", name), ("kind", "reused")], reused));
            failures.push(counted(&[("upstream", name)], failed));
        }
        vec![
            family(
                "gateway_upstream_connections_total",
                "Connections used for requests to servers: newly opened, or reused from the pool.",
                MetricType::COUNTER,
                connections,
            ),
            family(
                "gateway_upstream_connect_failures_total",
                "Attempts to connect to a server that failed.",
                MetricType::COUNTER,
                failures,
            ),
        ]
    }

    fn config_families(&self) -> Vec<MetricFamily> {
        let config = &self.config;
        let reloads = [("ok", &config.loaded), ("refused", &config.refused)]
            .map(|(result, count)| counted(&[("result", result)], count.load(Relaxed)));
        let last_success = config.last_success_millis.load(Relaxed) as f64 / 1_000.0;
        let dropped = counted(&[], self.access_log.dropped.load(Relaxed));
        let errors = counted(&[], self.access_log.errors.load(Relaxed));
        let build = gauged(&[("version", env!("CARGO_PKG_VERSION"))], 1.0);
        vec![
            gauge(
                "gateway_config_generation",
                "The number of the configuration in use, from 1.",
                config.generation.load(Relaxed) as f64,
            ),
            family(
                "gateway_config_reloads_total",
                "Configurations that were loaded (the start included) or refused.",
                MetricType::COUNTER,
                reloads.into(),
            ),
            gauge(
                "gateway_config_last_reload_success_timestamp_seconds",
                "When the configuration in use was loaded, in Unix time.",
                last_success,
            ),
            family(
                "gateway_access_log_dropped_total",
                "Access log lines dropped because the disk was too slow or failed.",
                MetricType::COUNTER,
                vec![dropped],
            ),
            family(
                "gateway_access_log_errors_total",
                "Failures to write or open the access log.",
                MetricType::COUNTER,
                vec![errors],
            ),
            family("gateway_build_info", "The version that runs.", MetricType::GAUGE, vec![build]),
        ]
    }
}

/// A family of series.
pub(super) fn family(
    name: &str,
    help: &str,
    kind: MetricType,
    metrics: Vec<Metric>,
) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

/// A family of one gauge without labels.
pub(super) fn gauge(name: &str, help: &str, value: f64) -> MetricFamily {
    family(name, help, MetricType::GAUGE, vec![gauged(&[], value)])
}

/// A family of one counter without labels.
pub(super) fn counter(name: &str, help: &str, value: f64) -> MetricFamily {
    let mut counter = Counter::default();
    counter.set_value(value);
    let mut metric = Metric::default();
    metric.set_counter(counter);
    family(name, help, MetricType::COUNTER, vec![metric])
}

fn gauged(labels: &[(&str, &str)], value: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut metric = Metric::from_label(pairs(labels));
    metric.set_gauge(gauge);
    metric
}

fn counted(labels: &[(&str, &str)], count: u64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(count as f64);
    let mut metric = Metric::from_label(pairs(labels));
    metric.set_counter(counter);
    metric
}

fn pairs(labels: &[(&str, &str)]) -> Vec<LabelPair> {
    labels
        .iter()
        .map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        })
        .collect()
}

fn status_classes(route: &RouteSeries) -> [Metric; 5] {
    let classes = ["1xx", "2xx", "3xx", "4xx", "5xx"];
    std::array::from_fn(|class| {
        let count = counter_sum(&route.lanes, |lane| &lane.classes[class]);
        counted(&[("route", &route.name), ("status", classes[class])], count)
    })
}

fn histogram(route: &RouteSeries) -> Metric {
    let bucket = |index: usize| counter_sum(&route.lanes, |lane: &RouteLane| &lane.buckets[index]);
    let mut seen = 0;
    let mut buckets = Vec::with_capacity(BUCKETS.len());
    for (index, (_, bound)) in BUCKETS.iter().enumerate() {
        seen += bucket(index);
        let mut made = Bucket::default();
        made.set_upper_bound(*bound);
        made.set_cumulative_count(seen);
        buckets.push(made);
    }
    seen += bucket(BUCKETS.len());
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets);
    histogram.set_sample_count(seen);
    histogram.set_sample_sum(counter_sum(&route.lanes, |lane| &lane.nanos) as f64 / 1e9);
    let mut metric = Metric::from_label(pairs(&[("route", &route.name)]));
    metric.set_histogram(histogram);
    metric
}

fn counter_sum<T: Default>(lanes: &Lanes<T>, count: impl Fn(&T) -> &AtomicU64) -> u64 {
    lanes.iter().map(|lane| count(lane).load(Relaxed)).fold(0, u64::wrapping_add)
}

fn gauge_sum<T: Default>(lanes: &Lanes<T>, count: impl Fn(&T) -> &AtomicI64) -> f64 {
    lanes.iter().map(|lane| count(lane).load(Relaxed)).sum::<i64>() as f64
}
