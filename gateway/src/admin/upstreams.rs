//! What the API shows of upstreams: how they are set, and how they are at this moment.

use serde::Serialize;

use super::Control;
use crate::config::{Balance, HostPolicy, Protocol, Sources, Upstream, UpstreamId};
use crate::upstream::view::{ServerNow, UpstreamNow};

/// `GET /api/v1/upstreams`.
#[derive(Serialize)]
pub(super) struct UpstreamsView {
    upstreams: Vec<UpstreamView>,
}

/// One upstream.
#[derive(Serialize)]
struct UpstreamView {
    name: String,
    place: String,
    balance: &'static str,
    protocol: &'static str,
    tls: bool,
    tls_verified: bool,
    host: String,
    connect_timeout_seconds: f64,
    response_timeout_seconds: f64,
    idle_timeout_seconds: f64,
    pool_idle_max: usize,
    pool_idle_timeout_seconds: f64,
    #[serde(flatten)]
    now: UpstreamNow,
}

/// What has become of servers: `POST /api/v1/upstreams/{name}/servers/{address}/drain` and its like.
#[derive(Serialize)]
pub(super) struct OrderedView {
    pub(super) upstream: String,
    pub(super) servers: Vec<ServerNow>,
}

/// One upstream in `GET /api/v1/status`.
#[derive(Serialize)]
pub(super) struct UpstreamStatus {
    name: String,
    servers: usize,
    taking_part: usize,
    panic: bool,
    /// Those that do not take part.
    others: Vec<ServerStatus>,
}

/// A server that does not take part.
#[derive(Serialize)]
struct ServerStatus {
    address: String,
    verdict: String,
    in_flight: u32,
}

/// All upstreams with their servers.
pub(super) fn upstreams(control: &dyn Control) -> UpstreamsView {
    let loaded = control.loaded();
    let config = &loaded.config;
    let upstreams = config
        .upstreams
        .iter()
        .enumerate()
        .map(|(index, of)| upstream(&config.sources, of, control.upstream(UpstreamId(index))));
    UpstreamsView { upstreams: upstreams.collect() }
}

/// All upstreams in short.
pub(super) fn statuses(control: &dyn Control) -> Vec<UpstreamStatus> {
    let loaded = control.loaded();
    let upstreams = loaded.config.upstreams.iter().enumerate();
    upstreams.map(|(index, of)| status(&of.name, control.upstream(UpstreamId(index)))).collect()
}

fn status(name: &str, now: UpstreamNow) -> UpstreamStatus {
    let servers = now.servers.len();
    let others: Vec<ServerStatus> = now
        .servers
        .into_iter()
        .filter(|server| !server.takes_part)
        .map(|ServerNow { address, verdict, in_flight, .. }| ServerStatus {
            address,
            verdict,
            in_flight,
        })
        .collect();
    let taking_part = servers - others.len();
    UpstreamStatus { name: name.to_owned(), servers, taking_part, panic: now.panic, others }
}

fn upstream(sources: &Sources, upstream: &Upstream, now: UpstreamNow) -> UpstreamView {
    let timeout = &upstream.timeout;
    UpstreamView {
        name: upstream.name.clone(),
        place: sources.at(upstream.place).to_string(),
        balance: match upstream.balance {
            Balance::RoundRobin => "round-robin",
            Balance::LeastRequests => "least-requests",
            Balance::TwoChoices => "two-choices",
            Balance::LeastTime => "least-time",
            Balance::ConsistentHash { .. } => "consistent-hash",
        },
        protocol: match upstream.protocol {
            Protocol::Http1 => "http1",
            Protocol::Http2 => "http2",
        },
        tls: upstream.tls.is_some(),
        tls_verified: upstream.tls.as_ref().is_some_and(|tls| !tls.dangerous_no_verify),
        host: match &upstream.host {
            HostPolicy::Client => "client".to_owned(),
            HostPolicy::Server => "server".to_owned(),
            HostPolicy::Fixed(host) => String::from_utf8_lossy(host.as_bytes()).into_owned(),
        },
        connect_timeout_seconds: timeout.connect.as_secs_f64(),
        response_timeout_seconds: timeout.response.as_secs_f64(),
        idle_timeout_seconds: timeout.idle.as_secs_f64(),
        pool_idle_max: upstream.pool.idle,
        pool_idle_timeout_seconds: upstream.pool.idle_timeout.as_secs_f64(),
        now,
    }
}
