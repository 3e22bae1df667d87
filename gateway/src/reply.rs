//! Turns whatever ends a request early into a reply: status, problem+json body, gRPC status for gRPC calls.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use plugins::Refusal;
use thiserror::Error;

use crate::refusal::WireRefusal;
use crate::routing::path::PathRefusal;
use crate::upstream::CallError;
use crate::upstream::admission::Turned;
use crate::upstream::request_body::BodyError;

/// Everything that ends a request without the answer it asked for.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// The bytes are no request.
    #[error("{}", .0.detail())]
    Wire(WireRefusal),
    /// The path can be read in two ways.
    #[error("{0}")]
    Path(PathRefusal),
    /// HTTP/2: `:authority` and `Host` differ, or are no host.
    #[error("the host is missing or malformed, or :authority and Host differ")]
    Authority,
    /// No route knows the path.
    #[error("no route takes this path")]
    NoRoute,
    /// A route knows the path, but not with this method.
    #[error("this path does not take this method")]
    Method {
        /// `Allow`.
        allow: HeaderValue,
    },
    /// The body is longer than the route takes.
    #[error("the request body is longer than this route takes")]
    BodyTooLong,
    /// A plugin refused.
    #[error("{}", .0.detail)]
    Refused(Box<Refusal>),
    /// The upstream gave no response.
    #[error("{0}")]
    Call(CallError),
    /// The route or its upstream has no room, or its breaker is open.
    #[error("{0}")]
    Turned(Turned),
    /// The process has too much to do, and this request matters less than others.
    #[error("there is too much to do at the moment")]
    Shed,
    /// A response body was longer than a plugin takes.
    #[error("the response is longer than a plugin of this route takes")]
    ResponseTooLong,
    /// A response body broke off while a plugin waited for all of it.
    #[error("the response broke off")]
    ResponseBroken,
}

/// What a reply says.
struct Words {
    status: StatusCode,
    reason: &'static str,
    detail: Cow<'static, str>,
}

impl Failure {
    fn words(&self) -> Words {
        let (status, reason) = match self {
            Self::Wire(refusal) => (refusal.status(), refusal.reason()),
            Self::Path(refusal) => (StatusCode::BAD_REQUEST, refusal.reason()),
            Self::Authority => (StatusCode::BAD_REQUEST, "authority"),
            Self::NoRoute => (StatusCode::NOT_FOUND, "no-route"),
            Self::Method { .. } => (StatusCode::METHOD_NOT_ALLOWED, "method"),
            Self::BodyTooLong => (StatusCode::PAYLOAD_TOO_LARGE, "body-too-long"),
            Self::Refused(refusal) => (refusal.status, refusal.reason),
            Self::Call(error) => return call_words(error),
            Self::Turned(turned) => (StatusCode::SERVICE_UNAVAILABLE, turned.reason()),
            Self::Shed => (StatusCode::SERVICE_UNAVAILABLE, "shed"),
            Self::ResponseTooLong => (StatusCode::BAD_GATEWAY, "response-too-long"),
            Self::ResponseBroken => (StatusCode::BAD_GATEWAY, "upstream-broken"),
        };
        Words { status, reason, detail: self.to_string().into() }
    }

    /// The short word for log and metrics.
    pub(crate) fn reason(&self) -> &'static str {
        self.words().reason
    }

    /// Whether the request's body broke off.
    pub(crate) fn is_broken_body(&self) -> bool {
        matches!(self, Self::Call(CallError::Body(BodyError::Broken)))
    }

    /// Whether the gateway would not have it: the client is at fault and should have known, or there is no room. Counted as a
    /// refusal.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            Self::Wire(_)
            | Self::Path(_)
            | Self::Authority
            | Self::Method { .. }
            | Self::BodyTooLong
            | Self::Refused(_)
            | Self::Turned(_)
            | Self::Shed => true,
            Self::Call(error) => matches!(error, CallError::Body(_)),
            Self::NoRoute | Self::ResponseTooLong | Self::ResponseBroken => false,
        }
    }

    /// Whether the server is at fault, or there is no room for it: then a fallback may answer.
    pub(crate) fn is_of_server(&self) -> bool {
        match self {
            Self::Call(error) => !matches!(error, CallError::Body(_) | CallError::Deadline),
            Self::Turned(_) | Self::ResponseBroken => true,
            _ => false,
        }
    }

    /// Whether the connection cannot go on: what follows on it may not be what it seems.
    pub(crate) fn closes(&self) -> bool {
        match self {
            Self::Wire(_) | Self::Path(_) | Self::Authority | Self::BodyTooLong => true,
            Self::Call(error) => matches!(error, CallError::Body(_)),
            Self::NoRoute
            | Self::Method { .. }
            | Self::Refused(_)
            | Self::Turned(_)
            | Self::Shed
            | Self::ResponseTooLong
            | Self::ResponseBroken => false,
        }
    }

    /// The error type of RFC 9209 (`Proxy-Status`), section 2.3.
    pub(crate) fn proxy_error(&self) -> Option<&'static str> {
        use crate::upstream::ConnectError;
        let error = match self {
            Self::Call(error) => error,
            Self::Turned(Turned::Open(_)) => return Some("destination_unavailable"),
            Self::Turned(_) | Self::Shed => return Some("connection_limit_reached"),
            _ => return None,
        };
        Some(match error {
            CallError::NoServer | CallError::TakenOut => "destination_unavailable",
            CallError::Connect(ConnectError::Refused(_)) => "connection_refused",
            CallError::Connect(ConnectError::Tls(_)) => "tls_protocol_error",
            CallError::Connect(ConnectError::TimedOut) => "connection_timeout",
            CallError::Broken(_) => "connection_terminated",
            CallError::ResponseTimeout | CallError::Deadline => "http_response_timeout",
            CallError::Body(_) => "http_request_error",
        })
    }
}

