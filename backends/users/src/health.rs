//! Whether the service can do its work: each component is asked, and how long it took is told.

use std::time::Duration;

use axum::http::StatusCode;
use serde::Serialize;
use tokio::time::{Instant, timeout};
use utoipa::ToSchema;

use crate::worker::Worker;

/// A health check is worth nothing once the asker has given up.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(1);

/// What a health check says.
#[derive(Serialize, ToSchema)]
pub(crate) struct Health {
    status: State,
    components: Components,
}

#[derive(Serialize, ToSchema)]
struct Components {
    database: Component,
    queue: Component,
}

#[derive(Serialize, ToSchema)]
struct Component {
    status: State,
    /// Milliseconds it took to answer.
    latency_ms: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    Failing,
}

impl Health {
    /// Asks all components at once.
    pub(crate) async fn ask(worker: &Worker) -> Self {
        let Worker { database, intake, metrics: _, bell: _ } = worker;
        let (database, queue) =
            tokio::join!(ask("database", database.check()), ask("queue", intake.backlog()));
        let status = match (database.status, queue.status) {
            (State::Ok, State::Ok) => State::Ok,
            (State::Failing, _) | (_, State::Failing) => State::Failing,
        };
        Self { status, components: Components { database, queue } }
    }

    pub(crate) fn code(&self) -> StatusCode {
        match self.status {
            State::Ok => StatusCode::OK,
            State::Failing => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

async fn ask<T, E: std::fmt::Display>(
    component: &str,
    question: impl Future<Output = Result<T, E>>,
) -> Component {
    let begun = Instant::now();
    let failure = match timeout(ANSWER_TIME_MAX, question).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(elapsed) => Some(elapsed.to_string()),
    };
    let latency_ms = begun.elapsed().as_secs_f64() * 1000.0;
    let Some(reason) = failure else {
        return Component { status: State::Ok, latency_ms };
    };
    tracing::error!(component, reason, "component fails");
    Component { status: State::Failing, latency_ms }
}
