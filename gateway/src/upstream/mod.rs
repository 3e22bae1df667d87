//! Upstreams: groups of servers, how one is chosen, what is done about those that fail, and the connections to them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use http::HeaderValue;
use resilience::Moment;
use resilience::balance::{Member, Method, picture};
use resilience::budget::Budget;
use resilience::ejection::Ejector;
use resilience::quantiles::Quantiles;

use crate::config::{self, HostPolicy, Problem, ServerAddress};
use crate::moment;
use crate::observe::metrics::{Metrics, UpstreamMetrics};

pub(crate) mod admission;
mod call;
pub(crate) mod checks;
pub(crate) mod choice;
mod connect;
pub(crate) mod health;
mod heard;
mod hedge;
mod http1;
mod http2;
mod http2_request;
mod lineup;
mod pool;
pub(crate) mod request_body;
pub(crate) mod resolve;
pub(crate) mod response_body;
pub(crate) mod retry;
pub(crate) mod server;
mod settings;
mod silence;
mod tls;
mod upload;
pub(crate) mod view;

use admission::Admission;
pub(crate) use call::{CallError, CallFailure, Called, Caller, call};
use connect::ClientTls;
pub(crate) use connect::ConnectError;
use health::Event;
pub(crate) use http2::OnWorker;
use lineup::Lineup;
pub(crate) use pool::Pools;
pub(crate) use server::InFlight;
use server::{Address, Condition, Server, ServerSettings};

/// A group of servers, as a snapshot sees it. Survives reloads that do not change it.
pub(crate) struct Upstream {
    pub(crate) config: config::Upstream,
    pub(crate) metrics: UpstreamMetrics,
    /// Its breaker and its limit.
    pub(crate) admission: Admission,
    /// The servers as they are now; names are resolved again in the background, health changes who takes part.
    pub(crate) lineup: ArcSwap<Lineup>,
    /// Held while a lineup is drawn, so that the newest is the last.
    drawing: Mutex<()>,
    picture: picture::Settings,
    method: Method,
    /// Takes servers out whose answers are bad; `None`: nobody does.
    pub(crate) ejector: Option<Ejector>,
    /// What retries and hedges may add.
    pub(crate) budget: Budget,
    /// How long responses take to begin, where hedging asks for it.
    times: Option<Quantiles>,
    /// What has happened to servers, for the control side to tell.
    events: Mutex<Vec<Event>>,
    tls: TlsSource,
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
        zone: Option<&str>,
        previous: Option<&Arc<Self>>,
        metrics: &'static Metrics,
    ) -> Result<Arc<Self>, Problem> {
        if let Some(previous) = previous.filter(|previous| previous.is_set_like(config, zone)) {
            return Ok(Arc::clone(previous));
        }
        tls::check_names(config)?;
        let tls = match &config.tls {
            None => TlsSource::Off,
            Some(tls) => TlsSource::On(tls::client_config(tls, config)?),
        };
        let picture = settings::picture(config, zone);
        let upstream = Self {
            config: config.clone(),
            metrics: metrics.upstream(&config.name),
            admission: Admission::build(
                &config.guards,
                previous.map(|previous| &previous.admission),
                moment::now(),
            ),
            lineup: ArcSwap::from_pointee(Lineup::empty(&picture)),
            drawing: Mutex::new(()),
            picture,
            method: lineup::method(&config.balance),
            ejector: config.resilience.ejection.as_ref().map(settings::ejection).map(Ejector::new),
            budget: Budget::new(&settings::budget(&config.resilience.budget)),
            times: settings::times(config.resilience.hedge.as_ref()).map(Quantiles::new),
            events: Mutex::default(),
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
        let _drawing = self.drawing.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.lineup.load();
        let before = previous.map(|previous| previous.lineup.load());
        let known = before.iter().flat_map(|lineup| &lineup.servers).chain(&current.servers);
        let known: Vec<&Arc<Server>> = known.collect();
        let now = moment::now();
        // Who was there from the beginning needs no slow start.
        let back_since = if known.is_empty() { Moment::ZERO } else { now };
        let mut servers = Vec::new();
        for server in &self.config.servers {
            let found = addresses(server, &known, &resolved);
            let settings = ServerSettings::of(server);
            servers.extend(found.into_iter().map(|at| {
                let same = known.iter().filter(|known| known.is_at(&at.0, at.1));
                let same: Vec<_> = same.copied().collect();
                let kept = same.iter().find(|known| self.keeps(known, &settings));
                let condition = || match same.first() {
                    Some(known) => Arc::clone(&known.condition),
                    None => Arc::new(Condition::new(now, back_since)),
                };
                let fresh = || self.server(at.clone(), settings.clone(), condition());
                kept.map_or_else(fresh, |kept| Arc::clone(kept))
            }));
        }
        self.draw(servers, now);
    }

    /// Looks at its servers again; `true` if other ones take part now.
    pub(crate) fn redraw(&self, now: Moment) -> bool {
        let _drawing = self.drawing.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.lineup.load();
        let members = self.members(&current.servers, now);
        if current.shows(&members) {
            return false;
        }
        let lineup = Lineup::of(current.servers.clone(), members, &self.picture);
        self.lineup.store(Arc::new(lineup));
        true
    }

    fn draw(&self, servers: Vec<Arc<Server>>, now: Moment) {
        let members = self.members(&servers, now);
        self.lineup.store(Arc::new(Lineup::of(servers, members, &self.picture)));
    }

    fn members(&self, servers: &[Arc<Server>], now: Moment) -> Vec<Member> {
        let slow_start = self.config.resilience.slow_start;
        servers.iter().map(|server| server.member(now, slow_start)).collect()
    }

    fn server(
        &self,
        (address, name): (Address, Option<(&str, u16)>),
        settings: ServerSettings,
        condition: Arc<Condition>,
    ) -> Arc<Server> {
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
        Arc::new(Server {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            host: HeaderValue::from_str(&host).unwrap_or(HeaderValue::from_static("localhost")),
            address,
            text: text.into(),
            settings,
            pool: self.config.pool.clone(),
            protocol: self.config.protocol,
            connect_timeout: self.config.timeout.connect,
            tls,
            condition,
        })
    }

    /// Whether a server that is known already may serve on: nothing its connections depend on has changed.
    fn keeps(&self, server: &Server, settings: &ServerSettings) -> bool {
        let tls_is_same = match (&self.tls, &server.tls) {
            (TlsSource::Off, None) => true,
            (TlsSource::On(config), Some(known)) => Arc::ptr_eq(config, &known.config),
            (TlsSource::Off, Some(_)) | (TlsSource::On(_), None) => false,
        };
        tls_is_same
            && server.settings == *settings
            && server.protocol == self.config.protocol
            && server.pool == self.config.pool
            && server.connect_timeout == self.config.timeout.connect
    }

    /// Whether the settings are the same, wherever they stand in the file. With TLS the files behind them may have
    /// changed, so such an upstream is built anew.
    fn is_set_like(&self, config: &config::Upstream, zone: Option<&str>) -> bool {
        let placed = config::Upstream { place: config.place, ..self.config.clone() };
        config.tls.is_none() && placed == *config && self.picture.zone.as_deref() == zone
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
        !self.lineup.load().servers.is_empty()
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
