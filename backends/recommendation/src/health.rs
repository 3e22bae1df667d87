//! Whether the service and what it is connected to are well, and how quickly each answers.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::routes::Recommendation;

/// A health check is worth nothing once the asker has given up.
const TIME_MAX: Duration = Duration::from_secs(1);

/// The whole.
#[derive(Serialize, ToSchema)]
pub(crate) struct Health {
    /// Failing if the database is: then nothing can be answered. Without users or the broker events wait, and what was
    /// counted is still told.
    status: Status,
    components: BTreeMap<&'static str, Component>,
}

/// A part.
#[derive(Serialize, ToSchema)]
pub(crate) struct Component {
    status: Status,
    /// Milliseconds until it answered, or until it was given up.
    latency_ms: f64,
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
    (status = 503, description = "the database is failing", body = Health),
))]
pub(crate) async fn health(State(service): State<Recommendation>) -> (StatusCode, Json<Health>) {
    let Recommendation { store, users, broker, .. } = &service;
    let broker = async {
        match broker {
            Some(broker) => Some(probed(broker.probe()).await),
            None => None,
        }
    };
    let (database, users, broker) =
        tokio::join!(probed(store.inbox_size()), probed(users.probe()), broker);
    let status = database.status;
    let mut components = BTreeMap::from([("database", database), ("users", users)]);
    if let Some(broker) = broker {
        components.insert("broker", broker);
    }
    let code = match status {
        Status::Ok => StatusCode::OK,
        Status::Failing => StatusCode::SERVICE_UNAVAILABLE,
    };
    (code, Json(Health { status, components }))
}

async fn probed<T, E: std::error::Error>(
    question: impl Future<Output = Result<T, E>>,
) -> Component {
    let begun = Instant::now();
    let answer = tokio::time::timeout(TIME_MAX, question).await;
    let latency_ms = begun.elapsed().as_secs_f64() * 1000.0;
    let status = match answer {
        Ok(Ok(_)) => Status::Ok,
        Ok(Err(error)) => {
            tracing::warn!(%error, "component check failed");
            Status::Failing
        }
        Err(_) => Status::Failing,
    };
    Component { status, latency_ms }
}
