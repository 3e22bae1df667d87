//! START HERE: the path of a request, from its head to the response, in six steps.
//!
//! 1. admit: one form of host and path, who the client is
//! 2. route: host, path, method and condition choose the route
//! 3. down: the route's plugins, in order
//! 4. serve: a server, a redirect or a fixed response answers
//! 5. up: the same plugins, reversed
//! 6. finish: when the response's body has gone, or nobody wants it any more (finish.rs)

use std::borrow::Cow;
use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header, request, response};
use http_body::Body as _;
use hyper::body::Incoming;
use plugins::exchange::Origin;
use plugins::{Client, Exchange};
use tokio::time::Instant;

use crate::body::{Body, Changed, Payload};
use crate::chain::{BodyStep, Chain, Down, Reached};
use crate::client::Sender;
use crate::config::{self, Action};
use crate::connection::{Connection, Tunnel, Upgraded};
use crate::finish::{Asked, Finish};
use crate::forward;
use crate::reply::{Audience, Failure, reply};
use crate::routing::parameters::{Parameters, expand};
use crate::routing::path::{PathRefusal, normalise};
use crate::routing::router::{self, Found};
use crate::snapshot::Route;
use crate::upstream::request_body::{BodyError, BodyLimits, RequestBody};
use crate::upstream::response_body::{ResponseBody, ResponseLimits};
use crate::upstream::{CallError, Called, Caller, Upstream, call};
use crate::worker::Current;

/// Answers one request. What fails becomes a reply here, and nowhere else.
pub(crate) async fn answer(
    connection: Rc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let current = connection.worker.current();
    let mut finish = Finish::begin(&connection, &current);
    let (parts, incoming) = request.into_parts();
    let version = parts.version;
    let is_head = parts.method == Method::HEAD;
    let audience = match version {
        Version::HTTP_2 => Audience::of(&parts.headers),
        _ => Audience::Http,
    };
    let visit = Visit { connection: &connection, current: &current, version, audience };
    let (mut head, payload) = match visit.handle(parts, incoming, &mut finish).await {
        Ok(response) => response,
        Err(failure) => visit.fail(failure, &mut finish),
    };
    visit.settle(&mut head, &mut finish);
    // A response to HEAD has no body; hyper never asks for one.
    finish.complete |= is_head;
    let finish = match &mut *connection.tunnel.borrow_mut() {
        Some(tunnel) => {
            tunnel.finish = Some(finish);
            None
        }
        None => Some(finish),
    };
    Ok(Response::from_parts(head, Body::new(payload, finish)))
}

/// What every step of one request needs.
struct Visit<'a> {
    connection: &'a Rc<Connection>,
    current: &'a Rc<Current>,
    version: Version,
    audience: Audience,
}

/// A request on its way down.
struct Asking<'a> {
    route: &'a Route,
    settings: &'a config::Route,
    parameters: Parameters,
    sender: Sender,
    /// The path in its one form.
    path: &'a str,
    incoming: Option<Incoming>,
    deadline: Option<Instant>,
}

type Answer = (response::Parts, Payload);

