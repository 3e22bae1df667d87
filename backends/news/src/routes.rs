//! The endpoints: commands go to the event log, queries to the latest versions.
#![expect(unused_qualifications, reason = "utoipa's macros write whole paths")]

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Json, Router, middleware};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, OpenApi, ToSchema};

use crate::article::{Article, ArticleId, Command, Draft, FieldError, Moment, Target, Version};
use crate::broker::Broker;
use crate::correlation::CorrelationId;
use crate::event_log::{Event, EventLog, LogError, Next};
use crate::health;
use crate::latest::{Latest, LatestError};
use crate::metrics::Metrics;
use crate::projector::{Feed, Projector};
use crate::reply::{Fail, Failure, Success, success};
use crate::request_log;
use crate::settings::Theme;

/// Holds the longest legal article at four bytes a character, and its escapes in passing.
const BODY_BYTES_MAX: usize = 512 * 1024;
const PAGE_ARTICLES_MAX: u32 = 100;
const HISTORY_VERSIONS_MAX: u32 = 100;
/// How long a writer's answer waits for readers to see what was written.
const VISIBLE_TIME_MAX: Duration = Duration::from_millis(250);

/// What every request may use.
#[derive(Clone)]
pub(crate) struct News {
    pub(crate) theme: Arc<Theme>,
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) latest: Arc<dyn Latest>,
    pub(crate) projector: Arc<Projector>,
    pub(crate) feed: Feed,
    pub(crate) broker: Option<Broker>,
    pub(crate) metrics: Arc<Metrics>,
}

/// The whole service as one router.
pub(crate) fn app(news: News) -> Router {
    let follow = middleware::from_fn_with_state(news.metrics.clone(), request_log::follow);
    Router::new()
        .route("/", post(add).put(change))
        .route("/rebuild", post(rebuild))
        .route("/health", get(health::health))
        .route("/metrics", get(metrics))
        .route("/openapi.json", get(async || Json(Contract::openapi())))
        .route("/{id}", get(read))
        .route("/{id}/history", get(history))
        .route("/{page}/{limit}", get(page))
        .fallback(async || Failure::NoSuchPath)
        .method_not_allowed_fallback(async || Failure::MethodNotAllowed)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(follow)
        .with_state(news)
}

/// What clients may rely on.
#[derive(OpenApi)]
#[openapi(
    info(title = "news", description = "The articles of one theme, each with its versions."),
    paths(add, change, read, page, history, rebuild, health::health),
    components(schemas(Fail))
)]
struct Contract;

/// Add an article, or with id and version the next version of one
#[utoipa::path(post, path = "/", tag = "command", request_body = Draft, responses(
    (status = 201, body = Success<Article>),
    (status = 409, description = "the version is not the latest", body = Fail),
    (status = "4XX", description = "400 malformed, 404 unknown id, 413 too large, 415 not JSON", body = Fail),
    (status = 503, body = Fail),
))]
async fn add(
    State(news): State<News>,
    Extension(by): Extension<CorrelationId>,
    draft: Result<Json<Draft>, JsonRejection>,
) -> Result<Response, Failure> {
    let Json(draft) = draft?;
    append(&news, draft.into_command(news.theme.as_str())?, &by).await
}

/// Add the next version of an article
#[utoipa::path(put, path = "/", tag = "command", request_body = Draft, responses(
    (status = 201, body = Success<Article>),
    (status = 409, description = "the version is not the latest", body = Fail),
    (status = "4XX", description = "400 malformed, 404 unknown id, 413 too large, 415 not JSON", body = Fail),
    (status = 503, body = Fail),
))]
async fn change(
    State(news): State<News>,
    Extension(by): Extension<CorrelationId>,
    draft: Result<Json<Draft>, JsonRejection>,
) -> Result<Response, Failure> {
    let Json(draft) = draft?;
    let command = draft.into_command(news.theme.as_str())?;
    if command.target == Target::New {
        return Err(FieldError::NoTarget.into());
    }
    append(&news, command, &by).await
}

async fn append(news: &News, command: Command, by: &CorrelationId) -> Result<Response, Failure> {
    let appended = appended(news, command, by).await;
    let outcome = match &appended {
        Ok(_) => Some("added"),
        Err(LogError::Stale { given: _, latest: _ }) => Some("stale"),
        Err(LogError::UnknownId | LogError::Migrate(_) | LogError::Database(_)) => None,
    };
    if let Some(outcome) = outcome {
        news.metrics.commands.with_label_values(&[outcome]).inc();
    }
    let Event { sequence, correlation_id: _, article } = appended?;
    news.feed.appended();
    // Too slow a read side does not make the write fail: it is in the log.
    drop(tokio::time::timeout(VISIBLE_TIME_MAX, news.feed.reached(sequence)).await);
    Ok(success(StatusCode::CREATED, &article))
}

