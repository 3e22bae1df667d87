//! The news service: the articles of one theme. The portal runs one instance for each theme, each with stores of its own.
//!
//! | request | answer |
//! |---|---|
//! | `POST /` with `{title, content, author}`, `tags`, `published_at` | 201, a new article, version 1 |
//! | `PUT /` (or `POST /`) with `id` and `version` besides, as they were read | 201, the next version |
//! | `GET /{id}` | 200, the latest version |
//! | `GET /{page}/{limit}` | 200, a list of latest versions, newest published first; pages count from 1, `limit` at most 100 |
//! | `GET /{id}/history`, `?before={version}` for older ones | 200, up to 100 versions, newest first |
//! | `POST /rebuild` | 200, `{sequence}`: the read side was made again from the whole log |
//! | `GET /health` | 200 or 503, with the state and latency of each component |
//! | `GET /metrics`, `GET /openapi.json` | Prometheus' format; this contract |
//!
//! `GET /{x}/history` is always a history: no page is limited to "history" articles.
//!
//! Answers are `{"status": "success", "news": …}`; refusals `{"status": "fail", "message": "…"}`: 400 malformed, 404
//! unknown id, 409 stale version, 413 too large, 415 not JSON. An article is `{id, version, title, content, author, tags,
//! created_at, published_at, news_type}`: `created_at` is when this version was added, `published_at` stays as it
//! was unless a version brings another.
//!
//! Writing and reading are apart (CQRS). A write appends one version to the `event_log` and never changes one. The
//! `projector` follows the log and keeps `latest`, the table that readers ask, which can be thrown away and
//! is made again from the log. A writer's answer waits a moment for that, but does not depend on it. That there is
//! something new is told within the process or, with the `broker`, by messages that are published from the log and
//! acknowledged when they are in the table.
//!
//! The gateway lets `GET` of articles, pages and histories, and `POST` and `PUT` of `/` out; nothing else is for the
//! public.

mod settings;

mod service;

mod correlation;
mod request_log;
mod routes;

mod article;

mod event_log;

mod projector;

mod broker;

mod latest;

mod postgres;

mod health;

mod metrics;

mod reply;

pub use event_log::LogError;
pub use latest::LatestError;
pub use service::{Running, StartError, StopError, start, start_with};
pub use settings::{
    AmqpUrl, BadTheme, BadUrl, Database, Events, PostgresUrl, ReadSide, Settings, Theme,
    UnknownDatabase,
};
