//! `grpc.health.v1.Health/Check`: the call, and what its answer means.
//!
//! The protocol: <https://github.com/grpc/grpc/blob/master/doc/health-checking.md>; its frames:
//! <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use resilience::deadline::write_grpc_timeout;
use thiserror::Error;

use super::{BODY_MAX, CheckError, exchange};
use crate::upstream::server::Server;

/// `HealthCheckResponse.ServingStatus.SERVING`.
const SERVING: u64 = 1;

/// Why an answer is bad.
#[derive(Debug, Error)]
pub(super) enum GrpcError {
    #[error("status {} instead of gRPC's 200", .0.as_u16())]
    Status(StatusCode),
    #[error("what answers is no gRPC")]
    NoGrpc,
    #[error("its answer is longer than 64 KiB")]
    TooLong,
    #[error("the answer broke off: {0}")]
    Broken(Box<str>),
    #[error("its answer has no grpc-status")]
    NoCode,
    /// 5 is also how it says that it does not know the service.
    #[error("grpc-status {}{}", .0, if *.0 == 5 { ", the service is unknown" } else { "" })]
    Code(u32),
    #[error("its message is no HealthCheckResponse")]
    Malformed,
    #[error("{}", match .0 { 2 => "NOT_SERVING", 3 => "SERVICE_UNKNOWN", _ => "its status is unknown" })]
    NotServing(u64),
}

/// Asks for a service; the empty one is the server as a whole.
pub(super) fn request(
    server: &Server,
    service: &str,
    host: &HeaderValue,
    timeout: Duration,
) -> http::Result<Request<Full<Bytes>>> {
    let path = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    Request::post(exchange::uri(server, &path, host)?)
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .header(header::USER_AGENT, exchange::USER_AGENT)
        .header("grpc-timeout", write_grpc_timeout(timeout).as_bytes())
        .body(Full::from(framed(service)))
}

/// `HealthCheckRequest { service }` in a frame of gRPC.
fn framed(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        // Field 1, with its length before it.
        message.put_u8(1 << 3 | 2);
        let mut length = service.len();
        while length >= 0x80 {
            message.put_u8(length as u8 | 0x80);
            length >>= 7;
        }
        message.put_u8(length as u8);
        message.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::with_capacity(5 + message.len());
    framed.put_u8(0);
    // A service's name comes from the config, which is far shorter than 4 GiB.
    framed.put_u32(message.len() as u32);
    framed.put(message);
    framed.freeze()
}

/// Good is `SERVING` with grpc-status 0.
pub(super) async fn judge(response: Response<Incoming>) -> Result<String, CheckError> {
    let (head, body) = response.into_parts();
    if head.status != StatusCode::OK {
        return Err(GrpcError::Status(head.status).into());
    }
    let kind = head.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    if !kind.is_some_and(|kind| kind.starts_with(b"application/grpc")) {
        return Err(GrpcError::NoGrpc.into());
    }
    // An answer without a message has its trailers in the head.
    if let Some(code) = code(&head.headers).filter(|code| *code != 0) {
        return Err(GrpcError::Code(code).into());
    }
    let body = Limited::new(body, BODY_MAX).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            GrpcError::TooLong
        } else {
            GrpcError::Broken(error.to_string().into())
        }
    })?;
    match body.trailers().and_then(code) {
        None => return Err(GrpcError::NoCode.into()),
        Some(0) => {}
        Some(code) => return Err(GrpcError::Code(code).into()),
    }
    match status(&body.to_bytes()).ok_or(GrpcError::Malformed)? {
        SERVING => Ok("SERVING".to_owned()),
        other => Err(GrpcError::NotServing(other).into()),
    }
}

fn code(fields: &HeaderMap) -> Option<u32> {
    fields.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// The status in a frame with a `HealthCheckResponse`; 0, its default, if there is none in it.
fn status(frame: &[u8]) -> Option<u64> {
    let (prefix, mut message) = frame.split_first_chunk::<5>()?;
    let [compressed, length @ ..] = *prefix;
    if compressed != 0 || u32::from_be_bytes(length) as usize != message.len() {
        return None;
    }
    let mut status = 0;
    while !message.is_empty() {
        let key = varint(&mut message)?;
        match (key >> 3, key & 7) {
            (1, 0) => status = varint(&mut message)?,
            (_, 0) => drop(varint(&mut message)?),
            (_, 1) => message = message.get(8..)?,
            (_, 2) => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                message = message.get(length..)?;
            }
            (_, 5) => message = message.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

/// A number of Protocol Buffers: seven bits a byte, the lowest first.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for place in 0..10 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f).checked_shl(7 * place)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_asked_for_by_its_name() {
        assert_eq!(framed("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(framed("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        let long = framed(&"x".repeat(300));
        assert_eq!(long[..8], [0, 0, 0, 1, 0x2f, 0x0a, 0xac, 0x02]);
        assert_eq!(long.len(), 5 + 303);
    }

    #[test]
    fn the_status_is_found_among_other_fields() {
        let cases: [(&[u8], Option<u64>, &str); 12] = [
            (&[0, 0, 0, 0, 2, 8, 1], Some(1), "serving"),
            (&[0, 0, 0, 0, 2, 8, 2], Some(2), "not serving"),
            (&[0, 0, 0, 0, 0], Some(0), "the default is not sent"),
            (&[0, 0, 0, 0, 6, 0x12, 2, 8, 2, 8, 1], Some(1), "after a text that looks like one"),
            (&[0, 0, 0, 0, 7, 8, 1, 0x1d, 1, 2, 3, 4], Some(1), "before four bytes"),
            (&[0, 0, 0, 0, 4, 8, 2, 8, 1], Some(1), "the last one counts"),
            (&[1, 0, 0, 0, 2, 8, 1], None, "compressed, which nobody allowed"),
            (&[0, 0, 0, 0, 3, 8, 1], None, "shorter than it says"),
            (&[0, 0, 0, 0, 1, 8], None, "a key without a value"),
            (&[0, 0, 0, 0, 3, 0x12, 9, 1], None, "a text longer than all"),
            (&[0, 0, 0], None, "no frame"),
            (&[], None, "nothing"),
        ];
        for (frame, expected, why) in cases {
            assert_eq!(status(frame), expected, "{why}");
        }
        let mut endless = vec![0, 0, 0, 0, 12, 8];
        endless.extend([0xff; 11]);
        assert_eq!(status(&endless), None, "a number without an end");
    }
}
