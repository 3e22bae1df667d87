//! For those who run the service: is it well, what did it count, what does it offer.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::time::Instant;
use utoipa::openapi::{ContentBuilder, Ref, ResponseBuilder};
use utoipa::{Modify, OpenApi, ToSchema};

use crate::reply::{ApiError, Failure};
use crate::routes::Auth;
use crate::{password_login, provider};

/// A health check is worth nothing once the asker has given up.
const HEALTH_TIME_MAX: Duration = Duration::from_secs(1);

/// The state of the service and of what it needs.
#[derive(Serialize, ToSchema)]
pub(crate) struct Health {
    status: Status,
    components: Components,
}

#[derive(Serialize, ToSchema)]
struct Components {
    database: Component,
    users: Component,
}

#[derive(Serialize, ToSchema)]
struct Component {
    status: Status,
    /// Milliseconds until it answered, or until we stopped waiting.
    latency_ms: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    Failing,
}

/// The state and latency of the database and of the users service.
#[utoipa::path(get, path = "/health", responses(
    (status = 200, description = "All is well", body = Health),
    (status = 503, description = "Something is failing", body = Health),
))]
pub(crate) async fn health(State(auth): State<Arc<Auth>>) -> Response {
    let (database, users) = tokio::join!(
        measured("database", auth.store.check()),
        measured("users", auth.authentication.users.check())
    );
    let (code, status) = match (database.status, users.status) {
        (Status::Ok, Status::Ok) => (StatusCode::OK, Status::Ok),
        (Status::Failing, _) | (_, Status::Failing) => {
            (StatusCode::SERVICE_UNAVAILABLE, Status::Failing)
        }
    };
    let components = Components { database, users };
    let no_store = [(header::CACHE_CONTROL, "no-store")];
    (code, no_store, Json(Health { status, components })).into_response()
}

async fn measured<Reason: std::fmt::Display>(
    component: &'static str,
    check: impl Future<Output = Result<(), Reason>>,
) -> Component {
    let begun = Instant::now();
    let checked = tokio::time::timeout(HEALTH_TIME_MAX, check).await;
    let reason = match checked {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!("no answer in {} s", HEALTH_TIME_MAX.as_secs())),
    };
    if let Some(reason) = &reason {
        tracing::error!(component, reason, "check failed");
    }
    let status = if reason.is_none() { Status::Ok } else { Status::Failing };
    Component { status, latency_ms: begun.elapsed().as_secs_f64() * 1000.0 }
}

/// What was counted, for Prometheus.
#[utoipa::path(get, path = "/metrics", responses(
    (status = 200, description = "Prometheus' text format", body = String, content_type = "text/plain"),
    (status = 500, description = "The counters cannot be written", body = ApiError),
))]
pub(crate) async fn metrics(State(auth): State<Arc<Auth>>) -> Result<Response, Failure> {
    let text = auth.metrics.text()?;
    Ok(([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response())
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", responses(
    (status = 200, description = "OpenAPI", body = Object),
))]
pub(crate) async fn openapi() -> Response {
    Json(Document::openapi()).into_response()
}

#[derive(OpenApi)]
#[openapi(
    info(title = "auth", description = "Logins of the portal, and its OpenID provider"),
    paths(
        password_login::login,
        password_login::refresh_login,
        password_login::logout,
        provider::discovery::configuration,
        provider::discovery::jwks,
        provider::discovery::jwks_by_short_path,
        provider::authorize::from_query,
        provider::authorize::from_form,
        provider::login_form::submit,
        provider::token::token,
        provider::userinfo::userinfo,
        provider::userinfo::userinfo_by_post,
        provider::end_session::from_query,
        provider::end_session::from_form,
        provider::end_session::confirm,
        health,
        metrics,
        openapi,
    ),
    modifiers(&TooSlow)
)]
struct Document;

/// What `request_log` says of any request that takes too long.
struct TooSlow;

impl Modify for TooSlow {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let error = Ref::from_schema_name(ApiError::name());
        let said = ContentBuilder::new().schema(Some(error)).build();
        let response = ResponseBuilder::new()
            .description("Not answered within 30 s")
            .content("application/json", said)
            .build();
        for path in document.paths.paths.values_mut() {
            for operation in [&mut path.get, &mut path.post].into_iter().flatten() {
                operation.responses.responses.insert("408".to_owned(), response.clone().into());
            }
        }
    }
}