impl Visit<'_> {
    async fn handle(
        &self,
        mut parts: request::Parts,
        incoming: Incoming,
        finish: &mut Finish,
    ) -> Result<Answer, Failure> {
        // Step 1: admit.
        let trusted = &self.current.config.trusted_proxies;
        let sender = self.connection.peer.sender(&parts.headers, trusted);
        finish.note_request(&parts, sender.address, sender.scheme);
        let authority = authority(&mut parts)?;
        let host = host_of(&authority)?;
        let uri = parts.uri.clone();
        let normalised = normalise(uri.path()).map_err(Failure::Path)?;

        // Step 2: route.
        let found = self.current.router.find(&router::Asked {
            method: &parts.method,
            scheme: sender.scheme.as_str(),
            host: &host,
            path: &normalised.path,
            query: uri.query(),
            headers: &parts.headers,
            client: sender.address,
        });
        let (index, parameters) = match found {
            Found::Route { index, parameters } => (index, parameters),
            Found::MethodNotAllowed { allow } => return Err(Failure::Method { allow }),
            Found::NotFound => return Err(Failure::NoRoute),
        };
        finish.route = index;
        let settings = &self.current.config.routes[index];
        if normalised.encoded_slashes && !settings.encoded_slashes {
            return Err(Failure::Path(PathRefusal::EncodedSlash));
        }
        let asking = Asking {
            route: &self.current.routes[index],
            settings,
            parameters,
            sender,
            path: &normalised.path,
            incoming: Some(incoming),
            deadline: settings.timeout.map(|timeout| finish.started + timeout),
        };
        if asking.route.chain.is_empty() {
            self.serve(parts, None, asking, finish).await
        } else {
            self.pass_chain(parts, asking, finish).await
        }
    }

    /// Steps 3 to 5 for a route with plugins.
    async fn pass_chain(
        &self,
        parts: request::Parts,
        mut asking: Asking<'_>,
        finish: &mut Finish,
    ) -> Result<Answer, Failure> {
        let chain = &asking.route.chain;
        let client = Client::at(asking.sender.address);
        let mut exchange =
            Box::new(Exchange::new(parts, client, asking.sender.scheme, asking.route.name.clone()));
        let mut reached = Chain::start();
        let answered = loop {
            match chain.down(&mut exchange, &mut reached).await {
                Down::Passed => break Ok(None),
                Down::NeedsBody { limit } => match collect(&mut asking, limit).await {
                    Ok(body) => exchange.body = Some(body),
                    Err(failure) => break Err(failure),
                },
                Down::Answered(response) => break Ok(Some(response)),
                Down::Refused(refusal) => break Err(Failure::Refused(refusal)),
            }
        };
        let answer = match answered {
            Ok(Some(response)) => {
                finish.answer(response.status(), "plugin");
                exchange.origin = Origin::Gateway;
                let (head, body) = response.into_parts();
                Ok((head, Payload::Whole(body)))
            }
            Ok(None) => {
                let parts = take_request(&mut exchange);
                let route = asking.route;
                let answer = self.serve(parts, Some(&mut exchange), asking, finish).await;
                return self.finish_chain(route, exchange, route.chain.end(), answer, finish).await;
            }
            Err(failure) => Err(failure),
        };
        self.finish_chain(asking.route, exchange, reached, answer, finish).await
    }

    /// Step 5: up. A failure's reply passes the plugins like a response.
    async fn finish_chain(
        &self,
        route: &Route,
        mut exchange: Box<Exchange>,
        reached: Reached,
        answer: Result<Answer, Failure>,
        finish: &mut Finish,
    ) -> Result<Answer, Failure> {
        let (mut head, mut payload) = match answer {
            Ok(answer) => answer,
            Err(failure) => {
                exchange.origin = Origin::Gateway;
                self.fail(failure, finish)
            }
        };
        if route.chain.sees_responses() {
            route.chain.up(&mut exchange, &mut head, reached).await;
            let steps = match payload {
                Payload::Empty => Vec::new(),
                Payload::Whole(_) | Payload::Upstream(..) | Payload::Changed(_) => {
                    route.chain.body_steps(&exchange, &head, reached)
                }
            };
            if !steps.is_empty() {
                (head, payload) = change_body(&mut exchange, head, payload, steps).await?;
            }
            finish.status = head.status;
        }
        if route.chain.sees_ends() || exchange.client.identity.is_some() {
            finish.exchange = Some(exchange);
        }
        Ok((head, payload))
    }

    /// Step 4: serve.
    async fn serve(
        &self,
        mut parts: request::Parts,
        exchange: Option<&mut Exchange>,
        mut asking: Asking<'_>,
        finish: &mut Finish,
    ) -> Result<Answer, Failure> {
        finish.note_ids(&parts.headers, exchange.as_deref());
        match &asking.settings.action {
            Action::Proxy { upstream, rewrite } => {
                let body = self.request_body(&parts, exchange, &mut asking, finish)?;
                parts.uri = target(&parts.uri, rewrite.as_ref(), &asking);
                let upstream = &self.current.upstreams[upstream.0];
                self.ask(parts, body, upstream, asking, finish).await
            }
            Action::Redirect { status, location } => {
                let location = redirect_to(location, &parts.uri, &asking);
                finish.answer(*status, "redirect");
                let mut head = head(*status);
                head.headers.insert(header::LOCATION, location?);
                Ok((head, Payload::Empty))
            }
            Action::Respond { status, .. } => {
                finish.answer(*status, "fixed");
                let mut head = head(*status);
                let (headers, body) = asking.route.fixed.clone().unwrap_or_default();
                head.headers = headers;
                Ok((head, Payload::Whole(body)))
            }
        }
    }

    fn request_body(
        &self,
        parts: &request::Parts,
        exchange: Option<&mut Exchange>,
        asking: &mut Asking<'_>,
        finish: &mut Finish,
    ) -> Result<RequestBody, Failure> {
        let mut transforms = Vec::new();
        if let Some(exchange) = exchange {
            if let Some(whole) = exchange.body.take() {
                return Ok(RequestBody::Whole(Some(whole)));
            }
            transforms = asking.route.chain.request_transforms(exchange);
        }
        let Some(incoming) = asking.incoming.take() else { return Ok(RequestBody::Empty) };
        if incoming.is_end_stream() {
            return Ok(RequestBody::Empty);
        }
        let limit = asking.settings.body_bytes;
        if let (Some(limit), Some(length)) = (limit, incoming.size_hint().exact()) {
            if length > limit {
                return Err(Failure::BodyTooLong);
            }
        }
        let limits = &self.current.config.limits;
        let limits =
            BodyLimits { bytes: limit, rate: limits.receive_rate, grace: limits.receive_grace };
        let received = Rc::new(Cell::new(0));
        finish.bytes_in = Some(Rc::clone(&received));
        let timer = self.connection.timer(parts.version);
        Ok(RequestBody::streaming(incoming, limits, timer, received, transforms))
    }

    /// Sends the request to a server and turns its response into ours.
    async fn ask(
        &self,
        mut parts: request::Parts,
        body: RequestBody,
        upstream: &Arc<Upstream>,
        asking: Asking<'_>,
        finish: &mut Finish,
    ) -> Result<Answer, Failure> {
        let hop = forward::strip_request(&mut parts.headers);
        forward::join_cookies(&mut parts.headers, parts.version);
        let peer = &self.connection.peer.text;
        forward::add_forwarded(&mut parts.headers, &asking.sender, peer, asking.settings.forwarded);
        let upgrade = hop.upgrade.filter(|_| {
            self.version == Version::HTTP_11 && upstream.config.protocol == config::Protocol::Http1
        });
        if let Some(protocol) = &upgrade {
            forward::set_upgrade(&mut parts.headers, protocol.clone());
        }
        if matches!(body, RequestBody::Whole(_)) {
            parts.headers.remove(header::CONTENT_LENGTH);
        }
        parts.version = Version::HTTP_11;
        parts.extensions.clear();
        let mut timer = self.connection.timer(self.version);
        let caller = Caller {
            upstream,
            pools: &self.connection.worker.pools,
            timer: &mut timer,
            deadline: asking.deadline,
        };
        let index = upstream_index(asking.settings);
        match call(caller, Request::from_parts(parts, body)).await {
            Ok(called) => {
                let time = Some(called.sent_at.elapsed());
                let server = Some(Arc::clone(&called.server));
                let retries = called.retries;
                finish.asked = Some(Asked { upstream: index, server, time, retries });
                if called.response.status() == StatusCode::SWITCHING_PROTOCOLS {
                    return self.switch(called, upgrade.is_some(), finish).await;
                }
                let limits = ResponseLimits {
                    timer,
                    idle: upstream.config.timeout.idle,
                    deadline: asking.deadline,
                };
                Ok(self.respond(called, limits, finish))
            }
            Err(failed) => {
                let (server, retries) = (failed.server, failed.retries);
                finish.asked = Some(Asked { upstream: index, server, time: None, retries });
                Err(Failure::Call(failed.error))
            }
        }
    }

    fn respond(&self, called: Called, limits: ResponseLimits, finish: &mut Finish) -> Answer {
        let (mut head, incoming) = called.response.into_parts();
        forward::strip_response(&mut head.headers);
        finish.answer(head.status, "ok");
        let pools = Rc::clone(&self.connection.worker.pools);
        let body = ResponseBody::new(incoming, called.http1, pools, limits);
        (head, Payload::Upstream(body, called.held))
    }

    /// 101: both connections leave HTTP once the head has gone out.
    async fn switch(
        &self,
        called: Called,
        asked: bool,
        finish: &mut Finish,
    ) -> Result<Answer, Failure> {
        let (mut head, _) = called.response.into_parts();
        let protocol = head.headers.get(header::UPGRADE).cloned();
        let (Some(http1), Some(protocol), true) = (called.http1, protocol, asked) else {
            // A server that switches without being asked, or does not say to what.
            return Err(Failure::ResponseBroken);
        };
        let upgraded = http1.into_upgraded().await;
        let (server, first) =
            upgraded.map_err(|error| Failure::Call(CallError::Broken(error)))?;
        forward::strip_response(&mut head.headers);
        let websocket = protocol.as_bytes().eq_ignore_ascii_case(b"websocket");
        forward::set_upgrade(&mut head.headers, protocol);
        finish.answer(head.status, "upgraded");
        finish.complete = true;
        let tunnel = Tunnel { server, first, finish: None, held: called.held, websocket };
        *self.connection.tunnel.borrow_mut() = Some(tunnel);
        self.connection.link.decided.set(Some(Upgraded::Yes));
        Ok((head, Payload::Empty))
    }

    /// The reply to what went wrong.
    fn fail(&self, failure: Failure, finish: &mut Finish) -> Answer {
        finish.answer(crate::reply::status(&failure), failure.reason());
        if failure.is_refusal() {
            self.connection.worker.process.metrics.refused(failure.reason());
        }
        let error = failure.proxy_error();
        let settings = self.current.config.routes.get(finish.route);
        let (mut head, body) = reply(failure, self.audience).into_parts();
        if settings.is_some_and(|settings| settings.proxy_status) {
            add_proxy_status(&mut head.headers, error);
        }
        (head, if body.is_empty() { Payload::Empty } else { Payload::Whole(body) })
    }

    /// The last touches to a head: what the connection does next, and what the route wants told.
    fn settle(&self, head: &mut response::Parts, finish: &mut Finish) {
        if let Some(settings) = self.current.config.routes.get(finish.route) {
            if settings.server_timing {
                add_server_timing(&mut head.headers, finish);
            }
            if settings.proxy_status && finish.reason == "ok" {
                add_proxy_status(&mut head.headers, None);
            }
        }
        if self.version == Version::HTTP_2 {
            head.headers.remove(header::CONNECTION);
            return;
        }
        let connection = self.connection;
        if head.status != StatusCode::SWITCHING_PROTOCOLS {
            connection.link.decided.set(Some(Upgraded::No));
            let limit = self.current.config.limits.requests_per_connection;
            if connection.worker.draining.get() || connection.served.get() >= limit {
                head.headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
        }
    }
}

