//! Sends one request to an upstream: chooses a server and a connection, tries again where nothing can be done twice.

use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use http::uri::{Authority, Parts as UriParts, PathAndQuery};
use http::{HeaderMap, Method, Request, Response, Uri, Version, header, request};
use hyper::body::Incoming;
use thiserror::Error;
use tokio::time::Instant;

use super::connect::{self, ConnectError};
use super::http1::SendError;
use super::http2::{Http2, Stream};
use super::pool::Turn;
use super::request_body::{BodyError, Fate, RequestBody};
use super::{Http1, InFlight, Pools, Server, Upstream};
use crate::config::Protocol;
use crate::deadline::{Timer, within};

/// Servers tried for one request, the first included. More tries only help where a server is down, and then the next
/// one usually is not.
const TRIES_MAX: usize = 3;

/// A response whose body is still to come.
pub(crate) struct Called {
    /// The response.
    pub(crate) response: Response<Incoming>,
    /// The HTTP/1.1 connection it comes over.
    pub(crate) http1: Option<Box<Http1>>,
    /// Gives the place on the HTTP/2 connection, and at the server, back.
    pub(crate) held: Held,
    /// Who answered.
    pub(crate) server: Arc<Server>,
    /// Tries before this one.
    pub(crate) retries: u32,
    /// When the request left.
    pub(crate) sent_at: Instant,
}

