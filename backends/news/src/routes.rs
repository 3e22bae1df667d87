//! The endpoints: commands go to the event log, queries to the latest versions.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router, middleware};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::article::{Article, ArticleId, Command, Draft, FieldError, Moment, Target, Version};
use crate::event_log::{Event, EventLog, LogError};
use crate::latest::{Latest, LatestError};
use crate::projector::Feed;
use crate::reply::{Failure, success};
use crate::request_log;
use crate::settings::Theme;

/// Holds the longest legal article at four bytes a character, and its escapes in passing.
const BODY_BYTES_MAX: usize = 512 * 1024;
const PAGE_ARTICLES_MAX: u32 = 100;
const HISTORY_VERSIONS_MAX: u32 = 100;
/// How long a writer's answer waits for readers to see what was written.
const VISIBLE_TIME_MAX: Duration = Duration::from_millis(250);
/// A health check is worth nothing once the asker has given up.
const HEALTH_TIME_MAX: Duration = Duration::from_secs(1);

/// What every request may use.
#[derive(Clone)]
pub(crate) struct News {
    pub(crate) theme: Arc<Theme>,
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) latest: Arc<dyn Latest>,
    pub(crate) feed: Feed,
}

/// The whole service as one router.
pub(crate) fn app(news: News) -> Router {
    Router::new()
        .route("/", axum::routing::post(add).put(change))
        .route("/health", get(health))
        .route("/{id}", get(read))
        .route("/{id}/history", get(history))
        .route("/{page}/{limit}", get(page))
        .fallback(async || Failure::NoSuchPath)
        .method_not_allowed_fallback(async || Failure::MethodNotAllowed)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(request_log::follow))
        .with_state(news)
}

async fn add(
    State(news): State<News>,
    draft: Result<Json<Draft>, JsonRejection>,
) -> Result<Response, Failure> {
    let Json(draft) = draft?;
    append(&news, draft.into_command(news.theme.as_str())?).await
}

async fn change(
    State(news): State<News>,
    draft: Result<Json<Draft>, JsonRejection>,
) -> Result<Response, Failure> {
    let Json(draft) = draft?;
    let command = draft.into_command(news.theme.as_str())?;
    if command.target == Target::New {
        return Err(FieldError::NoTarget.into());
    }
    append(&news, command).await
}

async fn append(news: &News, command: Command) -> Result<Response, Failure> {
    let Command { target, text, published_at } = command;
    let created_at = Moment::now();
    let event = match target {
        Target::New => {
            let article = Article {
                id: ArticleId::random(),
                version: 1,
                text,
                created_at,
                published_at: published_at.unwrap_or(created_at),
                news_type: news.theme.as_str().to_owned(),
            };
            news.log.begin(article).await?
        }
        Target::After { id, version } => {
            let id = known_form(&id).ok_or(LogError::UnknownId)?;
            let next = crate::event_log::Next { id, version, text, created_at, published_at };
            news.log.append(next).await?
        }
    };
    let Event { sequence, article } = event;
    news.feed.appended();
    // Too slow a read side does not make the write fail: it is in the log.
    drop(tokio::time::timeout(VISIBLE_TIME_MAX, news.feed.reached(sequence)).await);
    Ok(success(StatusCode::CREATED, &article))
}

async fn read(
    State(news): State<News>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Failure> {
    let Path(id) = id?;
    let id = known_form(&id).ok_or(LatestError::UnknownId)?;
    Ok(success(StatusCode::OK, &news.latest.find(id).await?))
}

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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HistoryQuery {
    before: Option<Version>,
}

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

async fn health(State(news): State<News>) -> Response {
    let (log, log_end) = probed(news.log.last_sequence()).await;
    let (mut latest, position) = probed(news.latest.position()).await;
    if let (Some(end), Some(position)) = (log_end, position) {
        latest["events_behind"] = json!(end - position);
    }
    let (code, status) = match (log_end, position) {
        (Some(_), Some(_)) => (StatusCode::OK, "up"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "down"),
    };
    let components = json!({ "event_log": log, "latest": latest });
    (code, Json(json!({ "status": status, "components": components }))).into_response()
}

/// A component's state and latency as JSON, and what it answered if it is up.
async fn probed<T, E: std::error::Error>(
    question: impl Future<Output = Result<T, E>>,
) -> (Value, Option<T>) {
    let begun = Instant::now();
    let answer = tokio::time::timeout(HEALTH_TIME_MAX, question).await;
    let latency_ms = begun.elapsed().as_secs_f64() * 1000.0;
    let answer = match answer {
        Ok(Ok(answer)) => Some(answer),
        Ok(Err(error)) => {
            tracing::error!(%error, "database check failed");
            None
        }
        Err(_) => None,
    };
    let status = if answer.is_some() { "up" } else { "down" };
    (json!({ "status": status, "latency_ms": latency_ms }), answer)
}
