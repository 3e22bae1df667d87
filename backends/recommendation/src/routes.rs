//! The endpoints: events into the inbox, counts out of the store.
#![expect(unused_qualifications, reason = "utoipa's macros write whole paths")]

use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Extension, Json, Router, middleware};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, OpenApi, ToSchema};

use crate::broker::Broker;
use crate::correlation::CorrelationId;
use crate::health;
use crate::inbox::Doorbell;
use crate::metrics::Metrics;
use crate::reply::{Failure, Refusal};
use crate::request_log;
use crate::store::{DeadLetter, LabelCount, Letter, Page, ReaderCount, Store};
use crate::users::Users;
use crate::viewed::{
    EVENT_BYTES_MAX, FieldError, ID_CHARACTERS_MAX, LABEL_CHARACTERS_MAX, Message, Viewed, bounded,
};

const PAGE_MAX: u32 = 100;
const PAGE_USUAL: u32 = 20;
/// Events that may wait in the inbox; with more, publishers are told to come again.
const INBOX_MAX: i64 = 1_000_000;

/// What every request may use.
#[derive(Clone)]
pub(crate) struct Recommendation {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) users: Users,
    pub(crate) broker: Option<Broker>,
    pub(crate) doorbell: Doorbell,
    pub(crate) metrics: Arc<Metrics>,
}

/// The whole service as one router.
pub(crate) fn app(service: Recommendation) -> Router {
    let follow = middleware::from_fn_with_state(service.metrics.clone(), request_log::follow);
    Router::new()
        .route("/events/viewed", post(viewed))
        .route("/user/{id}", get(labels))
        .route("/label/{label}", get(readers))
        .route("/dead-letters", get(dead_letters))
        .route("/dead-letters/retry", post(retry))
        .route("/health", get(health::health))
        .route("/metrics", get(metrics))
        .route("/openapi.json", get(async || Json(Contract::openapi())))
        .fallback(async || Failure::NoSuchPath)
        .method_not_allowed_fallback(async || Failure::MethodNotAllowed)
        .layer(DefaultBodyLimit::max(EVENT_BYTES_MAX))
        .layer(follow)
        .with_state(service)
}

/// What clients may rely on.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "recommendation",
        description = "Which labels a user reads, and who reads a label."
    ),
    paths(viewed, labels, readers, dead_letters, retry, health::health),
    components(schemas(Refusal))
)]
struct Contract;

/// User U viewed news N
#[utoipa::path(post, path = "/events/viewed", tag = "events", request_body = Message, responses(
    (status = 202, description = "stored; it will be counted once, however often it is sent"),
    (status = "4XX", description = "400 malformed, 413 too large, 415 not JSON", body = Refusal),
    (status = 503, description = "not stored: send it again", body = Refusal),
))]
async fn viewed(
    State(service): State<Recommendation>,
    Extension(correlation_id): Extension<CorrelationId>,
    message: Result<Json<Message>, JsonRejection>,
) -> Result<StatusCode, Failure> {
    let Json(message) = message?;
    let event = serde_json::to_string(&message).unwrap_or_default();
    let Viewed { id, user_id: _, labels: _ } = message.try_into()?;
    if service.metrics.inbox_waiting.get() >= INBOX_MAX {
        return Err(Failure::InboxFull);
    }
    let correlation_id = correlation_id.as_str().to_owned();
    let letter = Letter { id, event, correlation_id, due_at: Timestamp::now() };
    service.store.keep(&letter).await?;
    service.doorbell.ring();
    Ok(StatusCode::ACCEPTED)
}

/// Which part of a list is wanted.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PageQuery {
    /// How many entries to leave out at the beginning
    #[serde(default)]
    #[param(default = 0)]
    start: u32,
    /// How many entries at most
    #[serde(default = "page_usual")]
    #[param(default = 20, minimum = 1, maximum = 100)]
    count: u32,
}

fn page_usual() -> u32 {
    PAGE_USUAL
}

impl TryFrom<PageQuery> for Page {
    type Error = FieldError;

    fn try_from(query: PageQuery) -> Result<Self, FieldError> {
        let PageQuery { start, count } = query;
        if !(1..=PAGE_MAX).contains(&count) {
            return Err(FieldError::Count { max: PAGE_MAX });
        }
        Ok(Self { start, count })
    }
}

/// What a user reads.
#[derive(Serialize, ToSchema)]
struct Labels {
    id: String,
    /// Most read first.
    labels: Vec<LabelCount>,
}

