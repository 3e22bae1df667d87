//! The metrics as text for Prometheus.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use prometheus::TextEncoder;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

use super::faults;
use super::lanes::Lanes;
use super::metrics::{BUCKETS, Metrics, RouteLane, RouteSeries, lock};
use super::process;
use super::reading::Readings;
use super::upstream_metrics::{UpstreamLane, UpstreamSeries};

/// The content type of [`Metrics::exposition`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// A counter of an upstream.
type Count = fn(&UpstreamLane) -> &AtomicU64;

/// The counters of an upstream that have no other label than its name: metric, help, and which it is.
const UPSTREAM_COUNTERS: [(&str, &str, Count); 5] = [
    (
        "gateway_upstream_connect_failures_total",
        "Attempts to connect to a server that failed.",
        |lane| &lane.connect_failed,
    ),
    ("gateway_upstream_retries_total", "Requests that were sent again.", |lane| &lane.retried),
    (
        "gateway_upstream_retries_over_budget_total",
        "Requests that were not sent again because the budget was used up.",
        |lane| &lane.over_budget,
    ),
    (
        "gateway_upstream_hedges_total",
        "Requests that were sent to a second server because the first took long.",
        |lane| &lane.hedged,
    ),
    (
        "gateway_upstream_hedges_won_total",
        "Hedged requests that the second server answered first.",
        |lane| &lane.hedges_won,
    ),
];

impl Metrics {
    /// Everything that was counted, and what was read just now, in Prometheus' text format. Takes milliseconds with many
    /// routes: not for a worker thread.
    pub fn exposition(&self, readings: &Readings) -> Result<String, prometheus::Error> {
        let mut families = self.families();
        families.extend(readings.families());
        families.extend(faults::families());
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
        let mut connections = Vec::new();
        for upstream in self.upstream_series() {
            for (kind, count) in [
                ("new", (|lane| &lane.connected) as Count),
                ("reused", |lane: &UpstreamLane| &lane.reused),
            ] {
                let labels = [("upstream", &*upstream.name), ("kind", kind)];
                connections.push(counted(&labels, counter_sum(&upstream.lanes, count)));
            }
        }
        let connections = family(
            "gateway_upstream_connections_total",
            "Connections used for requests to servers: newly opened, or reused from the pool.",
            MetricType::COUNTER,
            connections,
        );
        let ejections = family(
            "gateway_upstream_ejections_total",
            "Servers taken out because their answers were bad, by reason.",
            MetricType::COUNTER,
            self.ejections(),
        );
        let others = UPSTREAM_COUNTERS.iter().map(|&(name, help, count)| {
            let of = |upstream: &Arc<UpstreamSeries>| {
                counted(&[("upstream", &upstream.name)], counter_sum(&upstream.lanes, count))
            };
            let all = self.upstream_series().iter().map(of).collect();
            family(name, help, MetricType::COUNTER, all)
        });
        [connections, ejections].into_iter().chain(others).collect()
    }

