//! The endpoints: each takes a request apart, asks the accounts, and puts the answer together.

#![expect(unused_qualifications, reason = "the macros of utoipa qualify what they are given")]

use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::{delete, get, post};
use axum::{Extension, Json, Router, middleware};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};

use crate::accounts::{Accounts, AccountsError};
use crate::dead_letters::{DeadLetter, Retried};
use crate::health::Health;
use crate::intake::LetterId;
use crate::reply::{Failure, Refusal};
use crate::request_log::{self, CorrelationId};
use crate::user::{ChangedUser, Credentials, FieldError, NewUser, User, UserId};

/// The longest legal user is under 2 KB, also with every character escaped.
const BODY_BYTES_MAX: usize = 16 * 1024;
const PAGE_USERS_MAX: u32 = 100;

type Shared = State<Arc<Accounts>>;

/// The whole service as one router.
pub(crate) fn app(accounts: Arc<Accounts>) -> Router {
    let metrics = Arc::clone(&accounts.worker.metrics);
    Router::new()
        .route("/users", get(list))
        .route("/user", post(create))
        .route("/user/verify", post(verify))
        .route("/user/{id}", get(read).put(update).delete(remove))
        .route("/dead-letters", get(dead_letters))
        .route("/dead-letters/retry", post(retry))
        .route("/dead-letters/{id}", delete(discard))
        .route("/health", get(health))
        .route("/metrics", get(metrics_text))
        .route("/openapi.json", get(async || Json(Description::openapi())))
        .fallback(async || Failure::NoSuchPath)
        .method_not_allowed_fallback(async || Failure::MethodNotAllowed)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(metrics, request_log::follow))
        .with_state(accounts)
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "users",
        description = "Registration data of the portal. A password goes in and never comes out."
    ),
    paths(
        list,
        create,
        verify,
        read,
        update,
        remove,
        dead_letters,
        retry,
        discard,
        health,
        metrics_text
    )
)]
struct Description;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PageQuery {
    /// Users to pass over.
    #[serde(default)]
    #[param(value_type = u64, default = 0, maximum = 4_294_967_295_u32)]
    start: u32,
    /// Users to answer with, at most.
    #[serde(default = "ten")]
    #[param(default = 10, minimum = 1, maximum = 100)]
    count: u32,
}

/// As many as in the contract's example.
fn ten() -> u32 {
    10
}

/// Users in order of registration.
#[utoipa::path(get, path = "/users", params(PageQuery), responses(
    (status = 200, body = [User]),
    (status = 400, description = "start or count is not within its bounds", body = Refusal),
    (status = 503, description = "try again", body = Refusal),
))]
async fn list(
    State(accounts): Shared,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Json<Vec<User>>, Failure> {
    let Query(PageQuery { start, count }) = query?;
    if !(1..=PAGE_USERS_MAX).contains(&count) {
        return Err(FieldError::PageSize { max: PAGE_USERS_MAX }.into());
    }
    Ok(Json(accounts.page(start, count).await?))
}

/// Register a user.
#[utoipa::path(post, path = "/user", request_body = NewUser, responses(
    (status = 201, body = User),
    (status = 400, description = "no JSON, or a field is not what it has to be", body = Refusal),
    (status = 408, description = "the body did not arrive within 30 s", body = Refusal),
    (status = 409, description = "the email is taken", body = Refusal),
    (status = 413, description = "the body is too long", body = Refusal),
    (status = 415, description = "the body is not application/json", body = Refusal),
    (status = 503, description = "try again", body = Refusal),
))]
async fn create(
    State(accounts): Shared,
    Extension(CorrelationId(correlation_id)): Extension<CorrelationId>,
    user: Result<Json<NewUser>, JsonRejection>,
) -> Result<(StatusCode, Json<User>), Failure> {
    let Json(user) = user?;
    let (user, password) = user.checked()?;
    let user = accounts.create(user, password, correlation_id).await?;
    Ok((StatusCode::CREATED, Json(user)))
}

/// Check a password, for the service that issues tokens; not for the outside.
#[utoipa::path(post, path = "/user/verify", request_body = Credentials, responses(
    (status = 200, body = User),
    (status = 400, description = "no JSON, or a field is missing", body = Refusal),
    (status = 401, description = "email or password is wrong, and which is not said", body = Refusal),
    (status = 408, description = "the body did not arrive within 30 s", body = Refusal),
    (status = 413, description = "the body is too long", body = Refusal),
    (status = 415, description = "the body is not application/json", body = Refusal),
    (status = 503, description = "try again", body = Refusal),
))]
async fn verify(
    State(accounts): Shared,
    credentials: Result<Json<Credentials>, JsonRejection>,
) -> Result<Json<User>, Failure> {
    let Json(Credentials { email, password }) = credentials?;
    Ok(Json(accounts.verify(email, password).await?))
}

