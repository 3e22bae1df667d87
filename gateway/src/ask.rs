//! One request to an upstream: its body under limits, its headers for servers, its response, or a change of protocol.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use http::{StatusCode, Version, header, request};
use http_body::Body as _;
use plugins::Exchange;
use tokio::time::Instant;

use crate::body::Payload;
use crate::config::{self, Action};
use crate::connection::Tunnel;
use crate::deadline::Timer;
use crate::finish::{Asked, Finish};
use crate::forward;
use crate::proxy::{Answer, Asking, Visit};
use crate::reply::Failure;
use crate::upstream::choice::{self, Choice};
use crate::upstream::health::is_failure;
use crate::upstream::request_body::{BodyLimits, Changes, RequestBody};
use crate::upstream::response_body::{ResponseBody, ResponseLimits, Source};
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
        let upstream = &self.current.upstreams[index];
        forward::join_cookies(&mut parts.headers, parts.version);
        let peer = &self.connection.peer.text;
        forward::add_forwarded(&mut parts.headers, &asking.sender, peer, asking.settings.forwarded);
        let upgrade = asking.hop.upgrade.take().filter(|_| {
            let speaks_http1 = upstream.config.protocol == config::Protocol::Http1;
            // With a body nobody could say where it ends and the other protocol begins.
            self.version == Version::HTTP_11 && speaks_http1 && body.is_empty()
        });
        if let Some(protocol) = &upgrade {
            forward::set_upgrade(&mut parts.headers, protocol.clone());
        }
        if matches!(body, RequestBody::Whole(_)) {
            parts.headers.remove(header::CONTENT_LENGTH);
        }
        // Plugins take their time; without them the head has just arrived.
        let now = if asking.route.chain.is_empty() { finish.started } else { Instant::now() };
        let mut timer = self.connection.timer(self.version);
        let choice = match upstream.looks_at_requests() {
            false => Choice::default(),
            true => choice_of(upstream, parts, &asking),
        };
        let caller = Caller {
            upstream,
            pools: &self.connection.worker.pools,
            timer: &mut timer,
            deadline: asking.deadline,
            now,
            head: &mut finish.head,
            choice,
        };
        match call(caller, parts, body).await {
            Ok(called) => {
                let Called { source, server, retries, sent_at } = called;
                let arrived = Instant::now();
                let time = Some(arrived.saturating_duration_since(sent_at));
                finish.asked = Some(Asked { upstream: index, server: Some(server), time, retries });
                finish.failed = is_failure(finish.head.status, &finish.head.headers);
                let idle = upstream.config.timeout.idle;
                if finish.head.status == StatusCode::SWITCHING_PROTOCOLS {
                    return self.switch(source, upgrade.map(|_| idle), finish);
                }
                let limits = ResponseLimits { timer, idle, deadline: asking.deadline, arrived };
                Ok(self.respond(source, limits, finish))
            }
            Err(failed) => {
                let CallFailure { error, server, retries, unsent: _ } = failed;
                finish.asked = Some(Asked { upstream: index, server, time: None, retries });
                Err(Failure::Call(error))
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

fn upstream_index(settings: &config::Route) -> usize {
    match &settings.action {
        Action::Proxy { upstream, .. } => upstream.0,
        Action::Redirect { .. } | Action::Respond { .. } => usize::MAX,
    }
}
