//! Checks `[upstreams.NAME]`.

use http::HeaderValue;
use http::uri::Authority;
use rustls_pki_types::ServerName;

use super::{Checking, Names, address, certificate};
use crate::config::at::At;
use crate::config::error::Problem;
use crate::config::fault::quoted;
use crate::config::{
    HostPolicy, Pool, Protocol, Upstream, UpstreamServer, UpstreamTimeouts, UpstreamTls, file,
};

/// The most one server may weigh: with more, smooth round robin would count for too long.
const WEIGHT_MAX: u32 = 1_000;
/// More groups than anybody has.
const PRIORITY_MAX: u32 = 100;

impl Checking {
    pub(super) fn upstream(
        &mut self,
        name: String,
        upstream: At<file::Upstream>,
        names: &Names,
    ) -> Option<Upstream> {
        let At { place, whole: _, value: mut upstream } = upstream;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || !name.chars().all(is_plain) {
            self.refuse(
                place,
                format!("the upstream's name {} is not plain", quoted(&name)),
                "names have letters, digits, -, _ and dots",
            );
        }
        let servers = self.servers(&upstream.servers);
        let resilience = self.resilience(&mut upstream, &servers);
        let file::Upstream { balance, protocol, tls, host, timeout, pool, .. } = upstream;
        let file::Upstream { circuit_breaker, limit, fallback, .. } = upstream;
        let balance = self.balance(balance);
        let guards = self.guards(circuit_breaker, limit, fallback, names);
        let tls = tls.map(|tls| self.upstream_tls(tls.value));
        let host = self.host_policy(host);
        Some(Upstream {
            place,
            name,
            servers,
            balance: balance?,
            protocol: match protocol {
                file::Protocol::Http1 => Protocol::Http1,
                file::Protocol::Http2 => Protocol::Http2,
            },
            tls,
            host: host?,
            timeout: UpstreamTimeouts {
                connect: timeout.connect.0,
                response: timeout.response.0,
                idle: timeout.idle.0,
            },
            pool: Pool { idle: pool.idle, idle_timeout: pool.idle_timeout.0 },
            resilience: resilience?,
            guards,
        })
    }

    fn servers(&mut self, servers: &At<Vec<At<file::UpstreamServer>>>) -> Vec<UpstreamServer> {
        let (place, whole) = (servers.place, servers.whole);
        let checked = servers
            .value
            .iter()
            .filter_map(|server| Some((self.server_of(server)?, server.place)))
            .collect::<Vec<_>>();
        self.no_twins(
            "this server",
            checked.iter().map(|(server, place)| (server.address.clone(), *place)),
        );
        if whole && checked.is_empty() && !self.has_problem_in(place) {
            self.refuse(
                place,
                "an upstream without servers",
                "write servers = [\"10.0.0.1:3000\"]",
            );
        }
        if !checked.is_empty() && checked.iter().all(|(server, _)| server.weight == 0) {
            self.refuse(
                place,
                "every server weighs 0, so none gets requests",
                "give one of them a weight of 1",
            );
        }
        checked.into_iter().map(|(server, _)| server).collect()
    }

    fn server_of(&mut self, server: &At<file::UpstreamServer>) -> Option<UpstreamServer> {
        let At { place, whole: _, value: server } = server;
        let file::UpstreamServer { address, weight, zone, priority, labels } = server;
        if *weight > WEIGHT_MAX {
            self.refuse(
                *place,
                format!("the weight {weight} is too great"),
                format!("it takes 0 to {WEIGHT_MAX}"),
            );
        }
        let zone = zone.clone().and_then(|zone| self.plain("zone", zone));
        if let Some(priority) = priority.as_ref().filter(|given| given.value > PRIORITY_MAX) {
            self.refuse(
                priority.place,
                format!("the priority {} is too great", priority.value),
                format!("it takes 0, which is used first, to {PRIORITY_MAX}"),
            );
        }
        let address = self.take(*place, address::server_address(address))?;
        Some(UpstreamServer {
            address,
            weight: *weight,
            zone,
            priority: priority.as_ref().map_or(0, |priority| priority.value),
            labels: labels
                .iter()
                .map(|(name, value)| (name.clone(), value.value.clone()))
                .collect(),
        })
    }

    fn upstream_tls(&mut self, tls: file::UpstreamTls) -> UpstreamTls {
        let file::UpstreamTls { ca, server_name, dangerous_no_verify } = tls;
        if let Some(ca) = &ca {
            self.take(ca.place, certificate::certificates(&ca.value));
        }
        if let Some(name) = &server_name
            && ServerName::try_from(name.value.as_str()).is_err()
        {
            self.refuse(
                name.place,
                format!("{} is no name of a server", quoted(&name.value)),
                "write a host name or an IP address, without a port",
            );
        }
        UpstreamTls {
            ca: ca.map(|ca| ca.value),
            server_name: server_name.map(|name| name.value),
            dangerous_no_verify,
        }
    }

    fn host_policy(&mut self, host: file::Host) -> Option<HostPolicy> {
        match host {
            file::Host::Client => Some(HostPolicy::Client),
            file::Host::Server => Some(HostPolicy::Server),
            file::Host::Fixed(fixed) => {
                self.take(fixed.place, fixed_host(&fixed.value)).map(HostPolicy::Fixed)
            }
        }
    }
}

pub(super) fn fixed_host(text: &str) -> Result<HeaderValue, Problem> {
    let wrong = || {
        Problem::nowhere(format!("{} is no host", quoted(text)))
            .help("write \"api.example.com\" or \"api.example.com:8080\"")
    };
    let authority = text.parse::<Authority>().map_err(|_| wrong())?;
    if text.contains('@') {
        return Err(wrong());
    }
    HeaderValue::from_str(authority.as_str()).map_err(|_| wrong())
}
