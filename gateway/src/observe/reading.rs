//! What is read from the running gateway when Prometheus asks, rather than counted as it happens.

use std::time::Duration;

use prometheus::proto::{Metric, MetricFamily, MetricType};
use serde::Serialize;

use super::exposition::{counted, family, gauge, gauged};

/// Everything that is read, as it is at this moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Readings {
    /// Of every upstream of the configuration in use.
    pub upstreams: Vec<UpstreamReading>,
    /// Of every upstream and route with a breaker or a limit.
    pub gates: Vec<GateReading>,
    /// How far up the ladder the process stands: 0 normal, 1 no keep-alive, 2 sheds sheddable requests, 3 sheds normal ones
    /// too, 4 refuses connections.
    pub overload: u8,
}

/// What stands before an upstream or a route, as it is at this moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GateReading {
    /// `upstream` or `route`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// `closed`, `open` or `half-open`; `None` without a breaker.
    pub circuit: Option<&'static str>,
    /// How often the breaker has opened.
    pub opened: u64,
    /// Its limit, if there is one.
    pub limit: Option<LimitReading>,
}

/// A limit of requests in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LimitReading {
    /// Requests in flight.
    pub in_flight: u32,
    /// How many may be.
    pub limit: u32,
    /// Requests that wait.
    pub waiting: u32,
}

/// One upstream as it is at this moment.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamReading {
    /// Its name.
    pub name: String,
    /// Whether so few of its servers are up that all of a group are used.
    pub panics: bool,
    /// Retries and hedges it may send now.
    pub budget_left: f64,
    /// Its servers, each address once.
    pub servers: Vec<ServerReading>,
}

/// One server of an upstream as it is at this moment.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerReading {
    /// Where it is.
    pub address: String,
    /// Requests it is busy with.
    pub in_flight: u32,
    /// Whether it gets requests.
    pub takes_part: bool,
    /// Why, in one word.
    pub state: &'static str,
    /// How long it takes to answer, where its upstream's balance asks for it.
    pub latency: Option<Duration>,
}

impl Readings {
    pub(super) fn families(&self) -> Vec<MetricFamily> {
        let mut families = self.upstream_families();
        families.extend(self.server_families());
        families.extend(self.gate_families());
        families.push(gauge(
            "gateway_overload_level",
            "What is given up: 0 nothing, 1 keep-alive, 2 sheddable requests, 3 normal ones, 4 new connections.",
            f64::from(self.overload),
        ));
        families
    }

    fn gate_families(&self) -> Vec<MetricFamily> {
        let (mut open, mut opened) = (Vec::new(), Vec::new());
        let (mut limit, mut in_flight, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
        for gate in &self.gates {
            let labels = [("kind", gate.kind), ("name", &*gate.name)];
            if let Some(circuit) = gate.circuit {
                let value = f64::from(u8::from(circuit != "closed"));
                let [kind, name] = labels;
                open.push(gauged(&[kind, name, ("state", circuit)], value));
                opened.push(counted(&labels, gate.opened));
            }
            if let Some(now) = gate.limit {
                limit.push(gauged(&labels, f64::from(now.limit)));
                in_flight.push(gauged(&labels, f64::from(now.in_flight)));
                waiting.push(gauged(&labels, f64::from(now.waiting)));
            }
        }
        let gauges = [
            (
                "gateway_circuit_open",
                "0 while a circuit breaker is closed; the state says more.",
                open,
            ),
            ("gateway_limit_requests", "Requests that may be in flight.", limit),
            ("gateway_limit_in_flight", "Requests in flight under a limit.", in_flight),
            ("gateway_limit_waiting", "Requests that wait for a place under a limit.", waiting),
        ];
        let help = "How often a circuit breaker has opened.";
        let counters = family("gateway_circuit_opened_total", help, MetricType::COUNTER, opened);
        let gauges = gauges.map(|(name, help, all)| family(name, help, MetricType::GAUGE, all));
        gauges.into_iter().chain([counters]).collect()
    }

    fn upstream_families(&self) -> Vec<MetricFamily> {
        let all = |value: &dyn Fn(&UpstreamReading) -> f64| -> Vec<Metric> {
            let of = |one: &UpstreamReading| gauged(&[("upstream", &one.name)], value(one));
            self.upstreams.iter().map(of).collect()
        };
        vec![
            family(
                "gateway_upstream_panic",
                "1 while so few servers of a group are up that all of it are used.",
                MetricType::GAUGE,
                all(&|one| f64::from(u8::from(one.panics))),
            ),
            family(
                "gateway_upstream_retry_budget",
                "Retries and hedges that may be sent now.",
                MetricType::GAUGE,
                all(&|one| one.budget_left),
            ),
        ]
    }

    fn server_families(&self) -> Vec<MetricFamily> {
        let (mut in_flight, mut takes_part, mut latency) = (Vec::new(), Vec::new(), Vec::new());
        for upstream in &self.upstreams {
            for server in &upstream.servers {
                let labels = [("upstream", &*upstream.name), ("server", &*server.address)];
                let [name, address] = labels;
                in_flight.push(gauged(&labels, f64::from(server.in_flight)));
                let with_state = [name, address, ("state", server.state)];
                takes_part.push(gauged(&with_state, f64::from(u8::from(server.takes_part))));
                latency
                    .extend(server.latency.map(|latency| gauged(&labels, latency.as_secs_f64())));
            }
        }
        vec![
            family(
                "gateway_server_requests_in_flight",
                "Requests a server is busy with.",
                MetricType::GAUGE,
                in_flight,
            ),
            family(
                "gateway_server_takes_part",
                "1 if a server gets requests, 0 if not; the state says why.",
                MetricType::GAUGE,
                takes_part,
            ),
            family(
                "gateway_server_latency_seconds",
                "How long a server takes to answer, as its upstream's balance by least time sees it.",
                MetricType::GAUGE,
                latency,
            ),
        ]
    }
}
