//! One log line a request, under the correlation id that came with it or was made for it; and the time it may take.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::Instant;
use tracing::Instrument;

use crate::metrics::Metrics;
use crate::reply::Failure;

/// How long one request may take, its body's arrival included.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(30);
/// The header that names a request through every hop.
pub(crate) const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
const CORRELATION_ID_BYTES_MAX: usize = 128;

tokio::task_local! {
    /// The id of the request that this task answers.
    static CURRENT: HeaderValue;
}

/// The id to pass on to the services we ask; a new one outside of a request.
pub(crate) fn current_correlation_id() -> HeaderValue {
    CURRENT.try_with(Clone::clone).unwrap_or_else(|_| new_correlation_id())
}

/// Runs a request inside a span that carries its correlation id, and logs and counts how it ended. The path is logged
/// without its query, in which codes and names travel.
pub(crate) async fn follow(
    State(metrics): State<Arc<Metrics>>,
    request: Request,
    next: Next,
) -> Response {
    let correlation_id = correlation_id(request.headers());
    let span = tracing::info_span!(
        "request",
        correlation_id = correlation_id.to_str().unwrap_or_default(),
        method = %request.method(),
        path = request.uri().path(),
    );
    let is_probe = matches!(request.uri().path(), "/health" | "/metrics");
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = known_method(request.method());
    let answering = async {
        let begun = Instant::now();
        let answered = tokio::time::timeout(REQUEST_TIME_MAX, next.run(request)).await;
        let mut response = answered.unwrap_or_else(|_| Failure::TooSlow.into_response());
        response.headers_mut().insert(CORRELATION_ID, correlation_id.clone());
        let (status, duration) = (response.status().as_u16(), begun.elapsed());
        let route = route.as_ref().map_or("none", MatchedPath::as_str);
        metrics.observe(route, method, &status.to_string(), duration);
        let duration_ms = duration.as_secs_f64() * 1000.0;
        // Probes come every few seconds and would bury the rest.
        if is_probe && response.status().is_success() {
            tracing::debug!(status, duration_ms, "answered");
        } else {
            tracing::info!(status, duration_ms, "answered");
        }
        response
    };
    CURRENT.scope(correlation_id.clone(), answering.instrument(span)).await
}

/// A method's name if it is one that clients did not make up.
fn known_method(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "HEAD" => "HEAD",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

/// The id that came, if it is short and printable; else a new one.
fn correlation_id(headers: &HeaderMap) -> HeaderValue {
    let sane = |id: &&HeaderValue| {
        !id.is_empty()
            && id.len() <= CORRELATION_ID_BYTES_MAX
            && id.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    headers.get(CORRELATION_ID).filter(sane).cloned().unwrap_or_else(new_correlation_id)
}

fn new_correlation_id() -> HeaderValue {
    let id = uuid::Uuid::new_v4().to_string();
    HeaderValue::try_from(id).expect("a UUID is made of hexadecimal digits and hyphens")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_correlation_id_is_kept_only_if_it_is_short_and_printable() {
        let longest = "a".repeat(CORRELATION_ID_BYTES_MAX);
        let too_long = "a".repeat(CORRELATION_ID_BYTES_MAX + 1);
        for (id, kept) in
            [("abc-123", true), (&longest, true), (&too_long, false), ("", false), ("a b", false)]
        {
            let mut headers = HeaderMap::new();
            headers.insert(CORRELATION_ID, HeaderValue::from_str(id).unwrap());
            assert_eq!(correlation_id(&headers) == *id, kept, "{id:?}");
        }
    }

    #[test]
    fn clients_cannot_make_labels() {
        assert_eq!(known_method(&Method::POST), "POST");
        assert_eq!(known_method(&Method::from_bytes(b"BREW").unwrap()), "other");
    }
}
