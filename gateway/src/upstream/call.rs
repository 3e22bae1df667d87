//! Sends one request to an upstream: chooses a server and a connection, and another where a try has failed and may be made
//! again.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use http::{Request, header, request, response};
use thiserror::Error;
use tokio::time::Instant;

use super::choice::Choice;
use super::connect::{self, ConnectError};
use super::hedge;
use super::http1::{Http1, Http1Error};
use super::http2::{Http2, SendError};
use super::http2_request::for_http2;
use super::pool::Turn;
use super::request_body::{BodyError, Fate, RequestBody};
use super::response_body::Source;
use super::retry::{Next, Resend, Tries, is_idempotent};
use super::server::{InFlight, Server};
use super::{Pools, Upstream};
use crate::config::Protocol;
use crate::deadline::{Timer, within};
use crate::moment::moment;

/// How often a request that waits looks whether its server was taken out meanwhile. Not below the tick of a connection's
/// driver, or its timer would be set for each request.
const LOOK: Duration = Duration::from_secs(1);

/// A response whose body is still to come.
pub(crate) struct Called {
    /// Where its body comes from.
    pub(crate) source: Source,
    /// Who answered.
    pub(crate) server: InFlight,
    /// Tries before this one.
    pub(crate) retries: u32,
    /// When the request left.
    pub(crate) sent_at: Instant,
}

/// What an attempt brings.
pub(super) struct Attempted {
    pub(super) source: Source,
    pub(super) sent_at: Instant,
    pub(super) server: InFlight,
}

/// An attempt without a response.
pub(super) struct Failed {
    pub(super) error: CallError,
    pub(super) server: InFlight,
}

/// How a server broke off.
#[derive(Debug, Error)]
pub(crate) enum Broken {
    /// Over HTTP/1.1.
    #[error(transparent)]
    Http1(Http1Error),
    /// Over HTTP/2.
    #[error(transparent)]
    Http2(hyper::Error),
}