fn upstream_index(settings: &config::Route) -> usize {
    match &settings.action {
        Action::Proxy { upstream, .. } => upstream.0,
        Action::Redirect { .. } | Action::Respond { .. } => usize::MAX,
    }
}

fn head(status: StatusCode) -> response::Parts {
    let (mut head, ()) = Response::new(()).into_parts();
    head.status = status;
    head
}

/// The one host the request names. HTTP/1: `Host`, or the target's where that has one (RFC 9112, section 3.2.2).
/// HTTP/2: `:authority`, and `Host` must not differ (RFC 9113, section 8.3.1). Afterwards it stands in `Host`.
fn authority(parts: &mut request::Parts) -> Result<Option<HeaderValue>, Failure> {
    let host = parts.headers.get(header::HOST).cloned();
    let Some(authority) = parts.uri.authority() else { return Ok(host) };
    let authority =
        HeaderValue::from_str(authority.as_str()).map_err(|_| Failure::Authority)?;
    let differs = host.is_some_and(|host| !host.as_bytes().eq_ignore_ascii_case(authority.as_bytes()));
    if differs && parts.version == Version::HTTP_2 {
        return Err(Failure::Authority);
    }
    parts.headers.insert(header::HOST, authority.clone());
    Ok(Some(authority))
}

