//! The recommendation service: which labels a user reads, and who reads a label, counted from the event "user U viewed news N".
//!
//! | request | answer |
//! |---|---|
//! | `POST /events/viewed` with `{id, user_id, news: {id, news_type, tags}}` | 202, the event is stored and will be counted once, however often it is sent |
//! | `GET /user/{id}?start=0&count=20` | 200, `{id, labels: [{label, count}]}`, most read first; `count` at most 100 |
//! | `GET /label/{label}?start=0&count=20` | 200, `{label, users: [{id, name, count}]}`, keenest first |
//! | `GET /dead-letters?count=20` | 200, `{dead_letters: [{event, reason, came_over}]}`: what cannot be counted, and why |
//! | `POST /dead-letters/retry` | 200, `{retried}`: all of them are tried again |
//! | `GET /health` | 200 or 503, with the state and latency of each component |
//! | `GET /metrics`, `GET /openapi.json` | Prometheus' format; this contract |
//!
//! What is refused is answered `{"error": "…"}`: 400 malformed, 404 nothing is known of this user or label, 413 too
//! large, 415 not JSON, 503 too busy. The gateway lets only `/user/…` and `/label/…` out.
//!
//! An event arrives over HTTP and waits in the `inbox`, or over AMQP and waits at the `broker`, which gets its
//! acknowledgement after the write. Either way `relate` asks `users` who the reader is and has the `store` count. Users
//! that do not answer are asked again later; an event whose user does not exist, or that is no event at all, goes to the
//! dead letters. The store remembers in the same transaction which events it has counted.

mod settings;

mod service;

mod correlation;
mod request_log;
mod routes;

mod viewed;

mod inbox;

mod broker;

mod relate;

mod users;

mod store;

mod health;

mod metrics;

mod reply;

pub use broker::BrokerError;
pub use service::{Running, StartError, StopError, start};
pub use settings::{AmqpUrl, BadUrl, Database, Events, PostgresUrl, Settings, UnknownDatabase};
pub use store::StoreError;