/// Why there is no response.
#[derive(Debug, Error)]
pub(crate) enum CallError {
    /// No server has an address (yet), takes part, or belongs to the request's subset.
    #[error("no server is available")]
    NoServer,
    /// No server could be connected to.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server closed the connection, or sent what is no response.
    #[error("the server broke off: {0}")]
    Broken(#[from] Broken),
    /// The server was taken out while the request waited for it.
    #[error("the server was taken out while it was asked")]
    TakenOut,
    /// The head of the response did not come within `timeout.response`.
    #[error("the server did not answer in time")]
    ResponseTimeout,
    /// The request's time is over: the route's `timeout`, or what the client said.
    #[error("the request took too long")]
    Deadline,
    /// The client's body ended early.
    #[error(transparent)]
    Body(#[from] BodyError),
}

/// A failed call, and how far it got; for log and metrics.
pub(crate) struct CallFailure {
    pub(crate) error: CallError,
    pub(crate) server: Option<InFlight>,
    pub(crate) retries: u32,
    /// The body, if the request may still be sent elsewhere.
    pub(crate) unsent: Option<RequestBody>,
}

/// What a call needs beside the request.
pub(crate) struct Caller<'a> {
    pub(crate) upstream: &'a Upstream,
    pub(crate) pools: &'a Rc<Pools>,
    pub(crate) timer: &'a mut Timer,
    /// The end of the request's time.
    pub(crate) deadline: Option<Instant>,
    /// Just now; asking the system for the time costs as much as routing.
    pub(crate) now: Instant,
    /// Where the head of the response is built.
    pub(crate) head: &'a mut response::Parts,
    /// What of the request chooses the server.
    pub(crate) choice: Choice,
    /// Whether it can be sent a second time; [`call`] finds out.
    pub(crate) resends: bool,
}

/// Sends a request. It is sent again where that can do no harm (RFC 9110, section 9.2.2), the upstream's `retry` allows
/// it and its budget lasts; and on a fresh connection if a kept one turns out to be closed.
pub(crate) async fn call(
    mut caller: Caller<'_>,
    parts: &request::Parts,
    body: RequestBody,
) -> Result<Called, Box<CallFailure>> {
    let upstream = caller.upstream;
    let now = moment(caller.now);
    upstream.budget.request(now);
    let resend = Resend::of(&parts.method, &body);
    caller.resends = resend.is_possible();
    // Lent to each attempt, and found here again if it may be made once more.
    let mut body = Some(body);
    let mut tries = Tries::default();
    let Some(mut server) = upstream.choose(&caller.choice, now, &[]) else {
        return Err(tries.give_up(CallError::NoServer, None, body));
    };
    loop {
        let attempted = match hedge::delay(&caller, &resend) {
            None => attempt(&mut caller, server, parts, &mut body).await,
            // Boxed, like all that is rare: the state and the code of the usual request stay small.
            Some(delay) => {
                Box::pin(hedge::attempt(&mut caller, server, parts, &mut body, delay)).await
            }
        };
        let next = match attempted {
            Ok(attempted) => match tries.after_answer(&mut caller, &attempted, &resend) {
                None => {
                    let Attempted { source, sent_at, server } = attempted;
                    return Ok(Called { source, server, retries: tries.count, sent_at });
                }
                Some(next) => {
                    body = resend.body();
                    attempted.source.discard(caller.pools, caller.now);
                    next
                }
            },
            Err(failed) => {
                let Failed { error, server } = *failed;
                let unsent = body.take();
                match tries.after_error(&mut caller, (&error, &server), unsent.is_some(), &resend) {
                    None => {
                        return Err(tries.give_up(error, Some(server), unsent.or(resend.body())));
                    }
                    Some(next) => {
                        body = unsent.or_else(|| resend.body());
                        next
                    }
                }
            }
        };
        let Next { server: other, wait } = next;
        if !wait.is_zero() {
            pause(&mut caller, wait).await;
        }
        server = other;
    }
}

/// Lets a server recover before another try.
async fn pause(caller: &mut Caller<'_>, wait: Duration) {
    let end = caller.now + wait;
    poll_fn(|cx| caller.timer.poll(cx, end)).await;
    caller.now = Instant::now();
}

/// Asks one server.
pub(super) async fn attempt(
    caller: &mut Caller<'_>,
    server: InFlight,
    parts: &request::Parts,
    body: &mut Option<RequestBody>,
) -> Result<Attempted, Box<Failed>> {
    let attempted = match server.protocol {
        Protocol::Http1 => attempt_http1(caller, &server, parts, body).await,
        Protocol::Http2 => Box::pin(attempt_http2(caller, &server, parts, body)).await,
    };
    match attempted {
        Ok((source, sent_at)) => {
            server.is_answering();
            Ok(Attempted { source, sent_at, server })
        }
        Err(error) => Err(Box::new(Failed { error, server })),
    }
}

async fn attempt_http1(
    caller: &mut Caller<'_>,
    server: &InFlight,
    parts: &request::Parts,
    body: &mut Option<RequestBody>,
) -> Result<(Source, Instant), CallError> {
    let kept = caller.pools.take_http1(server.id);
    let reused = kept.is_some();
    let mut http1 = match kept {
        Some(http1) => {
            caller.upstream.metrics.reused();
            http1
        }
        None => Box::pin(open_http1(caller, server)).await?,
    };
    let sent_at = if reused { caller.now } else { Instant::now() };
    let sending = body.take().ok_or(CallError::NoServer)?;
    let fate = sending.fate();
    let written = http1.written();
    let host = caller.upstream.host(server).or_else(|| parts.headers.get(header::HOST));
    // HTTP/1.0 clients need not say one, but HTTP/1.1 servers want to know (RFC 9112, section 3.2).
    http1.begin(parts, host.unwrap_or(&server.host), sending);
    let patience = Patience::new(caller, server, sent_at, fate.as_deref());
    let head = &mut *caller.head;
    let answered = patience.wait(caller.timer, poll_fn(|cx| http1.poll_head(cx, head))).await?;
    match answered {
        Ok(()) => Ok((Source::Http1(http1), sent_at)),
        Err(Http1Error::Body(error)) => Err(error.into()),
        Err(error) => {
            // A kept connection may just have been closed by its server.
            let unseen = reused && http1.is_unanswered();
            if unseen && (is_idempotent(&parts.method) || http1.written() == written) {
                *body = http1.take_unsent();
            }
            Err(Broken::Http1(error).into())
        }
    }
}

async fn open_http1(caller: &mut Caller<'_>, server: &InFlight) -> Result<Box<Http1>, CallError> {
    let socket = open(caller, server).await?;
    Ok(Http1::new(socket, server.handle()))
}

async fn attempt_http2(
    caller: &mut Caller<'_>,
    server: &InFlight,
    parts: &request::Parts,
    body: &mut Option<RequestBody>,
) -> Result<(Source, Instant), CallError> {
    let http2 = match caller.pools.http2(server.id).await {
        Turn::Shared(http2) => {
            caller.upstream.metrics.reused();
            http2
        }
        Turn::Open(opening) => {
            let socket = open(caller, server).await?;
            let http2 = Http2::handshake(socket, server.handle()).await?;
            caller.pools.share_http2(server.id, http2.clone());
            opening.succeeded();
            http2
        }
    };
    let sending = body.take().ok_or(CallError::NoServer)?;
    let fate = sending.fate();
    let request = for_http2(parts, sending, server, caller.upstream.host(server));
    let sent_at = Instant::now();
    let patience = Patience::new(caller, server, sent_at, fate.as_deref());
    match patience.wait(caller.timer, http2.send(request)).await? {
        Ok((response, place)) => {
            let (head, incoming) = response.into_parts();
            *caller.head = head;
            Ok((Source::Http2 { incoming, _place: place }, sent_at))
        }
        Err(SendError { error, unsent }) => {
            *body = unsent.map(Request::into_body);
            let failure = fate.and_then(|fate| fate.take_failure());
            Err(failure.map_or_else(|| Broken::Http2(error).into(), CallError::Body))
        }
    }
}

async fn open(
    caller: &mut Caller<'_>,
    server: &Server,
) -> Result<crate::socket::Socket, CallError> {
    let connecting = connect::connect(server);
    let connected = match caller.deadline {
        Some(deadline) => {
            within(caller.timer, deadline, connecting).await.map_err(|_| CallError::Deadline)?
        }
        None => connecting.await,
    };
    match connected {
        Ok(socket) => {
            caller.upstream.metrics.connected();
            Ok(socket)
        }
        Err(error) => {
            caller.upstream.metrics.connect_failed();
            Err(error.into())
        }
    }
}

/// How long a response is waited for: until the deadline or `timeout.response`, or until the server is taken out. The
/// time for the response begins with the last byte of the request, so a body that is still coming puts it off.
struct Patience<'a> {
    response: Duration,
    deadline: Option<Instant>,
    since: Instant,
    looked: Instant,
    fate: Option<&'a Fate>,
    server: &'a Server,
    /// Where the request may go instead.
    upstream: Option<&'a Upstream>,
}

