//! START HERE: the path of a request, from its head to the response, in six steps.
//!
//! 1. admit: one form of host and path, who the client is
//! 2. route: host, path, method and condition choose the route
//! 3. down: the route's plugins, in order
//! 4. serve: a server, a redirect or a fixed response answers
//! 5. up: the same plugins, reversed
//! 6. finish: when the response's body has gone, or nobody wants it any more (finish.rs)

use std::borrow::Cow;
use std::rc::Rc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Version, header, request};
use plugins::exchange::Origin;
use plugins::{Client, Exchange};
use resilience::overload::Level;
use tokio::time::Instant;

use crate::body::{Body, Payload};
use crate::chain::{Chain, Down, Reached};
use crate::change::{change_body, collect};
use crate::client::Sender;
use crate::client_deadline;
use crate::config::{self, Action};
use crate::connection::Connection;
use crate::deadline::within;
use crate::finish::Finish;
use crate::forward::{Hop, strip_request};
use crate::incoming::Incoming;
use crate::reply::{Audience, Failure, reply};
use crate::routing::parameters::Parameters;
use crate::routing::path::{PathRefusal, normalise};
use crate::routing::router::{self, Found};
use crate::snapshot::Route;
use crate::strict_http2;
use crate::target::{At, host_of, redirect_to, rewrite as rewrite_target, set_path, settle_host};
use crate::timing::{add_proxy_status, add_server_timing};
use crate::upstream::CallError;
use crate::upstream::admission::criticality;
use crate::upstream::request_body::RequestBody;
use crate::worker::Current;

/// Answers one request. What fails becomes a reply here, and nowhere else. The head of the response stands in the body,
/// which goes the longer way.
pub(crate) async fn answer(
    connection: &Rc<Connection>,
    parts: &mut request::Parts,
    incoming: Incoming,
) -> Body {
    let current = connection.worker.current();
    let mut finish = Finish::begin(connection, &current);
    let version = parts.version;
    let is_head = parts.method == Method::HEAD;
    let audience = match version {
        Version::HTTP_2 => Audience::of(&parts.headers),
        _ => Audience::Http,
    };
    let visit = Visit { connection, current: &current, version, audience };
    let payload = match visit.handle(parts, incoming, &mut finish).await {
        Ok(payload) => payload,
        Err(failure) => visit.fail(failure, &mut finish),
    };
    visit.settle(&mut finish);
    // A response to HEAD has no body, and nobody asks for one.
    finish.complete |= is_head;
    Body::new(payload, finish)
}

/// What every step of one request needs.
pub(crate) struct Visit<'a> {
    pub(crate) connection: &'a Rc<Connection>,
    pub(crate) current: &'a Rc<Current>,
    pub(crate) version: Version,
    audience: Audience,
}

/// A request on its way down.
pub(crate) struct Asking<'a> {
    pub(crate) route: &'a Route,
    pub(crate) settings: &'a config::Route,
    pub(crate) at: Option<At>,
    pub(crate) sender: Sender,
    pub(crate) hop: Hop,
    pub(crate) incoming: Option<Incoming>,
    pub(crate) deadline: Option<Instant>,
}

/// An exchange that has come down a chain, and how far.
struct Passage {
    exchange: Box<Exchange>,
    reached: Reached,
}

/// Where the body of a response comes from; its head is in [`Finish`].
pub(crate) type Answer = Payload;

