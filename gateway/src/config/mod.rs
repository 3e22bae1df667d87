//! The configuration, checked: who holds a [`Config`] need not check anything again.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, StatusCode};
use ipnet::IpNet;
use plugins::secret::Secret;

mod at;
mod check;
mod environment;
pub mod error;
mod fault;
mod file;
mod load;
mod pattern;
mod read;
mod resilience;
mod route;
pub mod schema;
pub mod source;
mod upstream;

pub use error::{Problem, Problems};
pub use load::{from_text, load};
pub use resilience::*;
pub use route::*;
pub use source::{Place, Sources};
pub use upstream::*;

/// Everything config.toml and its includes say.
#[derive(Clone, Debug)]
pub struct Config {
    /// The files it was read from, to turn a [`Place`] into file:line:column.
    pub sources: Sources,
    /// The process: threads, drain, hand-over.
    pub server: Server,
    /// What every client is held to.
    pub limits: Limits,
    /// When the process sheds load.
    pub overload: Overload,
    /// Where requests arrive.
    pub listeners: Vec<Listener>,
    /// Peers whose word on the client's address is believed (`X-Forwarded-For`, `Forwarded`).
    pub trusted_proxies: Vec<IpNet>,
    /// The admin endpoint, if any.
    pub admin: Option<Admin>,
    /// The access log, if any.
    pub access_log: Option<AccessLog>,
    /// Groups of servers, by name; a route's [`UpstreamId`] is an index into it.
    pub upstreams: Vec<Upstream>,
    /// All routes, in no meaningful order. Two that cannot be told apart were refused.
    pub routes: Vec<Route>,
    /// The tests inside the config.
    pub tests: Vec<Test>,
}

impl Config {
    /// The upstream of this name.
    pub fn upstream_id(&self, name: &str) -> Option<UpstreamId> {
        let index = self.upstreams.binary_search_by(|upstream| upstream.name.as_str().cmp(name));
        index.ok().map(UpstreamId)
    }
}

/// `[server]`.
#[derive(Clone, Debug)]
pub struct Server {
    /// Worker threads, each with its own runtime, listeners' sockets and connection pools.
    pub threads: usize,
    /// How the process ends.
    pub drain: Drain,
    /// The socket over which `gateway run --upgrade` asks for the listeners. In a folder of mode 0700.
    pub handover: Option<PathBuf>,
    /// Reload when a config file changes.
    pub watch: bool,
    /// Where this gateway is; servers of the same zone are preferred.
    pub zone: Option<String>,
}

/// `[server.drain]`: what happens between SIGTERM and the end.
#[derive(Clone, Debug)]
pub struct Drain {
    /// How long new connections are still answered after `/readyz` has gone false.
    pub delay: Duration,
    /// How long an idle keep-alive connection is kept for one last answer with `Connection: close`.
    pub idle: Duration,
    /// How long WebSockets and other upgraded connections may go on.
    pub upgraded: Duration,
    /// How long requests may go on; then their connections are cut.
    pub requests: Duration,
}

/// `[limits]`. What happens at each is in docs/config.md.
#[derive(Clone, Debug)]
pub struct Limits {
    /// From the first byte of a request's head to its last.
    pub header_timeout: Duration,
    /// Request line and headers, in bytes (HTTP/2: the decoded list).
    pub header_bytes: usize,
    /// Header fields of a request.
    pub header_count: usize,
    /// Request body in bytes, unless the route says otherwise; `None`: no bound.
    pub body_bytes: Option<u64>,
    /// Connections in all.
    pub connections: usize,
    /// Connections from one client address (IPv6: from one /64).
    pub connections_per_client: usize,
    /// Requests on one connection; the last one is answered with `Connection: close` (HTTP/2: GOAWAY).
    pub requests_per_connection: u64,
    /// How long a connection may stay idle between requests.
    pub keep_alive: Duration,
    /// Bytes per second that a client must send while its body is awaited, measured over `receive_grace`.
    pub receive_rate: u64,
    /// How long a body may fall behind `receive_rate`.
    pub receive_grace: Duration,
    /// How long a client may take no byte of a response before its connection is closed.
    pub send_timeout: Duration,
    /// Streams open at once on one HTTP/2 connection.
    pub http2_streams: u32,
    /// Streams a client may reset before they were answered, pending at once, before the connection is closed (rapid reset).
    pub http2_resets: usize,
}

/// One of `[[listeners]]`.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Where it stands in the config.
    pub place: Place,
    /// What it binds to.
    pub address: ListenAddress,
    /// Certificates, if it speaks TLS.
    pub tls: Option<ListenerTls>,
    /// Each connection starts with a PROXY protocol header, v1 or v2; without one it is closed. Believed only
    /// from `trusted_proxies`.
    pub proxy_protocol: bool,
}

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// IP address and port.
    Tcp(SocketAddr),
    /// A Unix socket (`unix:/run/gateway.sock`).
    Unix(PathBuf),
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// `tls` of a listener.
#[derive(Clone, Debug)]
pub struct ListenerTls {
    /// Certificate chains with their keys; SNI chooses, the first is the default.
    pub certificates: Vec<Certificate>,
}

/// A certificate chain and its key, as PEM files that were readable when checked.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// PEM file of the chain, leaf first.
    pub cert: PathBuf,
    /// PEM file of the private key.
    pub key: PathBuf,
    /// Where it stands in the config.
    pub place: Place,
}

/// `[admin]`.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Where it listens.
    pub address: SocketAddr,
    /// The bearer token of `/api/v1`; without it the API answers 403.
    pub token: Option<Secret>,
}

/// `[access-log]`.
#[derive(Clone, Debug)]
pub struct AccessLog {
    /// Where lines go.
    pub target: LogTarget,
    /// Bytes that may wait for a slow disk; beyond it lines are dropped and counted.
    pub buffer_bytes: usize,
    /// How long a line may wait before it is written.
    pub flush: Duration,
}

/// Where the access log goes.
#[derive(Clone, Debug)]
pub enum LogTarget {
    /// Standard output.
    Stdout,
    /// A file, reopened on SIGUSR1.
    File(PathBuf),
}

/// One of `[[tests]]`: a request that is routed but not sent.
#[derive(Clone, Debug)]
pub struct Test {
    /// Where it stands in the config.
    pub place: Place,
    /// The method.
    pub method: Method,
    /// Scheme and host are optional in the config; `http://localhost` stands in.
    pub uri: http::Uri,
    /// Headers of the request.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The client's address; 127.0.0.1 if not given.
    pub client: std::net::IpAddr,
    /// What is expected.
    pub expect: Expectation,
}

/// `expect` of a test; what is not given is not looked at.
#[derive(Clone, Debug, Default)]
pub struct Expectation {
    /// The route's name.
    pub route: Option<String>,
    /// The status with which the gateway itself answers (a plugin's refusal, a redirect, 404, 405).
    pub status: Option<StatusCode>,
    /// The upstream's name.
    pub upstream: Option<String>,
    /// The path the upstream sees.
    pub path: Option<String>,
}