fn call_words(error: &CallError) -> Words {
    use crate::upstream::ConnectError;
    let unavailable = "the service is not available at the moment";
    let slow = "the service did not answer in time";
    let (status, reason, detail) = match error {
        CallError::NoServer => (StatusCode::SERVICE_UNAVAILABLE, "no-server", unavailable),
        CallError::TakenOut => (StatusCode::SERVICE_UNAVAILABLE, "taken-out", unavailable),
        CallError::Connect(ConnectError::Refused(_)) => {
            (StatusCode::BAD_GATEWAY, "connect-failed", unavailable)
        }
        CallError::Connect(ConnectError::Tls(_)) => {
            (StatusCode::BAD_GATEWAY, "connect-tls", unavailable)
        }
        CallError::Connect(ConnectError::TimedOut) => {
            (StatusCode::GATEWAY_TIMEOUT, "connect-timeout", slow)
        }
        CallError::Broken(_) => {
            (StatusCode::BAD_GATEWAY, "upstream-broken", "the service broke off its answer")
        }
        CallError::ResponseTimeout => (StatusCode::GATEWAY_TIMEOUT, "upstream-timeout", slow),
        CallError::Deadline => (StatusCode::GATEWAY_TIMEOUT, "deadline", slow),
        CallError::Body(error) => return body_words(error),
    };
    Words { status, reason, detail: detail.into() }
}

fn body_words(error: &BodyError) -> Words {
    let (status, reason) = match error {
        BodyError::TooLong => (StatusCode::PAYLOAD_TOO_LARGE, "body-too-long"),
        BodyError::TooSlow => (StatusCode::REQUEST_TIMEOUT, "body-too-slow"),
        BodyError::Broken => (StatusCode::BAD_REQUEST, "body-broken"),
        BodyError::Refused(refusal) => {
            let detail = refusal.detail.clone();
            return Words { status: refusal.status, reason: refusal.reason, detail };
        }
    };
    Words { status, reason, detail: error.to_string().into() }
}

/// What kind of client the reply is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    /// An HTTP client: problem+json (RFC 9457).
    Http,
    /// A gRPC client: 200 with `grpc-status`.
    Grpc,
}

impl Audience {
    /// gRPC says so in its content type.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let grpc = |value: &HeaderValue| value.as_bytes().starts_with(b"application/grpc");
        if headers.get(header::CONTENT_TYPE).is_some_and(grpc) { Self::Grpc } else { Self::Http }
    }
}

/// The reply to a failure.
pub(crate) fn reply(failure: Failure, audience: Audience) -> Response<Bytes> {
    let words = failure.words();
    let mut response = match audience {
        Audience::Http => problem(&words),
        Audience::Grpc => grpc(&words),
    };
    if failure.closes() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    match failure {
        Failure::Method { allow } => {
            response.headers_mut().insert(header::ALLOW, allow);
        }
        Failure::Refused(refusal) => response.headers_mut().extend(refusal.headers),
        Failure::Turned(Turned::Open(open)) => {
            // RFC 9110, section 10.2.3.
            let seconds = HeaderValue::from(open.retry_after_seconds());
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        _ => {}
    }
    response
}

/// The status a failure is answered with.
pub(crate) fn status(failure: &Failure) -> StatusCode {
    failure.words().status
}

/// A refused head is answered before there is a request, so by raw bytes.
pub(crate) fn raw(refusal: WireRefusal) -> Vec<u8> {
    let words = Failure::Wire(refusal).words();
    let body = problem_body(&words);
    let status = words.status;
    let title = status.canonical_reason().unwrap_or_default();
    format!(
        "HTTP/1.1 {} {title}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        status.as_u16(),
        body.len(),
    )
    .into_bytes()
}

fn problem(words: &Words) -> Response<Bytes> {
    let mut response = Response::new(problem_body(words).into());
    *response.status_mut() = words.status;
    let json = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

fn problem_body(words: &Words) -> String {
    let title = words.status.canonical_reason().unwrap_or("Error");
    let problem = serde_json::json!({
        "title": title,
        "status": words.status.as_u16(),
        "detail": words.detail,
        "reason": words.reason,
    });
    problem.to_string()
}

/// gRPC over HTTP/2, section "Responses": a reply of headers only.
fn grpc(words: &Words) -> Response<Bytes> {
    let code = match words.status.as_u16() {
        400 | 411 | 413 | 414 | 431 => 13,
        401 => 16,
        403 => 7,
        404 | 405 | 501 => 12,
        408 | 504 => 4,
        429 | 502 | 503 => 14,
        _ => 2,
    };
    let message: String =
        words.detail.chars().filter(|c| (' '..='~').contains(c) && *c != '%').collect();
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(HeaderName::from_static("grpc-status"), HeaderValue::from(code));
    if let Ok(message) = HeaderValue::try_from(message) {
        headers.insert(HeaderName::from_static("grpc-message"), message);
    }
    response
}
