//! What applications and checkers of tokens read first: where everything is, and the public keys.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::keys::{ALGORITHM_NAME, JWKS_AGE_MAX};
use crate::routes::Auth;
use crate::scope;
use crate::settings::Issuer;

/// The document of OpenID Connect Discovery; it holds for the whole life of the service.
pub(crate) fn document(issuer: &Issuer) -> Bytes {
    json!({
        "issuer": issuer.as_str(),
        "authorization_endpoint": issuer.link("/authorize"),
        "token_endpoint": issuer.link("/token"),
        "userinfo_endpoint": issuer.link("/userinfo"),
        "end_session_endpoint": issuer.link("/end_session"),
        "jwks_uri": issuer.link("/.well-known/jwks.json"),
        "scopes_supported": scope::KNOWN,
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [ALGORITHM_NAME],
        "token_endpoint_auth_methods_supported": ["none", "client_secret_basic"],
        "code_challenge_methods_supported": ["S256"],
        "claims_supported": [
            "iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "at_hash", "sid",
            "name", "email", "email_verified",
        ],
        "prompt_values_supported": ["none", "login", "select_account", "consent"],
        "authorization_response_iss_parameter_supported": true,
        "claims_parameter_supported": false,
        "request_parameter_supported": false,
        "request_uri_parameter_supported": false,
    })
    .to_string()
    .into()
}

/// Where everything is.
#[utoipa::path(get, path = "/.well-known/openid-configuration", responses(
    (status = 200, description = "OpenID Connect Discovery", body = serde_json::Value),
))]
pub(crate) async fn configuration(State(auth): State<Arc<Auth>>) -> Response {
    published(auth.discovery.clone())
}

/// The public keys, as a JSON Web Key Set. The next key is here before it signs.
#[utoipa::path(get, path = "/.well-known/jwks.json", responses(
    (status = 200, description = "JSON Web Key Set", body = serde_json::Value),
))]
pub(crate) async fn jwks(State(auth): State<Arc<Auth>>) -> Response {
    published(auth.mint.keys.ring().jwks())
}

fn published(json: Bytes) -> Response {
    let cache = format!("public, max-age={}", JWKS_AGE_MAX.as_secs());
    let headers =
        [(header::CONTENT_TYPE, "application/json".to_owned()), (header::CACHE_CONTROL, cache)];
    (headers, json).into_response()
}
