//! What keeps failures small: the tables of an upstream, of a route and `[overload]`.

use std::fmt;
use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use plugins::units::Size;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, Error, Unexpected, Visitor};

use super::numbers::{
    EachSecond, Factor, OrNone, Pause, PointOrTime, Reached, Share, Span, Threshold, Window, some,
};
use super::values::{Timeout, count, kibibytes, nowhere};
use super::{At, table};

/// How a server is chosen.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(in crate::config) enum Balance {
    /// One after the other, by weight, evenly spread.
    #[default]
    RoundRobin,
    /// The one with the fewest requests in flight: for few servers and requests that differ much.
    LeastRequests,
    /// The less busy of two chosen at random: better where servers or requests differ much.
    TwoChoices,
    /// The one that is likely to answer first, by its latency of late and its requests in flight: best where servers
    /// differ in speed.
    LeastTime,
    /// The same server for the same key, for servers that cache.
    ConsistentHash(At<ConsistentHash>),
}

/// The same server for the same key: when a server comes or goes, only its share of the keys moves.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(in crate::config) struct ConsistentHash {
    /// The key: `"header:x-user"`, `"cookie:NAME"`, `"path:PARAMETER"` (of the routes' paths), `"query:NAME"` or
    /// `"client"` (its address).
    pub(in crate::config) by: At<String>,
    /// The most requests in flight a server may have, as a multiple of the mean; beyond it the key's next server is
    /// taken. More than 1, or "none". Default: 1.25, what the paper on bounded loads and HAProxy recommend.
    #[serde(default = "bounded_load")]
    pub(in crate::config) bounded_load: OrNone<Factor>,
}

fn bounded_load() -> OrNone<Factor> {
    some(Factor(1.25))
}

/// Clients stay with the server they had, by a cookie that the gateway sets. When the server is out, another is chosen.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(in crate::config) struct Sticky {
    /// The cookie's name.
    pub(in crate::config) cookie: At<String>,
    /// How long the cookie is kept. Default: as long as the browser's session.
    pub(in crate::config) ttl: Option<Timeout>,
}

/// A value of the request chooses the servers whose label is the same: regions, shards of users.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(in crate::config) struct Subset {
    /// Where the value is: `"header:x-region"`, `"cookie:NAME"`, `"path:PARAMETER"` (of the routes' paths) or
    /// `"query:NAME"`.
    pub(in crate::config) by: At<String>,
    /// The label, of which each server has a value in its `labels`.
    pub(in crate::config) label: At<String>,
    /// What happens to a request whose value no server has. Default: "any", it is answered rather than refused.
    #[serde(default)]
    pub(in crate::config) otherwise: Otherwise,
}

/// What happens to a request that belongs to no subset.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(in crate::config) enum Otherwise {
    /// It goes to any server.
    #[default]
    Any,
    /// It is refused with 503.
    None,
}

table! {
    /// Servers are asked how they are, each at its own time. Exactly one of `path`, `grpc` and `tcp`. The first answer
    /// decides at once.
    HealthCheck {
        /// A path that is asked for by GET, in the upstream's protocol and with its TLS: `"/health"`.
        path: Option<At<String>> = None,
        /// A gRPC service whose health is asked for (`grpc.health.v1.Health`); `""` is the server as a whole. Needs
        /// `protocol = "http2"`.
        grpc: Option<At<String>> = None,
        /// A connection is made, with TLS if the upstream has it, and closed.
        tcp: Option<At<bool>> = None,
        /// From one check of a server to its next, give or take a tenth, so that many gateways do not ask at once.
        /// Default: 5s.
        interval: At<Span> = nowhere(span(5)),
        /// How long an answer may take; at most `interval`. Default: 1s.
        timeout: At<Span> = nowhere(span(1)),
        /// Good answers in a row that bring a server back. Default: 2, one may be luck.
        up: NonZeroU32 = count(2),
        /// Bad answers in a row that take a server out. Default: 3, one may be a lost packet.
        down: NonZeroU32 = count(3),
        /// With `path`: the statuses that are good. Default: [200].
        status: Option<At<Vec<At<u16>>>> = None,
        /// With `path`: a text the body must hold, within its first 64KiB. Default: the body is not looked at.
        body: Option<At<String>> = None,
        /// With `path` or `grpc`: the `Host` the server sees. Default: as the upstream's `host`; where that is the
        /// client's, the server's address.
        host: Option<At<String>> = None,
        /// The port that is asked. Default: the server's own.
        port: Option<At<NonZeroU16>> = None,
    }
}

