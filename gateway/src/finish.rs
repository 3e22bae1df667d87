//! The end of a request, however it comes: counted, logged, told to plugins.

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, Version, header, request, response,
};
use plugins::Exchange;
use plugins::exchange::Scheme;
use plugins::hooks::{Ending, Outcome};
use tokio::time::Instant;

use crate::connection::Connection;
use crate::moment::moment;
use crate::observe::access_log::Entry;
use crate::observe::metrics::InFlight as Counted;
use crate::snapshot::{ROUTE_NONE, Route};
use crate::upstream::admission::{Admission, Admitted};
use crate::upstream::health::Ended;
use crate::upstream::{CallError, InFlight};
use crate::worker::{Current, Worker};

/// Nginx' word for a client that left before there was a status.
const CLIENT_GONE: u16 = 499;

/// Finishes its request when it is dropped.
pub(crate) struct Finish {
    connection: Rc<Connection>,
    current: Rc<Current>,
    /// When the request's head was there.
    pub(crate) started: Instant,
    /// The route's index, or `ROUTE_NONE`.
    pub(crate) route: usize,
    /// What was answered; 499 until then.
    pub(crate) status: StatusCode,
    /// The head of the response, built where it stays: it is too large to be handed from function to function.
    pub(crate) head: response::Parts,
    /// Why it ended as it did.
    pub(crate) reason: &'static str,
    /// All of the response has been handed over.
    pub(crate) complete: bool,
    /// The server said that it failed, or none could be asked.
    pub(crate) failed: bool,
    /// Bytes of the response's body.
    pub(crate) bytes_out: u64,
    /// Bytes of the request's body, counted where it streams.
    pub(crate) bytes_in: Option<Rc<Cell<u64>>>,
    /// The upstream that was asked.
    pub(crate) asked: Option<Asked>,
    /// What the route and its upstream let in.
    pub(crate) admitted: Vec<(Gate, Admitted)>,
    /// Plugins' state, if a plugin wants to know the end, or has named the user.
    pub(crate) exchange: Option<Box<Exchange>>,
    line: Option<Line>,
    _in_flight: Counted,
}

/// Where a request was let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// The request's route.
    Route,
    /// An upstream, by its index.
    Upstream(usize),
}

/// Who answered, and how it went.
pub(crate) struct Asked {
    /// The upstream's index.
    pub(crate) upstream: usize,
    /// The server asked last, which is busy with the request until this is dropped.
    pub(crate) server: Option<InFlight>,
    /// Until the head of the response.
    pub(crate) time: Option<Duration>,
    /// Tries after the first.
    pub(crate) retries: u32,
}

/// What the log line needs of a request that is long gone by then. Cloned handles, no copies.
struct Line {
    method: Method,
    uri: Uri,
    version: Version,
    host: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
    referer: Option<HeaderValue>,
    traceparent: Option<HeaderValue>,
    correlation_id: Option<HeaderValue>,
    client: IpAddr,
    scheme: Scheme,
}

impl Finish {
    pub(crate) fn begin(connection: &Rc<Connection>, current: &Rc<Current>) -> Box<Self> {
        connection.in_flight.set(connection.in_flight.get() + 1);
        connection.served.set(connection.served.get() + 1);
        // Boxed, because it goes on with the response.
        Box::new(Self {
            connection: Rc::clone(connection),
            current: Rc::clone(current),
            started: Instant::now(),
            route: ROUTE_NONE,
            status: StatusCode::from_u16(CLIENT_GONE).unwrap_or(StatusCode::BAD_REQUEST),
            head: Response::new(()).into_parts().0,
            reason: "client-gone",
            complete: false,
            failed: false,
            bytes_out: 0,
            bytes_in: None,
            asked: None,
            admitted: Vec::new(),
            exchange: None,
            line: None,
            _in_flight: connection.worker.process.metrics.in_flight(),
        })
    }

    /// The worker of its connection.
    pub(crate) fn worker(&self) -> &Rc<Worker> {
        &self.connection.worker
    }

    /// Keeps what the log line will say of the request.
    pub(crate) fn note_request(&mut self, parts: &request::Parts, client: IpAddr, scheme: Scheme) {
        if !self.connection.worker.log.is_on() {
            return;
        }
        let headers = &parts.headers;
        self.line = Some(Line {
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            version: parts.version,
            host: headers.get(header::HOST).cloned(),
            user_agent: headers.get(header::USER_AGENT).cloned(),
            referer: headers.get(header::REFERER).cloned(),
            traceparent: None,
            correlation_id: None,
            client,
            scheme,
        });
    }

    /// Keeps the ids that go to the server; plugins may have made them.
    pub(crate) fn note_ids(&mut self, headers: &HeaderMap, exchange: Option<&Exchange>) {
        if let Some(line) = &mut self.line {
            line.traceparent = headers.get("traceparent").cloned();
            line.correlation_id = match exchange {
                Some(exchange) => exchange.correlation_id.clone(),
                None => headers.get("x-correlation-id").cloned(),
            };
        }
    }

    /// The route that took the request.
    pub(crate) fn route(&self) -> Option<&Route> {
        self.current.routes.get(self.route)
    }