impl Visit<'_> {
    async fn handle(
        &self,
        parts: &mut request::Parts,
        incoming: Incoming,
        finish: &mut Finish,
    ) -> Result<Answer, Failure> {
        // Step 1: admit.
        let trusted = &self.current.config.trusted_proxies;
        let sender = self.connection.peer.sender(&parts.headers, trusted);
        finish.note_request(parts, sender.address, sender.scheme);
        if self.version == Version::HTTP_2 {
            strict_http2::check(parts, &self.current.config.limits).map_err(Failure::Wire)?;
        }
        settle_host(parts)?;

        // Step 2: route.
        let (index, parameters) = self.route(parts, &sender)?;
        finish.route = index;
        let settings = &self.current.config.routes[index];
        let route = &self.current.routes[index];
        let at = route.keeps_path.then(|| At { uri: parts.uri.clone(), parameters });
        self.shed(settings)?;
        let hop = strip_request(&mut parts.headers);
        let deadline = Self::deadline(&hop, parts, settings, finish.started)?;
        let asking =
            Asking { route, settings, at, sender, hop, incoming: Some(incoming), deadline };
        if asking.route.chain.is_empty() {
            self.serve(parts, None, asking, finish).await
        } else {
            // Boxed, so that routes without plugins do not carry its state.
            Box::pin(self.pass_chain(take(parts), asking, finish)).await
        }
    }

    /// Under pressure the least important requests are refused first.
    fn shed(&self, settings: &config::Route) -> Result<(), Failure> {
        let process = &self.connection.worker.process;
        let level = process.overload.level();
        if level == Level::Normal || !level.sheds(criticality(settings.criticality)) {
            return Ok(());
        }
        Err(Failure::Shed)
    }

    /// When nobody waits for the answer any more: the route's `timeout`, or what the client says, if that is earlier.
    fn deadline(
        hop: &Hop,
        parts: &request::Parts,
        settings: &config::Route,
        started: Instant,
    ) -> Result<Option<Instant>, Failure> {
        let own = settings.timeout.map(|timeout| started + timeout);
        if !hop.says_deadline {
            return Ok(own);
        }
        let said = client_deadline::of_client(&parts.headers, started);
        let deadline = own.into_iter().chain(said).min();
        match deadline {
            Some(deadline) if deadline <= started => Err(Failure::Call(CallError::Deadline)),
            Some(_) | None => Ok(deadline),
        }
    }

    /// Finds the route by host and path in their one form; the path stays in it.
    fn route(
        &self,
        parts: &mut request::Parts,
        sender: &Sender,
    ) -> Result<(usize, Parameters), Failure> {
        let host = host_of(parts)?;
        let normalised = normalise(parts.uri.path()).map_err(Failure::Path)?;
        let found = self.current.router.find(&router::Asked {
            method: &parts.method,
            scheme: sender.scheme.as_str(),
            host: &host,
            path: &normalised.path,
            query: parts.uri.query(),
            headers: &parts.headers,
            client: sender.address,
        });
        let (index, parameters) = match found {
            Found::Route { index, parameters } => (index, parameters),
            Found::MethodNotAllowed { allow } => return Err(Failure::Method { allow }),
            Found::NotFound => return Err(Failure::NoRoute),
        };
        if normalised.encoded_slashes && !self.current.config.routes[index].encoded_slashes {
            return Err(Failure::Path(PathRefusal::EncodedSlash));
        }
        if let Cow::Owned(path) = normalised.path {
            set_path(&mut parts.uri, &path);
        }
        Ok((index, parameters))
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
                Down::NeedsBody { limit } => match self.collect(&mut asking, limit, finish).await {
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
                finish.head = head;
                Ok(Payload::Whole(body))
            }
            Ok(None) => {
                let mut parts = take(&mut exchange.request);
                let route = asking.route;
                let answer = self.serve(&mut parts, Some(&mut exchange), asking, finish).await;
                let passage = Passage { exchange, reached: route.chain.end() };
                return self.go_up(route, passage, answer, finish).await;
            }
            Err(failure) => Err(failure),
        };
        self.go_up(asking.route, Passage { exchange, reached }, answer, finish).await
    }

    /// The whole request body, before the route's deadline.
    async fn collect(
        &self,
        asking: &mut Asking<'_>,
        limit: usize,
        finish: &mut Finish,
    ) -> Result<Bytes, Failure> {
        let body = self.request_body(self.version, None, asking, finish)?;
        self.collect_until(asking.deadline, body, limit).await
    }

    /// The whole of a body, before the deadline.
    pub(crate) async fn collect_until(
        &self,
        deadline: Option<Instant>,
        body: RequestBody,
        limit: usize,
    ) -> Result<Bytes, Failure> {
        let collecting = collect(body, limit);
        let Some(deadline) = deadline else { return collecting.await };
        let mut timer = self.connection.timer(self.version);
        let collected = within(&mut timer, deadline, collecting).await;
        collected.unwrap_or(Err(Failure::Call(CallError::Deadline)))
    }

    /// Step 5: up. A failure's reply passes the plugins like a response.
    async fn go_up(
        &self,
        route: &Route,
        passage: Passage,
        answer: Result<Answer, Failure>,
        finish: &mut Finish,
    ) -> Result<Answer, Failure> {
        let Passage { mut exchange, reached } = passage;
        let mut payload = match answer {
            Ok(payload) => payload,
            Err(failure) => {
                exchange.origin = Origin::Gateway;
                self.fail(failure, finish)
            }
        };
        if route.chain.sees_responses() {
            route.chain.up(&mut exchange, &mut finish.head, reached).await;
            let steps = match payload {
                Payload::Empty => Vec::new(),
                Payload::Whole(_) | Payload::Upstream(..) | Payload::Changed(_) => {
                    route.chain.body_steps(&exchange, &finish.head, reached)
                }
            };
            if !steps.is_empty() {
                payload = change_body(&mut exchange, &mut finish.head, payload, steps).await?;
            }
            finish.status = finish.head.status;
        }
        if route.chain.sees_ends() || exchange.client.identity.is_some() {
            finish.exchange = Some(exchange);
        }
        Ok(payload)
    }

    /// Step 4: serve.
    async fn serve(
        &self,
        parts: &mut request::Parts,
        exchange: Option<&mut Exchange>,
        mut asking: Asking<'_>,
        finish: &mut Finish,
    ) -> Result<Answer, Failure> {
        finish.note_ids(&parts.headers, exchange.as_deref());
        match &asking.settings.action {
            Action::Proxy { rewrite, upstream: _ } => {
                let body = self.request_body(parts.version, exchange, &mut asking, finish)?;
                rewrite_target(&mut parts.uri, rewrite.as_ref(), asking.at.as_ref());
                self.ask(parts, body, asking, finish).await
            }
            Action::Redirect { status, location } => {
                let at = asking.at.ok_or(Failure::NoRoute)?;
                let location = redirect_to(location, &parts.uri, &at);
                finish.answer(*status, "redirect");
                finish.head.headers.insert(header::LOCATION, location?);
                Ok(Payload::Empty)
            }
            Action::Respond { status, .. } => {
                finish.answer(*status, "fixed");
                let (headers, body) = asking.route.fixed.as_deref().cloned().unwrap_or_default();
                finish.head.headers = headers;
                Ok(Payload::Whole(body))
            }
        }
    }

    /// The reply to what went wrong.
    fn fail(&self, mut failure: Failure, finish: &mut Finish) -> Answer {
        if failure.is_broken_body() {
            // The wire may have refused it for a reason.
            failure = self.connection.link.body_refusal.take().map_or(failure, Failure::Wire);
        }
        finish.answer(crate::reply::status(&failure), failure.reason());
        if failure.is_refusal() {
            self.connection.worker.process.metrics.refused(failure.reason());
        }
        let error = failure.proxy_error();
        let settings = self.current.config.routes.get(finish.route);
        let (head, body) = reply(failure, self.audience).into_parts();
        finish.head = head;
        if settings.is_some_and(|settings| settings.proxy_status) {
            add_proxy_status(&mut finish.head.headers, error);
        }
        if body.is_empty() { Payload::Empty } else { Payload::Whole(body) }
    }

    /// The last touches to a head: what the connection does next, and what the route wants told.
    fn settle(&self, finish: &mut Finish) {
        if let Some(settings) = self.current.config.routes.get(finish.route) {
            if settings.server_timing {
                add_server_timing(finish);
            }
            if settings.proxy_status && finish.reason == "ok" {
                add_proxy_status(&mut finish.head.headers, None);
            }
        }
        if self.version == Version::HTTP_2 {
            finish.head.headers.remove(header::CONNECTION);
        } else if self.connection.worker.process.overload.level() != Level::Normal {
            let close = HeaderValue::from_static("close");
            finish.head.headers.insert(header::CONNECTION, close);
        }
    }
}

/// Takes the headers out for the server; method, URI and version stay with the plugins.
fn take(from: &mut request::Parts) -> request::Parts {
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = from.method.clone();
    parts.uri = from.uri.clone();
    parts.version = from.version;
    parts.headers = std::mem::take(&mut from.headers);
    parts
}
