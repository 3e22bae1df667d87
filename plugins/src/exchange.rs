//! What a plugin sees of one request: the exchange, who the client is, and the ways to answer.

use std::borrow::Cow;
use std::net::IpAddr;

use bytes::Bytes;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, StatusCode};

/// Who sent the request, as the gateway established it (trusted proxies and PROXY protocol considered).
#[derive(Clone, Debug)]
pub struct Client {
    /// The client's address: the peer's, or the one a trusted proxy vouches for.
    pub address: IpAddr,
    /// Who they are, once a plugin has authenticated them (the subject of a token, a user name).
    pub identity: Option<Box<str>>,
}

/// One request and what belongs to it, while it passes through the chain.
#[derive(Debug)]
pub struct Exchange {
    /// The request's method, URI, version and headers; a plugin may change them on the way down.
    pub request: http::request::Parts,
    /// The whole request body, if a plugin of this chain asked for it ([`Body::Whole`]).
    pub body: Option<Bytes>,
    /// Who the client is.
    pub client: Client,
    /// The name of the route that took the request.
    pub route: Box<str>,
    /// The id that joins log lines of one request; set by `correlation-id`, printed in the access log.
    pub correlation_id: Option<HeaderValue>,
    /// Typed state of plugins for the life of this request (an empty map costs no allocation).
    pub state: Extensions,
}

/// What a plugin decides on the way down.
#[derive(Debug)]
pub enum Flow {
    /// The next plugin, in the end the upstream, sees the request.
    Continue,
    /// This is the answer; the upstream is not asked. Plugins passed so far see it on the way up.
    Respond(Box<http::Response<Bytes>>),
    /// The request is refused; the gateway words the reply (problem+json, or a gRPC status).
    Refuse(Box<Refusal>),
}

/// A request that a plugin does not let through.
#[derive(Debug)]
pub struct Refusal {
    /// The status of the reply.
    pub status: StatusCode,
    /// A short stable word for the access log and the metric `gateway_refusals_total`, such as `ip-denied`.
    pub reason: &'static str,
    /// One sentence for the person at the other end; it must not tell secrets.
    pub detail: Cow<'static, str>,
    /// Headers the reply carries, such as `WWW-Authenticate` or `Retry-After`.
    pub headers: HeaderMap,
}

impl Refusal {
    /// A refusal without extra headers.
    pub fn new(
        status: StatusCode,
        reason: &'static str,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { status, reason, detail: detail.into(), headers: HeaderMap::new() }
    }

    /// The same refusal with one more header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }
}

impl From<Refusal> for Flow {
    fn from(refusal: Refusal) -> Self {
        Self::Refuse(Box::new(refusal))
    }
}
