//! Resilience, checked: what keeps failures small and answers fast, of an upstream, of a route and of the process.

use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, StatusCode};

/// How a server is chosen.
#[derive(Clone, Debug, PartialEq)]
pub enum Balance {
    /// Weighted round robin (smooth, as nginx does it).
    RoundRobin,
    /// The one with the fewest requests in flight for each unit of weight.
    LeastRequests,
    /// The less busy one of two random ones (power of two choices).
    TwoChoices,
    /// The one with the least latency (weighted over time) times requests in flight for each unit of weight.
    LeastTime,
    /// The same server for the same key.
    ConsistentHash {
        /// What is hashed.
        by: KeyOf,
        /// The most a server may have of the mean number of requests in flight, more than 1; `None`: no bound.
        bounded_load: Option<f64>,
    },
}

/// A value of the request that chooses among servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyOf {
    /// A header's value.
    Header(HeaderName),
    /// A cookie's value.
    Cookie(String),
    /// A parameter of the route's path. Every route that can come to the upstream has it, at an index of its own.
    Path(String),
    /// A parameter of the query, by its decoded name.
    Query(String),
    /// The client's address.
    Client,
}

/// What `[upstreams.NAME]` says of its servers' health and of failed tries. No places in it: wherever it stands in the
/// file, it is equal to the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Resilience {
    /// Clients stay with their server.
    pub sticky: Option<Sticky>,
    /// The request chooses among the servers by a label.
    pub subset: Option<Subset>,
    /// The next priority group helps when the healthy share of a group is less; 0 to 1.
    pub failover_below: f64,
    /// All servers are used, healthy or not, when the healthy share is less and no other group can help; 0 to 1, 0: never.
    pub panic_below: f64,
    /// How long the share of a server that is new or back grows; zero: none.
    pub slow_start: Duration,
    /// Servers are asked how they are.
    pub health_check: Option<HealthCheck>,
    /// Servers that fail requests are left out for a while; `None`: never (`at-most = 0`).
    pub ejection: Option<Ejection>,
    /// Failed requests are sent again; `None`: never (`attempts = 1`).
    pub retry: Option<Retry>,
    /// Slow requests are sent to a second server.
    pub hedge: Option<Hedge>,
    /// What retries and hedges together may add.
    pub budget: RetryBudget,
}

/// What stands before an upstream or a route.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Guards {
    /// Requests are refused at once while most fail.
    pub circuit_breaker: Option<CircuitBreaker>,
    /// Requests in flight, and how many may wait.
    pub limit: Option<Limit>,
    /// What is answered when nothing else can be.
    pub fallback: Option<Fallback>,
}

/// `sticky` of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sticky {
    /// The cookie's name, a token of RFC 9110.
    pub cookie: String,
    /// Its `Max-Age`; `None`: as long as the browser's session.
    pub ttl: Option<Duration>,
}

/// `subset` of an upstream: servers whose label has the request's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subset {
    /// Where the value is in the request.
    pub by: KeyOf,
    /// The label. At least one server has it.
    pub label: String,
    /// What becomes of a request whose value no server's label has, or that has no value.
    pub otherwise: Otherwise,
}

/// Where a request goes that belongs to no subset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Otherwise {
    /// To any server.
    Any,
    /// Nowhere: 503.
    None,
}

/// `health-check` of an upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthCheck {
    /// What is asked.
    pub probe: Probe,
    /// From one check of a server to its next.
    pub interval: Duration,
    /// How long an answer may take; at most `interval`.
    pub timeout: Duration,
    /// Good answers in a row that bring a server back.
    pub up: u32,
    /// Bad answers in a row that take a server out.
    pub down: u32,
    /// The port that is asked; `None`: the server's own.
    pub port: Option<u16>,
}

/// What a health check asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// `GET` of a path, in the upstream's protocol and with its TLS.
    Http {
        /// Path and query.
        path: PathAndQuery,
        /// The statuses that are good; at least one.
        status: Vec<StatusCode>,
        /// What the body must hold; `None`: it is not looked at.
        body: Option<String>,
        /// `Host`; `None`: as the upstream's `host`, and where that is the client's, the server's address.
        host: Option<HeaderValue>,
    },
    /// `grpc.health.v1.Health/Check`; the upstream's protocol is HTTP/2.
    Grpc {
        /// The service that is asked for; empty: the server as a whole.
        service: String,
        /// `:authority`; `None`: as `Host` of HTTP.
        host: Option<HeaderValue>,
    },
    /// A connection, with TLS if the upstream has it.
    Tcp,
}