    /// A response is on its way.
    pub(crate) fn answer(&mut self, status: StatusCode, reason: &'static str) {
        self.status = status;
        self.head.status = status;
        self.reason = reason;
    }

    /// Those who decide about the next requests hear how this one went. Tries before the last have told it already.
    fn tell(&mut self, now: Instant, duration: Duration) {
        let ended = match self.reason {
            // Nobody knows how it would have gone on; and how much time there is may be the client's choice.
            "client-gone" | "deadline" => return,
            "upstream-broken" | "upstream-idle" => Ended::Badly,
            _ if self.failed => Ended::Badly,
            _ if self.asked.as_ref().is_some_and(|asked| asked.time.is_some()) => Ended::Well,
            // Nobody was asked, or the client's body ended early.
            _ => return,
        };
        let now = moment(now);
        let mut took = duration;
        if let Some(Asked { upstream, server: Some(server), time: Some(time), .. }) = &self.asked
            && let Some(upstream) = self.current.upstreams.get(*upstream)
        {
            took = *time;
            upstream.has_ended(server, ended, now, took);
        }
        for (gate, admitted) in std::mem::take(&mut self.admitted) {
            if let Some(admission) = self.admission(gate) {
                admitted.finish(admission, (ended == Ended::Badly, took), now);
            }
        }
    }

    /// A call has ended without an answer, and the request may go on elsewhere.
    pub(crate) fn leave(&mut self, gate: Gate, error: &CallError) {
        // Else it is the client's own fault, or choice.
        self.failed = !matches!(error, CallError::Body(_) | CallError::Deadline);
        let Some(place) = self.admitted.iter().position(|(at, _)| *at == gate) else { return };
        let (_, admitted) = self.admitted.swap_remove(place);
        if !self.failed {
            return;
        }
        let now = Instant::now();
        if let Some(admission) = self.admission(gate) {
            let took = now.saturating_duration_since(self.started);
            admitted.finish(admission, (true, took), moment(now));
        }
    }

    /// What stands at a gate.
    pub(crate) fn admission(&self, gate: Gate) -> Option<&Admission> {
        match gate {
            Gate::Route => self.route().map(|route| &route.admission),
            Gate::Upstream(index) => {
                self.current.upstreams.get(index).map(|upstream| &upstream.admission)
            }
        }
    }

    fn log(&self, line: &Line, duration: Duration) {
        let path = line.uri.path_and_query().map_or("/", |path| path.as_str());
        let authority = || line.uri.authority().map(|authority| authority.as_str().as_bytes());
        let asked = self.asked.as_ref();
        let upstream = asked.and_then(|asked| self.current.upstreams.get(asked.upstream));
        let server = asked.and_then(|asked| asked.server.as_deref());
        let user = self.exchange.as_ref().and_then(|exchange| exchange.client.identity.as_deref());
        self.connection.worker.log.write(&Entry {
            client: line.client,
            user,
            method: line.method.as_str(),
            scheme: line.scheme.as_str(),
            host: line.host.as_ref().map(HeaderValue::as_bytes).or_else(authority),
            path: path.as_bytes(),
            protocol: line.version,
            status: self.status.as_u16(),
            reason: self.reason,
            route: self.route().map(|route| &*route.name),
            upstream: upstream.map(|upstream| &*upstream.config.name),
            server: server.map(|server| &*server.text),
            duration,
            upstream_time: asked.and_then(|asked| asked.time),
            bytes_in: self.bytes_in.as_ref().map_or(0, |bytes| bytes.get()),
            bytes_out: self.bytes_out,
            retries: asked.map_or(0, |asked| asked.retries),
            correlation_id: line.correlation_id.as_ref().map(HeaderValue::as_bytes),
            traceparent: line.traceparent.as_ref().map(HeaderValue::as_bytes),
            user_agent: line.user_agent.as_ref().map(HeaderValue::as_bytes),
            referer: line.referer.as_ref().map(HeaderValue::as_bytes),
        });
    }
}

impl Drop for Finish {
    fn drop(&mut self) {
        if let Some(refusal) = self.connection.link.body_refusal.take() {
            self.reason = refusal.reason();
            self.connection.worker.process.metrics.refused(refusal.reason());
        } else if !self.complete && self.reason == "ok" {
            self.reason = "client-gone";
        }
        let now = Instant::now();
        let duration = now.saturating_duration_since(self.started);
        let connection = &self.connection;
        connection.in_flight.set(connection.in_flight.get().saturating_sub(1));
        connection.last_active.set(now);
        match self.route() {
            Some(route) => route.metrics.finished(self.status, duration),
            None => connection.worker.process.metrics.unrouted().finished(self.status, duration),
        }
        self.tell(now, duration);
        if let Some(line) = &self.line {
            self.log(line, duration);
        }
        if let (Some(exchange), Some(route)) = (&self.exchange, self.route()) {
            let sent = self.status.as_u16() != CLIENT_GONE;
            let status = sent.then_some(self.status);
            let ending = if self.complete { Ending::Complete } else { Ending::CutShort };
            route.chain.finished(exchange, &Outcome { status, ending });
        }
    }
}
