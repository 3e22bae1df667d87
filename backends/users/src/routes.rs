//! The endpoints: each takes a request apart, asks the store, and puts the answer together.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use crate::password::Hasher;
use crate::reply::Failure;
use crate::request_log;
use crate::store::{Store, StoreError};
use crate::user::{Draft, FieldError, User, UserId};

/// The longest legal user is under 2 KB, also with every character escaped.
const BODY_BYTES_MAX: usize = 16 * 1024;
const PAGE_USERS_MAX: u32 = 100;
/// A health check is worth nothing once the asker has given up.
const HEALTH_TIME_MAX: Duration = Duration::from_secs(1);

/// What every request may use.
#[derive(Clone)]
pub(crate) struct Users {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) hasher: Arc<Hasher>,
}

/// The whole service as one router.
pub(crate) fn app(users: Users) -> Router {
    Router::new()
        .route("/users", get(list))
        .route("/user", post(create))
        .route("/user/{id}", get(read).put(update).delete(remove))
        .route("/health", get(health))
        .fallback(async || Failure::NoSuchPath)
        .method_not_allowed_fallback(async || Failure::MethodNotAllowed)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(request_log::follow))
        .with_state(users)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PageQuery {
    #[serde(default)]
    start: u32,
    /// Ten, as the contract's example.
    #[serde(default = "ten")]
    count: u32,
}

fn ten() -> u32 {
    10
}

async fn list(
    State(users): State<Users>,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Json<Vec<User>>, Failure> {
    let Query(PageQuery { start, count }) = query?;
    if !(1..=PAGE_USERS_MAX).contains(&count) {
        return Err(FieldError::PageSize { max: PAGE_USERS_MAX }.into());
    }
    Ok(Json(users.store.list(start, count).await?))
}

async fn create(
    State(users): State<Users>,
    draft: Result<Json<Draft>, JsonRejection>,
) -> Result<(StatusCode, Json<User>), Failure> {
    let Json(draft) = draft?;
    let (user, password) = draft.into_new_user()?;
    let hash = users.hasher.hash(password).await?;
    users.store.insert(&user, &hash).await?;
    Ok((StatusCode::CREATED, Json(user)))
}

async fn read(
    State(users): State<Users>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<User>, Failure> {
    Ok(Json(users.store.find(known_form(id)?).await?))
}

async fn update(
    State(users): State<Users>,
    id: Result<Path<String>, PathRejection>,
    draft: Result<Json<Draft>, JsonRejection>,
) -> Result<Json<User>, Failure> {
    let id = known_form(id)?;
    let Json(draft) = draft?;
    let (user, password) = draft.into_user(id)?;
    let hash = match password {
        Some(password) => Some(users.hasher.hash(password).await?),
        None => None,
    };
    users.store.replace(&user, hash.as_ref()).await?;
    Ok(Json(user))
}

async fn remove(
    State(users): State<Users>,
    id: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, Failure> {
    users.store.remove(known_form(id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ids are opaque to clients: text that is no id of ours names nobody.
fn known_form(id: Result<Path<String>, PathRejection>) -> Result<UserId, Failure> {
    let Path(id) = id?;
    Ok(id.parse().map_err(|_| StoreError::UnknownId)?)
}

async fn health(State(users): State<Users>) -> Response {
    let begun = Instant::now();
    let checked = tokio::time::timeout(HEALTH_TIME_MAX, users.store.check()).await;
    let latency_ms = begun.elapsed().as_secs_f64() * 1000.0;
    let (code, status) = match checked {
        Ok(Ok(())) => (StatusCode::OK, "up"),
        Ok(Err(error)) => {
            tracing::error!(%error, "database check failed");
            (StatusCode::SERVICE_UNAVAILABLE, "down")
        }
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "down"),
    };
    let database = json!({ "status": status, "latency_ms": latency_ms });
    (code, Json(json!({ "status": status, "components": { "database": database } })))
        .into_response()
}
