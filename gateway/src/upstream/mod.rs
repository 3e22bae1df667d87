//! Upstreams: groups of servers, how one is chosen, and the connections to them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderValue;

use crate::config::{self, HostPolicy, Problem, Protocol, ServerAddress};
use crate::observe::metrics::{Metrics, UpstreamMetrics};

mod balance;
mod call;
mod connect;
mod heard;
mod http1;
mod silence;
mod upload;
mod http2;
mod pool;
pub(crate) mod request_body;
pub(crate) mod resolve;
pub(crate) mod response_body;
mod tls;

pub(crate) use balance::Turns;
pub(crate) use call::{CallError, CallFailure, Called, Caller, call};
use connect::ClientTls;
pub(crate) use connect::ConnectError;
pub(crate) use http2::OnWorker;
pub(crate) use pool::Pools;

/// A group of servers, as a snapshot sees it. Survives reloads that do not change it.
pub(crate) struct Upstream {
    pub(crate) config: config::Upstream,
    pub(crate) metrics: UpstreamMetrics,
    /// The servers as they are now; names are resolved again in the background.
    pub(crate) turns: ArcSwap<Turns>,
    tls: TlsSource,
}

/// One address of an upstream.
#[derive(Debug)]
pub(crate) struct Server {
    /// Unique in the process; the key of the pools.
    pub(crate) id: u64,
    pub(crate) address: Address,
    /// The address as text, for logs.
    pub(crate) text: Box<str>,
    /// `Host` if the upstream's `host` is `server`.
    pub(crate) host: HeaderValue,
    pub(crate) weight: u32,
    pub(crate) pool: config::Pool,
    pub(crate) protocol: Protocol,
    connect_timeout: Duration,
    tls: Option<ClientTls>,
    /// Requests it is busy with. Relaxed: a hint for balancing.
    in_flight: AtomicUsize,
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// How TLS to the servers is set up.
enum TlsSource {
    Off,
    On(Arc<rustls::ClientConfig>),
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientTls({:?})", self.name)
    }
}

impl Upstream {
    /// Builds an upstream, or takes over the one of the same name and settings, with its servers' connections.
    pub(crate) fn build(
        config: &config::Upstream,
        previous: Option<&Arc<Self>>,
        metrics: &'static Metrics,
    ) -> Result<Arc<Self>, Problem> {
        if let Some(previous) = previous.filter(|previous| previous.is_set_like(config)) {
            return Ok(Arc::clone(previous));
        }
        tls::check_names(config)?;
        let tls = match &config.tls {
            None => TlsSource::Off,
            Some(tls) => TlsSource::On(tls::client_config(tls, config)?),
        };
        let upstream = Self {
            config: config.clone(),
            metrics: metrics.upstream(&config.name),
            turns: ArcSwap::from_pointee(Turns::default()),
            tls,
        };
        upstream.set_resolved(previous, |_| None);
        Ok(Arc::new(upstream))
    }

    /// Sets the servers: fixed addresses, and for names what `resolved` says; what it does not know stays as it was.
    pub(crate) fn set_resolved(
        &self,
        previous: Option<&Arc<Self>>,
        resolved: impl Fn(&str) -> Option<Vec<IpAddr>>,
    ) {
        let current = self.turns.load();
        let before = previous.map(|previous| previous.turns.load());
        let known = before.iter().flat_map(|turns| &turns.servers).chain(&current.servers);
        let known: Vec<&Arc<Server>> = known.collect();
        let mut servers = Vec::new();
        for server in &self.config.servers {
            let addresses = addresses(server, &known, &resolved);
            servers.extend(addresses.into_iter().map(|(address, name)| {
                let same = known
                    .iter()
                    .find(|known| known.is_at(&address, name) && self.keeps(known, server.weight));
                match same {
                    Some(same) => Arc::clone(same),
                    None => Arc::new(self.server(address, name, server.weight)),
                }
            }));
        }
        self.turns.store(Arc::new(Turns::new(servers)));
    }

    fn server(&self, address: Address, name: Option<(&str, u16)>, weight: u32) -> Server {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let text = address.to_string();
        let host = match (name, &address) {
            (Some((name, port)), _) => format!("{name}:{port}"),
            (None, Address::Tcp(address)) => address.to_string(),
            (None, Address::Unix(_)) => "localhost".to_owned(),
        };
        let tls = match &self.tls {
            TlsSource::Off => None,
            TlsSource::On(config) => {
                let name = tls::server_name(&self.config, name.map(|(name, _)| name), &address);
                Some(ClientTls { config: Arc::clone(config), name })
            }
        };
        Server {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            host: HeaderValue::from_str(&host).unwrap_or(HeaderValue::from_static("localhost")),
            address,
            text: text.into(),
            weight,
            pool: self.config.pool.clone(),
            protocol: self.config.protocol,
            connect_timeout: self.config.timeout.connect,
            tls,
            in_flight: AtomicUsize::new(0),
        }
    }

