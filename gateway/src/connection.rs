//! A client's connection as its requests see it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::Version;
use tokio::time::Instant;

use crate::client::Peer;
use crate::deadline::{Clock, Timer};
use crate::http1::wire::Link;
use crate::observe::access_log::Entry;
use crate::refusal::WireRefusal;
use crate::socket::Socket;
use crate::worker::Worker;

/// A client's connection.
pub(crate) struct Connection {
    /// The worker it lives on.
    pub(crate) worker: Rc<Worker>,
    /// Who is at the other end.
    pub(crate) peer: Peer,
    /// What the wire tells.
    pub(crate) link: Rc<Link>,
    /// The driver's timer.
    pub(crate) clock: Rc<Clock>,
    /// Requests whose response has not gone out to its end.
    pub(crate) in_flight: Cell<u32>,
    /// Requests so far.
    pub(crate) served: Cell<u64>,
    /// When the last response ended.
    pub(crate) last_active: Cell<Instant>,
    /// What takes the connection over once 101 is sent.
    pub(crate) tunnel: RefCell<Option<Tunnel>>,
}

/// Two connections that have left HTTP.
pub(crate) struct Tunnel {
    /// The server's side.
    pub(crate) server: Socket,
    /// What the server sent right behind its response.
    pub(crate) first: Bytes,
    /// They speak WebSocket, so that the end can be told between two frames.
    pub(crate) websocket: bool,
    /// `timeout.idle` of the upstream.
    pub(crate) idle: Duration,
}

impl Connection {
    pub(crate) fn new(worker: Rc<Worker>, peer: Peer) -> Self {
        Self {
            worker,
            peer,
            link: Rc::default(),
            clock: Rc::new(Clock::new()),
            in_flight: Cell::new(0),
            served: Cell::new(0),
            last_active: Cell::new(Instant::now()),
            tunnel: RefCell::new(None),
        }
    }

    /// Logs a head that was refused: there is no request to speak of.
    pub(crate) fn note_refused(&self, refusal: WireRefusal) {
        let status = refusal.status();
        self.worker.process.metrics.unrouted().finished(status, Duration::ZERO);
        self.worker.log.write(&Entry {
            client: self.peer.address,
            user: None,
            method: "-",
            scheme: self.peer.scheme.as_str(),
            host: None,
            path: b"-",
            protocol: Version::HTTP_11,
            status: status.as_u16(),
            reason: refusal.reason(),
            route: None,
            upstream: None,
            server: None,
            duration: Duration::ZERO,
            upstream_time: None,
            bytes_in: 0,
            bytes_out: 0,
            retries: 0,
            correlation_id: None,
            traceparent: None,
            user_agent: None,
            referer: None,
        });
    }

    /// The timer for a request of this version.
    pub(crate) fn timer(&self, version: Version) -> Timer {
        if version == Version::HTTP_2 {
            Timer::Own(None)
        } else {
            Timer::Connection(Rc::clone(&self.clock))
        }
    }
}
