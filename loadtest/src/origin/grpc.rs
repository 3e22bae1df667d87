//! gRPC by hand: loadtest.Echo/Unary sends its message back, loadtest.Echo/Stream sends it several times.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;

use super::played::{AnswerBody, Length, Played, Source};
use crate::body::Body;

/// Metadata: how many messages a stream has.
const MESSAGES: &str = "x-load-messages";
const MESSAGES_DEFAULT: u32 = 10;
const MESSAGES_MAX: u32 = 100_000;

/// Metadata: the status with which the call ends.
const STATUS: &str = "x-load-grpc-status";

/// Longest message, as in most implementations.
const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// gRPC's own statuses, of which we need three.
const INVALID_ARGUMENT: u16 = 3;
const UNIMPLEMENTED: u16 = 12;

/// Before each message: a byte of flags and four of length.
const PREFIX: usize = 5;

/// True for a request that expects its status in grpc-status.
pub(super) fn is_call(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// Answers a call of `method`.
pub(super) async fn call(method: &str, request: Request<Incoming>) -> Response<AnswerBody> {
    if !is_call(request.headers()) {
        let mut response = Response::new(AnswerBody::Plain(Body::empty()));
        *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return response;
    }
    let status = number(request.headers(), STATUS).unwrap_or(0);
    let messages = match method {
        "Unary" => 1,
        "Stream" => {
            number(request.headers(), MESSAGES).unwrap_or(MESSAGES_DEFAULT).min(MESSAGES_MAX)
        }
        _ => return refused(UNIMPLEMENTED),
    };
    let body = Limited::new(request.into_body(), MESSAGE_BYTES_MAX + PREFIX).collect().await;
    let Some(message) = body.ok().map(|body| body.to_bytes()).filter(is_one_message) else {
        return refused(INVALID_ARGUMENT);
    };
    if status != 0 && method == "Unary" {
        return refused(u16::try_from(status).unwrap_or(u16::MAX));
    }
    let mut played = Played::new(Source::Messages { message, left: messages });
    // gRPC tells no length: the trailers say that all came.
    played.length = Length::Open;
    played.trailers = Some(HeaderMap::from_iter([(GRPC_STATUS, HeaderValue::from(status))]));
    let mut response = Response::new(AnswerBody::Played(Box::new(played)));
    response.headers_mut().insert(header::CONTENT_TYPE, KIND);
    response
}

/// The status without a message, in the head.
pub(super) fn refused(status: u16) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::Plain(Body::empty()));
    response.headers_mut().insert(header::CONTENT_TYPE, KIND);
    response.headers_mut().insert(GRPC_STATUS, status.into());
    let message =
        HeaderValue::from_static("as asked for, or not understood; see loadtest origin --help");
    response.headers_mut().insert("grpc-message", message);
    response
}

const KIND: HeaderValue = HeaderValue::from_static("application/grpc");
const GRPC_STATUS: http::HeaderName = http::HeaderName::from_static("grpc-status");

fn is_one_message(body: &Bytes) -> bool {
    let length = body.get(1..PREFIX).and_then(|length| length.try_into().ok());
    length.is_some_and(|length| u32::from_be_bytes(length) as usize == body.len() - PREFIX)
}

fn number(headers: &HeaderMap, name: &str) -> Option<u32> {
    headers.get(name)?.to_str().ok()?.parse().ok()
}
