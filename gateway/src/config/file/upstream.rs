//! `[upstreams.NAME]`: a group of servers and how to speak to them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Unexpected, Visitor};

use super::numbers::{Pause, Share};
use super::resilience::{
    Balance, CircuitBreaker, Ejection, Fallback, HealthCheck, Hedge, Limit, Retry, Sticky, Subset,
};
use super::values::{Timeout, timeout};
use super::{At, table};

/// A group of servers.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(in crate::config) struct Upstream {
    /// Its servers, at least one: `"ip:port"`, `"name:port"` (every address of the name is a server, looked up again
    /// when its time to live is over), `"unix:/path"`, or `{ address = "…", weight = 2, zone = "b" }`.
    pub(in crate::config) servers: At<Vec<At<UpstreamServer>>>,
    /// How a server is chosen. Default: "round-robin", by weight, the most predictable.
    #[serde(default)]
    pub(in crate::config) balance: Balance,
    /// What is spoken to the servers. Default: "http1", which every server speaks.
    #[serde(default)]
    pub(in crate::config) protocol: Protocol,
    /// TLS to the servers; `{}` is TLS with the system's authorities. Default: none, plain text.
    pub(in crate::config) tls: Option<At<UpstreamTls>>,
    /// The `Host` the servers see: "client" (what the client sent), "server" (the server's own address) or
    /// `{ fixed = "name" }`. Default: "client", as Envoy, HAProxy and Caddy: redirects and cookies then name the right
    /// host (nginx: the server's).
    #[serde(default)]
    pub(in crate::config) host: Host,
    /// Its time limits.
    #[serde(default)]
    pub(in crate::config) timeout: UpstreamTimeouts,
    /// Its keep-alive connections.
    #[serde(default)]
    pub(in crate::config) pool: Pool,
    /// Clients stay with their server. Default: none.
    pub(in crate::config) sticky: Option<At<Sticky>>,
    /// The request chooses among the servers by a label. Default: none.
    pub(in crate::config) subset: Option<At<Subset>>,
    /// The servers of the next `priority` help when the healthy share of a group is less; 0: when none is healthy.
    /// Default: 0.7, near Envoy's overprovisioning of 1.4.
    #[serde(default = "failover_below")]
    pub(in crate::config) failover_below: Share,
    /// All servers are used, healthy or not, when the healthy share is less and no other group can help; 0: never.
    /// Default: 0.5, as Envoy: the few that are left would fail, too.
    #[serde(default = "panic_below")]
    pub(in crate::config) panic_below: Share,
    /// How long the share of a server that is new or back grows to its whole; 0s: it has it at once. Default: 10s, for
    /// caches, compilers and pools to warm up.
    #[serde(default = "slow_start")]
    pub(in crate::config) slow_start: Pause,
    /// Servers are asked how they are. Default: none.
    pub(in crate::config) health_check: Option<At<HealthCheck>>,
    /// Servers that fail requests are left out for a while. Default: on.
    #[serde(default)]
    pub(in crate::config) ejection: Ejection,
    /// Failed requests are sent again. Default: on.
    #[serde(default)]
    pub(in crate::config) retry: Retry,
    /// Slow requests are sent to a second server, too. Default: none.
    pub(in crate::config) hedge: Option<At<Hedge>>,
    /// Refuses requests at once while most fail. Default: none.
    pub(in crate::config) circuit_breaker: Option<At<CircuitBreaker>>,
    /// Requests in flight. Default: none.
    pub(in crate::config) limit: Option<At<Limit>>,
    /// What is answered instead when it cannot. Default: none, 503 or 504.
    pub(in crate::config) fallback: Option<At<Fallback>>,
}

/// One server: an address, or a table with more.
#[derive(Clone, Debug)]
pub(in crate::config) struct UpstreamServer {
    pub(in crate::config) address: String,
    pub(in crate::config) weight: u32,
    pub(in crate::config) zone: Option<At<String>>,
    pub(in crate::config) priority: Option<At<u32>>,
    pub(in crate::config) labels: BTreeMap<String, At<String>>,
}