    fn ejections(&self) -> Vec<Metric> {
        let mut metrics = Vec::new();
        for upstream in self.upstream_series() {
            for (reason, count) in lock(&upstream.ejections).iter() {
                metrics.push(counted(&[("upstream", &upstream.name), ("reason", reason)], *count));
            }
        }
        metrics
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

pub(super) fn gauged(labels: &[(&str, &str)], value: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut metric = Metric::from_label(pairs(labels));
    metric.set_gauge(gauge);
    metric
}

pub(super) fn counted(labels: &[(&str, &str)], count: u64) -> Metric {
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::thread;
    use std::time::Duration;

    use http::StatusCode;

    use super::super::reading::{GateReading, LimitReading, ServerReading, UpstreamReading};
    use super::*;

    /// An upstream with a server that is in and one that is out.
    fn read() -> Readings {
        let server = |address: &str, state, latency| ServerReading {
            address: address.to_owned(),
            in_flight: 3,
            takes_part: state == "up",
            state,
            latency,
        };
        let servers = vec![
            server("10.0.0.1:80", "up", Some(Duration::from_millis(5))),
            server("10.0.0.2:80", "ejected", None),
        ];
        let upstream =
            UpstreamReading { name: "u".to_owned(), panics: true, budget_left: 2.5, servers };
        let limit = LimitReading { in_flight: 3, limit: 4, waiting: 2 };
        let gate = GateReading {
            kind: "route",
            name: "pay".into(),
            circuit: Some("half-open"),
            opened: 5,
            limit: Some(limit),
        };
        Readings { upstreams: vec![upstream], gates: vec![gate], overload: 2 }
    }

    #[test]
    fn what_is_read_is_shown_beside_what_is_counted() {
        let metrics = Metrics::new(1);
        for (series, expected) in [
            (r#"gateway_upstream_panic{upstream="u"}"#, Some(1.0)),
            (r#"gateway_upstream_retry_budget{upstream="u"}"#, Some(2.5)),
            (r#"gateway_server_requests_in_flight{upstream="u",server="10.0.0.1:80"}"#, Some(3.0)),
            (
                r#"gateway_server_takes_part{upstream="u",server="10.0.0.1:80",state="up"}"#,
                Some(1.0),
            ),
            (
                r#"gateway_server_takes_part{upstream="u",server="10.0.0.2:80",state="ejected"}"#,
                Some(0.0),
            ),
            (r#"gateway_server_latency_seconds{upstream="u",server="10.0.0.1:80"}"#, Some(0.005)),
            (r#"gateway_server_latency_seconds{upstream="u",server="10.0.0.2:80"}"#, None),
            (r#"gateway_circuit_open{kind="route",name="pay",state="half-open"}"#, Some(1.0)),
            (r#"gateway_circuit_opened_total{kind="route",name="pay"}"#, Some(5.0)),
            (r#"gateway_limit_requests{kind="route",name="pay"}"#, Some(4.0)),
            (r#"gateway_limit_in_flight{kind="route",name="pay"}"#, Some(3.0)),
            (r#"gateway_limit_waiting{kind="route",name="pay"}"#, Some(2.0)),
            ("gateway_overload_level", Some(2.0)),
        ] {
            assert_eq!(value(metrics, series), expected, "{series}");
        }
    }

    #[test]
    fn what_is_done_about_failures_is_counted() {
        let metrics = Metrics::new(2);
        let upstream = metrics.upstream("u");
        upstream.retried();
        upstream.retried();
        upstream.over_budget();
        (0..3).for_each(|_| upstream.hedged());
        upstream.hedge_won();
        (0..4).for_each(|_| upstream.ejected("failures"));
        upstream.ejected("slow");
        for (series, expected) in [
            (r#"gateway_upstream_retries_total{upstream="u"}"#, 2.0),
            (r#"gateway_upstream_retries_over_budget_total{upstream="u"}"#, 1.0),
            (r#"gateway_upstream_hedges_total{upstream="u"}"#, 3.0),
            (r#"gateway_upstream_hedges_won_total{upstream="u"}"#, 1.0),
            (r#"gateway_upstream_ejections_total{upstream="u",reason="failures"}"#, 4.0),
            (r#"gateway_upstream_ejections_total{upstream="u",reason="slow"}"#, 1.0),
        ] {
            assert_eq!(value(metrics, series), Some(expected), "{series}");
        }
        assert_eq!(upstream.ejections(), [("failures", 4), ("slow", 1)]);
    }

    /// The value of a series, written as Prometheus shows it.
    fn value(metrics: &Metrics, series: &str) -> Option<f64> {
        let text = metrics.exposition(&read()).unwrap();
        let line = text.lines().find(|line| line.rsplit_once(' ').unwrap().0 == series)?;
        line.rsplit_once(' ').unwrap().1.parse().ok()
    }

    #[test]
    fn a_finished_request_is_counted_by_class_and_duration() {
        let metrics = Metrics::new(2);
        let route = metrics.route("/a \"b\"");
        route.finished(StatusCode::OK, Duration::from_millis(1));
        route.finished(StatusCode::CREATED, Duration::from_nanos(1_000_001));
        route.finished(StatusCode::from_u16(499).unwrap(), Duration::from_secs(120));
        for (series, expected) in [
            (r#"gateway_requests_total{route="/a \"b\"",status="2xx"}"#, 2.0),
            (r#"gateway_requests_total{route="/a \"b\"",status="4xx"}"#, 1.0),
            (r#"gateway_requests_total{route="/a \"b\"",status="5xx"}"#, 0.0),
            (r#"gateway_request_duration_seconds_bucket{route="/a \"b\"",le="0.0005"}"#, 0.0),
            (r#"gateway_request_duration_seconds_bucket{route="/a \"b\"",le="0.001"}"#, 1.0),
            (r#"gateway_request_duration_seconds_bucket{route="/a \"b\"",le="0.0025"}"#, 2.0),
            (r#"gateway_request_duration_seconds_bucket{route="/a \"b\"",le="60"}"#, 2.0),
            (r#"gateway_request_duration_seconds_bucket{route="/a \"b\"",le="+Inf"}"#, 3.0),
            (r#"gateway_request_duration_seconds_count{route="/a \"b\""}"#, 3.0),
            (r#"gateway_request_duration_seconds_sum{route="/a \"b\""}"#, 120.002000001),
        ] {
            assert_eq!(value(metrics, series), Some(expected), "{series}");
        }
    }

    #[test]
    fn a_status_beyond_the_classes_is_counted_in_the_nearest() {
        let metrics = Metrics::new(1);
        let route = metrics.unrouted();
        route.finished(StatusCode::from_u16(999).unwrap(), Duration::ZERO);
        assert_eq!(value(metrics, r#"gateway_requests_total{route="-",status="5xx"}"#), Some(1.0));
    }

    #[test]
    fn what_many_threads_count_adds_up_and_guards_may_move() {
        let metrics = Metrics::new(2);
        let route = metrics.route("r");
        let upstream = metrics.upstream("u");
        let listener = metrics.listener("127.0.0.1:80");
        let (kept, open, upgraded) = (metrics.in_flight(), listener.accepted(), metrics.upgraded());
        let work = || {
            for _ in 0..100 {
                let _in_flight = metrics.in_flight();
                route.finished(StatusCode::OK, Duration::ZERO);
                upstream.reused();
                metrics.refused("ip-denied");
            }
            upstream.connected();
            upstream.connect_failed();
        };
        thread::scope(|scope| (0..5).for_each(|_| drop(scope.spawn(work))));
        for (series, expected) in [
            (r#"gateway_requests_total{route="r",status="2xx"}"#, 500.0),
            ("gateway_requests_in_flight", 1.0),
            (r#"gateway_connections{listener="127.0.0.1:80"}"#, 1.0),
            (r#"gateway_connections_total{listener="127.0.0.1:80"}"#, 1.0),
            ("gateway_upgraded_connections", 1.0),
            (r#"gateway_upstream_connections_total{upstream="u",kind="reused"}"#, 500.0),
            (r#"gateway_upstream_connections_total{upstream="u",kind="new"}"#, 5.0),
            (r#"gateway_upstream_connect_failures_total{upstream="u"}"#, 5.0),
            (r#"gateway_refusals_total{reason="ip-denied"}"#, 500.0),
        ] {
            assert_eq!(value(metrics, series), Some(expected), "{series}");
        }
        thread::scope(|scope| {
            scope.spawn(move || drop((kept, open, upgraded)));
        });
        assert_eq!(value(metrics, "gateway_requests_in_flight"), Some(0.0));
        assert_eq!(value(metrics, r#"gateway_connections{listener="127.0.0.1:80"}"#), Some(0.0));
        assert_eq!(value(metrics, "gateway_upgraded_connections"), Some(0.0));
    }

    #[test]
    fn series_live_as_long_as_a_snapshot_holds_them() {
        let metrics = Metrics::new(1);
        let series = r#"gateway_requests_total{route="r",status="2xx"}"#;
        let old = metrics.route("r");
        old.finished(StatusCode::OK, Duration::ZERO);
        let new = metrics.route("r");
        drop(old);
        new.finished(StatusCode::OK, Duration::ZERO);
        assert_eq!(value(metrics, series), Some(2.0), "a reload goes on counting");
        drop(new);
        assert_eq!(value(metrics, series), None, "a removed route is forgotten");
        metrics.route("r").finished(StatusCode::OK, Duration::ZERO);
        assert_eq!(value(metrics, series), None);
    }

    #[test]
    fn a_reload_shows_its_generation_and_result() {
        let metrics = Metrics::new(1);
        metrics.config_loaded(1);
        metrics.config_refused();
        metrics.config_loaded(2);
        for (series, expected) in [
            ("gateway_config_generation", 2.0),
            (r#"gateway_config_reloads_total{result="ok"}"#, 2.0),
            (r#"gateway_config_reloads_total{result="refused"}"#, 1.0),
        ] {
            assert_eq!(value(metrics, series), Some(expected), "{series}");
        }
        let loaded = value(metrics, "gateway_config_last_reload_success_timestamp_seconds");
        assert!(loaded.unwrap() > 1.7e9);
    }

    /// Words of a text that look like our metrics, histogram suffixes taken off.
    fn metric_names(text: &str) -> BTreeSet<&str> {
        let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let words = text.split(|c| !is_part(c)).filter(|word| {
            word.starts_with("gateway_") || word.starts_with("process_") && word.len() > 8
        });
        let suffixes = ["_bucket", "_sum", "_count"];
        let stem = |word| suffixes.iter().find_map(|s| str::strip_suffix(word, s)).unwrap_or(word);
        words.map(stem).collect()
    }

    #[test]
    fn manual_rules_and_dashboard_name_the_metrics_that_exist() {
        let metrics = Metrics::new(1);
        metrics.unrouted().finished(StatusCode::OK, Duration::ZERO);
        let (upstream, _listener) = (metrics.upstream("u"), metrics.listener("l"));
        upstream.ejected("failures");
        metrics.refused("r");
        let text = metrics.exposition(&read()).unwrap();
        let kinds = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let exist: BTreeSet<_> = kinds.filter_map(|line| line.split(' ').next()).collect();
        let manual = metric_names(include_str!("../../../docs/operate.md"));
        assert_eq!(manual, exist);
        for text in [
            include_str!("../../../deploy/prometheus/gateway.rules.yml"),
            include_str!("../../../deploy/grafana/gateway.json"),
        ] {
            let named = metric_names(text);
            assert!(named.len() > 5);
            assert_eq!(named.difference(&exist).collect::<Vec<_>>(), Vec::<&&str>::new());
        }
    }
}