async fn appended(news: &News, command: Command, by: &CorrelationId) -> Result<Event, LogError> {
    let Command { target, text, published_at } = command;
    let created_at = Moment::now();
    match target {
        Target::New => {
            let article = Article {
                id: ArticleId::random(),
                version: 1,
                text,
                created_at,
                published_at: published_at.unwrap_or(created_at),
                news_type: news.theme.as_str().to_owned(),
            };
            news.log.begin(article, by).await
        }
        Target::After { id, version } => {
            let id = known_form(&id).ok_or(LogError::UnknownId)?;
            let next = Next { id, version, text, created_at, published_at };
            news.log.append(next, by).await
        }
    }
}

/// The latest version of an article
#[utoipa::path(get, path = "/{id}", tag = "query", params(("id" = String, Path)), responses(
    (status = 200, body = Success<Article>),
    (status = 404, description = "no article has this id", body = Fail),
    (status = 503, body = Fail),
))]
async fn read(
    State(news): State<News>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Failure> {
    let Path(id) = id?;
    let id = known_form(&id).ok_or(LatestError::UnknownId)?;
    Ok(success(StatusCode::OK, &news.latest.find(id).await?))
}

/// One page of the latest versions, newest published first
#[utoipa::path(get, path = "/{page}/{limit}", tag = "query", params(
    ("page" = u32, Path, minimum = 1), ("limit" = u32, Path, minimum = 1, maximum = 100),
), responses(
    (status = 200, body = Success<Vec<Article>>),
    (status = 400, body = Fail),
    (status = 503, body = Fail),
))]
async fn page(
    State(news): State<News>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Response, Failure> {
    let Path((page, limit)) = path?;
    let page: u32 = page.parse().map_err(|_| FieldError::Page)?;
    let skipped = page.checked_sub(1).ok_or(FieldError::Page)?;
    let Ok(limit @ 1..=PAGE_ARTICLES_MAX) = limit.parse() else {
        return Err(FieldError::Limit { max: PAGE_ARTICLES_MAX }.into());
    };
    let start = u64::from(skipped) * u64::from(limit);
    Ok(success(StatusCode::OK, &news.latest.list(start, limit).await?))
}

/// Which part of a history is wanted.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct HistoryQuery {
    /// Only versions before this one
    before: Option<Version>,
}

/// Up to 100 versions of an article, newest first
#[utoipa::path(get, path = "/{id}/history", tag = "query", params(("id" = String, Path), HistoryQuery), responses(
    (status = 200, body = Success<Vec<Article>>),
    (status = 400, body = Fail),
    (status = 404, description = "no article has this id", body = Fail),
    (status = 503, body = Fail),
))]
async fn history(
    State(news): State<News>,
    id: Result<Path<String>, PathRejection>,
    query: Result<Query<HistoryQuery>, QueryRejection>,
) -> Result<Response, Failure> {
    let Path(id) = id?;
    let id = known_form(&id).ok_or(LogError::UnknownId)?;
    let Query(HistoryQuery { before }) = query?;
    let versions = news.log.history(id, before, HISTORY_VERSIONS_MAX).await?;
    if versions.is_empty() && before.is_none() {
        return Err(LogError::UnknownId.into());
    }
    Ok(success(StatusCode::OK, &versions))
}

/// Ids are opaque to clients: text that is no id of ours names nothing.
fn known_form(id: &str) -> Option<ArticleId> {
    id.parse().ok()
}

/// How far the read side is.
#[derive(Serialize, ToSchema)]
struct Rebuilt {
    /// Always `success`.
    status: &'static str,
    /// The last event that is in it.
    sequence: i64,
}

/// Make the read side again from the whole log; readers see the old one until it is done
#[utoipa::path(post, path = "/rebuild", tag = "operation", responses(
    (status = 200, body = Rebuilt),
    (status = 503, description = "a database is away; nothing has changed", body = Fail),
))]
async fn rebuild(State(news): State<News>) -> Result<Json<Rebuilt>, Failure> {
    let sequence = news.projector.remake().await?;
    Ok(Json(Rebuilt { status: "success", sequence }))
}

async fn metrics(State(news): State<News>) -> Result<String, Failure> {
    let News { log, latest, broker, metrics, .. } = &news;
    // A database that is away must not keep the other figures from being seen.
    if let (Ok(end), Ok(position)) = (log.last_sequence().await, latest.position().await) {
        metrics.events_behind.set(end - position);
    }
    if broker.is_some()
        && let (Ok(end), Ok(published)) = (log.last_sequence().await, log.published().await)
    {
        metrics.events_unpublished.set(end - published);
    }
    Ok(metrics.print()?)
}