/// A server with its weight and what else is known of it.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct ServerTable {
    /// `"ip:port"`, `"name:port"` or `"unix:/path"`.
    address: String,
    /// Its share of the requests among the group, up to 1000; 0: no new requests. Default: 1.
    #[serde(default = "weight")]
    weight: u32,
    /// Where it is; `server.zone` says where the gateway is. Default: none, it is near to nobody.
    zone: Option<At<String>>,
    /// Its group, up to 100: those of 0 are used first, the next when too few of them are healthy (`failover-below`).
    /// Default: 0.
    priority: Option<At<u32>>,
    /// What `subset` looks at: `{ region = "eu" }`. Default: none.
    #[serde(default)]
    labels: BTreeMap<String, At<String>>,
}

fn weight() -> u32 {
    1
}

impl<'de> Deserialize<'de> for UpstreamServer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrTable;

        impl<'de> Visitor<'de> for TextOrTable {
            type Value = UpstreamServer;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("addresses such as \"10.0.0.1:3000\" or { address = \"10.0.0.1:3000\", weight = 2 }")
            }

            fn visit_str<E: Error>(self, address: &str) -> Result<UpstreamServer, E> {
                Ok(UpstreamServer {
                    address: address.to_owned(),
                    weight: weight(),
                    zone: None,
                    priority: None,
                    labels: BTreeMap::new(),
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<UpstreamServer, A::Error> {
                let ServerTable { address, weight, zone, priority, labels } =
                    ServerTable::deserialize(MapAccessDeserializer::new(table))?;
                Ok(UpstreamServer { address, weight, zone, priority, labels })
            }
        }

        deserializer.deserialize_any(TextOrTable)
    }
}

super::values::text_or!(UpstreamServer, "UpstreamServer", ServerTable);

/// The default share of healthy servers below which the next priority group helps.
fn failover_below() -> Share {
    Share(0.7)
}

/// The default share of healthy servers below which all are used.
fn panic_below() -> Share {
    Share(0.5)
}

/// The default time in which a new server's share grows.
fn slow_start() -> Pause {
    Pause(Duration::from_secs(10))
}

/// What is spoken to the servers.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(in crate::config) enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2: over TLS by agreement (ALPN), else with prior knowledge (h2c). gRPC needs it.
    Http2,
}

/// Which `Host` the servers see: a word, or a table with a fixed one.
#[derive(Clone, Debug, Default, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(in crate::config) enum Host {
    /// What the client sent.
    #[default]
    Client,
    /// The server's own address.
    Server,
    /// This one.
    Fixed(At<String>),
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct FixedHost {
    fixed: At<String>,
}

impl<'de> Deserialize<'de> for Host {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WordOrTable;

        impl<'de> Visitor<'de> for WordOrTable {
            type Value = Host;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"client\", \"server\" or { fixed = \"api.example.com\" }")
            }

            fn visit_str<E: Error>(self, word: &str) -> Result<Host, E> {
                match word {
                    "client" => Ok(Host::Client),
                    "server" => Ok(Host::Server),
                    other => Err(E::invalid_value(Unexpected::Str(other), &self)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<Host, A::Error> {
                FixedHost::deserialize(MapAccessDeserializer::new(table))
                    .map(|FixedHost { fixed }| Host::Fixed(fixed))
            }
        }

        deserializer.deserialize_any(WordOrTable)
    }
}

table! {
    /// TLS to the servers: verified, and the name must match.
    UpstreamTls {
        /// PEM file with the authority that signed the servers' certificates. Default: the system's authorities.
        ca: Option<At<PathBuf>> = None,
        /// The name asked for and looked for in the certificate. Default: the server's own name or address.
        server_name: Option<At<String>> = None,
        /// Any certificate is believed, so anyone in between can read and change everything. Default: false.
        dangerous_no_verify: bool = false,
    }
}

table! {
    /// Time limits of an upstream.
    UpstreamTimeouts {
        /// TCP connect and TLS handshake; then 504. Default: 1s: within a data centre either it is there or it is not
        /// (nginx: 60s).
        connect: Timeout = timeout(1),
        /// From the last byte of the request to the head of the response; then 504. Default: 60s, as nginx.
        response: Timeout = timeout(60),
        /// Between two chunks of a response body, also of WebSockets and event streams. Default: 60s, as nginx.
        idle: Timeout = timeout(60),
    }
}

table! {
    /// Keep-alive connections of an upstream.
    Pool {
        /// Idle connections kept for each server by each worker; 0: none. Default: 64.
        idle: usize = 64,
        /// How long one is kept. Must be shorter than the servers' own keep-alive, or requests meet a closing
        /// connection. Default: 4s, since Node and Apache close after 5.
        idle_timeout: Timeout = timeout(4),
    }
}