/// One user.
#[utoipa::path(get, path = "/user/{id}", params(("id" = String, Path, format = "uuid")), responses(
    (status = 200, body = User),
    (status = 400, description = "the id is not UTF-8", body = Refusal),
    (status = 404, description = "no user has this id", body = Refusal),
    (status = 503, description = "try again", body = Refusal),
))]
async fn read(
    State(accounts): Shared,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<User>, Failure> {
    Ok(Json(accounts.find(known_form(id)?).await?.account.user))
}

/// Change a user; without a password it stays.
#[utoipa::path(put, path = "/user/{id}", params(("id" = String, Path, format = "uuid")),
    request_body = ChangedUser, responses(
    (status = 200, body = User),
    (status = 400, description = "no JSON, or a field is not what it has to be", body = Refusal),
    (status = 404, description = "no user has this id", body = Refusal),
    (status = 408, description = "the body did not arrive within 30 s", body = Refusal),
    (status = 409, description = "the email is taken", body = Refusal),
    (status = 413, description = "the body is too long", body = Refusal),
    (status = 415, description = "the body is not application/json", body = Refusal),
    (status = 503, description = "try again", body = Refusal),
))]
async fn update(
    State(accounts): Shared,
    Extension(CorrelationId(correlation_id)): Extension<CorrelationId>,
    id: Result<Path<String>, PathRejection>,
    user: Result<Json<ChangedUser>, JsonRejection>,
) -> Result<Json<User>, Failure> {
    let id = known_form(id)?;
    let Json(user) = user?;
    let (user, password) = user.checked(id)?;
    Ok(Json(accounts.replace(user, password, correlation_id).await?))
}

/// Forget a user.
#[utoipa::path(delete, path = "/user/{id}", params(("id" = String, Path, format = "uuid")), responses(
    (status = 204, description = "forgotten"),
    (status = 400, description = "the id is not UTF-8", body = Refusal),
    (status = 404, description = "no user has this id", body = Refusal),
    (status = 503, description = "try again", body = Refusal),
))]
async fn remove(
    State(accounts): Shared,
    Extension(CorrelationId(correlation_id)): Extension<CorrelationId>,
    id: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, Failure> {
    accounts.remove(known_form(id)?, correlation_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ids are opaque to clients: text that is no id of ours names nobody.
fn known_form(id: Result<Path<String>, PathRejection>) -> Result<UserId, Failure> {
    let Path(id) = id?;
    Ok(id.parse().map_err(|_| AccountsError::UnknownId)?)
}

/// Answered writes that the database refused.
#[derive(Serialize, ToSchema)]
struct DeadLetters {
    dead_letters: Vec<DeadLetter>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DeadQuery {
    /// Dead letters to answer with, at most.
    #[serde(default = "twenty")]
    #[param(default = 20, minimum = 1, maximum = 100)]
    count: u32,
}

/// As recommendation has it.
fn twenty() -> u32 {
    20
}

/// What the database refused, the latest first; not for the outside.
#[utoipa::path(get, path = "/dead-letters", params(DeadQuery), responses(
    (status = 200, body = DeadLetters),
    (status = 400, description = "count is not within its bounds", body = Refusal),
    (status = 503, description = "try again", body = Refusal),
))]
async fn dead_letters(
    State(accounts): Shared,
    query: Result<Query<DeadQuery>, QueryRejection>,
) -> Result<Json<DeadLetters>, Failure> {
    let Query(DeadQuery { count }) = query?;
    if !(1..=PAGE_USERS_MAX).contains(&count) {
        return Err(FieldError::PageSize { max: PAGE_USERS_MAX }.into());
    }
    Ok(Json(DeadLetters { dead_letters: accounts.dead_letters(count as usize).await? }))
}

/// Put all dead letters back into the queue; not for the outside.
#[utoipa::path(post, path = "/dead-letters/retry", responses(
    (status = 200, body = Retried),
    (status = 503, description = "try again", body = Refusal),
))]
async fn retry(State(accounts): Shared) -> Result<Json<Retried>, Failure> {
    Ok(Json(accounts.retry().await?))
}

/// Give a dead letter up for good; not for the outside.
#[utoipa::path(delete, path = "/dead-letters/{id}", params(("id" = String, Path)), responses(
    (status = 204, description = "gone"),
    (status = 400, description = "the id is not UTF-8", body = Refusal),
    (status = 404, description = "no dead letter has this id", body = Refusal),
    (status = 503, description = "try again", body = Refusal),
))]
async fn discard(
    State(accounts): Shared,
    id: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, Failure> {
    let Path(id) = id?;
    accounts.discard(&LetterId(id)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// State and latency of each component.
#[utoipa::path(get, path = "/health", responses(
    (status = 200, body = Health),
    (status = 503, description = "a component fails", body = Health),
))]
async fn health(State(accounts): Shared) -> impl IntoResponse {
    let health = Health::ask(&accounts.worker).await;
    (health.code(), Json(health))
}

/// Counters and gauges for Prometheus.
#[utoipa::path(get, path = "/metrics", responses((status = 200, body = String)))]
async fn metrics_text(State(accounts): Shared) -> Result<impl IntoResponse, Failure> {
    let worker = &accounts.worker;
    // The gauges stay as they were while the queue does not answer; /health tells that it does not.
    if let Ok(backlog) = worker.intake.backlog().await {
        worker.metrics.set_backlog(backlog);
    }
    let text_format = [(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)];
    Ok((text_format, worker.metrics.text()?))
}
