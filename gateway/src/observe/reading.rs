//! What is read from the running gateway when Prometheus asks, rather than counted as it happens.

use std::time::Duration;

use prometheus::proto::{Metric, MetricFamily, MetricType};

use super::exposition::{family, gauged};

/// Everything that is read, as it is at this moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Readings {
    /// Of every upstream of the configuration in use.
    pub upstreams: Vec<UpstreamReading>,
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
        families
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
