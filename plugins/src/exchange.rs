//! What a plugin sees of one request: the exchange, who the client is, and the ways to answer.

use std::borrow::Cow;
use std::net::IpAddr;

use bytes::Bytes;
use http::uri::Authority;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, StatusCode, header, request};

/// Who sent the request, as the gateway established it (trusted proxies and PROXY protocol considered).
#[derive(Clone, Debug)]
pub struct Client {
    /// The client's address: the peer's, or the one a trusted proxy vouches for.
    pub address: IpAddr,
    /// Who they are, once a plugin has authenticated them (the subject of a token, a user name).
    pub identity: Option<Box<str>>,
}

impl Client {
    /// A client that nobody has authenticated yet.
    pub fn at(address: IpAddr) -> Self {
        Self { address, identity: None }
    }
}

/// The scheme of the URL that the client used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Plain text between the client and the gateway, or the trusted proxy before it.
    Http,
    /// TLS between the client and the gateway, or the trusted proxy before it.
    Https,
}

impl Scheme {
    /// As it stands in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Where a response comes from, for plugins that treat the gateway's own replies differently.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// A server of the upstream sent it.
    #[default]
    Upstream,
    /// The gateway kept it from an earlier request.
    Cache,
    /// The gateway made it: a refusal, an error, a redirect, a fixed response, or a plugin's answer.
    Gateway,
}

/// One request and what belongs to it, while it passes through the chain.
#[derive(Debug)]
pub struct Exchange {
    /// The request's method, URI, version and headers; a plugin may change them on the way down. On the way up method,
    /// URI and version are still there, but the headers have gone to the upstream: what a plugin needs of them by
    /// then, it keeps in `state`.
    pub request: request::Parts,
    /// The whole request body, if a plugin of this chain asked for it ([`Body::Whole`](crate::Body::Whole)): it is
    /// there from that plugin on. Replace it to send another one; the gateway sets `Content-Length`.
    pub body: Option<Bytes>,
    /// Who the client is.
    pub client: Client,
    /// The scheme the client used: the listener's, or what a trusted proxy says in `X-Forwarded-Proto`.
    pub scheme: Scheme,
    /// The name of the route that took the request.
    pub route: Box<str>,
    /// The id that joins log lines of one request; set by `correlation-id`, printed in the access log.
    pub correlation_id: Option<HeaderValue>,
    /// Where the response on its way up comes from; means nothing on the way down.
    pub origin: Origin,
    /// Typed state of plugins for the life of this request (an empty map costs no allocation).
    pub state: Extensions,
}

impl Exchange {
    /// An exchange at its beginning. Fields that come later get their meaning of "not yet" here.
    pub fn new(
        request: request::Parts,
        client: Client,
        scheme: Scheme,
        route: impl Into<Box<str>>,
    ) -> Self {
        Self {
            request,
            body: None,
            client,
            scheme,
            route: route.into(),
            correlation_id: None,
            origin: Origin::default(),
            state: Extensions::new(),
        }
    }

    /// Host and port as the client asked for them: the URI's authority (HTTP/2), else the one `Host` header.
    /// `None` if there is none, or if it is not a plain host and port. For the way down.
    pub fn authority(&self) -> Option<Authority> {
        let authority = match self.request.uri.authority() {
            Some(authority) => authority.clone(),
            None => only_value(&self.request.headers, &header::HOST)?.as_bytes().try_into().ok()?,
        };
        let plain = !authority.host().is_empty() && !authority.as_str().contains('@');
        plain.then_some(authority)
    }
}

/// The value of a header that may stand only once: `None` if it is missing or stands twice.
pub(crate) fn only_value<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    values.next().is_none().then_some(first)
}

/// What a plugin decides on the way down.
#[derive(Debug)]
pub enum Flow {
    /// The next plugin, in the end the upstream, sees the request.
    Continue,
    /// This is the answer; the upstream is not asked. Plugins before this one see it on the way up, this one does not.
    Respond(Box<http::Response<Bytes>>),
    /// The request is refused; the gateway words the reply (problem+json, or a gRPC status). Plugins before this one
    /// see it on the way up, this one does not.
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

#[cfg(test)]
impl Exchange {
    /// A request over plain HTTP from 192.0.2.7, on the route `news`.
    pub(crate) fn example(request: request::Builder) -> Self {
        let (request, ()) = request.body(()).expect("a request that can be built").into_parts();
        let address = IpAddr::from([192, 0, 2, 7]);
        Self::new(request, Client::at(address), Scheme::Http, "news")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_is_the_uris_or_the_only_host_header() {
        let authority = |request: request::Builder| {
            Exchange::example(request).authority().map(|authority| authority.to_string())
        };
        let get = |uri: &str| http::Request::get(uri);
        assert_eq!(authority(get("/")), None);
        assert_eq!(authority(get("http://a.example/")).as_deref(), Some("a.example"));
        assert_eq!(
            authority(get("/").header("host", "b.example:81")).as_deref(),
            Some("b.example:81")
        );
        assert_eq!(authority(get("/").header("host", "[::1]:81")).as_deref(), Some("[::1]:81"));
        for host in ["", "a b", "user@evil.example", "a/b", "a?b", "a#b", ":80"] {
            assert_eq!(authority(get("/").header("host", host)), None, "{host:?}");
        }
        assert_eq!(authority(get("/").header("host", "a").header("host", "b")), None);
    }
}
