//! One server of an upstream: where it is, how to speak to it, and what is known of it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use resilience::Moment;
use resilience::balance::least_time::PeakTime;
use resilience::balance::member::{Cause, Member, State};
use resilience::balance::rendezvous;
use resilience::checks::Change;
use resilience::ejection::{self, Record};

use super::checks::Checks;
use super::connect::ClientTls;
use crate::config::{self, Protocol};

/// A time counts half after so long: as in Finagle and linkerd.
const HALF_LIFE: Duration = Duration::from_secs(10);

/// One address of an upstream.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    /// Unique in the process; the key of the pools.
    pub(crate) id: u64,
    pub(crate) address: Address,
    /// The address as text, for logs.
    pub(crate) text: Box<str>,
    /// `Host` if the upstream's `host` is `server`.
    pub(crate) host: HeaderValue,
    /// What the config says of it.
    pub(crate) settings: ServerSettings,
    pub(crate) pool: config::Pool,
    pub(crate) protocol: Protocol,
    pub(super) connect_timeout: Duration,
    pub(super) tls: Option<ClientTls>,
    /// What is known of it.
    pub(crate) condition: Arc<Condition>,
}

/// What the config says of one server, beside its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerSettings {
    pub(crate) weight: u32,
    pub(crate) zone: Option<Box<str>>,
    pub(crate) priority: u32,
    pub(crate) labels: BTreeMap<String, String>,
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// What is known of a server. It belongs to an address of an upstream and outlives every reload that keeps both.
#[derive(Debug)]
pub(crate) struct Condition {
    /// Requests it is busy with in the upper half, those of them whose response has not begun in the lower. Relaxed: a
    /// hint for balancing.
    busy: AtomicU64,
    /// How long it takes, for `balance = "least-time"`.
    pub(super) time: PeakTime,
    /// How its answers were.
    pub(super) record: Record,
    /// Its health checks: 0 none, 1 up, 2 down, 3 it has not yet answered. Written by the control side, while it holds
    /// `checks`.
    health: AtomicU8,
    /// 0 enabled, 1 draining, 2 disabled. Written by the admin.
    switch: AtomicU8,
    /// Since when it has (again) been in use, in nanoseconds; 0: since the process began, without a slow start.
    back_since: AtomicU64,
    /// Its health checks; nothing a request waits for.
    checks: Mutex<Option<Checks>>,
}

/// What the admin has set a server to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Switch {
    /// It is used.
    Enabled,
    /// It finishes what it has begun.
    Draining,
    /// It is not used, whatever becomes of the others.
    Disabled,
}

impl ServerSettings {
    pub(super) fn of(server: &config::UpstreamServer) -> Self {
        Self {
            weight: server.weight,
            zone: server.zone.as_deref().map(Into::into),
            priority: server.priority,
            labels: server.labels.clone(),
        }
    }
}

impl Condition {
    pub(super) fn new(now: Moment, back_since: Moment) -> Self {
        Self {
            busy: AtomicU64::new(0),
            time: PeakTime::new(HALF_LIFE),
            record: Record::new(now),
            health: AtomicU8::new(0),
            switch: AtomicU8::new(0),
            back_since: AtomicU64::new(back_since.nanoseconds()),
            checks: Mutex::new(None),
        }
    }

    /// Requests it is busy with.
    pub(crate) fn in_flight(&self) -> u32 {
        (self.busy.load(Ordering::Relaxed) >> 32) as u32
    }

    /// Requests whose response has not begun.
    pub(super) fn unanswered(&self) -> u32 {
        self.busy.load(Ordering::Relaxed) as u32
    }

    /// What the admin has set it to.
    pub(crate) fn switch(&self) -> Switch {
        match self.switch.load(Ordering::Relaxed) {
            0 => Switch::Enabled,
            1 => Switch::Draining,
            _ => Switch::Disabled,
        }
    }

    /// Sets it; the upstream's lineup must be drawn again.
    pub(super) fn set_switch(&self, switch: Switch) {
        let before = self.switch.swap(switch as u8, Ordering::Relaxed);
        if before != 0 && switch == Switch::Enabled {
            self.is_back(crate::moment::now());
        }
    }

    /// It takes requests again; its slow start begins.
    pub(super) fn is_back(&self, now: Moment) {
        self.back_since.store(now.nanoseconds().max(1), Ordering::Relaxed);
    }

    /// What its health checks say of it.
    pub(super) fn set_health(&self, change: Change) {
        let health = match change {
            Change::Up => 1,
            Change::Down => 2,
        };
        self.health.store(health, Ordering::Relaxed);
    }

    /// It has health checks, and no answer yet.
    pub(super) fn begins_to_be_asked(&self) {
        self.health.store(3, Ordering::Relaxed);
    }

    /// Without health checks nothing is known; `true` if something was. One load where nothing was.
    pub(super) fn forget_health(&self, now: Moment) -> bool {
        if self.health.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let mut checks = self.checks();
        *checks = None;
        if self.is_down() {
            self.is_back(now);
        }
        self.health.store(0, Ordering::Relaxed);
        true
    }