/// The host without its port, in lower case.
fn host_of(authority: &Option<HeaderValue>) -> Result<Cow<'_, str>, Failure> {
    let Some(authority) = authority else { return Ok(Cow::Borrowed("")) };
    let text = authority.to_str().map_err(|_| Failure::Authority)?;
    if !crate::syntax::is_authority(text.as_bytes()) {
        return Err(Failure::Authority);
    }
    let host = match text.strip_prefix('[') {
        Some(_) => text.find(']').map_or(text, |end| &text[..=end]),
        None => text.split(':').next().unwrap_or(text),
    };
    let has_upper = host.bytes().any(|byte| byte.is_ascii_uppercase());
    Ok(if has_upper { Cow::Owned(host.to_ascii_lowercase()) } else { Cow::Borrowed(host) })
}

/// Path and query as the server sees them: origin form, rewritten if the route says so.
fn target(uri: &Uri, rewrite: Option<&config::Template>, asking: &Asking<'_>) -> Uri {
    let same = rewrite.is_none() && asking.path.len() == uri.path().len() && uri.authority().is_none();
    if same && asking.path == uri.path() {
        return uri.clone();
    }
    let mut text = String::with_capacity(asking.path.len() + 32);
    match rewrite {
        Some(template) => expand(template, &asking.parameters, asking.path, &mut text),
        None => text.push_str(asking.path),
    }
    if let Some(query) = uri.query() {
        text.push('?');
        text.push_str(query);
    }
    // Made of parts of a valid target and a checked template.
    PathAndQuery::try_from(text).map_or_else(|_| uri.clone(), Uri::from)
}