table! {
    /// Servers that fail or are much slower than the others get no requests for a while. Which they are is seen from the
    /// requests themselves. A key that takes "none" is then not looked at.
    Ejection {
        /// So many failures in a row; or "none". Default: 5, as Envoy.
        consecutive_failures: OrNone<NonZeroU32> = some(count(5)),
        /// A failed share of its requests that the others do not have; or "none". Default: 0.3.
        error_rate: OrNone<Reached> = some(Reached(0.3)),
        /// Requests within `window` before `error-rate` and `slower-than` are looked at. Default: 20.
        minimum: NonZeroU32 = count(20),
        /// So many times slower than the median of the others; or "none". Default: 5.
        slower_than: OrNone<Factor> = some(Factor(5.0)),
        /// No answer for so long while requests wait and the others answer; or "none". Default: 1s.
        stalled: OrNone<Span> = some(span(1)),
        /// What is looked back at. Default: 5s.
        window: Window = Window(Duration::from_secs(5)),
        /// How long the first ejection takes; each further one twice as long. Default: 5s.
        base: At<Span> = nowhere(span(5)),
        /// How long one takes at most. Default: 5m, as Envoy.
        max: At<Span> = nowhere(span(300)),
        /// The share of the servers that may be out, though one always may where there are two; 0: none is ever taken
        /// out. Default: 0.5, since when more than half fail it is not the servers.
        at_most: Share = Share(0.5),
    }
}

table! {
    /// Requests that failed before the client saw any of a response are sent again, to another server if there is one.
    /// Only idempotent methods, but for `"connect"`, where nothing was sent.
    Retry {
        /// Tries in all, up to 10; 1: no retries. Default: 3.
        attempts: At<NonZeroU32> = nowhere(count(3)),
        /// After what: "connect" (no connection), "reset" (closed before the first byte of the response), or a status from
        /// 400 to 599. Default: ["connect", "reset", 502, 503, 504], what says that nobody worked on it.
        on: At<Vec<At<RetryOn>>> = nowhere(RetryOn::DEFAULT.map(nowhere).to_vec()),
        /// The first pause before another try; it doubles, and a random part of it is taken. A `Retry-After` of the
        /// server goes before it. Default: 25ms.
        backoff: At<Pause> = nowhere(Pause(Duration::from_millis(25))),
        /// The longest pause. Default: 250ms.
        backoff_max: At<Pause> = nowhere(Pause(Duration::from_millis(250))),
        /// What retries and hedges may add, as a share of the requests. Default: 0.15: a failing upstream gets at most
        /// 1.2 times its load, the requests of the two seconds before counted in.
        budget: At<Share> = nowhere(Share(0.15)),
        /// Tries each second that are granted besides, so that few requests can be retried, too. Default: 10.
        floor: EachSecond = EachSecond(10.0),
        /// The longest request body that is kept for another try, up to 16MiB; a longer one is sent once. Default: 64KiB.
        body: At<Size> = kibibytes(64),
    }
}

/// After what a request is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::config) enum RetryOn {
    Connect,
    Reset,
    Status(u16),
}

impl RetryOn {
    const DEFAULT: [Self; 5] =
        [Self::Connect, Self::Reset, Self::Status(502), Self::Status(503), Self::Status(504)];
}

impl<'de> Deserialize<'de> for RetryOn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WordOrStatus;

        impl Visitor<'_> for WordOrStatus {
            type Value = RetryOn;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"connect\", \"reset\" or a status from 400 to 599")
            }

            fn visit_str<E: Error>(self, word: &str) -> Result<RetryOn, E> {
                match word {
                    "connect" => Ok(RetryOn::Connect),
                    "reset" => Ok(RetryOn::Reset),
                    other => Err(E::invalid_value(Unexpected::Str(other), &self)),
                }
            }

            fn visit_i64<E: Error>(self, status: i64) -> Result<RetryOn, E> {
                match u16::try_from(status) {
                    Ok(status @ 400..=599) => Ok(RetryOn::Status(status)),
                    Ok(_) | Err(_) => Err(E::invalid_value(Unexpected::Signed(status), &self)),
                }
            }
        }

        deserializer.deserialize_any(WordOrStatus)
    }
}