    /// Whether its health checks have taken it out.
    pub(super) fn is_down(&self) -> bool {
        self.health.load(Ordering::Relaxed) == 2
    }

    /// What its health checks say of it, for the admin.
    pub(crate) fn health(&self) -> &'static str {
        match self.health.load(Ordering::Relaxed) {
            1 => "up",
            2 => "down",
            _ => "unknown",
        }
    }

    /// The last answer to a health check.
    pub(crate) fn last_check(&self) -> Option<Box<str>> {
        self.checks().as_ref()?.last()
    }

    pub(super) fn checks(&self) -> MutexGuard<'_, Option<Checks>> {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How its answers were judged, and how often it was ejected of late.
    pub(crate) fn standing(&self) -> (ejection::Standing, u32) {
        self.record.standing()
    }

    /// Whether it is out for another reason than its answers.
    pub(super) fn is_out(&self) -> bool {
        self.switch() != Switch::Enabled || self.is_down()
    }

    /// Whether who waits for it had better ask another one.
    pub(super) fn is_taken_out(&self) -> bool {
        let ejected = matches!(self.record.standing().0, ejection::Standing::Out { .. });
        ejected || self.is_down()
    }

    /// Whether it takes requests, and how many.
    pub(super) fn state(&self, now: Moment, slow_start: Duration) -> State {
        match (self.switch(), self.health.load(Ordering::Relaxed)) {
            (Switch::Draining, _) => return State::Out(Cause::Draining),
            (Switch::Disabled, _) => return State::Out(Cause::Disabled),
            (Switch::Enabled, 2) => return State::Out(Cause::Unhealthy),
            (Switch::Enabled, _) => {}
        }
        match self.record.standing().0 {
            ejection::Standing::Out { .. } => State::Out(Cause::Ejected),
            ejection::Standing::Probation { .. } => {
                State::Starting { share: ejection::PROBATION_SHARE }
            }
            ejection::Standing::In => match self.back_since.load(Ordering::Relaxed) {
                0 => State::Up,
                back => State::since(now.since(Moment::from_nanoseconds(back)), slow_start),
            },
        }
    }
}

impl Server {
    /// As the balance sees it.
    pub(super) fn member(&self, now: Moment, slow_start: Duration) -> Member {
        let labels = self.settings.labels.iter();
        Member {
            identity: self.identity(),
            weight: self.settings.weight,
            zone: self.settings.zone.clone(),
            priority: self.settings.priority,
            labels: labels
                .map(|(name, value)| (name.as_str().into(), value.as_str().into()))
                .collect(),
            state: self.condition.state(now, slow_start),
        }
    }

    /// The same in every gateway and after every restart.
    pub(crate) fn identity(&self) -> u64 {
        rendezvous::hash(self.text.as_bytes())
    }

    pub(super) fn is_at(&self, address: &Address, name: Option<(&str, u16)>) -> bool {
        self.address == *address && self.is_named(name)
    }

    pub(super) fn is_named(&self, name: Option<(&str, u16)>) -> bool {
        let own = matches!(self.address, Address::Tcp(_)).then_some(&self.host);
        match name {
            Some((name, port)) => {
                own.is_some_and(|host| host.as_bytes() == format!("{name}:{port}").as_bytes())
            }
            None => true,
        }
    }

    /// The same server at another port, to be asked how it is. A Unix socket has none.
    pub(super) fn at_port(&self, port: u16) -> Self {
        let mut other = self.clone();
        if let Address::Tcp(address) = &mut other.address {
            address.set_port(port);
        }
        other
    }

    /// Counts a request in until the guard is dropped.
    pub(super) fn enter(self: Arc<Self>) -> InFlight {
        self.condition.busy.fetch_add(ONE_IN_FLIGHT + ONE_UNANSWERED, Ordering::Relaxed);
        InFlight { server: self, answering: Cell::new(false) }
    }

    /// Whether it speaks TLS.
    pub(super) fn scheme(&self) -> http::uri::Scheme {
        if self.tls.is_some() { http::uri::Scheme::HTTPS } else { http::uri::Scheme::HTTP }
    }
}

const ONE_IN_FLIGHT: u64 = 1 << 32;
const ONE_UNANSWERED: u64 = 1;

/// A request a server is busy with.
#[derive(Debug)]
pub(crate) struct InFlight {
    server: Arc<Server>,
    answering: Cell<bool>,
}

impl InFlight {
    /// The server, for a connection that outlives the request.
    pub(super) fn handle(&self) -> Arc<Server> {
        Arc::clone(&self.server)
    }

    /// The same server once more.
    pub(super) fn again(&self) -> Self {
        self.handle().enter()
    }

    /// The response has begun.
    pub(super) fn is_answering(&self) {
        if !self.answering.replace(true) {
            self.server.condition.busy.fetch_sub(ONE_UNANSWERED, Ordering::Relaxed);
        }
    }
}

impl Deref for InFlight {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let unanswered = if self.answering.get() { 0 } else { ONE_UNANSWERED };
        self.server.condition.busy.fetch_sub(ONE_IN_FLIGHT + unanswered, Ordering::Relaxed);
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
