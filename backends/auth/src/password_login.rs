//! Login without a browser: email and password for tokens, tokens for the next tokens, and the end of it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::clients::PASSWORD_LOGIN;
use crate::metrics::Issued;
use crate::password::{Credentials, Password};
use crate::refresh;
use crate::reply::{ApiError, Failure, TokenReply};
use crate::routes::Auth;
use crate::scope::Scope;
use crate::secret::RefreshToken;
use crate::store::Grant;

/// Who wants to log in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LoginRequest {
    /// Upper and lower case are the same; counted in bytes.
    #[schema(min_length = 1, max_length = 254)]
    email: String,
    password: Password,
}

/// A refresh token that was issued here.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RefreshRequest {
    /// Good once.
    refresh_token: String,
}

/// Email and password for an access token and a refresh token.
#[utoipa::path(post, path = "/login", request_body = LoginRequest, responses(
    (status = 200, description = "Logged in", body = TokenReply),
    (status = 400, description = "Malformed, or too long", body = ApiError),
    (status = 401, description = "Email or password is wrong", body = ApiError, headers(
        ("www-authenticate" = String, description = "Bearer"),
    )),
    (status = 413, description = "Over 16 KiB", body = ApiError),
    (status = 415, description = "Not application/json", body = ApiError),
    (status = 429, description = "Too many failed logins of this account", body = ApiError, headers(
        ("retry-after" = u64, description = "Seconds until the next attempt"),
    )),
    (status = 500, description = "A token cannot be signed", body = ApiError),
    (status = 503, description = "Too busy, or users or the database does not answer", body = ApiError),
))]
pub(crate) async fn login(
    State(auth): State<Arc<Auth>>,
    request: Result<Json<LoginRequest>, JsonRejection>,
) -> Result<TokenReply, Failure> {
    let Json(LoginRequest { email, password }) = request?;
    let credentials = Credentials::parse(&email, password)?;
    let user = auth.authentication.log_in(&credentials, &auth.metrics).await?;
    let now = auth.clock.now();
    let scope = Scope::all();
    let grant = Grant {
        client_id: PASSWORD_LOGIN.to_owned(),
        user_id: user.id,
        session_id: String::new(),
        scope: scope.as_str().to_owned(),
        authenticated_at: now.0,
        expires_at: now.after(auth.lifetimes.refresh).0,
    };
    let refresh = RefreshToken::random();
    let access_token = auth.mint.access_token(&grant, &scope)?;
    auth.store.begin_grant(&refresh, &grant).await?;
    auth.metrics.count_issued(Issued::Password);
    Ok(TokenReply::new(access_token, refresh.reveal(), auth.lifetimes.access))
}

/// A refresh token for the next, and an access token. One that comes again ends the login.
#[utoipa::path(post, path = "/refresh", request_body = RefreshRequest, responses(
    (status = 200, description = "The next tokens", body = TokenReply),
    (status = 400, description = "Malformed", body = ApiError),
    (status = 401, description = "Not good, or not any more: log in again", body = ApiError, headers(
        ("www-authenticate" = String, description = "Bearer"),
    )),
    (status = 413, description = "Over 16 KiB", body = ApiError),
    (status = 415, description = "Not application/json", body = ApiError),
    (status = 500, description = "A token cannot be signed; the one that came is spent", body = ApiError),
    (status = 503, description = "Users or the database does not answer; if it was users the token is still good", body = ApiError),
))]
pub(crate) async fn refresh_login(
    State(auth): State<Arc<Auth>>,
    request: Result<Json<RefreshRequest>, JsonRejection>,
) -> Result<TokenReply, Failure> {
    let Json(RefreshRequest { refresh_token }) = request?;
    let refreshed = refresh::refresh(&auth, &refresh_token, PASSWORD_LOGIN, None).await?;
    let next = refreshed.next.reveal();
    Ok(TokenReply::new(refreshed.access_token, next, auth.lifetimes.access))
}

/// Ends a login: none of its refresh tokens is good any more. Access tokens end by themselves.
#[utoipa::path(post, path = "/logout", request_body = RefreshRequest, responses(
    (status = 204, description = "Ended, or it had ended before"),
    (status = 400, description = "Malformed", body = ApiError),
    (status = 413, description = "Over 16 KiB", body = ApiError),
    (status = 415, description = "Not application/json", body = ApiError),
    (status = 503, description = "The database does not answer", body = ApiError),
))]
pub(crate) async fn logout(
    State(auth): State<Arc<Auth>>,
    request: Result<Json<RefreshRequest>, JsonRejection>,
) -> Result<StatusCode, Failure> {
    let Json(RefreshRequest { refresh_token }) = request?;
    if let Some(token) = RefreshToken::parse(&refresh_token) {
        auth.store.end_grant(&token.grant.hash()).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}
