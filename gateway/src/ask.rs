//! One request to an upstream: its body under limits, its headers for servers, its response, or a change of protocol.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{StatusCode, Version, header, request};
use http_body::Body as _;
use plugins::Exchange;
use tokio::time::Instant;

use crate::body::Payload;
use crate::client_deadline;
use crate::config::{self, Action, Fallback};
use crate::connection::Tunnel;
use crate::deadline::Timer;
use crate::finish::{Asked, Finish, Gate};
use crate::forward::{self, Hop};
use crate::proxy::{Answer, Asking, Visit};
use crate::reply::Failure;
use crate::upstream::admission::{Turned, criticality};
use crate::upstream::choice::{self, Choice};
use crate::upstream::health::is_failure;
use crate::upstream::request_body::{BodyLimits, Changes, RequestBody};
use crate::upstream::response_body::{ResponseBody, ResponseLimits, Source};
use crate::upstream::retry::is_idempotent;
use crate::upstream::{CallFailure, Called, Caller, Upstream, call};

impl Visit<'_> {
    pub(crate) fn request_body(
        &self,
        version: Version,
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
        let length = incoming.size_hint().exact();
        if limit.zip(length).is_some_and(|(limit, length)| length > limit) {
            return Err(Failure::BodyTooLong);
        }
        let limits = &self.current.config.limits;
        let limits =
            BodyLimits { bytes: limit, rate: limits.receive_rate, grace: limits.receive_grace };
        let received = Rc::new(Cell::new(0));
        finish.bytes_in = Some(Rc::clone(&received));
        // Who sends the body polls it: over HTTP/2 that is not the task whose clock the connection's requests share.
        let upstream = self.current.upstreams.get(upstream_index(asking.settings));
        let shared = upstream.is_none_or(|it| it.config.protocol == config::Protocol::Http1);
        let timer = if shared { self.connection.timer(version) } else { Timer::Own(None) };
        let pipes = Rc::clone(&self.connection.worker.pipes);
        let changes = Changes { transforms, pipes };
        Ok(RequestBody::streaming(incoming, limits, timer, received, changes))
    }

    /// Sends the request to a server and turns its response into ours.
    pub(crate) async fn ask(
        &self,
        parts: &mut request::Parts,
        body: RequestBody,
        mut asking: Asking<'_>,
        finish: &mut Finish,
    ) -> Result<Answer, Failure> {
        let index = upstream_index(asking.settings);
        forward::join_cookies(&mut parts.headers, parts.version);
        let peer = &self.connection.peer.text;
        forward::add_forwarded(&mut parts.headers, &asking.sender, peer, asking.settings.forwarded);
        if matches!(body, RequestBody::Whole(_)) {
            parts.headers.remove(header::CONTENT_LENGTH);
        }
        if let (true, Some(end)) = (asking.hop.says_deadline, asking.deadline) {
            client_deadline::pass_on(&mut parts.headers, end, Instant::now());
        }
        if !asking.route.admission.is_open_to_all()
            && let Err(turned) = self.enter(Gate::Route, &asking, finish).await
        {
            let failure = Failure::Turned(turned);
            let failed = Missed::boxed(index, failure, Some(body));
            return self.fall_back(failed, parts, asking, finish).await;
        }
        match self.ask_upstream((index, body), parts, &mut asking, finish).await {
            Ok(answer) => Ok(answer),
            Err(failed) => self.fall_back(failed, parts, asking, finish).await,
        }
    }

    /// Waits until the gate lets the request in.
    async fn enter(
        &self,
        gate: Gate,
        asking: &Asking<'_>,
        finish: &mut Finish,
    ) -> Result<(), Turned> {
        let mut timer = self.connection.timer(self.version);
        let criticality = criticality(asking.settings.criticality);
        let entered = match finish.admission(gate) {
            None => return Ok(()),
            // Boxed, so that those with nothing before them do not carry its state.
            Some(admission) => {
                Box::pin(admission.enter(criticality, &mut timer, Instant::now())).await?
            }
        };
        finish.admitted.push((gate, entered));
        Ok(())
    }

    /// What is answered instead: a fixed answer, or what other upstreams say, as long as the request can be sent. The
    /// route's fallback goes before its upstream's, and each upstream has its own.
    #[cold]
    async fn fall_back(
        &self,
        failed: Box<Missed>,
        parts: &mut request::Parts,
        mut asking: Asking<'_>,
        finish: &mut Finish,
    ) -> Result<Answer, Failure> {
        let Missed { mut index, mut failure, mut unsent } = *failed;
        let mut fallback = asking.route.admission.fallback.as_ref();
        loop {
            let upstream = &self.current.upstreams[index];
            let next = match fallback.take().or(upstream.admission.fallback.as_ref()) {
                _ if !failure.is_of_server() => return Err(failure),
                None => return Err(failure),
                Some(Fallback::Answer { status, content_type, body }) => {
                    finish.answer(*status, "fallback");
                    let fields = content_type.iter().map(|it| (header::CONTENT_TYPE, it.clone()));
                    finish.head.headers = fields.collect();
                    return Ok(Payload::Whole(Bytes::from(body.clone())));
                }
                Some(Fallback::Upstream(name)) => self.current.config.upstream_id(name),
            };
            let (Some(next), Some(body)) = (next, unsent.take()) else { return Err(failure) };
            let asked =
                Box::pin(self.ask_upstream((next.0, body), parts, &mut asking, finish)).await;
            match asked {
                Ok(answer) => return Ok(answer),
                Err(missed) => Missed { index, failure, unsent } = *missed,
            }
        }
    }

    /// Whether the server is asked to switch protocols, too.
    fn upgrade(
        &self,
        upstream: &Upstream,
        body: &RequestBody,
        hop: &Hop,
        parts: &mut request::Parts,
    ) -> bool {
        let Some(protocol) = &hop.upgrade else { return false };
        let speaks_http1 = upstream.config.protocol == config::Protocol::Http1;
        // With a body nobody could say where it ends and the other protocol begins.
        let asks = self.version == Version::HTTP_11 && speaks_http1 && body.is_empty();
        if asks {
            forward::set_upgrade(&mut parts.headers, protocol.clone());
        }
        asks
    }

    /// Keeps a short body in memory if the request may have to be sent again.
    async fn keep(
        &self,
        body: RequestBody,
        parts: &mut request::Parts,
        upstream: &Upstream,
        deadline: Option<Instant>,
    ) -> Result<RequestBody, Failure> {
        let limit = match &upstream.config.resilience.retry {
            Some(retry) if body.is_streaming() && is_idempotent(&parts.method) => retry.body_bytes,
            Some(_) | None => return Ok(body),
        };
        let length = body.size_hint().exact();
        if length.is_none_or(|length| length > limit as u64) {
            return Ok(body);
        }
        let collected = Box::pin(self.collect_until(deadline, body, limit)).await?;
        parts.headers.remove(header::CONTENT_LENGTH);
        Ok(RequestBody::Whole(Some(collected)))
    }

    /// Asks one upstream.
    async fn ask_upstream(
        &self,
        (index, body): (usize, RequestBody),
        parts: &mut request::Parts,
        asking: &mut Asking<'_>,
        finish: &mut Finish,
    ) -> Result<Answer, Box<Missed>> {
        let upstream = &self.current.upstreams[index];
        if !upstream.admission.is_open_to_all()
            && let Err(turned) = self.enter(Gate::Upstream(index), asking, finish).await
        {
            let failure = Failure::Turned(turned);
            return Err(Missed::boxed(index, failure, Some(body)));
        }
        let upgrade = self.upgrade(upstream, &body, &asking.hop, parts);
        let body = self
            .keep(body, parts, upstream, asking.deadline)
            .await
            .map_err(|failure| Missed::boxed(index, failure, None))?;
        // Plugins, gates and bodies take their time; without them the head has just arrived.
        let waited = !asking.route.chain.is_empty()
            || !finish.admitted.is_empty()
            || matches!(body, RequestBody::Whole(_));
        let now = if waited { Instant::now() } else { finish.started };
        let mut timer = self.connection.timer(self.version);
        let choice = match upstream.looks_at_requests() {
            false => Choice::default(),
            true => choice_of(upstream, parts, asking),
        };
        let caller = Caller {
            upstream,
            pools: &self.connection.worker.pools,
            timer: &mut timer,
            deadline: asking.deadline,
            now,
            head: &mut finish.head,
            choice,
            resends: false,
        };
        match call(caller, parts, body).await {
            Ok(called) => {
                let Called { source, server, retries, sent_at } = called;
                let arrived = Instant::now();
                let time = Some(arrived.saturating_duration_since(sent_at));
                finish.failed = is_failure(finish.head.status, &finish.head.headers);
                upstream.stick(&mut finish.head.headers, &server, self.connection.peer.scheme);
                finish.asked = Some(Asked { upstream: index, server: Some(server), time, retries });
                let idle = upstream.config.timeout.idle;
                if finish.head.status == StatusCode::SWITCHING_PROTOCOLS {
                    let switched = self.switch(source, upgrade.then_some(idle), finish);
                    return switched.map_err(|failure| Missed::boxed(index, failure, None));
                }
                let limits = ResponseLimits { timer, idle, deadline: asking.deadline, arrived };
                Ok(self.respond(source, limits, finish))
            }
            Err(failed) => {
                let CallFailure { error, server, retries, unsent } = *failed;
                finish.asked = Some(Asked { upstream: index, server, time: None, retries });
                finish.leave(Gate::Upstream(index), &error);
                Err(Missed::boxed(index, Failure::Call(error), unsent))
            }
        }
    }

    fn respond(&self, source: Source, limits: ResponseLimits, finish: &mut Finish) -> Answer {
        forward::strip_response(&mut finish.head.headers);
        finish.answer(finish.head.status, "ok");
        let body = ResponseBody::new(source, &self.connection.worker.pools, limits);
        Payload::Upstream(Box::new(body))
    }

    /// 101: both connections leave HTTP once the head has gone out. `asked` is how long they may then be silent, if the
    /// client asked for it.
    fn switch(
        &self,
        source: Source,
        asked: Option<Duration>,
        finish: &mut Finish,
    ) -> Result<Answer, Failure> {
        let protocol = finish.head.headers.get(header::UPGRADE).cloned();
        let (Source::Http1(http1), Some(protocol), Some(idle)) = (source, protocol, asked) else {
            // A server that switches without being asked, or does not say to what.
            return Err(Failure::ResponseBroken);
        };
        let (server, first) = http1.into_switched();
        let head = &mut finish.head;
        forward::strip_response(&mut head.headers);
        let websocket = protocol.as_bytes().eq_ignore_ascii_case(b"websocket");
        forward::set_upgrade(&mut head.headers, protocol);
        finish.answer(StatusCode::SWITCHING_PROTOCOLS, "upgraded");
        finish.complete = true;
        let tunnel = Tunnel { server, first, websocket, idle };
        *self.connection.tunnel.borrow_mut() = Some(tunnel);
        Ok(Payload::Empty)
    }
}

/// What of the request chooses its server.
#[cold]
fn choice_of(upstream: &Upstream, parts: &request::Parts, asking: &Asking<'_>) -> Choice {
    let value = |name: &str| {
        let at = asking.at.as_ref()?;
        let index = asking.settings.path.parameters().position(|known| known == name)?;
        Some(at.parameters.get(at.uri.path(), index))
    };
    upstream.choice(&choice::Asked { parts, client: asking.sender.address, parameter: &value })
}

/// A request without an answer.
struct Missed {
    /// The upstream it was sent to.
    index: usize,
    failure: Failure,
    /// What of it may be sent elsewhere.
    unsent: Option<RequestBody>,
}

impl Missed {
    /// Boxed: what is rare must not make the usual way's results larger, which are moved from function to function.
    #[cold]
    fn boxed(index: usize, failure: Failure, unsent: Option<RequestBody>) -> Box<Self> {
        Box::new(Self { index, failure, unsent })
    }
}

fn upstream_index(settings: &config::Route) -> usize {
    match &settings.action {
        Action::Proxy { upstream, .. } => upstream.0,
        Action::Redirect { .. } | Action::Respond { .. } => usize::MAX,
    }
}
