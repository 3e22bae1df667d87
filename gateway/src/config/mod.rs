//! The configuration, checked: who holds a [`Config`] need not check anything again.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, StatusCode};
use ipnet::IpNet;
use plugins::registry::PluginSettings;
use plugins::secret::Secret;

mod check;
mod environment;
pub mod error;
mod fault;
mod file;
mod load;
mod pattern;
mod read;
pub mod schema;
pub mod source;

pub use error::{Problem, Problems};
pub use load::{from_text, load};
pub use source::{Place, Sources};

/// Everything config.toml and its includes say.
#[derive(Clone, Debug)]
pub struct Config {
    /// The files it was read from, to turn a [`Place`] into file:line:column.
    pub sources: Sources,
    /// The process: threads, drain, hand-over.
    pub server: Server,
    /// What every client is held to.
    pub limits: Limits,
    /// Where requests arrive.
    pub listeners: Vec<Listener>,
    /// Peers whose word on the client's address is believed (`X-Forwarded-For`, `Forwarded`).
    pub trusted_proxies: Vec<IpNet>,
    /// The admin endpoint, if any.
    pub admin: Option<Admin>,
    /// The access log, if any.
    pub access_log: Option<AccessLog>,
    /// Groups of servers; a route's [`UpstreamId`] is an index into it.
    pub upstreams: Vec<Upstream>,
    /// All routes, in no meaningful order. Two that cannot be told apart were refused.
    pub routes: Vec<Route>,
    /// The tests inside the config.
    pub tests: Vec<Test>,
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

/// An index into [`Config::upstreams`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UpstreamId(pub usize);

/// One of `[upstreams.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
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
}

/// One server of an upstream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UpstreamServer {
    /// Where it is.
    pub address: ServerAddress,
    /// Its share, 1 to 1,000 (0: no new requests).
    pub weight: u32,
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

/// How a server is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// Weighted round robin (smooth, as nginx does it).
    RoundRobin,
    /// The less busy one of two random ones (power of two choices).
    TwoChoices,
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

/// One of `[[routes]]`.
#[derive(Clone, Debug)]
pub struct Route {
    /// Where it stands in the config.
    pub place: Place,
    /// Its name: as given, or the path pattern (made unique by methods and host when shared).
    pub name: String,
    /// Host patterns, lower case; empty: any host.
    pub hosts: Vec<HostPattern>,
    /// The path pattern.
    pub path: PathPattern,
    /// Methods it takes; empty: any. `HEAD` is taken by a route that takes `GET`.
    pub methods: Vec<Method>,
    /// A CEL condition.
    pub when: Option<When>,
    /// Orders routes that differ by nothing but `when`: the higher first.
    pub priority: i32,
    /// Global plugins first, then the route's own.
    pub plugins: Vec<PluginUse>,
    /// What it does.
    pub action: Action,
    /// The whole request, from its head to the last byte of the response; `None`: no bound.
    pub timeout: Option<Duration>,
    /// Request body in bytes; `None`: no bound.
    pub body_bytes: Option<u64>,
    /// `%2F` and `%5C` in a path pass through as they are; else they are refused with 400.
    pub encoded_slashes: bool,
    /// Adds `Server-Timing` to the response.
    pub server_timing: bool,
    /// Adds `Proxy-Status` (RFC 9209) to the response.
    pub proxy_status: bool,
    /// Which forwarding headers the upstream sees.
    pub forwarded: Forwarded,
}

/// `when` of a route: source text that routing compiles.
#[derive(Clone, Debug)]
pub struct When {
    /// Where it stands in the config.
    pub place: Place,
    /// CEL.
    pub text: String,
}

/// Which forwarding headers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forwarded {
    /// `X-Forwarded-For`, `-Host`, `-Proto` and `X-Real-IP`.
    pub x_forwarded: bool,
    /// `Forwarded` (RFC 7239).
    pub rfc7239: bool,
}

/// A host a route answers to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// This host.
    Exact(String),
    /// `*.example.com`: any number of labels before the suffix; kept as `.example.com`.
    Wildcard(String),
}

/// A path pattern: segments between slashes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathPattern {
    /// As written.
    pub text: String,
    /// Its segments.
    pub segments: Vec<Segment>,
}

/// One segment of a path pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Segment {
    /// Exactly this.
    Exact(String),
    /// `{name}`, `v{name}` or `{name}.json`: one segment that is not empty.
    Parameter {
        /// Text before the parameter.
        prefix: String,
        /// The parameter's name.
        name: String,
        /// Text after the parameter.
        suffix: String,
    },
    /// `{*name}`, only at the end: the rest of the path, which may be empty.
    CatchAll(String),
}

/// A plugin as used by a route.
#[derive(Clone, Debug)]
pub struct PluginUse {
    /// Where it stands in the config.
    pub place: Place,
    /// Its settings.
    pub settings: PluginSettings,
}

/// What a route does with a request.
#[derive(Clone, Debug)]
pub enum Action {
    /// Sends it to an upstream.
    Proxy {
        /// Which.
        upstream: UpstreamId,
        /// The path the servers see; `None`: the client's.
        rewrite: Option<Template>,
    },
    /// Answers with a redirect.
    Redirect {
        /// 301, 302, 303, 307 or 308.
        status: StatusCode,
        /// The `Location`; the query is appended unless the template has one.
        location: Template,
    },
    /// Answers with fixed content.
    Respond {
        /// The status.
        status: StatusCode,
        /// Headers, `Content-Type` among them.
        headers: Vec<(HeaderName, HeaderValue)>,
        /// The body.
        body: String,
    },
}

/// Text with the path's parameters in it: `/v2/{id}/{rest}`. Every name is a parameter of the route's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Its pieces in order.
    pub pieces: Vec<Piece>,
}

/// One piece of a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Text as it is.
    Text(String),
    /// The value of a path parameter: its index among the pattern's parameters, from the left.
    Parameter(usize),
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
