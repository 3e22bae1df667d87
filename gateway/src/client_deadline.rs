//! What a client says of how long it waits, and what servers are told of it (gRPC over HTTP/2, `grpc-timeout`; and
//! `X-Request-Deadline`, a time of day in Unix milliseconds). It can only shorten a route's `timeout`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue};
use resilience::deadline;
use tokio::time::Instant;

pub(crate) static X_REQUEST_DEADLINE: HeaderName = HeaderName::from_static("x-request-deadline");
pub(crate) static GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// The end of the client's patience; the earlier one if it says two. What cannot be read says nothing.
#[cold]
pub(crate) fn of_client(headers: &HeaderMap, now: Instant) -> Option<Instant> {
    let timeout = headers
        .get(&GRPC_TIMEOUT)
        .and_then(|text| deadline::read_grpc_timeout(text.as_bytes()).ok());
    let until = headers
        .get(&X_REQUEST_DEADLINE)
        .and_then(|text| deadline::read_time_of_day(text.as_bytes()).ok())
        .map(|at| deadline::until_time_of_day(at, time_of_day()));
    now.checked_add(timeout.into_iter().chain(until).min()?)
}

/// Tells the server what is left, in the fields that the client used.
#[cold]
pub(crate) fn pass_on(headers: &mut HeaderMap, end: Instant, now: Instant) {
    let left = end.saturating_duration_since(now);
    if headers.contains_key(&GRPC_TIMEOUT) {
        let text = deadline::write_grpc_timeout(left);
        set(headers, &GRPC_TIMEOUT, text.as_bytes());
    }
    if headers.contains_key(&X_REQUEST_DEADLINE) {
        let text = deadline::write_time_of_day(time_of_day().saturating_add(left));
        set(headers, &X_REQUEST_DEADLINE, text.as_bytes());
    }
}

fn set(headers: &mut HeaderMap, name: &HeaderName, text: &[u8]) {
    if let Ok(value) = HeaderValue::from_bytes(text) {
        headers.insert(name, value);
    }
}

fn time_of_day() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
