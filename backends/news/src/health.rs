//! Whether the service and what it is connected to are well, and how quickly each answers.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::routes::News;

/// A health check is worth nothing once the asker has given up.
const TIME_MAX: Duration = Duration::from_secs(1);

/// The whole.
#[derive(Serialize, ToSchema)]
pub(crate) struct Health {
    /// Failing if one of the databases is. Without the broker readers only see later what was written.
    status: Status,
    components: BTreeMap<&'static str, Component>,
}

/// A part.
#[derive(Serialize, ToSchema)]
pub(crate) struct Component {
    status: Status,
    /// Milliseconds until it answered, or until it was given up.
    latency_ms: f64,
    /// Events in the log that readers do not see yet; of the read side alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    events_behind: Option<i64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Ok,
    Failing,
}

/// The state of each component
#[utoipa::path(get, path = "/health", tag = "operation", responses(
    (status = 200, body = Health),
    (status = 503, description = "a database is failing", body = Health),
))]
pub(crate) async fn health(State(news): State<News>) -> (StatusCode, Json<Health>) {
    let (log, end) = probed(news.log.last_sequence()).await;
    let (mut latest, position) = probed(news.latest.position()).await;
    let (code, status) = match (end, position) {
        (Some(end), Some(position)) => {
            latest.events_behind = Some(end - position);
            (StatusCode::OK, Status::Ok)
        }
        _ => (StatusCode::SERVICE_UNAVAILABLE, Status::Failing),
    };
    let mut components = BTreeMap::from([("event_log", log), ("latest", latest)]);
    if let Some(broker) = &news.broker {
        components.insert("broker", probed(broker.probe()).await.0);
    }
    (code, Json(Health { status, components }))
}

/// A component's state and latency, and what it answered if it is up.
async fn probed<T, E: std::error::Error>(
    question: impl Future<Output = Result<T, E>>,
) -> (Component, Option<T>) {
    let begun = Instant::now();
    let answer = tokio::time::timeout(TIME_MAX, question).await;
    let latency_ms = begun.elapsed().as_secs_f64() * 1000.0;
    let answer = match answer {
        Ok(Ok(answer)) => Some(answer),
        Ok(Err(error)) => {
            tracing::warn!(%error, "component check failed");
            None
        }
        Err(_) => None,
    };
    let status = if answer.is_some() { Status::Ok } else { Status::Failing };
    (Component { status, latency_ms, events_behind: None }, answer)
}