    /// Whether a server that is known already may serve on: nothing its connections depend on has changed.
    fn keeps(&self, server: &Server, weight: u32) -> bool {
        let tls_is_same = match (&self.tls, &server.tls) {
            (TlsSource::Off, None) => true,
            (TlsSource::On(config), Some(known)) => Arc::ptr_eq(config, &known.config),
            (TlsSource::Off, Some(_)) | (TlsSource::On(_), None) => false,
        };
        tls_is_same
            && server.weight == weight
            && server.protocol == self.config.protocol
            && server.pool == self.config.pool
            && server.connect_timeout == self.config.timeout.connect
    }

    /// Whether the settings are the same, wherever they stand in the file. With TLS the files behind them may have
    /// changed, so such an upstream is built anew.
    fn is_set_like(&self, config: &config::Upstream) -> bool {
        let placed = config::Upstream { place: config.place, ..self.config.clone() };
        config.tls.is_none() && placed == *config
    }

    /// The names to resolve.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.config.servers.iter().filter_map(|server| match &server.address {
            ServerAddress::Name(name, _) => Some(name.as_str()),
            ServerAddress::Ip(_) | ServerAddress::Unix(_) => None,
        })
    }

    /// Whether requests can be sent: names have been resolved once.
    pub(crate) fn is_ready(&self) -> bool {
        !self.turns.load().servers.is_empty()
    }

    /// The `Host` a server sees, unless it is the client's.
    pub(crate) fn host<'a>(&'a self, server: &'a Server) -> Option<&'a HeaderValue> {
        match &self.config.host {
            HostPolicy::Client => None,
            HostPolicy::Server => Some(&server.host),
            HostPolicy::Fixed(host) => Some(host),
        }
    }
}

/// The addresses of a server of the config: its own, or what its name stands for, as far as that is known.
fn addresses<'a>(
    server: &'a config::UpstreamServer,
    known: &[&Arc<Server>],
    resolved: impl Fn(&str) -> Option<Vec<IpAddr>>,
) -> Vec<(Address, Option<(&'a str, u16)>)> {
    match &server.address {
        ServerAddress::Ip(address) => vec![(Address::Tcp(*address), None)],
        ServerAddress::Unix(path) => vec![(Address::Unix(path.clone()), None)],
        ServerAddress::Name(name, port) => match resolved(name) {
            Some(addresses) => {
                let with_port = |ip| Address::Tcp(SocketAddr::new(ip, *port));
                let named = |ip| (with_port(ip), Some((name.as_str(), *port)));
                addresses.into_iter().map(named).collect()
            }
            None => {
                let same = known.iter().filter(|known| known.is_named(Some((name, *port))));
                let mut addresses: Vec<_> = same.map(|known| known.address.clone()).collect();
                addresses.dedup();
                addresses
                    .into_iter()
                    .map(|address| (address, Some((name.as_str(), *port))))
                    .collect()
            }
        },
    }
}

impl Server {
    fn is_at(&self, address: &Address, name: Option<(&str, u16)>) -> bool {
        self.address == *address && self.is_named(name)
    }

    fn is_named(&self, name: Option<(&str, u16)>) -> bool {
        let own = matches!(self.address, Address::Tcp(_)).then_some(&self.host);
        match name {
            Some((name, port)) => {
                own.is_some_and(|host| host.as_bytes() == format!("{name}:{port}").as_bytes())
            }
            None => true,
        }
    }

    /// Requests in flight for each unit of weight, for the balance.
    fn load(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed) * 1_000 / self.weight.max(1) as usize
    }

    /// Counts a request in until the guard is dropped.
    fn enter(self: Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self)
    }

    /// Whether it speaks TLS.
    fn scheme(&self) -> http::uri::Scheme {
        if self.tls.is_some() { http::uri::Scheme::HTTPS } else { http::uri::Scheme::HTTP }
    }
}

/// A request a server is busy with.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Server>);

impl InFlight {
    /// The server, for a connection that outlives the request.
    fn handle(&self) -> Arc<Server> {
        Arc::clone(&self.0)
    }
}

impl Deref for InFlight {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
