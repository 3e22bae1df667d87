//! The auth service: who is asking. It issues tokens that the gateway, or anybody with the public keys, can check.
//!
//! | request | answer |
//! |---|---|
//! | `POST /login` with `{email, password}` | 200, `{access_token, refresh_token, token_type, expires_in}` |
//! | `POST /refresh` with `{refresh_token}` | 200, the same; the old refresh token is spent |
//! | `POST /logout` with `{refresh_token}` | 204 |
//! | `GET /.well-known/jwks.json`, `GET /jwks` | 200, the public keys, for five minutes |
//! | `GET /.well-known/openid-configuration` | 200, where everything is |
//! | `GET`, `POST /authorize` | a login form, or 303 back to the application with a code |
//! | `POST /token` | 200, tokens for a code or for a refresh token |
//! | `GET`, `POST /userinfo` with `Authorization: Bearer …` | 200, `{sub, name, email, email_verified}` |
//! | `GET`, `POST /end_session` | logs the browser out, and 303 back to the application |
//! | `GET /health`, `GET /metrics`, `GET /openapi.json` | for those who run the service |
//!
//! Refusals are `{"error": "…"}`, at `/token` and `/userinfo` `{"error": code, "error_description": "…"}` as RFC 6749
//! says, and pages where a browser is the client.
//!
//! Passwords are the users service's: it is asked at every login, and again at every refresh whether the user still
//! exists. Access tokens (RFC 9068, ES256) are checked without asking anybody and cannot be withdrawn, so they are short.
//! Refresh tokens are stored as hashes and good once; one that comes again ends its whole family. Browser, code and
//! client are held together by PKCE (S256, required), exactly registered addresses, single-use codes and `iss`.
//!
//! Not here: consent (the operator chooses the clients), registration of clients, the implicit flow, other grants,
//! limits per client address (the gateway's), and the end of sessions when a password changes (the users service
//! does not tell).
//!
//! A request goes `routes` → `password_login` or `provider` → `authentication`, `refresh`, `tokens` → `users`, `keys`,
//! `store`; whatever goes wrong becomes an answer in `reply`, or a page in `provider::pages`.

mod settings;

mod service;

mod housekeeping;

mod request_log;
mod routes;

mod password_login;
mod provider;

mod operation;

mod authentication;
mod refresh;

mod clients;
mod password;
mod scope;
mod tokens;

mod keys;
mod users;

mod store;

mod clock;
mod metrics;
mod secret;

mod reply;

pub use clients::{Registry, RegistryError};
pub use clock::{BadDuration, Clock};
pub use keys::KeyError;
pub use service::{Running, StartError, StopError, start};
pub use settings::{
    BadIssuer, BadUsersAddress, Database, Issuer, Lifetimes, LoginLimit, Rotation, Settings,
    UnknownDatabase, UsersAddress,
};
pub use store::StoreError;
