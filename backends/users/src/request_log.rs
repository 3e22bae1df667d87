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
const CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
const CORRELATION_ID_BYTES_MAX: usize = 128;

/// The request's correlation id, for what goes on after it is answered.
#[derive(Debug, Clone)]
pub(crate) struct CorrelationId(pub(crate) String);

/// Runs a request inside a span that carries its correlation id, logs and counts how it ended.
pub(crate) async fn follow(
    State(metrics): State<Arc<Metrics>>,
    mut request: Request,
    next: Next,
) -> Response {
    let correlation_id = correlation_id(request.headers());
    let text = correlation_id.to_str().unwrap_or_default().to_owned();
    request.extensions_mut().insert(CorrelationId(text));
    let method = method_label(request.method());
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let span = tracing::info_span!(
        "request",
        correlation_id = correlation_id.to_str().unwrap_or_default(),
        method = %request.method(),
        path = request.uri().path(),
    );
    let is_probe = matches!(request.uri().path(), "/health" | "/metrics");
    async move {
        let begun = Instant::now();
        let answered = tokio::time::timeout(REQUEST_TIME_MAX, next.run(request)).await;
        let mut response = answered.unwrap_or_else(|_| Failure::TooSlow.into_response());
        response.headers_mut().insert(CORRELATION_ID, correlation_id);
        let status = response.status().as_u16();
        let duration = begun.elapsed();
        let route = matched.as_ref().map_or("none", MatchedPath::as_str);
        metrics.answered(method, route, response.status().as_str(), duration);
        let duration_ms = duration.as_secs_f64() * 1000.0;
        // Probes come every few seconds and would bury the rest.
        if is_probe && response.status().is_success() {
            tracing::debug!(status, duration_ms, "answered");
        } else {
            tracing::info!(status, duration_ms, "answered");
        }
        response
    }
    .instrument(span)
    .await
}

/// A client may invent methods; the metrics know those that have a meaning here.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
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
    headers.get(CORRELATION_ID).filter(sane).cloned().unwrap_or_else(|| {
        let id = uuid::Uuid::new_v4().to_string();
        HeaderValue::try_from(id).expect("a UUID is made of hexadecimal digits and hyphens")
    })
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
}