/// `ejection` of an upstream. What is `None` is not looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Ejection {
    /// Failures in a row.
    pub consecutive_failures: Option<u32>,
    /// The failed share of its requests within `window`, more than 0 and at most 1.
    pub error_rate: Option<f64>,
    /// Requests within `window` before `error_rate` and `slower_than` are looked at.
    pub minimum: u32,
    /// Slower than the median of the others by this factor, more than 1.
    pub slower_than: Option<f64>,
    /// No answer for so long, with requests in flight, while others answer.
    pub stalled: Option<Duration>,
    /// What is looked back at.
    pub window: Duration,
    /// How long the first ejection takes; each further one twice as long.
    pub base: Duration,
    /// How long one takes at most; at least `base`.
    pub max: Duration,
    /// The share of servers that may be out, more than 0 and at most 1.
    pub at_most: f64,
}

/// `retry` of an upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// Tries in all, 2 to 10.
    pub attempts: u32,
    /// After what; nothing stands there twice.
    pub on: Vec<RetryOn>,
    /// The first pause before another try, before jitter; it doubles.
    pub backoff: Duration,
    /// The longest pause; at least `backoff`.
    pub backoff_max: Duration,
    /// Bytes of a request's body that are kept for another try.
    pub body_bytes: usize,
}

/// After what a request is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RetryOn {
    /// The connection could not be made: nothing was sent, so any method.
    Connect,
    /// The connection was closed or reset before the first byte of the response.
    Reset,
    /// A status from 400 to 599.
    Status(StatusCode),
}

/// What retries and hedges of an upstream may add to its load.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryBudget {
    /// Share of the requests, 0 to 1.
    pub share: f64,
    /// Tries each second besides.
    pub floor: f64,
}

/// `hedge` of an upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct Hedge {
    /// When the second request is sent.
    pub after: HedgeAfter,
}

/// When a second request is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum HedgeAfter {
    /// When so large a share of the upstream's responses has begun, 0.5 to 0.999: 0.95 for `"p95"`.
    Quantile(f64),
    /// After this time.
    Time(Duration),
}

/// `circuit-breaker` of an upstream or a route. One of the two rates is there.
#[derive(Clone, Debug, PartialEq)]
pub struct CircuitBreaker {
    /// The failed share that opens it, more than 0 and at most 1.
    pub error_rate: Option<f64>,
    /// The slow share that opens it, more than 0 and at most 1.
    pub slow_rate: Option<f64>,
    /// A call is slow that takes longer.
    pub slow: Duration,
    /// What is looked back at.
    pub window: Duration,
    /// Calls within `window` before it may open.
    pub minimum: u32,
    /// How long it stays open before it is tried.
    pub open_for: Duration,
    /// Calls that try it at a time, and that must go well to close it.
    pub probes: u32,
}

/// `limit` of an upstream or a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Requests in flight.
    pub in_flight: InFlightLimit,
    /// Requests that may wait; 0: none.
    pub queue: u32,
    /// How long one may wait.
    pub queue_time: Duration,
}

/// How many requests may be in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InFlightLimit {
    /// So many.
    Fixed(u32),
    /// As many as latency allows.
    Adaptive {
        /// Never fewer.
        min: u32,
        /// Never more; at least `min`.
        max: u32,
    },
}

/// `fallback` of an upstream or a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// A fixed answer.
    Answer {
        /// The status.
        status: StatusCode,
        /// `Content-Type`; `None` only without a body.
        content_type: Option<HeaderValue>,
        /// The body.
        body: String,
    },
    /// Another upstream, by its name: unlike an index it means the same after a reload. It is there, and following
    /// fallbacks from it leads to no upstream twice; [`Config::upstream_id`](super::Config::upstream_id) finds it.
    Upstream(String),
}

/// How much a route matters: under pressure the least goes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Criticality {
    /// Goes first.
    Sheddable,
    /// In between.
    #[default]
    Normal,
    /// Goes last.
    Critical,
}

/// `[overload]`: from which reading on the process sheds load. What is `None` is not looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Overload {
    /// How late a worker's loop comes round.
    pub loop_delay: Option<Duration>,
    /// The share of the memory the process may use, more than 0 and less than 1.
    pub memory: Option<f64>,
    /// The share of `limits.connections`, more than 0 and less than 1.
    pub connections: Option<f64>,
    /// The share of the file descriptors the process may open, more than 0 and less than 1.
    pub descriptors: Option<f64>,
}
