//! The users service: registration data of the portal, kept in a database, offered over HTTP.
//!
//! | request | answer |
//! |---|---|
//! | `GET /users?start=0&count=10` | 200, a list in order of registration; `count` at most 100 |
//! | `POST /user` with `{name, email, password}` | 201, `{id, name, email}` |
//! | `GET /user/{id}` | 200, `{id, name, email}` |
//! | `PUT /user/{id}` with `{name, email}`, and `password` to change it | 200, `{id, name, email}` |
//! | `DELETE /user/{id}` | 204 |
//! | `GET /health` | 200 or 503, with the state and latency of each component |
//!
//! What is refused is answered `{"error": "…"}`: 400 malformed, 404 unknown id, 409 taken email, 413 too large,
//! 415 not JSON, 503 too busy. A password is stored as an argon2id hash and is in no answer and no log.
//!
//! A request goes `routes` → `user` (text to checked types) → `password` → `store`; whatever goes wrong becomes
//! an answer in `reply`.

mod settings;

mod service;

mod request_log;
mod routes;

mod user;

mod password;

mod store;

mod reply;

pub use service::{Running, StartError, StopError, start};
pub use settings::{Database, HashCost, Settings, UnknownDatabase};