fn redirect_to(
    location: &config::Template,
    uri: &Uri,
    asking: &Asking<'_>,
) -> Result<HeaderValue, Failure> {
    let mut text = String::new();
    expand(location, &asking.parameters, asking.path, &mut text);
    if let (Some(query), false) = (uri.query(), text.contains('?')) {
        text.push('?');
        text.push_str(query);
    }
    HeaderValue::try_from(text).map_err(|_| Failure::Path(PathRefusal::Control))
}

/// Leaves method, URI and version to the plugins; the headers go to the server.
fn take_request(exchange: &mut Exchange) -> request::Parts {
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = exchange.request.method.clone();
    parts.uri = exchange.request.uri.clone();
    parts.version = exchange.request.version;
    parts.headers = std::mem::take(&mut exchange.request.headers);
    parts
}

/// The whole request body, for a plugin that wants it.
async fn collect(asking: &mut Asking<'_>, limit: usize) -> Result<Bytes, Failure> {
    let Some(incoming) = asking.incoming.take() else { return Ok(Bytes::new()) };
    let route = asking.settings.body_bytes.and_then(|bytes| usize::try_from(bytes).ok());
    let limit = route.map_or(limit, |bytes| bytes.min(limit));
    collect_within(incoming, limit).await.map_err(|error| match error {
        NotCollected::TooLong => Failure::BodyTooLong,
        NotCollected::Broken => Failure::Call(CallError::Body(BodyError::Broken)),
    })
}