/// What a request holds while its response streams.
pub(crate) struct Held {
    _in_flight: InFlight,
    _stream: Option<Stream>,
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
    Broken(#[source] hyper::Error),
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
    pub(crate) server: Option<Arc<Server>>,
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
}

/// Sends `request`. It is tried again on another server if a connection cannot be opened, and on a fresh connection
/// if a kept one turns out to be closed and the request can safely be sent again (RFC 9110, section 9.2.2).
pub(crate) async fn call(
    mut caller: Caller<'_>,
    request: Request<RequestBody>,
) -> Result<Called, CallFailure> {
    // Lent to each attempt, and found here again if it may be made once more.
    let mut request = Some(request);
    let mut tried: Vec<u64> = Vec::new();
    let mut retries = 0;
    let mut last = CallFailure { error: CallError::NoServer, server: None, retries };
    loop {
        let turns = caller.upstream.turns.load();
        let Some(server) = turns.pick(caller.upstream.config.balance, &tried).cloned() else {
            return Err(last);
        };
        drop(turns);
        let attempted = match server.protocol {
            Protocol::Http1 => attempt_http1(&mut caller, &server, &mut request).await,
            // Boxed, like all that is rare: the state and the code of the usual request stay small.
            Protocol::Http2 => Box::pin(attempt_http2(&mut caller, &server, &mut request)).await,
        };
        match attempted {
            Ok(mut called) => {
                called.retries = retries;
                return Ok(called);
            }
            Err(error) => {
                if matches!(error, CallError::Connect(_)) {
                    tried.push(server.id);
                }
                last = CallFailure { error, server: Some(server), retries };
                if request.is_none() || retries as usize >= TRIES_MAX - 1 {
                    return Err(last);
                }
                retries += 1;
            }
        }
    }
}

/// The request with the `Host` this server is to see.
fn take(
    caller: &Caller<'_>,
    server: &Server,
    request: &mut Option<Request<RequestBody>>,
) -> Result<Request<RequestBody>, CallError> {
    let mut request = request.take().ok_or(CallError::NoServer)?;
    if let Some(host) = caller.upstream.host(server) {
        request.headers_mut().insert(header::HOST, host.clone());
    }
    Ok(request)
}

async fn attempt_http1(
    caller: &mut Caller<'_>,
    server: &Arc<Server>,
    request: &mut Option<Request<RequestBody>>,
) -> Result<Called, CallError> {
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
    let taken = take(caller, server, request)?;
    // A kept connection may just be closing; what can be sent again is kept for that.
    let copy = (reused && http1.has_rested(sent_at)).then(|| copy(&taken)).flatten();
    let in_flight = server.enter();
    let fate = taken.body().fate();
    match wait(caller, sent_at, fate.as_deref(), http1.send(taken)).await? {
        Ok(response) => {
            let held = Held { _in_flight: in_flight, _stream: None };
            let server = Arc::clone(server);
            Ok(Called { response, http1: Some(http1), held, server, retries: 0, sent_at })
        }
        Err(SendError { error, unsent }) => {
            *request = unsent.or(copy);
            Err(broken(error))
        }
    }
}

async fn open_http1(
    caller: &mut Caller<'_>,
    server: &Arc<Server>,
) -> Result<Box<Http1>, CallError> {
    let socket = open(caller, server).await?;
    Http1::handshake(socket, Arc::clone(server)).await.map_err(CallError::Broken)
}

async fn attempt_http2(
    caller: &mut Caller<'_>,
    server: &Arc<Server>,
    request: &mut Option<Request<RequestBody>>,
) -> Result<Called, CallError> {
    let http2 = match caller.pools.http2(server.id).await {
        Turn::Shared(http2) => {
            caller.upstream.metrics.reused();
            http2
        }
        Turn::Open(opening) => {
            let socket = open(caller, server).await?;
            let http2 = Http2::handshake(socket, Arc::clone(server)).await?;
            caller.pools.share_http2(server.id, http2.clone());
            opening.succeeded();
            http2
        }
    };
    let taken = for_http2(take(caller, server, request)?, server);
    let in_flight = server.enter();
    let sent_at = Instant::now();
    let fate = taken.body().fate();
    match wait(caller, sent_at, fate.as_deref(), http2.send(taken)).await? {
        Ok((response, stream)) => {
            let held = Held { _in_flight: in_flight, _stream: Some(stream) };
            let server = Arc::clone(server);
            Ok(Called { response, http1: None, held, server, retries: 0, sent_at })
        }
        Err(SendError { error, unsent }) => {
            *request = unsent;
            let failure = fate.and_then(|fate| fate.take_failure());
            Err(failure.map_or_else(|| broken(error), CallError::Body))
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

/// Waits for a response, until the deadline or `timeout.response`. That begins with the last byte of the request, so a
/// body that is still coming puts it off.
async fn wait<F: Future>(
    caller: &mut Caller<'_>,
    sent_at: Instant,
    fate: Option<&Fate>,
    answer: F,
) -> Result<F::Output, CallError> {
    let patience = caller.upstream.config.timeout.response;
    let mut answer = pin!(answer);
    let mut since = sent_at;
    loop {
        let end = since + patience;
        let limit = caller.deadline.map_or(end, |deadline| deadline.min(end));
        if let Ok(output) = within(caller.timer, limit, answer.as_mut()).await {
            return Ok(output);
        }
        if caller.deadline == Some(limit) {
            return Err(CallError::Deadline);
        }
        match fate.and_then(Fate::last_piece) {
            Some(last) if last > since => since = last,
            Some(_) | None => return Err(CallError::ResponseTimeout),
        }
    }
}

/// hyper hides a body's own error behind its own; it is the cause, so it is what counts.
fn broken(error: hyper::Error) -> CallError {
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        match cause.downcast_ref::<BodyError>() {
            Some(BodyError::TooLong) => return BodyError::TooLong.into(),
            Some(BodyError::TooSlow) => return BodyError::TooSlow.into(),
            Some(BodyError::Broken) => return BodyError::Broken.into(),
            Some(BodyError::Refused(refusal)) => {
                return BodyError::Refused(Arc::clone(refusal)).into();
            }
            None => source = cause.source(),
        }
    }
    CallError::Broken(error)
}

/// The same request again, if it is safe to send it twice: idempotent and without a body.
fn copy(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    let idempotent = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE | Method::TRACE
    );
    if !idempotent || !request.body().is_empty() {
        return None;
    }
    let mut copy = Request::new(RequestBody::Empty);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

/// HTTP/2 has the host in `:authority`, so in the URI.
fn for_http2(request: Request<RequestBody>, server: &Server) -> Request<RequestBody> {
    let (mut parts, body) = request.into_parts();
    let host = parts.headers.remove(header::HOST);
    let authority = authority(host.as_ref(), &parts, server);
    let mut uri = UriParts::default();
    uri.scheme = Some(server.scheme());
    uri.authority = authority;
    uri.path_and_query =
        parts.uri.path_and_query().cloned().or(Some(PathAndQuery::from_static("/")));
    if let Ok(uri) = Uri::from_parts(uri) {
        parts.uri = uri;
    }
    parts.version = Version::HTTP_2;
    drop_connection_headers(&mut parts.headers);
    Request::from_parts(parts, body)
}

fn authority(
    host: Option<&http::HeaderValue>,
    parts: &request::Parts,
    server: &Server,
) -> Option<Authority> {
    let from_host = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let from_uri = || parts.uri.authority().cloned();
    from_host.or_else(from_uri).or_else(|| Authority::try_from(server.host.as_bytes()).ok())
}

/// HTTP/2 has no connection headers (RFC 9113, section 8.2.2).
fn drop_connection_headers(headers: &mut HeaderMap) {
    headers.remove(header::CONNECTION);
    headers.remove(header::TRANSFER_ENCODING);
    headers.remove(header::UPGRADE);
}
