//! A client's connection as a request sees it, and as its driver and its wire share it.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::Version;
use tokio::time::Instant;

use crate::client::Peer;
use crate::deadline::{Clock, Timer};
use crate::finish::Finish;
use crate::observe::access_log::Entry;
use crate::refusal::WireRefusal;
use crate::socket::Socket;
use crate::upstream::Held;
use crate::worker::Worker;

/// A client's connection.
pub(crate) struct Connection {
    /// The worker it lives on.
    pub(crate) worker: Rc<Worker>,
    /// Who is at the other end.
    pub(crate) peer: Peer,
    /// What driver and wire tell each other.
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
    /// Ends the request when the tunnel ends.
    pub(crate) finish: Option<Box<Finish>>,
    /// The place at the server.
    pub(crate) held: Held,
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

/// What the wire and the driver of an HTTP/1 connection know of each other.
#[derive(Default)]
pub(crate) struct Link {
    /// Bytes of a head have come, but not all of it, and nothing is under way before it: its deadline runs.
    pub(crate) head_begun: Cell<bool>,
    /// The same, whatever is under way.
    pub(crate) head_waits: Cell<bool>,
    /// Everything read belongs to messages that are complete.
    pub(crate) awaits_request: Cell<bool>,
    /// A write waits for the client to take bytes.
    pub(crate) write_blocked: Cell<bool>,
    /// Bytes written since the connection began, to see progress.
    pub(crate) written: Cell<u64>,
    /// Why nothing is read any more, if it lies in a head: nobody has answered it yet.
    pub(crate) refusal: Cell<Option<WireRefusal>>,
    /// The same, if it lies in a body: the request that has it answers it.
    pub(crate) body_refusal: Cell<Option<WireRefusal>>,
    /// Heads that have passed and whose requests have not ended.
    pub(crate) under_way: Cell<u32>,
    /// The task of a wire that reads on only when a request has ended.
    pub(crate) waits: Cell<Option<Waker>>,
    /// Set by the answer to each request, for one that asked for another protocol.
    pub(crate) decided: Cell<Option<Upgraded>>,
}

/// Whether a request that asked for another protocol got it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Upgraded {
    /// 101 was answered.
    Yes,
    /// Anything else was answered.
    No,
}

impl Link {
    /// A request has ended: what is behind it may be read.
    pub(crate) fn note_end(&self) {
        self.under_way.set(self.under_way.get().saturating_sub(1));
        self.head_begun.set(self.head_waits.get() && self.under_way.get() == 0);
        if let Some(waker) = self.waits.take() {
            waker.wake();
        }
    }

    /// Keeps count of what the client takes.
    pub(crate) fn note_write(&self, wrote: &Poll<io::Result<usize>>) {
        self.write_blocked.set(wrote.is_pending());
        if let Poll::Ready(Ok(count)) = wrote {
            self.written.set(self.written.get() + *count as u64);
        }
    }
}