enum NotCollected {
    TooLong,
    Broken,
}

async fn collect_within<B>(body: B, limit: usize) -> Result<Bytes, NotCollected>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    use http_body_util::{BodyExt, Limited};
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(NotCollected::TooLong),
        Err(_) => Err(NotCollected::Broken),
    }
}

/// Runs what plugins want done to a response body. From the first that wants it whole, it is in memory.
async fn change_body(
    exchange: &mut Exchange,
    mut head: response::Parts,
    mut payload: Payload,
    steps: Vec<BodyStep>,
) -> Result<Answer, Failure> {
    head.headers.remove(header::CONTENT_LENGTH);
    let mut transforms = Vec::new();
    for step in steps {
        match step {
            BodyStep::Stream(transform) => transforms.push(transform),
            BodyStep::Whole { plugin, limit } => {
                payload = attach(payload, std::mem::take(&mut transforms))?;
                let body = gather(payload, limit).await?;
                let mut response = Response::from_parts(head, body);
                let done = plugin.whole_response(exchange, &mut response).done().await;
                done.map_err(Failure::Refused)?;
                let (parts, body) = response.into_parts();
                (head, payload) = (parts, Payload::Whole(body));
            }
        }
    }
    Ok((head, attach(payload, transforms)?))
}

/// Puts transforms before a body; one that is in memory passes through them at once.
fn attach(
    payload: Payload,
    mut transforms: Vec<Box<dyn plugins::Transform>>,
) -> Result<Payload, Failure> {
    if transforms.is_empty() {
        return Ok(payload);
    }
    Ok(match payload {
        Payload::Upstream(body, held) => Payload::Changed(Box::new(Changed::new(body, held, transforms))),
        Payload::Whole(bytes) => {
            let start = crate::chain::transform(&mut transforms, bytes).map_err(Failure::Refused)?;
            let rest = crate::chain::end_transforms(&mut transforms).map_err(Failure::Refused)?;
            Payload::Whole(if rest.is_empty() { start } else { [start, rest].concat().into() })
        }
        Payload::Changed(mut changed) => {
            changed.add(transforms);
            Payload::Changed(changed)
        }
        Payload::Empty => Payload::Empty,
    })
}

async fn gather(payload: Payload, limit: usize) -> Result<Bytes, Failure> {
    let collected = match payload {
        Payload::Empty => return Ok(Bytes::new()),
        Payload::Whole(bytes) if bytes.len() > limit => Err(NotCollected::TooLong),
        Payload::Whole(bytes) => return Ok(bytes),
        Payload::Upstream(body, _held) => collect_within(body, limit).await,
        Payload::Changed(changed) => collect_within(*changed, limit).await,
    };
    collected.map_err(|error| match error {
        NotCollected::TooLong => Failure::ResponseTooLong,
        NotCollected::Broken => Failure::ResponseBroken,
    })
}

/// `Server-Timing` (W3C): what the gateway and the server took, in milliseconds.
fn add_server_timing(headers: &mut HeaderMap, finish: &Finish) {
    let millis = |duration: std::time::Duration| duration.as_secs_f64() * 1_000.0;
    let mut text = format!("gateway;dur={:.3}", millis(finish.started.elapsed()));
    if let Some(time) = finish.asked.as_ref().and_then(|asked| asked.time) {
        text.push_str(&format!(", upstream;dur={:.3}", millis(time)));
    }
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.append("server-timing", value);
    }
}

/// `Proxy-Status` (RFC 9209).
fn add_proxy_status(headers: &mut HeaderMap, error: Option<&'static str>) {
    let text = match error {
        Some(error) => format!("gateway; error={error}"),
        None => "gateway".to_owned(),
    };
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.append("proxy-status", value);
    }
}
