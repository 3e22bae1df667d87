//! Which path leads where, and what every request may use.

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use axum::{Router, middleware};

use crate::authentication::Authentication;
use crate::clients::Registry;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::provider::discovery::{self, Discovery};
use crate::provider::{authorize, end_session, login_form, token, userinfo};
use crate::reply::Failure;
use crate::settings::{Issuer, Lifetimes};
use crate::store::Store;
use crate::tokens::Mint;
use crate::{operation, password_login, request_log};

/// A login form with the longest request in it, encoded twice, has under 14 KB.
const BODY_BYTES_MAX: usize = 16 * 1024;

/// What every request may use.
pub(crate) struct Auth {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) authentication: Authentication,
    pub(crate) mint: Mint,
    pub(crate) registry: Arc<Registry>,
    pub(crate) issuer: Issuer,
    pub(crate) lifetimes: Lifetimes,
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<Metrics>,
    /// The discovery document.
    pub(crate) discovery: Discovery,
}

/// The whole service as one router.
pub(crate) fn app(auth: Arc<Auth>) -> Router {
    let follow = middleware::from_fn_with_state(Arc::clone(&auth.metrics), request_log::follow);
    Router::new()
        .route("/login", post(password_login::login))
        .route("/refresh", post(password_login::refresh_login))
        .route("/logout", post(password_login::logout))
        .route("/.well-known/openid-configuration", get(discovery::configuration))
        .route("/.well-known/jwks.json", get(discovery::jwks))
        .route("/jwks", get(discovery::jwks_by_short_path))
        .route("/authorize", get(authorize::from_query).post(authorize::from_form))
        .route("/authorize/login", post(login_form::submit))
        .route("/token", post(token::token))
        .route("/userinfo", get(userinfo::userinfo).post(userinfo::userinfo_by_post))
        .route("/end_session", get(end_session::from_query).post(end_session::from_form))
        .route("/end_session/confirm", post(end_session::confirm))
        .route("/health", get(operation::health))
        .route("/metrics", get(operation::metrics))
        .route("/openapi.json", get(operation::openapi))
        .fallback(async || Failure::NoSuchPath)
        .method_not_allowed_fallback(async || Failure::MethodNotAllowed)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(follow)
        .with_state(auth)
}
