//! The users service: registration data of the portal, offered over HTTP and gRPC, *caching first*.
//!
//! | request | answer |
//! |---|---|
//! | `GET /users?start=0&count=10` | 200, a list in order of registration; `count` at most 100 |
//! | `POST /user` with `{name, email, password}` | 201, `{id, name, email}` |
//! | `GET /user/{id}` | 200, `{id, name, email}` |
//! | `PUT /user/{id}` with `{name, email}`, and `password` to change it | 200, `{id, name, email}` |
//! | `DELETE /user/{id}` | 204 |
//! | `POST /user/verify` with `{email, password}` | 200, `{id, name, email}`, or 401; for the service that issues tokens |
//! | `GET /dead-letters?count=20` | 200, `{dead_letters: [{id, write, user_id, user, reason, correlation_id}]}`, the latest first |
//! | `POST /dead-letters/retry` | 200, `{retried, kept}`: all of them go back into the queue |
//! | `DELETE /dead-letters/{id}` | 204: given up for good |
//! | `GET /health` | 200 or 503, with the state and latency of each component |
//! | `GET /metrics`, `GET /openapi.json` | for Prometheus, for readers |
//! | gRPC `user_data.GetUserData/GetUser` | the user, or `NOT_FOUND` |
//!
//! What is refused is answered `{"error": "…"}`: 400 malformed, 401 wrong password, 404 unknown id, 409 taken email,
//! 413 too large, 415 not JSON, 503 try again. A password is stored as an argon2id hash and is in no answer and no log.
//!
//! A request goes `routes` → `user` (text to checked types) → `password` → `accounts`. A write goes on to the
//! `intake`, cache and durable queue in one, and is answered; the `worker` brings it from there to the `database`.
//! A read asks the intake, then the database. Whatever goes wrong becomes an answer in `reply`. An answered write is
//! never lost: `intake` says why.
//!
//! A job that the database refuses, which only a change of its schema by hand can bring about, goes to the dead letters
//! and blocks nobody; the user is then what the database says. Look at `users_dead_letters` in the metrics: more than 0
//! means that answered writes wait for you. `/dead-letters` tells the reason; mend the database, then retry. A retried
//! write is a new one to what its user is now; a later write to the same user takes a dead letter's place, so a retry
//! undoes nothing. What stays dead (`kept`) has an email that is somebody else's by now, or is unreadable; give it up
//! with DELETE. Dead letters, as `/user/verify` and `/metrics`, are not for the outside: let no gateway route there.
//!
//! PostgreSQL is spoken to over TLS if it offers that; its URL may insist: `?sslmode=require` encrypts and believes any
//! certificate, `?sslmode=verify-full&sslrootcert=FILE` believes one of that authority for that host (without a file, of
//! a public authority), `?sslmode=disable` is in the clear. Redis is spoken to without TLS, and `rediss://` is refused
//! at the start: keep it on a network of its own, or behind a tunnel.

mod settings;

mod service;

mod request_log;
mod routes;

mod grpc;

mod health;
mod metrics;

mod user;

mod password;

mod accounts;

mod dead_letters;

mod intake;

mod worker;

mod database;

mod index;

mod reply;

pub use database::DatabaseError;
pub use intake::IntakeError;
pub use service::{Running, StartError, StopError, start};
pub use settings::{
    Configuration, Database, HashCost, Queue, ServerUrl, Settings, UnknownDatabase, UnknownQueue,
};
pub use worker::WorkError;