impl<'a> Patience<'a> {
    fn new(
        caller: &Caller<'a>,
        server: &'a Server,
        since: Instant,
        fate: Option<&'a Fate>,
    ) -> Self {
        let response = caller.upstream.config.timeout.response;
        let upstream = caller.resends.then_some(caller.upstream);
        Self { response, deadline: caller.deadline, since, looked: since, fate, server, upstream }
    }

    /// Whether another server had better be asked: this one has been taken out meanwhile. Without a budget it is waited for
    /// all the same.
    fn is_in_vain(&self) -> bool {
        self.upstream.is_some_and(|upstream| {
            self.server.condition.is_taken_out() && upstream.can_retry(moment(self.looked))
        })
    }

    async fn wait<F: Future>(
        mut self,
        timer: &mut Timer,
        answer: F,
    ) -> Result<F::Output, CallError> {
        let mut answer = pin!(answer);
        loop {
            let end = self.since + self.response;
            let limit = self.deadline.map_or(end, |deadline| deadline.min(end));
            let look = self.looked + LOOK;
            if let Ok(output) = within(timer, limit.min(look), answer.as_mut()).await {
                return Ok(output);
            }
            if look < limit {
                self.looked = look;
                match self.is_in_vain() {
                    true => return Err(CallError::TakenOut),
                    false => continue,
                }
            }
            if self.deadline == Some(limit) {
                return Err(CallError::Deadline);
            }
            match self.fate.and_then(Fate::last_piece) {
                Some(last) if last > self.since => self.since = last,
                Some(_) | None => return Err(CallError::ResponseTimeout),
            }
        }
    }
}
