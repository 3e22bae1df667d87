//! Upstreams, checked: groups of servers and how to speak to them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderValue;

use super::resilience::{Balance, Guards, KeyOf, Resilience};
use super::source::Place;

/// An index into [`Config::upstreams`](super::Config::upstreams).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UpstreamId(pub usize);

/// One of `[upstreams.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// Where it stands in the config.
    pub place: Place,
    /// Its name.
    pub name: String,
    /// At least one.
    pub servers: Vec<UpstreamServer>,
    /// How a server is chosen.
    pub balance: Balance,
    /// What is spoken to the servers.
    pub protocol: Protocol,
    /// TLS to the servers.
    pub tls: Option<UpstreamTls>,
    /// The `Host` the servers see.
    pub host: HostPolicy,
    /// Its time limits.
    pub timeout: UpstreamTimeouts,
    /// Its keep-alive pool.
    pub pool: Pool,
    /// Its servers' health, and failed tries.
    pub resilience: Resilience,
    /// What stands before it.
    pub guards: Guards,
}

impl Upstream {
    /// Whether a parameter of the path chooses the server.
    pub(crate) fn looks_at_paths(&self) -> bool {
        let hashed = match &self.balance {
            Balance::ConsistentHash { by, .. } => Some(by),
            Balance::RoundRobin
            | Balance::LeastRequests
            | Balance::TwoChoices
            | Balance::LeastTime => None,
        };
        let subset = self.resilience.subset.as_ref().map(|subset| &subset.by);
        hashed.into_iter().chain(subset).any(|by| matches!(by, KeyOf::Path(_)))
    }
}

/// One server of an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UpstreamServer {
    /// Where it is.
    pub address: ServerAddress,
    /// Its share, 1 to 1,000 (0: no new requests).
    pub weight: u32,
    /// Where it is, if that is said.
    pub zone: Option<String>,
    /// Its priority group, 0 to 100; 0 is used first.
    pub priority: u32,
    /// What `subset` looks at.
    pub labels: BTreeMap<String, String>,
}

/// The address of a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ServerAddress {
    /// IP address and port.
    Ip(SocketAddr),
    /// A name and a port; every address it resolves to is a server of the same weight.
    Name(String, u16),
    /// A Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// What is spoken to an upstream's servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2: over TLS by ALPN, else with prior knowledge (h2c).
    Http2,
}

/// TLS to an upstream's servers. Verified; the name must match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTls {
    /// PEM file with the CA that signs the servers' certificates; `None`: the system's.
    pub ca: Option<PathBuf>,
    /// The name in SNI and certificate; `None`: the server's own name or address.
    pub server_name: Option<String>,
    /// Only when `dangerous-no-verify = true`: any certificate is believed.
    pub dangerous_no_verify: bool,
}

/// Which `Host` (or `:authority`) the servers see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPolicy {
    /// What the client sent (the default, as Envoy and Caddy do).
    Client,
    /// The server's own address.
    Server,
    /// A fixed one.
    Fixed(HeaderValue),
}

/// `timeout` of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTimeouts {
    /// TCP connect and TLS handshake.
    pub connect: Duration,
    /// From the last byte of the request to the head of the response.
    pub response: Duration,
    /// Between two chunks of a response body.
    pub idle: Duration,
}

/// `pool` of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Idle connections kept per server and worker.
    pub idle: usize,
    /// How long one is kept. Shorter than the servers' own keep-alive, or requests meet a closing connection.
    pub idle_timeout: Duration,
}
