//! Refuses of an HTTP/2 request what the wire refuses of HTTP/1; its bytes come to nobody but the h2 crate.

use http::{HeaderValue, Method, header, request};

use crate::config::Limits;
use crate::refusal::WireRefusal;

/// Whether the request may go on. The h2 crate has refused what no HTTP/2 may have: a wrong pseudo-header, a field of
/// the connection, a length that is not the body's.
pub(crate) fn check(parts: &request::Parts, limits: &Limits) -> Result<(), WireRefusal> {
    if parts.method == Method::CONNECT {
        return Err(WireRefusal::Connect);
    }
    if parts.uri.path() == "*" && parts.method != Method::OPTIONS {
        return Err(WireRefusal::Target);
    }
    if parts.headers.len() > limits.header_count {
        return Err(WireRefusal::HeaderCount);
    }
    let hosts = parts.headers.get_all(header::HOST).iter().count();
    if hosts > 1 || (hosts == 0 && parts.uri.authority().is_none()) {
        return Err(WireRefusal::Host);
    }
    if parts.headers.values().any(is_padded) {
        return Err(WireRefusal::FieldValue);
    }
    Ok(())
}

/// White space at either end (RFC 9113, section 8.2.1): an HTTP/1 server would read the value without it.
fn is_padded(value: &HeaderValue) -> bool {
    let is_white = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    is_white(value.as_bytes().first()) || is_white(value.as_bytes().last())
}