/// The labels that a user reads
#[utoipa::path(get, path = "/user/{id}", tag = "recommendation", params(("id" = String, Path), PageQuery), responses(
    (status = 200, body = Labels),
    (status = "4XX", description = "400 malformed, 404 nothing is known of this user", body = Refusal),
))]
async fn labels(
    State(service): State<Recommendation>,
    id: Result<Path<String>, PathRejection>,
    page: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Json<Labels>, Failure> {
    let (Path(id), Query(page)) = (id?, page?);
    bounded(&id, ID_CHARACTERS_MAX, "id")?;
    let page = Page::try_from(page)?;
    let labels = service.store.labels(&id, page).await?;
    if labels.is_empty() && page.start == 0 {
        return Err(Failure::UnknownUser);
    }
    Ok(Json(Labels { id, labels }))
}

/// Who reads a label.
#[derive(Serialize, ToSchema)]
struct Readers {
    label: String,
    /// Keenest first.
    users: Vec<ReaderCount>,
}

/// The users that read a label
#[utoipa::path(get, path = "/label/{label}", tag = "recommendation", params(("label" = String, Path), PageQuery), responses(
    (status = 200, body = Readers),
    (status = "4XX", description = "400 malformed, 404 nobody has read this label", body = Refusal),
))]
async fn readers(
    State(service): State<Recommendation>,
    label: Result<Path<String>, PathRejection>,
    page: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Json<Readers>, Failure> {
    let (Path(label), Query(page)) = (label?, page?);
    bounded(&label, LABEL_CHARACTERS_MAX, "label")?;
    let page = Page::try_from(page)?;
    let users = service.store.readers(&label, page).await?;
    if users.is_empty() && page.start == 0 {
        return Err(Failure::UnknownLabel);
    }
    Ok(Json(Readers { label, users }))
}

/// What cannot be counted.
#[derive(Serialize, ToSchema)]
struct DeadLetters {
    dead_letters: Vec<Dead>,
}

/// An event that cannot be counted.
#[derive(Serialize, ToSchema)]
struct Dead {
    /// As it was sent; a string if it was no JSON.
    event: Value,
    reason: String,
    came_over: Way,
}

/// How an event came, which is also where it lies.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Way {
    Http,
    Amqp,
}

impl Dead {
    fn over(came_over: Way) -> impl Fn(DeadLetter) -> Self {
        move |DeadLetter { event, reason }| {
            let event = serde_json::from_str(&event).unwrap_or(Value::String(event));
            Self { event, reason, came_over }
        }
    }
}

/// How many dead letters are wanted.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DeadQuery {
    /// How many at most, of each way of coming
    #[serde(default = "page_usual")]
    #[param(default = 20, minimum = 1, maximum = 100)]
    count: u32,
}

/// The events that cannot be counted, and why
#[utoipa::path(get, path = "/dead-letters", tag = "operation", params(DeadQuery), responses(
    (status = 200, body = DeadLetters),
    (status = 400, body = Refusal),
    (status = 503, body = Refusal),
))]
async fn dead_letters(
    State(service): State<Recommendation>,
    query: Result<Query<DeadQuery>, QueryRejection>,
) -> Result<Json<DeadLetters>, Failure> {
    let Query(DeadQuery { count }) = query?;
    let Page { start: _, count } = Page::try_from(PageQuery { start: 0, count })?;
    let kept = service.store.dead(count).await?;
    let mut dead_letters: Vec<Dead> = kept.into_iter().map(Dead::over(Way::Http)).collect();
    if let Some(broker) = &service.broker {
        dead_letters.extend(broker.dead(count).await?.into_iter().map(Dead::over(Way::Amqp)));
    }
    Ok(Json(DeadLetters { dead_letters }))
}

/// How many dead letters are tried again.
#[derive(Serialize, ToSchema)]
struct Retried {
    retried: u64,
}

/// Try all dead letters again
#[utoipa::path(post, path = "/dead-letters/retry", tag = "operation", responses(
    (status = 200, body = Retried),
    (status = 503, body = Refusal),
))]
async fn retry(State(service): State<Recommendation>) -> Result<Json<Retried>, Failure> {
    let mut retried = service.store.revive(Timestamp::now()).await?;
    service.doorbell.ring();
    if let Some(broker) = &service.broker {
        retried += broker.revive().await?;
    }
    Ok(Json(Retried { retried }))
}

async fn metrics(State(service): State<Recommendation>) -> Result<String, Failure> {
    let Recommendation { store, metrics, .. } = &service;
    // A database that is away must not keep the other figures from being seen.
    if let Ok(size) = store.inbox_size().await {
        metrics.inbox_waiting.set(size.waiting);
        metrics.inbox_dead.set(size.dead);
    }
    Ok(metrics.print()?)
}
