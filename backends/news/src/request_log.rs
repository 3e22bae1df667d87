//! One log line and one measurement a request, under its correlation id; and the time it may take.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::Instant;
use tracing::Instrument;

use crate::correlation::{CORRELATION_ID, CorrelationId};
use crate::metrics::Metrics;
use crate::reply::Failure;

/// How long one request may take, its body's arrival included.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(30);
/// Asked every few seconds by machines; these lines would bury the rest.
const PROBES: [&str; 2] = ["/health", "/metrics"];

/// Runs a request inside a span that carries its correlation id, and logs how it ended.
pub(crate) async fn follow(
    State(metrics): State<Arc<Metrics>>,
    mut request: Request,
    next: Next,
) -> Response {
    let correlation_id = CorrelationId::of(request.headers());
    request.extensions_mut().insert(correlation_id.clone());
    let span = tracing::info_span!(
        "request",
        correlation_id = correlation_id.as_str(),
        method = %request.method(),
        path = request.uri().path(),
    );
    let route = request.extensions().get::<MatchedPath>().cloned();
    async move {
        let begun = Instant::now();
        let answered = tokio::time::timeout(REQUEST_TIME_MAX, next.run(request)).await;
        let mut response = answered.unwrap_or_else(|_| Failure::TooSlow.into_response());
        response.headers_mut().insert(CORRELATION_ID, correlation_id.into_header());
        let status = response.status().as_u16();
        let took = begun.elapsed();
        let route = route.as_ref().map_or("none", MatchedPath::as_str);
        metrics.answered(route, status, took);
        let duration_ms = took.as_secs_f64() * 1000.0;
        if PROBES.contains(&route) && response.status().is_success() {
            tracing::debug!(status, duration_ms, "answered");
        } else {
            tracing::info!(status, duration_ms, "answered");
        }
        response
    }
    .instrument(span)
    .await
}
