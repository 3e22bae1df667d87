//! `/userinfo`: who the holder of an access token acts for, as the users service knows them now.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::reply::{OauthError, OauthFailure};
use crate::routes::Auth;
use crate::scope::Scope;

/// A user, as far as the token's scope goes.
#[derive(Serialize, ToSchema)]
pub(crate) struct UserClaims {
    /// The user's id, which never changes.
    sub: String,
    /// With the scope `profile`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    name: Option<String>,
    /// With the scope `email`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    email: Option<String>,
    /// Always false: nobody has sent a mail there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    email_verified: Option<bool>,
}

/// Who the bearer of an access token acts for.
#[utoipa::path(get, path = "/userinfo", params(
    ("authorization" = String, Header, description = "Bearer and an access token"),
), responses(
    (status = 200, description = "The user", body = UserClaims),
    (status = 401, description = "invalid_token", body = OauthError, headers(
        ("www-authenticate" = String, description = "Bearer"),
    )),
    (status = 503, description = "temporarily_unavailable", body = OauthError),
))]
pub(crate) async fn userinfo(
    State(auth): State<Arc<Auth>>,
    headers: HeaderMap,
) -> Result<Response, OauthFailure> {
    let token = bearer_token(&headers).ok_or(OauthFailure::InvalidToken)?;
    let claims = auth.mint.check_access(token).map_err(|refused| {
        tracing::info!(%refused, "access token refused");
        OauthFailure::InvalidToken
    })?;
    let scope = Scope::stored(claims.scope);
    let user = auth.authentication.users.find(&claims.sub).await?;
    let user = user.ok_or(OauthFailure::InvalidToken)?;
    let claims = UserClaims {
        sub: user.id,
        name: scope.has("profile").then_some(user.name),
        email_verified: scope.has("email").then_some(false),
        email: scope.has("email").then_some(user.email),
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(claims)).into_response())
}

/// The same, which OpenID Connect wants to be possible by POST. The token is in the header all the same.
#[utoipa::path(post, path = "/userinfo", params(
    ("authorization" = String, Header, description = "Bearer and an access token"),
), responses(
    (status = 200, description = "The user", body = UserClaims),
    (status = 401, description = "invalid_token", body = OauthError, headers(
        ("www-authenticate" = String, description = "Bearer"),
    )),
    (status = 503, description = "temporarily_unavailable", body = OauthError),
))]
pub(crate) async fn userinfo_by_post(
    auth: State<Arc<Auth>>,
    headers: HeaderMap,
) -> Result<Response, OauthFailure> {
    userinfo(auth, headers).await
}

fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}