impl JsonSchema for RetryOn {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RetryOn".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "enum": ["connect", "reset"] },
            { "type": "integer", "minimum": 400, "maximum": 599 },
        ] })
    }
}

table! {
    /// A request of a safe method (GET, HEAD, OPTIONS) that is slow is sent to a second server, too; the first response is
    /// taken and the other request given up. Within the budget of `retry`.
    Hedge {
        /// When: at a point of the upstream's response times (`"p50"` to `"p99.9"`), or after a time. Default: "p95", one
        /// request of twenty.
        after: PointOrTime = PointOrTime::Point(0.95),
    }
}

table! {
    /// While most calls fail or are slow, further ones are refused at once with 503 and `Retry-After`, or answered by
    /// `fallback`; then a few try whether it is over.
    CircuitBreaker {
        /// The failed share of calls that opens it; or "none". Default: 0.5.
        error_rate: At<OrNone<Reached>> = nowhere(some(Reached(0.5))),
        /// The slow share of calls that opens it; or "none". Default: 0.8.
        slow_rate: OrNone<Reached> = some(Reached(0.8)),
        /// A call is slow that takes longer. Default: 2s.
        slow: Span = span(2),
        /// What is looked back at. Default: 10s.
        window: Window = Window(Duration::from_secs(10)),
        /// Calls within `window` before it may open. Default: 20.
        minimum: NonZeroU32 = count(20),
        /// How long it stays open before it is tried. Default: 5s.
        open_for: Span = span(5),
        /// Calls that try it at a time, and that must go well to close it; up to 1000; a single failure
        /// opens it again. Default: 3.
        probes: At<NonZeroU32> = nowhere(count(3)),
    }
}

table! {
    /// Requests in flight. Those beyond it wait, the most critical first; beyond the queue they get 503 or `fallback`.
    Limit {
        /// How many. Default: 512; with `adaptive` it is not said.
        in_flight: Option<At<NonZeroU32>> = None,
        /// As many as the upstream takes before it becomes slower, found out all the time. Default: false.
        adaptive: bool = false,
        /// With `adaptive`: never fewer. Default: 8.
        min: Option<At<NonZeroU32>> = None,
        /// With `adaptive`: never more. Default: 1024.
        max: Option<At<NonZeroU32>> = None,
        /// Requests that may wait, up to 100000; 0: none. Default: 128.
        queue: At<u32> = nowhere(128),
        /// How long one may wait. Default: 100ms: what has waited longer is seldom worth the work.
        queue_time: Span = Span(Duration::from_millis(100)),
    }
}

table! {
    /// What is answered instead when the upstream cannot: no server, circuit open, limit reached, all tries failed. A fixed
    /// answer, or the answer of another upstream.
    Fallback {
        /// The status of a fixed answer, 200 to 599. Default: 503.
        status: Option<At<u16>> = None,
        /// The body of a fixed answer. Default: empty.
        body: Option<At<String>> = None,
        /// The type of `body`. Default: "text/plain; charset=utf-8".
        content_type: Option<At<String>> = None,
        /// The name of another of `[upstreams.NAME]`, which gets the request, as far as it can be sent again.
        upstream: Option<At<String>> = None,
    }
}

/// How much a route matters.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(in crate::config) enum Criticality {
    /// Goes last: what earns the money.
    Critical,
    /// In between.
    #[default]
    Normal,
    /// Goes first: what nobody misses for a minute.
    Sheddable,
}

table! {
    /// When the process itself is near its end it sheds load step by step: no keep-alive, then `sheddable` routes, then
    /// `normal` ones, then new connections. The admin endpoint always answers. A key that is "none" is not looked at.
    Overload {
        /// How late a worker comes round to its sockets, for a second; or "none". Default: 500ms: less is what a busy machine does
        /// to any process.
        loop_delay: OrNone<Span> = some(Span(Duration::from_millis(500))),
        /// The share of the memory the process may use (cgroup, or the machine); or "none". Default: 0.9.
        memory: OrNone<Threshold> = some(Threshold(0.9)),
        /// The share of `limits.connections`; or "none". Default: 0.9.
        connections: OrNone<Threshold> = some(Threshold(0.9)),
        /// The share of the file descriptors the process may open; or "none". Default: 0.9.
        descriptors: OrNone<Threshold> = some(Threshold(0.9)),
    }
}

const fn span(seconds: u64) -> Span {
    Span(Duration::from_secs(seconds))
}
