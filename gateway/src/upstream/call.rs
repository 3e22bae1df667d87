//! Sends one request to an upstream: chooses a server and a connection, tries again where nothing can be done twice.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use http::uri::{Authority, Parts as UriParts, PathAndQuery};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version, header, request, response};
use thiserror::Error;
use tokio::time::Instant;

use super::connect::{self, ConnectError};
use super::http1::{Http1, Http1Error};
use super::http2::{Http2, SendError};
use super::pool::Turn;
use super::request_body::{BodyError, Fate, RequestBody};
use super::response_body::Source;
use super::{InFlight, Pools, Server, Upstream};
use crate::config::Protocol;
use crate::deadline::{Timer, within};

/// Servers tried for one request, the first included. More tries only help where a server is down, and then the next
/// one usually is not.
const TRIES_MAX: usize = 3;

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
struct Attempted {
    source: Source,
    sent_at: Instant,
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
    /// No server has an address (yet), or all have weight 0.
    #[error("no server is available")]
    NoServer,
    /// No server could be connected to.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server closed the connection, or sent what is no response.
    #[error("the server broke off: {0}")]
    Broken(#[from] Broken),
    /// The head of the response did not come within `timeout.response`.
    #[error("the server did not answer in time")]
    ResponseTimeout,
    /// The route's `timeout` has passed.
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
}

/// What a call needs beside the request.
pub(crate) struct Caller<'a> {
    pub(crate) upstream: &'a Upstream,
    pub(crate) pools: &'a Rc<Pools>,
    pub(crate) timer: &'a mut Timer,
    /// The end of the route's `timeout`.
    pub(crate) deadline: Option<Instant>,
    /// Just now; asking the system for the time costs as much as routing.
    pub(crate) now: Instant,
    /// Where the head of the response is built.
    pub(crate) head: &'a mut response::Parts,
}

/// Sends a request. It is tried again on another server if a connection cannot be opened, and on a fresh connection
/// if a kept one turns out to be closed and the request can safely be sent again (RFC 9110, section 9.2.2).
pub(crate) async fn call(
    mut caller: Caller<'_>,
    parts: &request::Parts,
    body: RequestBody,
) -> Result<Called, CallFailure> {
    // Lent to each attempt, and found here again if it may be made once more.
    let mut body = Some(body);
    let mut tried: Vec<u64> = Vec::new();
    let mut retries = 0;
    let mut last = CallFailure { error: CallError::NoServer, server: None, retries };
    loop {
        let turns = caller.upstream.turns.load();
        let Some(server) = turns.pick(&caller.upstream.config.balance, &tried).cloned() else {
            return Err(last);
        };
        drop(turns);
        let server = server.enter();
        let attempted = match server.protocol {
            Protocol::Http1 => attempt_http1(&mut caller, &server, parts, &mut body).await,
            // Boxed, like all that is rare: the state and the code of the usual request stay small.
            Protocol::Http2 => {
                Box::pin(attempt_http2(&mut caller, &server, parts, &mut body)).await
            }
        };
        match attempted {
            Ok(Attempted { source, sent_at }) => {
                return Ok(Called { source, server, retries, sent_at });
            }
            Err(error) => {
                if matches!(error, CallError::Connect(_)) {
                    tried.push(server.id);
                }
                last = CallFailure { error, server: Some(server), retries };
                if body.is_none() || retries as usize >= TRIES_MAX - 1 {
                    return Err(last);
                }
                retries += 1;
            }
        }
    }
}

async fn attempt_http1(
    caller: &mut Caller<'_>,
    server: &InFlight,
    parts: &request::Parts,
    body: &mut Option<RequestBody>,
) -> Result<Attempted, CallError> {
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
    let patience = Patience::new(caller, sent_at, fate.as_deref());
    let head = &mut *caller.head;
    let answered = patience.wait(caller.timer, poll_fn(|cx| http1.poll_head(cx, head))).await?;
    match answered {
        Ok(()) => Ok(Attempted { source: Source::Http1(http1), sent_at }),
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
) -> Result<Attempted, CallError> {
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
    let patience = Patience::new(caller, sent_at, fate.as_deref());
    match patience.wait(caller.timer, http2.send(request)).await? {
        Ok((response, place)) => {
            let (head, incoming) = response.into_parts();
            *caller.head = head;
            Ok(Attempted { source: Source::Http2 { incoming, _place: place }, sent_at })
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

/// How long a response is waited for: until the deadline or `timeout.response`. That begins with the last byte of the
/// request, so a body that is still coming puts it off.
struct Patience<'a> {
    response: Duration,
    deadline: Option<Instant>,
    since: Instant,
    fate: Option<&'a Fate>,
}

impl<'a> Patience<'a> {
    fn new(caller: &Caller<'_>, since: Instant, fate: Option<&'a Fate>) -> Self {
        let response = caller.upstream.config.timeout.response;
        Self { response, deadline: caller.deadline, since, fate }
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
            if let Ok(output) = within(timer, limit, answer.as_mut()).await {
                return Ok(output);
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

/// Whether asking twice does what asking once does (RFC 9110, section 9.2.2).
fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE | Method::TRACE
    )
}

/// HTTP/2 has the host in `:authority`, so in the URI.
fn for_http2(
    parts: &request::Parts,
    body: RequestBody,
    server: &Server,
    host: Option<&HeaderValue>,
) -> Request<RequestBody> {
    let mut request = Request::new(body);
    let mut headers = parts.headers.clone();
    let asked = headers.remove(header::HOST);
    drop_connection_headers(&mut headers);
    if matches!(request.body(), RequestBody::Whole(_)) {
        headers.remove(header::CONTENT_LENGTH);
    }
    let mut uri = UriParts::default();
    uri.scheme = Some(server.scheme());
    uri.authority = authority(host.or(asked.as_ref()), &parts.uri, server);
    uri.path_and_query =
        parts.uri.path_and_query().cloned().or(Some(PathAndQuery::from_static("/")));
    *request.uri_mut() = Uri::from_parts(uri).unwrap_or_else(|_| parts.uri.clone());
    *request.method_mut() = parts.method.clone();
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = headers;
    request
}

fn authority(host: Option<&HeaderValue>, uri: &Uri, server: &Server) -> Option<Authority> {
    let from_host = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let from_uri = || uri.authority().cloned();
    from_host.or_else(from_uri).or_else(|| Authority::try_from(server.host.as_bytes()).ok())
}

/// HTTP/2 has no connection headers (RFC 9113, section 8.2.2).
fn drop_connection_headers(headers: &mut HeaderMap) {
    headers.remove(header::CONNECTION);
    headers.remove(header::TRANSFER_ENCODING);
    headers.remove(header::UPGRADE);
}
